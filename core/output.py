"""Update -> tensors of a file: spelling, dtype, metadata, and where they go."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import metadata as package_metadata
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .adapters import LORA, NORM_BIAS, finite
from .atomic import real_target
from .errors import LoraError
from .files import DictSink, FileSink, StateDict, TensorInfo, header_bound
from .layout import Target
from .lora import Lora, Module
from .low_rank import Dense, Update
from .names import SPELLINGS, Spelling, standard_spelling
from .report import Report

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
(NORM_BIAS_SUFFIX,) = NORM_BIAS.suffixes
# Writing fp8 factors again would cost 3 % of error each time.
MATCHED = {
    torch.float8_e4m3fn: torch.bfloat16,
    torch.float8_e5m2: torch.bfloat16,
    torch.float64: torch.float32,
}


@dataclass(frozen=True)
class Output:
    """Where an edit's result goes and how it is written.

    `path` None returns a state dict. `dtype` is match (the first input's) or one of DTYPES;
    `spelling` is match or one of SPELLINGS. Raises LoraError for another word.
    """

    path: str | os.PathLike[str] | None = None
    dtype: str = "match"
    spelling: str = "match"

    def __post_init__(self) -> None:
        if self.dtype not in ("match", *DTYPES):
            known = ", ".join(("match", *DTYPES))
            raise LoraError(f"output dtype {self.dtype!r} is unknown; choose one of {known}")
        if self.spelling not in ("match", *SPELLINGS):
            known = ", ".join(("match", *SPELLINGS))
            raise LoraError(f"spelling {self.spelling!r} is unknown; choose one of {known}")

    def spelling_for(self, lora: Lora) -> Spelling | None:
        """The spelling to write, None for the first input's own."""
        if self.spelling == "match":
            return None
        return standard_spelling(self.spelling, lora.family)

    def dtype_for(self, first: Lora) -> torch.dtype:
        if self.dtype != "match":
            return DTYPES[self.dtype]
        counts: dict[torch.dtype, int] = {}
        for module in first.modules.values():
            if module.dtype.is_floating_point:
                counts[module.dtype] = counts.get(module.dtype, 0) + module.bytes
        dtype = max(counts, key=lambda d: counts[d], default=torch.float32)
        return MATCHED.get(dtype, dtype)

    def check(self, loras: Iterable[Lora]) -> None:
        """Raises LoraError where no file can be written, or it would replace an input."""
        if self.path is None:
            return
        target = real_target(self.path)
        for lora in loras:
            path = lora.tensors.path
            if path is not None and (target == path or _same_file(target, path)):
                raise LoraError(f"{self.path}: the output is one of the inputs; choose another")


def _same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def encode(
    update: Update, target: Target, dtype: torch.dtype, source: Module | None
) -> dict[str, Tensor]:
    """The tensors that say `update` under the target's name.

    LowRank becomes up and down factors with the kernel put back on `down`, and alpha = rank where
    the spelling has one; Dense becomes a difference with the suffix of its source. Raises LoraError
    where fp16 cannot hold an entry.
    """
    if target.name.swapped:
        update = update.rolled()
    raw, style = target.raw, target.spelling
    if isinstance(update, Dense):
        standard = ".diff_b" if target.parameter == "bias" else ".diff"
        suffix = source.adapter.suffixes.get("values", standard) if source else standard
        return {raw + suffix: cast(update.values, dtype, raw + suffix)}
    kernel = update.shape[2:]
    up = update.up.reshape(update.shape[0], update.rank, *(1 for _ in kernel))
    down = update.down.reshape(update.rank, *update.shape[1:])
    result = {
        raw + style.down: cast(down, dtype, raw + style.down),
        raw + style.up: cast(up, dtype, raw + style.up),
    }
    if style.alpha:
        result[raw + ".alpha"] = torch.tensor(float(update.rank))
    return result


def cast(tensor: Tensor, dtype: torch.dtype, key: str) -> Tensor:
    """The tensor in the output dtype, on the CPU. Raises LoraError where it is NaN or Inf then."""
    result = tensor.to(dtype).cpu()
    if not finite(result):
        largest = float(tensor.double().abs().max())
        if isfinite(largest):
            raise LoraError(
                f"tensor {key} has an entry of {largest:.3g}, too large for "
                f"{str(dtype).removeprefix('torch.')}; write bf16 or fp32 instead"
            )
        raise LoraError(
            f"tensor {key} contains NaN or Inf; leave the layer out with the layers selector, "
            "or choose smaller weights"
        )
    return result


def too_faint(tensor: Tensor) -> bool:
    """Whether most of an fp16 tensor is so small that rounding moves it by a percent or more."""
    if tensor.dtype != torch.float16:
        return False
    sizes = tensor[tensor != 0].abs()
    return bool((sizes < 3e-6).float().mean() > 0.5)


def stored_tensors(module: Module, raw: str, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """A module's tensors as they stand, renamed to `raw`; factors cast where `dtype` is given."""
    result = {}
    for role, key in module.adapter.keys.items():
        tensor = module.tensors[key]
        new = raw + module.adapter.suffixes.get(role, ".alpha")
        fixed = role == "alpha" or not tensor.is_floating_point()
        try:
            result[new] = cast(tensor, tensor.dtype if fixed or dtype is None else dtype, key)
        except LoraError as error:
            raise LoraError(f"{module.tensors.name}: module {module.canonical}: {error}") from error
    return result


HASHES = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")


def output_metadata(
    first: Lora, report: Report, alphas: set[float], same: bool, hashes: list[str | None]
) -> dict[str, str]:
    """The first input's metadata with what the edit made untrue corrected or removed.

    `alphas` are those of the written modules; `same` says that the tensors are the first input's.
    """
    result = dict(first.metadata)
    changed = any(row.action != "copied" for row in report.kept)
    for key in () if same and not changed else HASHES:
        result.pop(key, None)
    if changed:
        result.pop("lora_adapter_metadata", None)
        ranks = {float(row.rank) for row in report.kept if row.rank is not None}
        for key, values in (("ss_network_dim", ranks), ("ss_network_alpha", alphas)):
            if key in result and len(values) == 1 and alphas:
                result[key] = f"{values.pop():g}"
            else:
                result.pop(key, None)
    entry = {
        "version": version(),
        "operation": report.operation,
        "settings": report.settings,
        "inputs": [
            {"name": entry["name"], "sha256": digest}
            for entry, digest in zip(report.inputs, hashes, strict=True)
        ],
    }
    result["lora_alloy"] = json.dumps(entry, sort_keys=True)
    return result


@cache
def version() -> str:
    """The installed package's version, or the one in pyproject.toml of a plain folder."""
    project = Path(__file__).parent.parent / "pyproject.toml"
    if project.is_file():
        for line in project.read_text(encoding="utf-8").splitlines():
            if line.startswith("version = "):
                return line.split('"')[1]
    try:
        return package_metadata.version("lora-alloy")
    except package_metadata.PackageNotFoundError:
        return "unknown"


def described(lora: Lora) -> dict[str, Any]:
    """An input, as the report names it."""
    return {
        "name": lora.name,
        "bytes": lora.bytes,
        "modules": len(lora.modules),
        "family": str(lora.recognition),
        "spelling": lora.spelling.name,
    }


def header_reserve(loras: Sequence[Lora], targets: Sequence[Target], report: Report) -> int:
    """Bytes to keep free for the header of an edit's output. More than it needs, but not much."""
    keys = [key for lora in loras for key in lora.other]
    for target in targets:
        style = target.spelling
        suffixes = [style.up, style.down, *([".alpha"] if style.alpha else [])]
        only = target.only
        if only is not None and only.adapter.kind is not LORA:
            suffixes = [*only.adapter.suffixes.values(), ".alpha"]
        keys += [target.raw + suffix for suffix in suffixes]
    metadata = [len(json.dumps(pair)) for pair in loras[0].metadata.items()]
    inputs = sum(len(json.dumps(lora.name)) + 120 for lora in loras)
    # The settings are JSON inside a JSON string: every quote in them is written escaped.
    settings = 2 * len(json.dumps(report.settings)) + 200
    return header_bound(keys, sum(metadata) + inputs + settings)


class Writer:
    """Takes the tensors of an edit and turns them into a state dict or a file, with a report.

    A context manager: leaving it with an error removes whatever was written so far. The hashes of
    the inputs are computed beside the edit, in a thread.
    """

    def __init__(
        self, output: Output, loras: list[Lora], targets: Sequence[Target], report: Report
    ) -> None:
        output.check(loras)
        self.loras = loras
        self.report = report
        self.alphas: set[float] = set()
        self.written: dict[str, TensorInfo] = {}
        self.norm_biases: dict[str, Tensor] = {}
        report.output = None if output.path is None else str(output.path)
        report.inputs = [described(lora) for lora in loras]
        self.sink: DictSink | FileSink = DictSink()
        if output.path is not None:
            # From here on there is a temporary file: nothing below may fail before __enter__.
            self.sink = FileSink(output.path, header_reserve(loras, targets, report))
        self.pool = ThreadPoolExecutor(1)
        self.hashes = [self.pool.submit(lora.tensors.sha256) for lora in loras]

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        for key, tensor in tensors.items():
            if key.endswith(NORM_BIAS_SUFFIX):
                self.norm_biases[key] = tensor
            else:
                self._put(key, tensor)

    def _put(self, key: str, tensor: Tensor) -> None:
        self.sink.put(key, tensor)
        self.written[key] = TensorInfo(tensor.dtype, tuple(tensor.shape))
        self.report.output_bytes += tensor.numel() * tensor.element_size()

    def finish(self) -> StateDict | Path:
        for key, tensor in self.norm_biases.items():
            # Without its weight beside it ComfyUI reads it as an ordinary bias only.
            raw = key.removesuffix(NORM_BIAS_SUFFIX)
            self._put(key if raw + NORM_BIAS.beside in self.written else f"{raw}.diff_b", tensor)
        hashes = [future.result() for future in self.hashes]
        for lora in self.loras:
            lora.tensors.check_unchanged()
        same = self.written == self.loras[0].tensors.info
        metadata = output_metadata(self.loras[0], self.report, self.alphas, same, hashes)
        self.sink.finish(metadata)
        return self.sink.result if isinstance(self.sink, DictSink) else self.sink.path

    def __enter__(self) -> "Writer":
        self.sink.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self.pool.shutdown(wait=True, cancel_futures=True)
        finally:  # Whatever interrupts the waiting.
            self.sink.__exit__(*error)
