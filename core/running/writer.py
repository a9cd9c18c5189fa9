"""The tensors of an edit, module by module, into a state dict or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..adapters.full import NORM_BIAS
from ..deferred import Tensor
from ..reading.lora import Lora
from ..storage.atomic import Together
from ..storage.dtypes import TensorInfo
from ..storage.files import DictTensors, StateDict
from ..storage.sinks import DictSink, FileSink, header_bound, header_space
from .layout import Target
from .metadata import NONE, Facts, metadata_bound, output_metadata, wanted_hashes
from .output import Output
from .report import Report
from .threads import one_thread

(NORM_BIAS_SUFFIX,) = NORM_BIAS.suffixes


def described(lora: Lora) -> dict[str, Any]:
    """An input, as the report names it."""
    return {
        "name": lora.name,
        "bytes": lora.file_bytes,
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
        if only is not None and not only.adapter.kind.factors:
            suffixes = [*only.adapter.suffixes.values(), ".alpha"]
        keys += [target.raw + suffix for suffix in suffixes]
    return header_bound(keys, metadata_bound(loras, report))


def given_twice(loras: Sequence[Lora], hashes: Sequence[str | None]) -> list[str]:
    """A note for each input that is another one again: the same bytes, or the same tensors."""
    notes = []
    for index, (lora, digest) in enumerate(zip(loras, hashes, strict=True)):
        for earlier, other in zip(loras[:index], hashes, strict=False):
            if digest == other if digest else _shared(lora, earlier):
                again = "twice" if lora.name == earlier.name else f"again as {lora.name}"
                notes.append(f"{earlier.name} is given {again}: both weights count")
                break
    return notes


def _shared(one: Lora, other: Lora) -> bool:
    """Whether two state dicts hold the very same tensors."""
    mine, theirs = one.original, other.original
    if not (isinstance(mine, DictTensors) and isinstance(theirs, DictTensors)):
        return False
    return mine.info.keys() == theirs.info.keys() and all(mine[k] is theirs[k] for k in mine.info)


class Writer:
    """Takes the tensors of an edit and turns them into a state dict or a file, with a report.

    With `preview` everything is counted and nothing kept: the result is an empty state dict. Files
    that are written `together` are all there in the end, or none is.

    A context manager: leaving it with an error removes whatever was written so far. The hashes of
    the inputs are computed beside the edit, in a thread.
    """

    def __init__(
        self,
        output: Output,
        loras: list[Lora],
        targets: Sequence[Target],
        report: Report,
        preview: bool = False,
        together: Together | None = None,
    ) -> None:
        output.check(loras)
        self.loras = loras
        self.report = report
        self.output = output
        self.alphas: set[float] = set()
        self.written: dict[str, TensorInfo] = {}
        self.norm_biases: dict[str, Tensor] = {}
        report.output = None if output.path is None or preview else str(output.path)
        report.inputs = [described(lora) for lora in loras]
        self.sink: DictSink | FileSink = DictSink(keep=not preview)
        if output.path is not None:
            needed = header_reserve(loras, targets, report)
            report.output_bytes = 8 + header_space(needed)
        if output.path is not None and not preview:
            # From here on there is a temporary file: nothing below may fail before __enter__.
            metadata = [lora.metadata for lora in loras]
            hashed = output.metadata.keep != NONE and bool(wanted_hashes(metadata))
            self.sink = FileSink(output.path, needed, hashed, replace=output.replace)
            if together:
                together.add(self.sink.target)
        self.pool = one_thread()
        self.hashes = [self.pool.submit(lora.tensors.sha256) for lora in loras]

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        for key, tensor in tensors.items():
            if key.endswith(NORM_BIAS_SUFFIX):
                self.norm_biases[key] = tensor
            else:
                self._put(key, tensor)

    def _put(self, key: str, tensor: Tensor) -> None:
        self.sink.put(key, tensor)
        self.written[key] = TensorInfo.of(tensor)
        self.report.output_bytes += tensor.numel() * tensor.element_size()

    def finish(self) -> StateDict | Path:
        for key, tensor in self.norm_biases.items():
            # Without its weight beside it ComfyUI reads it as an ordinary bias only.
            raw = key.removesuffix(NORM_BIAS_SUFFIX)
            self._put(key if raw + NORM_BIAS.beside in self.written else f"{raw}.diff_b", tensor)
        hashes = [future.result() for future in self.hashes]
        for lora in self.loras:
            lora.tensors.check_unchanged()
        self.report.notes += given_twice(self.loras, hashes)
        facts = Facts(
            self.loras,
            self.report,
            self.written,
            frozenset(self.alphas),
            hashes,
            None if isinstance(self.sink, DictSink) else Path(self.output.path or "").stem,
            self.output.metadata,
        )
        self.sink.finish(lambda found: output_metadata(facts, found))
        if isinstance(self.sink, DictSink):
            return self.sink.result
        self.report.output_bytes = self.sink.file_bytes
        return self.sink.path

    def __enter__(self) -> Writer:
        self.sink.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self.pool.shutdown(wait=True, cancel_futures=True)
        finally:  # Whatever interrupts the waiting.
            self.sink.__exit__(*error)
