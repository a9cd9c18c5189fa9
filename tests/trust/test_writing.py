"""Whatever happens during a run: a whole file or none, nothing beside it, untouched inputs."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core import Blend, Cancelled, Compute, LoraError, Occupied, Output, blend, select
from core.storage.atomic import AtomicFile
from core.storage.files import FileTensors, open_tensors
from core.version import version
from tests.every_edit import EDITS
from tests.helpers import files_in, lora_file, same_bits, save

ROOT = Path(__file__).parents[2]
NAMES = [f"blocks.{i}.attn" for i in range(12)]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("more", [[], ["--named"]], ids=["nameless", "named"])
def test_a_killed_command_leaves_a_whole_file_or_none(more):
    command = [sys.executable, "-m", "tests.trust.kills", "--repetitions", "12", *more]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["killed"] == 12


@pytest.fixture(params=[None, b"old"], ids=["new", "over an old file"])
def case(request, tmp_path):
    """A folder with an input and perhaps an old output; afterwards both are as they were."""
    path = tmp_path / "in.safetensors"
    save(lora_file(NAMES), path)
    out = tmp_path / "out.safetensors"
    if request.param:
        out.write_bytes(request.param)
    before = {p: (tmp_path / p).read_bytes() for p in files_in(tmp_path)}
    yield path, out
    tmp_path.chmod(0o700)
    assert {p: (tmp_path / p).read_bytes() for p in files_in(tmp_path)} == before


def after(done: int, action) -> Compute:
    """Compute settings that do `action` when that many modules are done."""
    return Compute(workers=1, progress=lambda now, *_: action() if now == done else None)


@pytest.mark.parametrize("done", [0, 1, 6, 12])
def test_cancelling_leaves_everything_as_it_was(case, done):
    path, out = case
    asked = []
    compute = Compute(workers=1, cancelled=lambda: asked.append(1) or len(asked) > done)
    with pytest.raises(Cancelled):
        select(path, "*", Output(out), compute=compute)


open_files_can_change = pytest.mark.skipif(
    os.name == "nt", reason="this system keeps a mapped file as it is"
)


@open_files_can_change
def test_an_input_that_is_cut_short_is_named_not_read(case):
    path, out = case
    content = path.read_bytes()
    with pytest.raises(LoraError, match=r"in\.safetensors: was changed while it was read"):
        select(path, "*", Output(out), compute=after(2, lambda: os.truncate(path, 2000)))
    path.write_bytes(content)


@open_files_can_change
def test_an_input_that_is_replaced_is_not_mixed_with_the_new_one(case):
    path, out = case
    content = path.read_bytes()

    def replace():
        (path.parent / "other").write_bytes(content)
        os.replace(path.parent / "other", path)

    with pytest.raises(LoraError, match=r"in\.safetensors: was changed while it was read"):
        select(path, "*", Output(out), compute=after(2, replace))


def test_an_input_that_is_written_to_after_its_last_tensor_was_taken_is_named(case):
    # What was taken is a view of the file: it may hold the old numbers or the new ones.
    path, out = case
    with pytest.raises(LoraError, match=r"in\.safetensors: was changed while it was read"):
        blend(path, None, output=Output(out), compute=after(12, lambda: os.utime(path, (1, 1))))


@open_files_can_change
def test_a_file_that_is_cut_at_any_moment_never_ends_the_process(tmp_path, monkeypatch):
    # A map would: its pages behind the new end are gone (SIGBUS).
    path = Path(save(lora_file(["x"], shape=(512, 512), rank=64), tmp_path / "in.safetensors"))
    tensors, (key, *_) = open_tensors(path), lora_file(["x"])
    taken = tensors[key]
    compare = FileTensors._compare

    def cut(self, found):
        compare(self, found)
        os.truncate(path, 5000)

    monkeypatch.setattr(FileTensors, "_compare", cut)
    with pytest.raises(LoraError, match=r"in\.safetensors: was changed while it was read"):
        tensors[key]
    assert torch.isfinite(taken.sum())
    monkeypatch.undo()
    with pytest.raises(LoraError, match=r"in\.safetensors: was changed while it was read"):
        tensors[key]


@open_files_can_change
def test_an_input_that_is_removed_is_named(case):
    path, out = case
    content = path.read_bytes()
    with pytest.raises(LoraError, match=r"in\.safetensors: cannot be read any more"):
        select(path, "*", Output(out), compute=after(2, path.unlink))
    path.write_bytes(content)


@contextlib.contextmanager
def without_privileges(folder):
    """As root, who may write anywhere, act as nobody."""
    version()  # It is kept; nobody may not read the file that says it.
    root = os.geteuid() == 0
    if root:
        for path in (folder, *folder.iterdir()):
            os.chown(path, 65534, 65534)
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def open_to_all():
    """A folder that everybody may walk to: pytest's are for one user alone."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has other permissions")
@pytest.mark.parametrize("edit", EDITS)
def test_a_folder_that_is_locked_during_the_run_is_named(open_to_all, edit):
    folder = open_to_all
    path, out = folder / "in.safetensors", folder / "out.safetensors"
    save(lora_file("xy"), path)
    content = path.read_bytes()
    with without_privileges(folder):
        with pytest.raises(LoraError, match=r"out\.safetensors: cannot be written.*may write to"):
            EDITS[edit](path, Output(out), compute=after(1, lambda: folder.chmod(0o500)))
        path.chmod(0)
        with pytest.raises(LoraError, match=r"in\.safetensors: cannot be opened.*ermission"):
            select(path, "*")
        folder.chmod(0o700)
        path.chmod(0o600)
    assert files_in(folder) == {"in.safetensors"} and path.read_bytes() == content


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("named", [False, True], ids=["nameless", "named"])
@pytest.mark.parametrize("old", [None, b"old" * 1000], ids=["new", "over an old file"])
def test_a_full_disk_leaves_what_was_there(small_disk, tmp_path, monkeypatch, old, named):
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    out = small_disk / "out.safetensors"
    if old:
        out.write_bytes(old)
    free = os.statvfs(small_disk).f_bavail * 4096
    written = 0
    # Sizes around what fits, so that data, alphas or the header are what does not.
    for rows in (8, *range(280, 321, 4), 2000):
        path = save(lora_file(["x"], shape=(rows * 4, 12), rank=46), tmp_path / "in.safetensors")
        content = Path(path).read_bytes()
        try:
            select(path, "*", Output(out))
        except LoraError as error:
            assert "free some disk space" in str(error)
            assert files_in(small_disk) == ({"out.safetensors"} if old or written else set())
            assert len(content) > free - 3 * 4096 - (out.stat().st_size if out.exists() else 0)
        else:
            assert torch.equal(*(load_file(p)["x.lora_A.weight"] for p in (path, out)))
            written += 1
            assert files_in(small_disk) == {"out.safetensors"}
        assert Path(path).read_bytes() == content
        assert os.statvfs(small_disk).f_bavail * 4096 >= free - 4096 * 70
    assert 0 < written < 12


# File systems of about 2 MB; overlay has no files without a name.
DISKS = {
    "ext4": "truncate -s 2M image && mkfs.ext4 -q image && mount -o loop image disk",
    "overlay": "mkdir lower top && mount -t tmpfs -o size=2m tmpfs top && mkdir top/up top/work && "
    "mount -t overlay -o lowerdir=lower,upperdir=top/up,workdir=top/work overlay disk",
}


@pytest.fixture(params=DISKS)
def disk(request, tmp_path):
    if os.name != "posix":
        pytest.skip("file systems are not mounted this way here")
    (tmp_path / "disk").mkdir()
    made = subprocess.run(DISKS[request.param], shell=True, cwd=tmp_path, capture_output=True)
    if made.returncode == 0:
        yield tmp_path / "disk"
    subprocess.run("umount disk; umount top", shell=True, cwd=tmp_path, capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"{request.param} cannot be mounted here")


@pytest.mark.slow
def test_a_disk_that_fills_up_keeps_what_was_whole(disk, tmp_path):
    path = save(lora_file(["x"], shape=(1024, 1024), rank=32), tmp_path / "in.safetensors")
    written = set()
    with pytest.raises(LoraError, match="free some disk space"):
        for i in range(99):
            select(path, "*", Output(disk / f"{i}.safetensors"))
            written.add(f"{i}.safetensors")
    with pytest.raises(LoraError, match="free some disk space"):
        blend(path, None, Blend((0.5,), "full"), Output(disk / "0.safetensors"))
    assert written and files_in(disk) - {"lost+found"} == written
    assert all(same_bits(load_file(path), load_file(disk / name)) for name in written)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(LoraError, match=r"Read-only file system.*may write to"):
        select(path, "*", Output(disk / "0.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("named", [False, True], ids=["nameless", "named"])
def test_runs_that_write_the_same_file_at_once_leave_one_of_theirs(tmp_path, monkeypatch, named):
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    path, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save(lora_file(NAMES), path)
    weights = (0.5, 0.25, 2.0, 3.0)
    expected = [
        blend(path, None, Blend((w,), "full")).lora["blocks.3.attn.lora_B.weight"] for w in weights
    ]
    for _ in range(5):
        with contextlib.suppress(FileNotFoundError):
            out.unlink()
        threads = [
            threading.Thread(target=blend, args=(path, None, Blend((w,), "full"), Output(out)))
            for w in weights
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = load_file(out)["blocks.3.attn.lora_B.weight"]
        assert any(torch.equal(found, one) for one in expected)
        assert files_in(tmp_path) == {"in.safetensors", "out.safetensors"}


@pytest.mark.parametrize("named", [False, True], ids=["nameless", "named"])
def test_of_files_that_are_to_replace_none_one_gets_the_name(tmp_path, monkeypatch, named):
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    files = [AtomicFile(tmp_path / "x", replace=False) for _ in range(4)]
    placed = []

    def place(number, file):
        file.file.write(bytes([number]) * 100)
        file.complete()
        with contextlib.suppress(Occupied):
            file.close(keep=True)
            placed.append(number)

    threads = [threading.Thread(target=place, args=one) for one in enumerate(files)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = placed
    assert (tmp_path / "x").read_bytes() == bytes([winner]) * 100
    assert files_in(tmp_path) == {"x"}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="this system has other signals")
@pytest.mark.parametrize("named", [False, True], ids=["nameless", "named"])
@pytest.mark.parametrize("old", [None, b"old"], ids=["new", "over old files"])
def test_an_interrupt_between_any_two_calls_leaves_both_parts_or_neither(
    tmp_path, monkeypatch, old, named
):
    """Not SIGKILL: between the names of two files no file system helps."""
    if named:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    path = save(lora_file("xy"), tmp_path / "in.safetensors")
    outputs = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    real = {name: getattr(os, name) for name in ("link", "replace", "unlink")}
    calls, stop = [], (0, False)

    def wrapped(name):
        def call(*arguments, **options):
            number, after = stop
            calls.append(name)
            if (len(calls), after) == (number, False):
                os.kill(os.getpid(), signal.SIGINT)
            try:
                return real[name](*arguments, **options)
            finally:
                if (len(calls), after) == (number, True):
                    os.kill(os.getpid(), signal.SIGINT)

        return call

    for name in real:
        monkeypatch.setattr(os, name, wrapped(name))
    most, interrupted = 99, 0
    for stop in [(0, False), *((n, after) for n in range(1, 14) for after in (False, True))]:
        if stop[0] > most:
            break
        for out in outputs:
            with contextlib.suppress(FileNotFoundError):
                real["unlink"](out)
            if old:
                out.write_bytes(old)
        calls.clear()
        with contextlib.suppress(KeyboardInterrupt):
            select(path, "x", Output(outputs[0]), rest=Output(outputs[1]))
            interrupted -= 1
        interrupted += 1
        most = len(calls) if stop[0] == 0 else most
        found = [out.read_bytes() if out.exists() else None for out in outputs]
        assert found == [old, old] or all(one and one != old for one in found), stop
        assert files_in(tmp_path) <= {"in.safetensors", "one.safetensors", "two.safetensors"}, stop
    assert interrupted == 2 * most > 0
