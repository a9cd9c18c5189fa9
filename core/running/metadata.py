"""What a written file says about itself."""

import json

from ..reading.lora import Lora
from ..version import version
from .report import Report

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
