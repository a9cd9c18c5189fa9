"""Updates of one weight to merge, of the kinds that methods have to get right."""

import torch

from core import Lora, LowRank, samples
from tests.helpers import randn

F32, F64 = torch.float32, torch.float64
LIMIT = {F32: 1e-6, F64: 1e-12}
KINDS = (
    "random", "wide", "nearly dependent", "trained", "really trained", "more columns than rows",
)  # fmt: skip


def product(up, down, dtype) -> LowRank:
    return LowRank.of(up.to(dtype), down.to(dtype), (up.shape[0], down.shape[1]))


def inputs(kind: str, dtype=F32) -> list[LowRank]:
    """Three updates of ranks 4, 3 and 5; those that were really trained have 8, 16 and 8."""
    if kind == "really trained":
        loras = list(map(Lora, samples()))
        places = ((0, "double_blocks.0"), (1, "double_blocks.0"), (0, "double_blocks.1"))
        found = [loras[file].modules[f"{block}.img_attn.proj"] for file, block in places]
        return [module.update(torch.device("cpu"), dtype) for module in found]
    out, inner = {"wide": (24, 40), "more columns than rows": (11, 9)}.get(kind, (40, 24))
    ups = [randn((out, rank), kind, "up", rank).double() for rank in (4, 3, 5)]
    downs = [randn((rank, inner), kind, "down", rank).double() for rank in (4, 3, 5)]
    if kind == "nearly dependent":
        ups[1] = ups[0][:, :3] + 1e-4 * ups[1]
        downs[1] = downs[0][:3] + 1e-4 * downs[1]
    if kind == "trained":
        # Columns that lean on each other, a spectrum that falls, directions that all share.
        for up, down in zip(ups, downs, strict=True):
            fall = torch.logspace(0, -2, up.shape[1], dtype=F64)
            up.copy_(up * fall + up[:, :1] + ups[0][:, :1])
            down.copy_(0.01 * down + 0.02 * downs[0][:1])
    return [product(up, down, dtype) for up, down in zip(ups, downs, strict=True)]


def dense(update) -> torch.Tensor:
    """[out, in] in float64."""
    if isinstance(update, LowRank):
        return update.up.double() @ update.down.double()
    return update.matrix.double()
