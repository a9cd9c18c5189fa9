"""The same inputs give the same bytes, and many runs in one process leave nothing behind."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from core import Compute, Output
from tests.helpers import same_bits
from tests.trust import repeats

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_bytes_and_resources_stay_the_same():
    command = [sys.executable, "-m", "tests.trust.repeats", "--runs", "10", "--processes", "2"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["runs"] == 10


@pytest.mark.slow
@pytest.mark.parametrize("edit", repeats.EDITS)
def test_state_dicts_give_the_tensors_that_their_files_give(tmp_path, edit):
    repeats.write_inputs(tmp_path)
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    out = tmp_path / "out.safetensors"
    repeats.EDITS[edit](*paths, Output(out), Compute())
    result = repeats.EDITS[edit](*map(load_file, paths), Output(), Compute()).lora
    assert same_bits(result, load_file(out))


@pytest.mark.slow
def test_edits_that_run_at_once_over_one_loaded_file_do_not_disturb_each_other(tmp_path):
    repeats.write_inputs(tmp_path)
    names = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    before = [path.read_bytes() for path in names]
    files = [safe_open(path, "pt") for path in names]
    shared = [{key: file.get_tensor(key) for key in file.keys()} for file in files]  # noqa: SIM118
    alone = {name: edit(*shared, Output(), Compute()).lora for name, edit in repeats.EDITS.items()}

    def together(edit):
        return edit(*shared, Output(), Compute(workers=2)).lora

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(together, [*repeats.EDITS.values()] * 3))
    assert all(same_bits(a, b) for a, b in zip(found, [*alone.values()] * 3, strict=True))
    assert all(same_bits(load_file(path), one) for path, one in zip(names, shared, strict=True))
    assert [path.read_bytes() for path in names] == before
