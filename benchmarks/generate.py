"""Writes LoRA files as large and as varied as trained ones, to measure and test with.

Why not plain `randn`: in a trained LoRA the singular values fall off, each module at its own pace
and strength, and everything that picks ranks or measures energy depends on it. Here

    alpha / rank * up @ down = strength * U @ diag(spectrum) @ V.T

with U and V of nearly orthonormal random columns, and a random rotation between the factors, so
that no rank direction of a file is a singular direction, as in a trained one.

Why it is fast and small: random bytes cost a fraction of normal numbers, and the rotation that the
factors need anyway turns them into nearly normal ones. One module is in memory at a time.

    python -m benchmarks.generate flux --rank 32 --spelling kohya -o flux-32.safetensors
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from .key_maps import FAMILIES
from .modules import SPELLINGS, Module, select

DTYPES = {
    "bf16": (torch.bfloat16, "BF16"),
    "fp16": (torch.float16, "F16"),
    "fp32": (torch.float32, "F32"),
    "fp8": (torch.float8_e4m3fn, "F8_E4M3"),
}
# Suffixes of (up, down) in each spelling.
SUFFIXES = {
    "kohya": (".lora_up.weight", ".lora_down.weight"),
    "generic": (".lora_B.weight", ".lora_A.weight"),
    "diffusers": (".lora_B.weight", ".lora_A.weight"),
}
_BYTE_DEVIATION = math.sqrt((256**2 - 1) / 12)  # of a uniformly random int8
_KAIMING_ROW_NORM = 1 / math.sqrt(3)  # of `down` as trainers initialise it


def generate(
    path: str | os.PathLike,
    family: str,
    rank: int,
    dtype: str = "bf16",
    spelling: str = "kohya",
    seed: int = 0,
    modules: str | None = None,
    alpha: float | None = None,
    text_encoders: bool = False,
) -> int:
    """Writes a LoRA for `family` to `path` and returns the number of its modules.

    dtype: bf16, fp16, fp32 or fp8, of every tensor.
    spelling: "kohya" (`lora_unet_`, fused, with alpha), "generic" (`diffusion_model.`, fused) or
        "diffusers" (`transformer.` or `unet.`, split projections).
    seed: same arguments, same bytes. kohya and generic files of one seed are the same update.
    modules, text_encoders: which modules, as for `select`.
    alpha: None writes rank / 2 in kohya's spelling and no alpha in the others. It does not change
        the update: the factors are scaled against it.

    Raises ValueError for what `select` refuses, an unknown dtype, a rank or alpha that is not
    positive, and an alpha in the diffusers spelling.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is one of {', '.join(DTYPES)}, not {dtype!r}")
    if rank < 1:
        raise ValueError(f"rank is at least 1, not {rank}")
    if alpha is not None and alpha <= 0:
        raise ValueError(f"alpha is more than 0, not {alpha}")
    if alpha is not None and spelling == "diffusers":
        raise ValueError("the diffusers spelling has no alpha")
    chosen = select(family, spelling, modules, text_encoders)
    if alpha is None and spelling == "kohya":
        alpha = rank / 2
    scale = 1.0 if alpha is None else alpha / rank
    metadata = _metadata(family, spelling, rank, alpha, seed)

    path = Path(path)
    unfinished = path.with_name(path.name + ".part")  # nothing half-written under the real name
    try:
        with open(unfinished, "wb") as file, _single_thread():
            file.write(_header(chosen, rank, dtype, spelling, alpha, metadata))
            for module in chosen:
                up, down = factors(module, rank, seed, scale)
                # In the order of the header: alphabetical.
                tensors = [down, up] if alpha is None else [torch.tensor(alpha), down, up]
                for tensor in tensors:
                    stored = tensor.to(DTYPES[dtype][0]).contiguous()
                    file.write(stored.reshape(-1).view(torch.uint8).numpy())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(chosen)


def factors(
    module: Module, rank: int, seed: int, scale: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(up, down) of a module in float32, shaped as trainers store them.

    Linear: [out, rank] and [rank, in]; convolution: [out, rank, 1, ...] and [rank, in, *kernel].
    scale: alpha / rank, the number by which a reader multiplies up @ down.
    """
    out, inner = module.shape[0], math.prod(module.shape[1:])
    rng = np.random.Generator(np.random.SFC64([seed, zlib.crc32(module.identity.encode())]))
    strength = 0.3 * math.exp(0.5 * rng.standard_normal())
    decay, cutoff = rng.uniform(0.4, 0.9), rng.uniform(0.5, 2.5)
    index = np.arange(rank)
    spectrum = (1 + index) ** -decay * np.exp(-cutoff * index / rank)
    signs = rng.choice([-1.0, 1.0], rank)
    rotation = rng.permutation(_orthogonal(rank), axis=1) * signs

    # Training grows `up` from zero and moves `down` little: most of the fall-off is in `up`.
    in_up = spectrum**0.75 * (strength / scale / _KAIMING_ROW_NORM)
    in_down = spectrum**0.25 * _KAIMING_ROW_NORM
    up = _noise(rng, (out, rank)) @ _unit(in_up[:, None] * rotation, out)
    down = _unit(rotation.T * in_down, inner) @ _noise(rng, (rank, inner))
    kernel = module.shape[2:]
    return up.view(out, rank, *(1 for _ in kernel)), down.view(rank, module.shape[1], *kernel)


@contextmanager
def _single_thread() -> Iterator[None]:
    """One thread for torch: the same rounding, so the same bytes, however many cores there are.

    It is quicker, too, where something else is running: threads that share each small product wait
    for one another.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@lru_cache
def _orthogonal(size: int) -> np.ndarray:
    """[size, size]: one dense orthogonal matrix, which each module permutes and signs anew."""
    return np.linalg.qr(np.random.default_rng(0).standard_normal((size, size)))[0]


def _noise(rng: np.random.Generator, shape: tuple[int, int]) -> torch.Tensor:
    """Random integers in float32."""
    return torch.from_numpy(rng.integers(-128, 128, size=shape, dtype=np.int8)).float()


def _unit(mix: np.ndarray, length: int) -> torch.Tensor:
    """`mix`, scaled for columns (or rows) of noise of `length` numbers to count as unit vectors."""
    return torch.from_numpy(mix / (_BYTE_DEVIATION * math.sqrt(length))).float()


def _header(
    modules: list[Module],
    rank: int,
    dtype: str,
    spelling: str,
    alpha: float | None,
    metadata: dict[str, str],
) -> bytes:
    """The start of a safetensors file: length of the JSON text, and the text, padded to 8 bytes."""
    torch_dtype, name = DTYPES[dtype]
    up, down = SUFFIXES[spelling]
    entries: dict[str, dict] = {"__metadata__": metadata}
    offset = 0
    for module in modules:
        out, inner, *kernel = module.shape
        shapes = {down: [rank, inner, *kernel], up: [out, rank, *(1 for _ in kernel)]}
        for suffix, shape in (({} if alpha is None else {".alpha": []}) | shapes).items():
            end = offset + math.prod(shape) * torch_dtype.itemsize
            entries[module.name + suffix] = {
                "dtype": name,
                "shape": shape,
                "data_offsets": [offset, end],
            }
            offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _metadata(
    family: str, spelling: str, rank: int, alpha: float | None, seed: int
) -> dict[str, str]:
    if spelling != "kohya":
        return {"format": "pt"}
    return {
        "ss_base_model_version": family,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha),
        "ss_seed": str(seed),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.generate", description="Write a realistic LoRA file."
    )
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--spelling", choices=SPELLINGS, default="kohya")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modules", help='"attention", "all" or patterns: "double_blocks.0.*"')
    parser.add_argument("--alpha", type=float)
    parser.add_argument("--text-encoders", action="store_true")
    parser.add_argument("-o", "--output", dest="path", required=True)
    options = vars(parser.parse_args(arguments))
    start = time.perf_counter()
    try:
        count = generate(**options)
    except (ValueError, OSError) as error:
        parser.exit(1, f"{error}\n")
    megabytes = os.path.getsize(options["path"]) / 1e6
    seconds = time.perf_counter() - start
    print(f"{options['path']}: {count} modules, {megabytes:.1f} MB, {seconds:.1f} s")


if __name__ == "__main__":
    main()
