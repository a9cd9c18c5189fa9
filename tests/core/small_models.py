"""Models made small by their key maps: names, shapes, files in every spelling, what they mean."""

from collections.abc import Iterable

import torch

from benchmarks.key_maps import Target, load
from core import StateDict
from core.naming.spelling import split_prefix
from tests import helpers
from tests.helpers import PEFT, dense, randn

# key map -> (which weights, by how much their sizes are divided)
BLOCKS = {
    "flux": (("double_blocks.0.", "single_blocks.0.", "final_layer.adaLN"), 128),
    "qwen-image": (("transformer_blocks.0.",), 128),
    "sd1.5": (("input_blocks.1.", "output_blocks.5.2", "output_blocks.9.1.proj"), 64),
    "sdxl": (
        ("input_blocks.4.0", "input_blocks.4.1.transformer_blocks.1", "output_blocks.5.2"),
        64,
    ),
    "wan2.1-14b": (("blocks.0.",), 128),
    "z-image": (("layers.0.", "context_refiner.1.", "final_layer."), 128),
}


class Small:
    """Weights with sizes divided by one number: names, shapes, what files in a spelling mean."""

    def __init__(self, targets: Iterable[Target], divisor: int) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.places: dict[str, tuple[str, int, int, bool]] = {}
        self.styles: dict[tuple[str, bool], dict[str, list[str]]] = {}
        for target in targets:
            if len(target.shape) < 2:
                continue
            small = tuple(max(1, size // divisor) for size in target.shape[:2])
            self.shapes[target.weight] = (*small, *target.shape[2:])
            start, length = 0, small[0]
            if target.slice:
                start, length = (size // divisor for size in target.slice[1:])
            for raw in target.spellings:
                self.places[raw] = (target.weight, start, start + length, target.reordered)
                prefix, path = split_prefix(raw)
                native = path.replace(".", "_") == target.weight.replace(".", "_")
                native &= prefix in ("lora_unet_", "diffusion_model.")
                if "linear1_qkv" not in raw:  # a name for three of linear1's four parts
                    style = self.styles.setdefault((prefix, native), {})
                    style.setdefault(target.weight, []).append(raw)

    @classmethod
    def of(cls, key_map: str) -> "Small":
        """The chosen weights of one of the key maps."""
        wanted, divisor = BLOCKS[key_map]
        return cls((t for t in load(key_map) if t.weight.startswith(wanted)), divisor)

    def file(self, style: tuple[str, bool], rank: int = 2, seed: object = 0) -> StateDict:
        """The same update in any style, as far as the style has names."""
        result = StateDict()
        for weight, raws in self.styles[style].items():
            out, inner, *kernel = self.shapes[weight]
            ones = [1] * len(kernel)
            up, down = (
                randn((out, rank), seed, weight, "u"),
                randn((rank, inner, *kernel), seed, weight),
            )
            whole = [raw for raw in raws if self.places[raw][1:3] == (0, out)]
            # Of two names for one thing the last; of parts and the whole the parts.
            chosen = {self.places[raw]: raw for raw in (set(raws) - set(whole) or raws)}
            for (_, start, stop, reordered), raw in chosen.items():
                rows = up.roll(out // 2, 0) if reordered else up[start:stop]
                pair = helpers.KOHYA if style[0].endswith("_") else PEFT
                result[raw + pair[0]] = rows.reshape(*rows.shape, *ones)
                result[raw + pair[1]] = down.clone()
        return result

    def meaning(self, tensors) -> dict[str, torch.Tensor]:
        """What ComfyUI adds to each weight, by the key map; KeyError for a name that it lacks."""
        result: dict[str, torch.Tensor] = {}
        for raw, update in dense(tensors).items():
            weight, start, stop, reordered = self.places[raw]
            shape = self.shapes[weight]
            columns = torch.Size(shape[1:]).numel()
            whole = result.setdefault(weight, torch.zeros(shape[0], columns, dtype=torch.float64))
            whole[start:stop] += update.roll(shape[0] // 2, 0) if reordered else update
        return result

    def weighted_sum(self, files, weights) -> dict[str, torch.Tensor]:
        """The sum of weight * meaning over the files, weight by weight of the model."""
        result: dict[str, torch.Tensor] = {}
        for tensors, factor in zip(files, weights, strict=True):
            for name, update in self.meaning(tensors).items():
                result[name] = result.get(name, 0.0) + factor * update
        return result
