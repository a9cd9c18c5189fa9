"""A model's files as one mapping of tensors: a single file, an index with its shards, a folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from ..deferred import Tensor
from ..errors import FileError
from ..storage.files import FileTensors, Stored, Tensors, open_tensors

INDEX = ".safetensors.index.json"
# The folders of a diffusers pipeline that hold what LoRAs change -> what stands before the names.
COMPONENTS = {
    "transformer": "",
    "unet": "",
    "prior": "",
    "text_encoder": "text_encoder.",
    "text_encoder_2": "text_encoder_2.",
    "text_encoder_3": "text_encoder_3.",
}
WHOLE = "download the model again, with all of its files"


class Joined(Tensors):
    """The tensors of several files, {key: (file, its key)}."""

    def __init__(self, name: str, places: Mapping[str, tuple[Tensors, str]]) -> None:
        self.places = places
        self.files = list(dict.fromkeys(file for file, _ in places.values()))
        info = {key: file.info[own] for key, (file, own) in places.items()}
        super().__init__(name, None, info, self.files[0].metadata if len(self.files) == 1 else {})

    def __getitem__(self, key: str) -> Tensor:
        file, own = self.places[key]
        return file[own]

    def check_unchanged(self) -> None:
        for file in self.files:
            file.check_unchanged()


def open_model(source: Stored) -> Tensors:
    """A model's tensors, of which nothing is read yet.

    `source` is a .safetensors file, the index of several, a folder of diffusers (the pipeline's, or
    that of one model in it), a state dict, or tensors. Raises FileError for what is none of these.
    """
    if not isinstance(source, str | os.PathLike):
        return open_tensors(source)
    path = Path(source)
    if path.name.endswith(INDEX):
        return Joined(path.name, _of_index(path))
    if not path.is_dir():
        return FileTensors(_not_gguf(path))
    components = {name: path / name for name in COMPONENTS if (path / name).is_dir()}
    places: dict[str, tuple[Tensors, str]] = {}
    for name, folder in components.items():
        places |= {COMPONENTS[name] + key: place for key, place in _of_folder(folder).items()}
    return Joined(path.name, places or _of_folder(path))


def _not_gguf(path: Path) -> Path:
    if path.suffix.lower() == ".gguf":
        raise FileError(
            "GGUF files are quantised and not read",
            fix="use the model's .safetensors file, of which only the rounding differs",
            file=str(path),
        )
    return path


def _of_index(path: Path) -> dict[str, tuple[Tensors, str]]:
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        shards = {str(key): str(name) for key, name in listed.items()}
    except OSError as error:
        raise FileError(f"cannot be read ({error.strerror})", WHOLE, file=str(path)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileError("is no index of a model's files", WHOLE, file=str(path)) from error
    for name in shards.values():
        if Path(name).name != name:  # An index comes with its model: it names files beside it.
            problem = f"names a file in another folder, {name}"
            raise FileError(problem, WHOLE, file=str(path))
    files = {name: FileTensors(path.with_name(name)) for name in dict.fromkeys(shards.values())}
    for key, name in shards.items():
        if key not in files[name].info:
            problem = f"is not in {name}, where {path.name} says it is"
            raise FileError(problem, WHOLE, file=str(path), tensor=key)
    return {key: (files[name], key) for key, name in shards.items()}


def _of_folder(folder: Path) -> dict[str, tuple[Tensors, str]]:
    """All tensors of a folder: of its index, of its only file, or of numbered ones."""
    indices = sorted(folder.glob(f"*{INDEX}"), key=lambda p: (len(p.name), p.name))
    if indices:
        return _of_index(indices[0])
    files = sorted(folder.glob("*.safetensors"), key=lambda p: (len(p.name), p.name))
    if not files:
        for gguf in folder.glob("*.gguf"):
            _not_gguf(gguf)
        raise FileError(
            "no .safetensors file in this folder",
            fix="give the path of a model's file, or of its folder",
            file=str(folder),
        )
    numbered = [file for file in files if re.search(r"-\d+-of-\d+\.", file.name)]
    total = int(str(re.search(r"-of-(\d+)\.", numbered[0].name)[1])) if numbered else 0  # type: ignore[index]
    if len(numbered) != total:
        problem = f"{len(numbered)} of its {total} numbered files are there"
        raise FileError(problem, WHOLE, file=str(folder))
    plain = [file for file in files if file not in numbered]
    if not numbered and len(plain) > 1 and not plain[0].name.startswith(("diffusion_", "model")):
        names = ", ".join(file.name for file in plain[:3])
        raise FileError(
            f"holds several models ({names})", fix="give the path of one", file=str(folder)
        )
    opened = [FileTensors(file) for file in numbered or plain[:1]]
    return {key: (file, key) for file in opened for key in file.info}
