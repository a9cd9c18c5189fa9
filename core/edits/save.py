"""Save: a LoRA as a file, tensor by tensor, with the metadata that it is to have."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from ..errors import Cancelled, located
from ..reading.lora import Lora, Source
from ..running.encoding import cast
from ..running.metadata import HASHES
from ..running.output import OUTPUT_DTYPES, Output
from ..running.stream import Compute
from ..storage.sinks import FileSink, check_metadata, header_bound


def save(
    lora: Source,
    path: str | os.PathLike[str],
    dtype: str = "match",
    metadata: Mapping[str, str] | None = None,
    compute: Compute = Compute(),  # noqa: B008 - frozen
    replace: bool = True,
) -> Path:
    """Write every tensor as it stands, or all factors in another dtype, and return the path.

    `metadata` None keeps what the LoRA has. Hashes that are no longer those of the tensors are left
    out. `compute` is asked for `cancelled` only. Raises LoraError for a source without a LoRA in
    it, and where the file cannot be written; Occupied where `replace` is False and it is there.
    """
    output = Output(path, dtype, replace=replace)
    read = Lora.of(lora)
    output.check([read])
    metadata = read.metadata if metadata is None else metadata
    check_metadata(metadata)
    entries = dict(metadata)
    # Untouched tensors keep their keys; a few publishers' are known by other names in here.
    tensors = read.original if dtype == "match" else read.tensors
    wanted: dict[str, torch.dtype] = {}
    if dtype != "match":
        keys = [
            key
            for module in read.modules.values()
            for role, key in module.adapter.keys.items()
            if role != "alpha" and tensors.info[key].dtype.is_floating_point
        ]
        to = OUTPUT_DTYPES[dtype]
        wanted = {key: to for key in keys if tensors.info[key].dtype != to}
    if wanted:
        entries = {key: value for key, value in entries.items() if key not in HASHES}
    texts = (text for entry in entries.items() for text in entry)
    size = sum(len(json.dumps(text, ensure_ascii=False).encode()) + 32 for text in texts)
    reserve = header_bound(tensors.info, size)
    with located(file=read.name), FileSink(path, reserve, replace) as sink:
        for key in tensors.info:
            if compute.cancelled and compute.cancelled():
                raise Cancelled("cancelled; nothing was written")
            tensor = tensors[key]
            sink.put(key, cast(tensor, wanted[key], key) if key in wanted else tensor)
        sink.finish(entries)
    return sink.path
