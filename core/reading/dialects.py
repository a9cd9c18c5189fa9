"""Files whose keys are renamed as a whole before they are read.

A few publishers have spellings of their own: control LoRAs of Black Forest Labs, the LoRAs of
Wan-Fun, USO. ComfyUI knows such a file by a few of its keys (comfy/lora_convert.py) and renames all
of them; a part of the file alone it would not know, nor read. So files are renamed the same way
when they are opened, and what is written has names that need no renaming.

Extractors for Wan write the change of a block's modulation as `diff_m`. ComfyUI does not know it,
and reads the same tensor as the difference of `modulation`.
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
# The keys by which ComfyUI knows a file.
TRIGGERS = {
    "Flux control LoRA": ("img_in.lora_A.weight", "single_blocks.0.norm.key_norm.scale"),
    "Wan-Fun": ("lora_unet__blocks_0_cross_attn_k.lora_down.weight",),
    "USO": (
        "single_blocks.37.processor.qkv_lora.up.weight",
        "double_blocks.18.processor.qkv_lora2.up.weight",
    ),
}
MODULATION = "diff_m"
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

    @property
    def note(self) -> str:
        """What was renamed, and whether ComfyUI would have done it."""
        if self.dialect == MODULATION:
            count = sum(old.endswith(f".{MODULATION}") for old in self.names.values())
            return (
                f"{count} tensors called {MODULATION}, which ComfyUI does not read; here they are "
                "the difference of a modulation, and written under a name that it reads"
            )
        missing = [key for key in TRIGGERS[self.dialect] if key not in self.tensors.info]
        if not missing:
            return f"{self.dialect}, renamed as ComfyUI renames it"
        return (
            f"names of {self.dialect}, which ComfyUI knows only beside {missing[0]}: it reads "
            "nothing of this file; here it counts, and is written under names that it reads"
        )

    def __getitem__(self, key: str) -> Tensor:
        return self.made[key] if key in self.made else self.tensors[self.names[key]]

    def sha256(self) -> str | None:
        return self.tensors.sha256()

    def check_unchanged(self) -> None:
        self.tensors.check_unchanged()


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
    if any(key.endswith(f".{MODULATION}") for key in keys):
        names = {f".{MODULATION}": ".modulation.diff"}
        return Renamed(tensors, MODULATION, renamed(keys, names), {})
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
