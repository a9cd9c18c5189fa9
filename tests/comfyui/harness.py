"""Runs a real ComfyUI for the tests, in its own process and under its own Python.

Nothing here imports ComfyUI: it is started as a user starts it, on a free port, with a temporary
base directory that goes away with it.

    with Server(packs={"lora-alloy": repository}) as comfyui:
        entry = comfyui.queue(graph)        # graph: ComfyUI's API format, see graphs.py
        latent = comfyui.latent(entry)
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .client import Client, ComfyUIError, error_of

__all__ = ["ComfyUIError", "NoComfyUI", "Server", "error_of", "find_comfyui"]

START_SECONDS = 600.0  # on a busy machine; one that ends is noticed at once

# A pack that is copied arrives as a user's download does: without its history and its tests.
_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "tests", "benchmarks")


class NoComfyUI(Exception):
    """There is no ComfyUI to test with; the message is the one line that a skipped test shows."""


def find_comfyui() -> tuple[Path, Path]:
    """Return ComfyUI's folder and its Python, or raise NoComfyUI saying what to set.

    COMFYUI_PATH defaults to where comfy-cli puts ComfyUI, COMFYUI_PYTHON to the venv in there.
    """
    root = Path(os.environ.get("COMFYUI_PATH") or "~/comfy/ComfyUI").expanduser()
    if not (root / "main.py").is_file():
        raise NoComfyUI(f"no ComfyUI at {root}: set COMFYUI_PATH")
    chosen = os.environ.get("COMFYUI_PYTHON")
    venv = root / ".venv"
    choices = [Path(chosen)] if chosen else [venv / "bin/python", venv / "Scripts/python.exe"]
    for python in choices:
        if python.is_file():
            return root, python
    raise NoComfyUI(f"no Python for ComfyUI at {choices[0]}: set COMFYUI_PYTHON")


class Server(Client):
    """A ComfyUI of one's own, and the connection to it. Use it as a context manager.

    packs: custom node folders to load, by the name they get in custom_nodes.
    copy: copy the packs instead of linking to them.
    options: further command line options for ComfyUI's main.py.
    """

    def __init__(
        self,
        packs: Mapping[str, Path] | None = None,
        *,
        copy: bool = False,
        options: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.root, self.python = find_comfyui()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._temporary = tempfile.TemporaryDirectory(prefix="comfyui-")
        self.base = Path(self._temporary.name).resolve()
        for name in ("models", "output", "input", "custom_nodes", "user/default"):
            (self.base / name).mkdir(parents=True)
        # A user who knows ComfyUI: without this the page opens with its templates on top.
        settings = {"Comfy.TutorialCompleted": True}
        (self.base / "user/default/comfy.settings.json").write_text(json.dumps(settings))
        for name, source in (packs or {}).items():
            target = self.base / "custom_nodes" / name
            if copy:
                shutil.copytree(source, target, ignore=_NOT_COPIED)
            else:
                target.symlink_to(source.resolve(), target_is_directory=True)

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start ComfyUI, wait until it answers, and listen to its events."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # A PYTHONPATH with this repository on it would let our core and nodes shadow ComfyUI's.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        command = [
            str(self.python), "main.py", "--cpu", "--disable-api-nodes", "--disable-auto-launch",
            "--listen", "127.0.0.1", "--port", str(self.port),
            "--base-directory", str(self.base), "--database-url", "sqlite:///:memory:",
            *self._options,
        ]  # fmt: skip
        with open(self.base / "comfyui.log", "wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.root, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            self.check()
            if time.monotonic() > deadline:
                raise ComfyUIError(f"ComfyUI did not start:\n{self.log()[-4000:]}")
            time.sleep(0.1)
        self.connect()

    def stop(self) -> None:
        """End the process and remove its base directory."""
        self.disconnect()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._temporary.cleanup()

    def check(self) -> None:
        """Raise ComfyUIError with the end of the log if ComfyUI is no longer running."""
        if self._process is None or self._process.poll() is not None:
            raise ComfyUIError(f"ComfyUI has ended:\n{self.log()[-4000:]}")

    def log(self) -> str:
        """Return everything ComfyUI has printed so far."""
        return (self.base / "comfyui.log").read_text(encoding="utf-8", errors="replace")

    def folder(self, kind: str) -> Path:
        """Return the folder for models of this kind ("loras", "vae", ...), made if need be."""
        path = self.base / "models" / kind
        path.mkdir(parents=True, exist_ok=True)
        return path

    def files(self, entry: Mapping[str, Any], kind: str = "images") -> list[Path]:
        """Return the files that a run saved, by kind: "images", "latents", ..."""
        return [
            self.base / file["type"] / file["subfolder"] / file["filename"]
            for output in entry["outputs"].values()
            for file in output.get(kind, [])
        ]

    def latent(self, entry: Mapping[str, Any]) -> Any:
        """Return the one latent that a run saved with SaveLatent, as a tensor."""
        from safetensors.torch import load_file

        (path,) = self.files(entry, "latents")
        return load_file(path)["latent_tensor"]

    def _answers(self) -> bool:
        try:
            self.fetch("/system_stats")
        except OSError:  # nobody listens at the port yet
            return False
        return True
