"""Random LoRA files, and an oracle of what ComfyUI makes of a file.

Nothing here uses core: the oracle is written from ComfyUI's rule alone, in float64 and dense, so
that core is measured against another way to compute the same thing.
"""

import math
import re
import zlib

import torch
from safetensors.torch import save_file
from torch import Tensor

# (up, down) in the order in which ComfyUI looks for them.
PAIRS = (
    (".lora_up.weight", ".lora_down.weight"),
    ("_lora.up.weight", "_lora.down.weight"),
    (".lora_B.weight", ".lora_A.weight"),
    (".lora.up.weight", ".lora.down.weight"),
    (".lora_B", ".lora_A"),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
    (".lora_B.default.weight", ".lora_A.default.weight"),
)
KOHYA, OLD, PEFT, DIFFUSERS, MOCHI, TEXT_ENCODER, NAMED = PAIRS
DIFFERENCES = (".diff", ".w_norm")
BIASES = (".diff_b", ".b_norm")
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


class StateDict(dict):
    """A state dict with metadata, as ComfyUI's own loader may hand it over."""

    metadata: dict[str, str]


def generator(*seed) -> torch.Generator:
    """The same numbers for the same words, whatever else a test draws."""
    return torch.Generator().manual_seed(zlib.crc32(repr(seed).encode()))


def randn(shape, *seed, dtype=torch.float32) -> Tensor:
    return torch.randn(tuple(shape), generator=generator(shape, *seed)).to(dtype)


def lora(
    raw: str,
    shape=(16, 12),
    rank: int = 4,
    pair=PEFT,
    alpha: float | Tensor | None = None,
    dtype=torch.float32,
    mid: bool = False,
    seed: object = 0,
    flat: bool = False,
) -> dict[str, Tensor]:
    """One LoRA module of a weight [out, in, *kernel].

    `alpha` is a number (stored 0-d in float32), a tensor (stored as it is) or None (no key); `mid`
    stores the kernel in a middle tensor; `flat` stores factors of a 1x1 convolution as matrices.
    """
    out, inner, *kernel = shape
    ones = [1] * len(kernel)
    # A spectrum that falls, as real ones do: truncation then has something to choose.
    fall = torch.linspace(1, 0.2, rank).reshape(rank, *ones) if rank else torch.ones(0, *ones)
    up = randn((out, rank, *ones), seed, "up") * fall
    result = {}
    if mid:
        result[raw + ".lora_mid.weight"] = randn((rank, rank, *kernel), seed, "mid")
        down = randn((rank, inner, *ones), seed, "down")
    else:
        down = randn((rank, inner, *kernel), seed, "down")
    if flat:
        up, down = up.flatten(1), down.flatten(1)
    result |= {raw + pair[0]: up, raw + pair[1]: down}
    result = {key: tensor.to(dtype) for key, tensor in result.items()}
    if alpha is not None:
        result[raw + ".alpha"] = alpha if isinstance(alpha, Tensor) else torch.tensor(float(alpha))
    return result


def lora_file(names, pair=PEFT, **options) -> dict[str, Tensor]:
    """A LoRA of several modules; each gets numbers of its own from `seed`."""
    seed = options.pop("seed", 0)
    result = {}
    for name in names:
        result |= lora(name, pair=pair, seed=(seed, name), **options)
    return result


def dense(tensors) -> dict[str, Tensor]:
    """What ComfyUI adds to each weight at strength 1: raw module name -> float64 [out, rest].

    A bias is listed as "<raw>.bias". Tensors that ComfyUI does not read are not in it.
    """
    values = {key: tensor.to(torch.float64) for key, tensor in tensors.items()}
    result: dict[str, Tensor] = {}
    for up, down in PAIRS:
        for key in values:
            raw = key.removesuffix(up)
            if raw == key or raw in result or raw + down not in values:
                continue
            mat1, mat2 = values[raw + up], values[raw + down]
            alpha = values.get(raw + ".alpha")
            mid = values.get(raw + ".lora_mid.weight") if (up, down) == KOHYA else None
            scale = 1.0 if alpha is None else float(alpha) / mat2.shape[0]
            if mid is not None:
                # comfy/weight_adapter/lora.py: the kernel is folded into down.
                shape = [mat2.shape[1], mat2.shape[0], *mid.shape[2:]]
                mat2 = mat2.transpose(0, 1).flatten(1) @ mid.transpose(0, 1).flatten(1)
                mat2 = mat2.reshape(shape).transpose(0, 1)
            result[raw] = scale * (mat1.flatten(1) @ mat2.flatten(1))
    for raw in dict.fromkeys(re.sub(r"\.(hada|lokr)_\w+$", "", key) for key in values):
        parts = {
            key: values[key] for key in values if key.startswith((f"{raw}.hada", f"{raw}.lokr"))
        }
        if parts:
            result[raw] = _hada_or_lokr(raw, parts, values.get(raw + ".alpha")).flatten(1)
    for endings, suffix in ((DIFFERENCES, ""), (BIASES, ".bias")):
        for key, value in values.items():
            for ending in endings:
                if key.endswith(ending):
                    matrix = value.flatten(1) if value.ndim > 1 else value.reshape(-1, 1)
                    result[key.removesuffix(ending) + suffix] = matrix
    return result


def _hada_or_lokr(raw: str, parts: dict[str, Tensor], alpha: Tensor | None) -> Tensor:
    """LyCORIS' LoHa and LoKr, as comfy/weight_adapter/loha.py and lokr.py have them."""
    found = {key.removeprefix(raw + "."): tensor for key, tensor in parts.items()}

    def product(name: str, middle: str) -> Tensor:
        a, b = found[f"{name}_a"], found[f"{name}_b"]
        if middle in found:
            return torch.einsum("ij...,ip,jr->pr...", found[middle], a, b)
        return a @ b

    if "hada_w1_a" in found:
        scale = 1.0 if alpha is None else float(alpha) / found["hada_w1_b"].shape[0]
        return scale * product("hada_w1", "hada_t1") * product("hada_w2", "hada_t2")
    whole = {w: found.get(w) for w in ("lokr_w1", "lokr_w2")}
    one = product("lokr_w1", "") if whole["lokr_w1"] is None else whole["lokr_w1"]
    two = product("lokr_w2", "lokr_t2") if whole["lokr_w2"] is None else whole["lokr_w2"]
    # ComfyUI takes the rank from w2's factors, or from w1's where only w1 has some.
    ranks = [found[f"{w}_b"].shape[0] for w in ("lokr_w2", "lokr_w1") if whole[w] is None]
    scale = 1.0 if alpha is None or not ranks else float(alpha) / ranks[0]
    return scale * torch.kron(one.reshape(*one.shape, *[1] * (two.ndim - 2)), two.contiguous())


def weighted(first, second, w1: float, w2: float) -> dict[str, Tensor]:
    """w1 * dense(first) + w2 * dense(second), by raw name."""
    one, two = dense(first), dense(second)
    result = {raw: w1 * value for raw, value in one.items()}
    for raw, value in two.items():
        result[raw] = result.get(raw, torch.zeros_like(value)) + w2 * value
    return result


def error(actual: Tensor, expected: Tensor) -> float:
    """||actual - expected|| / ||expected||; the plain norm where nothing is expected."""
    norm = float(torch.linalg.vector_norm(expected)) or 1.0
    return float(torch.linalg.vector_norm(actual.double() - expected)) / norm


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], limit=1e-5) -> None:
    """The same names, and every update within the relative error."""
    assert actual.keys() == expected.keys()
    errors = {name: error(actual[name], expected[name]) for name in expected}
    assert max(errors.values(), default=0.0) < limit, errors


def best_error(update: Tensor, rank: int) -> float:
    """The least relative error that any matrix of this rank can have (Eckart and Young)."""
    values = torch.linalg.svdvals(update)
    norm = torch.linalg.vector_norm(values)
    return float(torch.linalg.vector_norm(values[rank:]) / norm)


def tall(n: int, k: int, condition: float, seed: int = 0) -> Tensor:
    """Columns [n, k] in float32 with singular values from 1 down to 1 / condition."""
    rotation = torch.linalg.qr(randn((k, k), seed, "rotation").double()).Q
    basis = torch.linalg.qr(randn((n, k), seed, "basis").double()).Q
    values = torch.logspace(0, -math.log10(condition), k, dtype=torch.float64)
    return ((basis * values) @ rotation).float()


def save(tensors, path, metadata=None) -> str:
    """Write with the reference implementation, not with core's own writer."""
    save_file({k: t.contiguous() for k, t in tensors.items()}, str(path), metadata)
    return str(path)


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """The same keys, dtypes, shapes and bytes."""
    if one.keys() != other.keys():
        return False
    return all(
        one[k].dtype == other[k].dtype
        and one[k].shape == other[k].shape
        and torch.equal(raw_bytes(one[k]), raw_bytes(other[k]))
        for k in one
    )


def raw_bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def files_in(folder) -> set[str]:
    """Every file below a folder, hidden ones too."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


# A miniature Flux: weight -> (rows, columns) and, per spelling, who covers which rows.
H = 8
FLUX_SHAPES = {
    "double_blocks.0.img_attn.qkv": (3 * H, H),
    "double_blocks.0.img_attn.proj": (H, H),
    "single_blocks.0.linear1": (7 * H, H),
    "single_blocks.0.linear2": (H, 5 * H),
    "final_layer.adaLN_modulation.1": (2 * H, H),
}
_DOUBLE = "transformer.transformer_blocks.0."
_SINGLE = "transformer.single_transformer_blocks.0."
# weight -> [(diffusers name, rows)]; the last one has the two halves of its rows swapped.
FLUX_PARTS = {
    "double_blocks.0.img_attn.qkv": [(_DOUBLE + f"attn.to_{p}", H) for p in "qkv"],
    "double_blocks.0.img_attn.proj": [(_DOUBLE + "attn.to_out.0", H)],
    "single_blocks.0.linear1": [
        *((_SINGLE + f"attn.to_{p}", H) for p in "qkv"),
        (_SINGLE + "proj_mlp", 4 * H),
    ],
    "single_blocks.0.linear2": [(_SINGLE + "proj_out", H)],
    "final_layer.adaLN_modulation.1": [("transformer.norm_out.linear", 2 * H)],
}
SWAPPED = "transformer.norm_out.linear"
FLUX_WHOLE = {
    "kohya": lambda weight: "lora_unet_" + weight.replace(".", "_"),
    "generic": lambda weight: "diffusion_model." + weight,
}


def flux_names(spelling: str) -> list[tuple[str, str, int, int]]:
    """[(raw name, weight, first row, last row)] of the miniature Flux in a spelling."""
    result = []
    for weight, (rows, _) in FLUX_SHAPES.items():
        if spelling in FLUX_WHOLE:
            result.append((FLUX_WHOLE[spelling](weight), weight, 0, rows))
            continue
        start = 0
        for raw, height in FLUX_PARTS[weight]:
            result.append((raw, weight, start, start + height))
            start += height
    return result


def flux_file(spelling: str, rank: int = 3, seed: object = 0, skip=()) -> dict[str, Tensor]:
    """A LoRA for the miniature Flux, with the suffixes that the spelling's trainers write."""
    result = {}
    for raw, weight, start, stop in flux_names(spelling):
        if weight in skip or raw in skip:
            continue
        shape = (stop - start, FLUX_SHAPES[weight][1])
        kohya = spelling == "kohya"
        pair, alpha = (KOHYA, rank / 2) if kohya else (PEFT, None)
        result |= lora(raw, shape, rank, pair, alpha, seed=(seed, raw))
    return result


def flux_dense(tensors) -> dict[str, Tensor]:
    """What a file in any spelling adds to each weight of the miniature Flux."""
    result = {
        weight: torch.zeros(shape, dtype=torch.float64) for weight, shape in FLUX_SHAPES.items()
    }
    places = {place[0]: place[1:] for s in (*FLUX_WHOLE, "diffusers") for place in flux_names(s)}
    for raw, update in dense(tensors).items():
        weight, start, stop = places[raw]
        result[weight][start:stop] += update.roll(H, 0) if raw == SWAPPED else update
    return result


def everything(pair=PEFT) -> dict[str, torch.Tensor]:
    """LoRA in three dtypes and with alpha, a difference, a bias, a kind that needs the base."""
    result = lora_file(["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn"], pair, alpha=2.0)
    result |= lora("blocks.2.attn", pair=pair, dtype=torch.float8_e4m3fn)
    result |= lora("blocks.2.conv", (6, 4, 3, 3), pair=KOHYA, mid=True, dtype=torch.float16)
    result |= {"blocks.1.norm.w_norm": randn((8,)), "blocks.1.norm.b_norm": randn((8,))}
    result |= {"blocks.1.attn.diff_b": randn((16,)).bfloat16()}
    result |= {"blocks.1.mlp.diff": randn((4, 3)), "blocks.1.mlp.alpha": torch.tensor([2.0])}
    result |= {"blocks.0.attn.dora_scale": randn((16, 1))}
    return result | {"unknown.table": torch.arange(6).reshape(2, 3), "unknown.empty": torch.ones(0)}
