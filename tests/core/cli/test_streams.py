"""Standard output and error of every kind: other encodings, closed, full."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.cli.main import main
from tests.helpers import lora, save

ROOT = Path(__file__).parents[3]
NAME = "\u5c42\U0001f600.attn"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save(lora(NAME), tmp_path / "a.safetensors", {"modelspec.title": "\u4e2d\u6587"})
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = ["info a.safetensors --names", "analyze a.safetensors", "resize a.safetensors --preview "
            "--rank 2", "verify a.safetensors --inputs a.safetensors", "info missing\u4e2d",
            "info a.safetensors --json"]  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
@pytest.mark.parametrize("command", COMMANDS)
def test_streams_of_every_encoding_take_every_name(folder, monkeypatch, command, encoding):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding, errors="strict") for _ in range(2)]
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, name, stream)
    assert main(command.split()) == (1 if "missing" in command else 0)
    text = "".join(stream.buffer.getvalue().decode(encoding) for stream in streams)
    assert "\\u" in text or "\u5c42" in text or "\u4e2d" in text
    assert [stream.errors for stream in streams] == ["strict", "strict"]


def program(command: str, more: str, folder: Path) -> subprocess.CompletedProcess:
    line = f"{sys.executable} -m core {command} {more}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["sh", "-c", f"cd {ROOT} && exec {line}"], env=environment, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="this shell is not everywhere")
def test_closed_streams_are_no_traceback_and_no_silence(folder):
    name = folder / "a.safetensors"
    found = program(f"info {name}", ">&-", folder)
    assert found.returncode == 1
    assert found.stderr.startswith("lora-alloy: the output cannot be shown")
    out = folder / "o.safetensors"
    found = program(f"convert {name} -o {out}", "2>&-", folder)
    assert found.returncode == 0 and "written: " in found.stdout
    assert program(f"info {folder}/missing", "2>&-", folder).returncode == 1
    found = program(f"convert {name} -o {out} --force", ">&- 2>&- <&-", folder)
    assert found.returncode == 1 and out.is_file()


def test_streams_that_were_closed_inside_the_process(folder, monkeypatch, capsys):
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["info", "a.safetensors"]) == 1
        assert "the output cannot be shown" in capsys.readouterr().err
        assert sys.stdout is stream
        monkeypatch.setattr(sys, "stderr", stream)
        assert main(["info", "a.safetensors"]) == 1
        monkeypatch.undo()
        monkeypatch.chdir(folder)


def test_reports_hold_no_infinity(folder, capsys):
    def refuse(text):
        raise ValueError(f"{text} is not JSON")

    huge = {key: tensor.double() * 1e25 for key, tensor in lora("x").items()}
    save({k: t.float() for k, t in huge.items()}, folder / "huge.safetensors")
    commands = [
        "resize huge.safetensors --sv-ratio inf --preview",
        "resize a.safetensors --sv-ratio inf --preview",
        "analyze huge.safetensors",
        "verify huge.safetensors --inputs huge.safetensors",
        "top-blocks huge.safetensors",
        "blend huge.safetensors --weights 1e25 --rank full -o o.safetensors --force",
        "info huge.safetensors",
    ]
    seen = 0
    for command in commands:
        status = main([*command.split(), "--json"])
        out = capsys.readouterr().out
        if status == 0:
            json.loads(out, parse_constant=refuse)
            seen += 1
    assert seen >= 4


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate"),
        ImportError("libx.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=repr,
)
def test_memory_that_cannot_be_had_is_one_line(folder, monkeypatch, capsys, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("core.cli.commands.resize.opened", fail)
    assert main(["resize", "a.safetensors", "--rank", "2", "--preview"]) == 1
    told = capsys.readouterr().err
    assert "more memory than this machine has free" in told and told.count("\n") == 1


def test_a_mistake_of_ours_stays_a_traceback(folder, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr("core.cli.commands.resize.opened", fail)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        main(["resize", "a.safetensors", "--rank", "2", "--preview"])
    assert torch.get_num_threads() > 0
