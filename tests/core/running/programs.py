"""How other programs read a LoRA's metadata: a small reader for each, written from their rules.

A1111 (extensions-builtin/Lora/network.py), Forge (sd_forge_lora/network.py), sd-scripts and the
additional-networks extension (the two hashes), LoRA managers (words and titles), diffusers (the
scale of an adapter with saved settings). None of them shares code with LoRA Alloy.
"""

import hashlib
import json
import math
import struct
from pathlib import Path


def header(path) -> dict:
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size))


def metadata(path) -> dict[str, str]:
    return header(path).get("__metadata__", {})


def after_header(path) -> bytes:
    raw = Path(path).read_bytes()
    return raw[8 + struct.unpack("<Q", raw[:8])[0] :]


def addnet_hash(path) -> str:
    """What sd-scripts writes as sshs_model_hash, Civitai calls AutoV3, and A1111 looks up."""
    return hashlib.sha256(after_header(path)).hexdigest()


def legacy_hash(path) -> str:
    """The old hash: 64 kB at 1 MB of the file, and eight digits of it."""
    return hashlib.sha256(Path(path).read_bytes()[0x100000:0x110000]).hexdigest()[:8]


class A1111:
    def __init__(self, path) -> None:
        self.metadata = metadata(path)
        self.alias = self.metadata.get("ss_output_name", Path(path).stem)
        self.hash = self.metadata.get("sshs_model_hash") or addnet_hash(path)

    @property
    def version(self) -> str:
        if self.metadata.get("ss_base_model_version", "").startswith("sdxl_"):
            return "SDXL"
        if self.metadata.get("ss_v2") == "True":
            return "SD2"
        return "SD1" if self.metadata else "Unknown"

    def shown_beside(self, model: str) -> bool:
        return self.version in ("Unknown", model)

    def tags(self) -> dict[str, int]:
        """Tag -> count over all folders, as its page of a LoRA lists them."""
        found: dict[str, int] = {}
        for folder in json.loads(self.metadata.get("ss_tag_frequency", "{}")).values():
            for tag, count in folder.items():
                found[tag.strip()] = found.get(tag.strip(), 0) + int(count)
        return found


class Forge(A1111):
    @property
    def version(self) -> str:
        architecture = self.metadata.get("modelspec.architecture", "")
        if "black-forest-labs/flux" in self.metadata.get("modelspec.implementation", ""):
            return "Flux"
        if architecture == "flux-1-dev/lora":
            return "Flux"
        if architecture == "stable-diffusion-xl-v1-base/lora":
            return "SDXL"
        if self.metadata.get("ss_base_model_version", "").startswith("sdxl_"):
            return "SDXL"
        if self.metadata.get("ss_v2") == "True":
            return "SD2"
        return "SD1" if architecture == "stable-diffusion-v1/lora" else "Unknown"


class Manager:
    """What the usual LoRA managers show: title, words, where it comes from."""

    def __init__(self, path) -> None:
        self.metadata = metadata(path)
        self.title = self.metadata.get("modelspec.title") or Path(path).stem
        phrase = self.metadata.get("modelspec.trigger_phrase", "")
        self.words = [word.strip() for word in phrase.split(",") if word.strip()]
        merged = self.metadata.get("modelspec.merged_from", "")
        self.merged_from = [name.strip() for name in merged.split(",") if name.strip()]


def diffusers_scale(path, raw: str, prefix: str = "transformer.") -> float:
    """What diffusers multiplies B @ A of a module with: its settings, or alpha = rank without."""
    settings = json.loads(metadata(path).get("lora_adapter_metadata", "null"))
    if settings is None:
        return 1.0
    settings = {key.removeprefix(prefix): value for key, value in settings.items()}
    path_of = raw.removeprefix(prefix)
    rank = settings.get("rank_pattern", {}).get(path_of, settings["r"])
    alpha = settings.get("alpha_pattern", {}).get(path_of, settings["lora_alpha"])
    return alpha / math.sqrt(rank) if settings.get("use_rslora") else alpha / rank
