"""A run that cannot be finished leaves what was there before: no output, no temporary file."""

import errno
import os

import pytest

from core import Blend, Cancelled, Compute, LoraError, Output, blend
from tests.every_edit import EDITS
from tests.helpers import files_in, lora_file, save


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("how", ["same", "dotted", "link to", "link from", "hard link"])
def test_an_output_that_is_an_input_is_refused(tmp_path, edit, how):
    path = tmp_path / "in.safetensors"
    save(lora_file("xy"), path)
    content = path.read_bytes()
    link = tmp_path / "link.safetensors"
    source, output = (
        path,
        {"same": path, "dotted": tmp_path / "." / "in.safetensors"}.get(how, link),
    )
    if how == "link from":
        source, output = link, path
    if "link" in how:
        os.link(path, link) if how == "hard link" else link.symlink_to(path)
    before = files_in(tmp_path)
    with pytest.raises(LoraError, match="output is one of the inputs"):
        EDITS[edit](source, Output(output))
    assert path.read_bytes() == content and files_in(tmp_path) == before


def test_the_second_input_is_no_output_either(tmp_path):
    path = save(lora_file("xy"), tmp_path / "in.safetensors")
    with pytest.raises(LoraError, match="output is one of the inputs"):
        blend(lora_file("xy", seed=1), path, output=Output(path))


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("place", ["missing/out.safetensors", "."])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, edit, place):
    with pytest.raises(LoraError, match=r"does not exist|is a folder"):
        EDITS[edit](lora_file("xy"), Output(tmp_path / place))
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("old", [None, b"an older result"])
def test_a_disk_that_fills_up_leaves_what_was_there(tmp_path, monkeypatch, edit, old):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("core.storage.atomic.AtomicFile.complete", full)
    out = tmp_path / "out.safetensors"
    if old:
        out.write_bytes(old)
    with pytest.raises(LoraError, match=r"out\.safetensors.*free some disk space"):
        EDITS[edit](lora_file("xy"), Output(out))
    assert files_in(tmp_path) == ({"out.safetensors"} if old else set())
    assert not old or out.read_bytes() == old


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("calls", [0, 1])
def test_a_cancelled_run_leaves_nothing(tmp_path, edit, calls):
    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > calls

    compute = Compute(cancelled=cancelled, workers=1)
    with pytest.raises(Cancelled):
        EDITS[edit](lora_file("xy"), Output(tmp_path / "out.safetensors"), compute=compute)
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("edit", EDITS)
def test_a_run_that_dies_leaves_nothing(tmp_path, edit):
    def progress(done, total, name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EDITS[edit](
            lora_file("xy"),
            Output(tmp_path / "out.safetensors"),
            compute=Compute(progress=progress),
        )
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("edit", EDITS)
def test_an_input_that_vanishes_is_reported(tmp_path, edit):
    path = save(lora_file("xy"), tmp_path / "in.safetensors")

    def progress(done, total, name):
        if os.path.exists(path):
            os.remove(path)

    # Every module may have been read before: then the run is complete and right.
    try:
        EDITS[edit](path, Output(tmp_path / "out.safetensors"), compute=Compute(progress=progress))
    except LoraError as error:
        assert "in.safetensors" in str(error) and files_in(tmp_path) == set()


def test_a_hash_that_cannot_be_taken_is_reported(tmp_path, monkeypatch):
    path = save(lora_file("xy"), tmp_path / "in.safetensors")

    def gone(*_, **__):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    monkeypatch.setattr("core.storage.files.open", gone, raising=False)
    with pytest.raises(LoraError, match=r"in\.safetensors"):
        blend(path, None, Blend(rank="full"))
