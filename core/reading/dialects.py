"""Files whose keys ComfyUI renames as a whole before it reads them.

A few publishers have spellings of their own: control LoRAs of Black Forest Labs, the LoRAs of
Wan-Fun, USO. ComfyUI knows such a file by a few of its keys (comfy/lora_convert.py) and renames all
of them; a part of the file alone it would not know, nor read. So files are renamed the same way
when they are opened, and what is written has names that need no renaming.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..deferred import Tensor, torch
from ..storage.dtypes import TensorInfo
from ..storage.files import Tensors

PREFIX = "diffusion_model."
USO = {
    ".down.weight": ".lora_down.weight",
    ".up.weight": ".lora_up.weight",
    ".qkv_lora2.": ".txt_attn.qkv.",
    ".qkv_lora1.": ".img_attn.qkv.",
    ".proj_lora1.": ".img_attn.proj.",
    ".proj_lora2.": ".txt_attn.proj.",
    ".qkv_lora.": ".linear1_qkv.",
    ".proj_lora.": ".linear2.",
    ".processor.": ".",
}
CONTROL = {".lora_B.bias": ".diff_b", "_norm.scale": "_norm.set_weight"}


class Renamed(Tensors):
    """Tensors under other keys, `names` being {new: old}, and a few small ones made up."""

    def __init__(
        self, tensors: Tensors, dialect: str, names: Mapping[str, str], made: Mapping[str, Tensor]
    ) -> None:
        info = {new: tensors.info[old] for new, old in names.items()}
        info |= {key: TensorInfo.of(t) for key, t in made.items()}
        super().__init__(tensors.name, tensors.path, info, tensors.metadata)
        self.dialect = dialect
        self.tensors = tensors
        self.names = names
        self.made = made

    def __getitem__(self, key: str) -> Tensor:
        return self.made[key] if key in self.made else self.tensors[self.names[key]]

    def sha256(self) -> str | None:
        return self.tensors.sha256()


def translated(tensors: Tensors) -> Tensors:
    """The tensors under the keys that ComfyUI reads; the same object where it renames none."""
    keys = list(tensors.info)
    down, up = (tensors.info.get(f"img_in.lora_{side}.weight") for side in "AB")
    if down and up and any(key.endswith("_norm.scale") for key in keys):
        # ComfyUI gives img_in as many inputs as the control image brings with it.
        shape = torch.tensor([up.shape[0], *down.shape[1:2]])
        made = {PREFIX + "img_in.reshape_weight": shape}
        return Renamed(tensors, "Flux control LoRA", renamed(keys, CONTROL, PREFIX), made)
    if any(key.startswith("lora_unet__") for key in keys):
        return Renamed(tensors, "Wan-Fun", renamed(keys, {"lora_unet__": "lora_unet_"}), {})
    if any(".processor.qkv_lora" in key for key in keys):
        return Renamed(tensors, "USO", renamed(keys, USO, PREFIX), {})
    return tensors


def renamed(keys: list[str], replacements: Mapping[str, str], prefix: str = "") -> dict[str, str]:
    """{new key: key}; a key whose new name is taken keeps its own."""
    names: dict[str, str] = {}
    for key in keys:
        new = key
        for old, replacement in replacements.items():
            new = new.replace(old, replacement)
        names[key if prefix + new in names else prefix + new] = key
    return names
