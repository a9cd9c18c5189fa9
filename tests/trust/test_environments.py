"""Hostile environments, a few, and that the check notices what it is to notice.

`python -m tests.trust.environments --runs 200` is the same at length.
"""

import re

import pytest

from tests.helpers import lora_file, save

resource = pytest.importorskip("resource", reason="this system has other limits")
from tests.trust import environments  # noqa: E402
from tests.trust.environments import limited, violations  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate("ab"):
        save(lora_file(environments.NAMES[:2], seed=number), tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("memory", [300, 900])
def test_little_memory_is_one_line(folder, memory):
    limit = {"preexec_fn": limited(resource.RLIMIT_AS, memory << 20)}
    assert violations(folder, environments.COMMANDS[0], limit) == []


def test_one_thread_is_enough(folder):
    if not environments.SOMEBODY_ELSE:
        pytest.skip("this takes root and setpriv")
    few = {"preexec_fn": limited(resource.RLIMIT_NPROC, 1), "as": environments.SOMEBODY}
    assert violations(folder, environments.COMMANDS[2], few) == []
    assert (folder / "out.safetensors").is_file()


@pytest.mark.parametrize(
    "command, told",
    [
        ("info missing --names extra", "status 2"),
        ("info ../a/..", "fails with"),
    ],
)
def test_the_check_notices(folder, monkeypatch, command, told):
    if told == "fails with":
        monkeypatch.setattr(environments, "OTHERS", re.compile("."))
    assert any(told in one for one in violations(folder, command, {}))
