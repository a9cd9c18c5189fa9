"""Save: a LoRA as a file, tensor by tensor, with the metadata that it is to have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..deferred import torch
from ..errors import Cancelled, located
from ..reading.lora import Lora, Source
from ..running.encoding import cast
from ..running.metadata import HASHES, Wishes, described_file, new_hashes, wanted_hashes
from ..running.output import OUTPUT_DTYPES, Output
from ..running.provenance import RECIPE
from ..running.stream import Compute
from ..storage.dtypes import TensorInfo
from ..storage.files import FileTensors
from ..storage.sinks import FileHashes, FileSink, check_metadata, header_bound, json_bytes


def save(
    lora: Source,
    path: str | os.PathLike[str],
    dtype: str = "match",
    metadata: Mapping[str, str] | None = None,
    compute: Compute | None = None,
    wishes: Wishes = Wishes(),  # noqa: B008 - frozen
    replace: bool = True,
) -> Path:
    """Write every tensor as it stands, or all factors in another dtype, and return the path.

    `lora` is a path, a state dict or a Lora, `path` the file to write. `dtype` is one of
    DTYPE_CHOICES. `metadata` None takes what the LoRA has; `wishes` say what of it is kept, and
    what else is to be there. A file's tensors keep their order, and with it the hash of what stands
    after the header; hashes that are no longer those of the tensors are computed anew. `compute` is
    asked for `cancelled` only. Raises FileError for a source without a LoRA in it and where the
    file cannot be written, Occupied where `replace` is False and it is there, SettingError where
    the dtype cannot hold a number or no file can hold the metadata.

    >>> _, character = core.samples()
    >>> core.save(character, "half.safetensors", "fp16").name
    'half.safetensors'
    """
    compute = compute or Compute()
    output = Output(path, dtype, metadata=wishes, replace=replace)
    read = Lora.of(lora)
    output.check([read])
    # Untouched tensors keep their keys; a few publishers' are known by other names in here.
    tensors = read.original if dtype == "match" else read.tensors
    wanted = _casts(read, dtype)
    given = read.metadata if metadata is None else metadata
    check_metadata(given)
    entries = dict(given)
    # What an edit left in memory has had no file that could be hashed.
    new = bool(wanted) or (RECIPE in entries and not HASHES.intersection(entries))
    keys = wanted_hashes([entries]) if new else set()
    entries = {key: value for key, value in entries.items() if key not in keys}
    entries = described_file(read, entries, Path(path).stem, wishes)

    def finished(hashes: FileHashes | None) -> dict[str, str]:
        return wishes.applied(entries | new_hashes(keys, hashes))

    foreseen = finished(None)
    check_metadata(foreseen)
    texts = (text for entry in foreseen.items() for text in entry)
    size = sum(json_bytes(text) + 32 for text in texts) + 400
    in_order = isinstance(tensors, FileTensors) and not wanted
    order = tensors.in_order() if isinstance(tensors, FileTensors) else list(tensors.info)
    reserve = header_bound(tensors.info, size)
    with located(file=read.name), FileSink(path, reserve, bool(keys), in_order, replace) as sink:
        for key in order:
            if compute.cancelled and compute.cancelled():
                raise Cancelled("cancelled; nothing was written")
            tensor = tensors[key]
            sink.put(key, cast(tensor, wanted[key], key) if key in wanted else tensor)
        read.original.check_unchanged()
        sink.finish(finished)
    return sink.path


def _casts(lora: Lora, dtype: str) -> dict[str, torch.dtype]:
    """{key of a factor: the dtype that it is to have and does not}."""
    if dtype == "match":
        return {}
    to = TensorInfo(OUTPUT_DTYPES[dtype], ())
    info = lora.tensors.info
    keys = [
        key
        for module in lora.modules.values()
        for role, key in module.adapter.keys.items()
        if role != "alpha" and info[key].floating
    ]
    return {key: to.dtype for key in keys if info[key].dtype_name != to.dtype_name}
