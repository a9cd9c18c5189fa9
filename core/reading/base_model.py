"""A base model: the weights that LoRAs change, by the same names, one at a time when asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..adapters.lora import SUFFIX_PAIRS
from ..algebra.cached import cached_property
from ..deferred import Tensor, torch
from ..errors import FileError, located
from ..naming.checkpoints import open_clip_names, readings
from ..naming.family import UNKNOWN, Family, flatten
from ..naming.recognition import Recognition, recognise
from ..naming.spelling import ModuleName, resolve, split_prefix
from ..storage.dtypes import TensorInfo
from ..storage.files import Stored, Tensors
from .model_files import open_model
from .numbers import check_plain, plain

Identity = tuple[str, str]


class Piece(NamedTuple):
    """Some or all rows of a weight under one key of the file: `part` of so many `parts` of it."""

    key: str
    name: ModuleName
    shape: tuple[int, ...]
    part: int = 0
    parts: int = 1


class BaseModel:
    """The weights of a model, read one at a time when they are asked for.

    `source` is the path of a checkpoint or a diffusion model (.safetensors), of an index of
    several, or of a folder of diffusers; or a state dict. Its layout is that of ComfyUI or of
    diffusers: the families' tables tell. `prefer` is the family where names leave that open. fp8
    with scales is what the scales make of it. Raises FileError for what holds no model that can be
    read: a LoRA, GGUF, other quantised weights.

    >>> import torch
    >>> weights = {"double_blocks.0.img_attn.proj.weight": torch.ones(64, 64)}
    >>> base = core.BaseModel(weights)
    >>> base.family.name, len(base.weights)
    ('Flux', 1)
    """

    def __init__(self, source: Stored, prefer: Family = UNKNOWN) -> None:
        self.tensors: Tensors = open_model(source)
        info = self.tensors.info
        lora = (end for pair in SUFFIX_PAIRS for end in pair)
        if any(key.endswith(end) for end in list(lora) for key in info):
            raise FileError(
                "is a LoRA, not a model", fix="give a checkpoint or a model", file=self.name
            )
        check_plain(self.tensors)
        parameters = {key: split for key in info if (split := _parameter(key, info))}
        read = readings({module for module, _ in parameters.values()})
        found = [self._recognised(parameters, names, prefer) for names in read]
        self.recognition, names, shapes = max(found, key=lambda one: one[0].known)
        self.weights: dict[Identity, list[Piece]] = {}
        for key, (module, parameter) in parameters.items():
            if module not in names:
                continue
            own, whole = open_clip_names(names[module]), f"{names[module]}.scale"
            if key.endswith(".scale") and self.family.find(flatten(split_prefix(whole)[1])):
                own = [whole]  # A name of its own.
            for part, raw in enumerate(own):
                name = resolve(raw, self.family, shapes[names[module]])
                piece = Piece(key, name, info[key].shape, part, len(own))
                self.weights.setdefault((flatten(name.weight), parameter), []).append(piece)
        if not self.weights:
            sample = ", ".join(list(info)[:3]) or "none"
            raise FileError(
                f"no weights of a model in it (keys: {sample})",
                fix="choose a checkpoint or a diffusion model",
                file=self.name,
            )
        for pieces in self.weights.values():
            pieces.sort(key=lambda piece: piece.name.first)

    def _recognised(
        self, parameters: Mapping[str, tuple[str, str]], names: Mapping[str, str], prefer: Family
    ) -> tuple[Recognition, Mapping[str, str], dict[str, tuple[int, ...]]]:
        """What a model is when it is read like this, and the shapes of its weights by raw names."""
        shapes: dict[str, tuple[int, ...]] = {}
        for key, (module, parameter) in parameters.items():
            if module in names and (parameter == "weight" or names[module] not in shapes):
                shapes[names[module]] = self.tensors.info[key].shape
        return recognise(shapes, self.tensors.metadata, prefer), names, shapes

    @classmethod
    def of(cls, source: Stored | BaseModel) -> BaseModel:
        """The source itself where it is a model that was opened already."""
        return source if isinstance(source, BaseModel) else cls(source)

    @property
    def name(self) -> str:
        return self.tensors.name

    @property
    def family(self) -> Family:
        return self.recognition.family

    @property
    def files(self) -> list[Tensors]:
        """The files that it is read from."""
        return list(getattr(self.tensors, "files", [self.tensors]))

    @property
    def bytes(self) -> int:
        """Of the weights that LoRAs change."""
        keys = {piece.key for pieces in self.weights.values() for piece in pieces}
        return sum(self.tensors.info[key].bytes for key in keys)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the tensors that hold its weights."""
        return [piece.shape for pieces in self.weights.values() for piece in pieces]

    @cached_property
    def dtype_name(self) -> str:
        """The dtype of most of its bytes, by torch's name."""
        counts: Counter[str] = Counter()
        for pieces in self.weights.values():
            for piece in pieces:
                info = self.tensors.info[piece.key]
                counts[info.dtype_name] += info.bytes
        return counts.most_common(1)[0][0]

    @cached_property
    def diffusers(self) -> bool:
        """Whether its names are diffusers', not those of ComfyUI's model."""
        first = [pieces[0] for pieces in self.weights.values()]
        pieces = [p for p in first if p.name.native and p.key.endswith(".weight")]
        native = sum(flatten(p.key.rpartition(".")[0]).endswith(_path(p.name)) for p in pieces)
        return 2 * native < len(pieces)

    def name_of(self, identity: Identity) -> ModuleName:
        """The name of the whole weight."""
        name = self.weights[identity][0].name
        return name._replace(first=0, last=len(name.parts), swapped=False)

    def __contains__(self, name: ModuleName) -> bool:
        return (flatten(name.weight), "weight") in self.weights

    def shape(self, name: ModuleName, parameter: str = "weight") -> tuple[int, ...] | None:
        """That of the rows that a name covers; None where the model lacks any of them."""
        pieces = self.weights.get((flatten(name.weight), parameter), [])
        heights = self._heights(name, pieces)
        if heights is None:
            return None
        return (sum(heights[name.first : name.last]), *pieces[0].shape[1:])

    def dtype_of(self, name: ModuleName, parameter: str = "weight") -> torch.dtype:
        """The dtype that a weight is stored in."""
        piece = self.weights[flatten(name.weight), parameter][0]
        return self.tensors.info[piece.key].dtype

    def weight(
        self,
        name: ModuleName,
        parameter: str = "weight",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """The rows that a name covers, in the canonical order, as plain numbers.

        On the CPU and in float32, if nothing else is said. Raises FileError where the model has no
        such weight, or not all of these rows.
        """
        pieces = self.weights.get((flatten(name.weight), parameter), [])
        heights = self._heights(name, pieces)
        if heights is None:
            raise FileError(
                f"has no {parameter} {name.canonical}",
                fix="use the base model that the LoRA was made for, or leave the layer out with "
                "the layers selector",
                file=self.name,
            )
        inside = [p for p in pieces if p.name.first < name.last and name.first < p.name.last]
        with located(file=self.name):
            place = device or torch.device("cpu"), dtype or torch.float32
            found = [self.rows(piece, *place) for piece in inside]
        whole = torch.cat(found) if len(found) > 1 else found[0]
        start = sum(heights[inside[0].name.first : name.first])
        return whole[start : start + sum(heights[name.first : name.last])]

    @cached_property
    def held(self) -> dict[str, list[tuple[Identity, Piece]]]:
        """Which weights a key holds rows of, in their order there."""
        found: dict[str, list[tuple[Identity, Piece]]] = {}
        for identity, pieces in self.weights.items():
            for piece in pieces:
                found.setdefault(piece.key, []).append((identity, piece))
        for holding in found.values():
            holding.sort(key=lambda pair: pair[1].part)
        return found

    def span(self, name: ModuleName, parameter: str = "weight") -> tuple[int, int]:
        """The rows [start, stop) of the whole weight that a name covers."""
        heights = self._heights(name, self.weights[flatten(name.weight), parameter])
        assert heights is not None
        return sum(heights[: name.first]), sum(heights[: name.last])

    def rows_of(self, piece: Piece, parameter: str, weight: Tensor) -> Tensor:
        """Of a whole weight what stands under one key, in the order in which it stands there."""
        start, stop = self.span(piece.name, parameter)
        rows = weight[start:stop]
        return rows.roll(len(rows) // 2, 0) if piece.name.swapped else rows

    def rows(self, piece: Piece, device: torch.device, dtype: torch.dtype) -> Tensor:
        """What a key holds of a weight, its rows in the canonical order."""
        values = plain(self.tensors, piece.key, device, dtype)
        if piece.parts > 1:
            values = values.chunk(piece.parts)[piece.part]
        return values.roll(len(values) // 2, 0) if piece.name.swapped else values

    def _heights(self, name: ModuleName, pieces: Sequence[Piece]) -> list[int] | None:
        """How many rows each part of a weight has; None where parts that are asked for lack."""
        covered = {n for p in pieces for n in range(p.name.first, p.name.last)}
        whole = {len(p.name.parts) for p in pieces} == {len(name.parts)}
        if not whole or not covered >= set(range(name.first, name.last)):
            return None
        heights = [0] * len(name.parts)
        for piece in pieces:
            rows = (piece.shape or (1,))[0] // piece.parts
            parts = range(piece.name.first, piece.name.last)
            if len(parts) == 1:
                heights[piece.name.first] = rows
                continue
            for part, height in zip(parts, self._cut(name, piece, rows), strict=True):
                heights[part] = height
        return heights

    def _cut(self, name: ModuleName, piece: Piece, rows: int) -> Iterator[int]:
        """The rows of each part of what one key holds: as tall as the weight is wide, and a rest.

        Raises FileError where the shape is none of the family's.
        """
        parts = piece.name.last - piece.name.first
        whole = self.weights.get((flatten(name.weight), "weight"), [piece])
        width = whole[0].shape[1] if len(whole[0].shape) > 1 else 0
        known = self.family.heights(name.native, rows) if name.native else None
        if known is None:
            known = [width] * min(parts, 3) + [rows - 3 * width] * (parts == 4)
        if sum(known) != rows or min(known) <= 0 or len(known) != parts:
            raise FileError(
                f"its {rows} rows cannot be told apart into {parts} parts",
                fix="use a LoRA in ComfyUI's layout for this model",
                file=self.name,
                tensor=piece.key,
            )
        return iter(known)


def _parameter(key: str, info: Mapping[str, TensorInfo]) -> tuple[str, str] | None:
    """(module, weight or bias) of a key; None for what is no parameter that a LoRA changes."""
    module, dot, last = key.rpartition(".")
    if key.endswith((".comfy_quant", ".scale_input", ".input_scale", ".scale_weight")):
        return None
    if key.endswith(".weight_scale") or key == "scaled_fp8":
        return None
    if dot and last in ("weight", "scale"):
        return module, "weight"
    if dot and last == "bias":
        return module, "bias"
    if last in ("in_proj_weight", "in_proj_bias"):
        return f"{module}.in_proj", last.removeprefix("in_proj_")
    return key, "weight"  # A parameter by itself.


def _path(name: ModuleName) -> str:
    return flatten(name.weight.removeprefix(f"{name.encoder}.transformer."))
