"""Numbers at the ends of their range: the right update is written, or it is refused by name."""

import pytest
import torch

from core import Blend, Compute, LoraError, Output, RankRule, blend, convert, resize
from core.merging.balance import balance
from core.merging.even import Even
from tests import helpers
from tests.core.kinds import EXACT, changes
from tests.helpers import randn

pytestmark = pytest.mark.slow


NAME = "diffusion_model.a.b"
UP, DOWN = f"{NAME}.lora_B.weight", f"{NAME}.lora_A.weight"
# Of up and down: products that are ordinary, huge and tiny.
SIZES = [
    *((1e19, 1e-19), (1e-19, 1e19), (1e25, 1e-25), (1e-30, 1e30), (1e37, 1e-37)),
    *((1e-22, 1e-22), (1e18, 1e18), (1e15, 1e10), (1e-30, 1.0), (1.0, 1e-36)),
]
# More columns than the weight has rank, and fewer.
SHAPES = [(12, 9, 4), (12, 9, 20), (4, 30, 6), (40, 40, 12)]
FP32 = Output(dtype="fp32")


def summed(rank="auto", weights=(0.5, 0.25), **settings):
    """A blend of a file with itself, or of it alone where there is one weight."""
    settings = Blend(weights, rank, drop_near_zero=False, **settings)
    return lambda a: blend([a] * len(weights), settings=settings, output=FP32)


EDITS = {
    "rank": lambda a: resize(a, RankRule("rank", 2), output=FP32),
    "energy": lambda a: resize(a, RankRule("energy", 0.9999999), output=FP32),
    "scaled": summed(weights=(0.5,)),
    "cut": summed(2, (0.5,)),
    "sum": summed("full"),
    "even": summed(balance=Even()),
    "pca": summed(2, truncation="pca"),
    "bf16": lambda a: convert(a, Output(dtype="bf16")),
}
WEIGHT = {"scaled": 0.5, "cut": 0.5, "sum": 0.75, "even": 0.75, "pca": 0.75}


def file(sizes, shape, dtype) -> dict[str, torch.Tensor]:
    out, inner, rank = shape
    up, down = randn((out, rank), "up").double(), randn((rank, inner), "down").double()
    return {UP: (up * sizes[0]).to(dtype), DOWN: (down * sizes[1]).to(dtype)}


def product(tensors) -> torch.Tensor:
    return tensors[UP].double() @ tensors[DOWN].double()


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_the_size_of_the_factors_costs_no_accuracy(edit, dtype):
    for sizes in SIZES:
        for shape in SHAPES:
            tensors = file(sizes, shape, dtype)
            exact = WEIGHT.get(edit, 1.0) * product(tensors)
            unit = exact.abs().max()
            edited = EDITS[edit](tensors)
            found = helpers.error(product(edited.lora) / unit, exact / unit)
            rank = edited.lora[UP].shape[1]
            best = helpers.best_error(exact / unit, rank) if rank < min(exact.shape) else 0.0
            close = 0.02 if edit == "bf16" else (0.05 if edit == "pca" else 2e-5)
            assert found == pytest.approx(best, abs=close), (sizes, shape)
            reported = edited.report.modules[0].relative_error
            assert reported == pytest.approx(found, rel=0.05, abs=1e-5), (sizes, shape)


@pytest.mark.parametrize("compute", [Compute(), EXACT], ids=["float32", "float64"])
@pytest.mark.parametrize("rank", [2, "full", "auto"])
@pytest.mark.parametrize("weight", [1e15, 1e25, 1e60, 1e200, 1e307, -1e308, 1e-30, 1e-200])
def test_weights_of_any_size(weight, rank, compute):
    """Right, refused by name, or so small that no factor in fp32 can say it."""
    one, other = file((1, 1), SHAPES[0], torch.float32), file((1, 2), SHAPES[1], torch.float32)
    exact = (product(one) + product(other) / 2) * 1.0
    settings = Blend((weight, weight / 2), rank, drop_near_zero=False)
    try:
        edited = blend([one, other], settings=settings, output=FP32, compute=compute)
    except LoraError as refusal:
        assert abs(weight) > 1e37 and ("too large" in str(refusal) or "NaN" in str(refusal))
        return
    if abs(weight) < 1e-60:
        return
    found = helpers.error(product(edited.lora) / weight, exact)
    best = helpers.best_error(exact, 2) if rank == 2 else 0.0
    assert found == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("kind", ["loha", "lokr", "mid"])
@pytest.mark.parametrize("size", [1e-30, 1e-25, 1e25, 1e30])
def test_products_of_factors_keep_their_size(kind, size):
    def at(shape, seed, scale):
        return (randn(shape, seed).double() * scale).float()

    if kind == "loha":
        shapes = {"w1_a": (40, 2), "w1_b": (2, 30), "w2_a": (40, 2), "w2_b": (2, 30)}
        sizes = {"w1_a": size, "w2_a": size, "w1_b": 1 / size, "w2_b": 1 / size}
        tensors = {f"{NAME}.hada_{k}": at(s, k, sizes[k]) for k, s in shapes.items()}
    elif kind == "lokr":
        shapes = {"w1": (6, 5), "w2_a": (8, 2), "w2_b": (2, 7)}
        sizes = {"w1": 1 / size, "w2_a": size, "w2_b": 1.0}
        tensors = {f"{NAME}.lokr_{k}": at(s, k, sizes[k]) for k, s in shapes.items()}
    else:
        shapes = {"lora_up": (9, 3, 1, 1), "lora_down": (3, 8, 1, 1), "lora_mid": (3, 3, 3, 3)}
        sizes = {"lora_up": 1 / size, "lora_down": size**0.5, "lora_mid": size**0.5}
        tensors = {f"{NAME}.{k}.weight": at(s, k, sizes[k]) for k, s in shapes.items()}
    exact = changes(tensors)[NAME].flatten(1)
    edited = resize(tensors, RankRule("rank", 2), output=FP32)
    found = helpers.error(next(iter(changes(edited.lora).values())).flatten(1), exact)
    assert found == pytest.approx(helpers.best_error(exact, 2), rel=1e-4)


@pytest.mark.parametrize("name", ["softmax", "proportional", "powerlaw", "sigmoid"])
def test_norms_for_a_balance_keep_their_size(name):
    one, other = (
        file((1e25, 1e-25), SHAPES[1], torch.float32),
        file((1, 1), SHAPES[1], torch.float32),
    )
    settings = Blend(balance=balance(name))
    edited = blend([one, other], settings=settings, output=FP32)
    plain = blend([other, other], settings=settings, output=FP32)
    assert helpers.error(product(edited.lora), product(plain.lora)) < 1e-4
