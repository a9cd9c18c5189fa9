"""Element-wise methods against their papers' formulas on dense matrices, and against PEFT's.

Also of stacks.py: every one of these methods sees its tiles through it.
"""

import numpy as np
import pytest
import torch

from core import Dense, LowRank
from core.algebra import bins
from core.merging import stacks as stacks_module
from core.merging.element_wise import elected
from core.merging.merge import Merge
from core.merging.stacks import Stacks
from tests.core.updates import KINDS, dense, inputs
from tests.helpers import error, randn

pytestmark = pytest.mark.slow


peft = pytest.importorskip("peft")
merge_utils = pytest.importorskip("peft.utils.merge_utils")

F32, F64 = torch.float32, torch.float64
LIMIT = {F32: 1e-5, F64: 1e-12}
WEIGHTS = [0.8, 0.5, 1.3]
DENSITIES = [0.0, 0.2, 0.5, 1.0]


def scaled(updates, weights=WEIGHTS) -> torch.Tensor:
    return torch.stack([w * dense(u) for w, u in zip(weights, updates, strict=True)])


def between(matrix, first, end):
    """The entries at these ranks by size, from the largest; zero elsewhere."""
    order = matrix.abs().flatten().argsort(descending=True)[first:end]
    kept = torch.zeros(matrix.numel(), dtype=matrix.dtype)
    kept[order] = matrix.flatten()[order]
    return kept.reshape(matrix.shape)


def disjoint_mean(stack):
    """TIES: at each entry the mean of those that have the sign of the sum."""
    stack = stack.numpy()
    sign = np.sign(stack.sum(0))
    agreeing = np.ma.masked_where((np.sign(stack) != sign) | (sign == 0), stack)
    return torch.from_numpy(agreeing.mean(axis=0).filled(0.0))


def chances(n, shape, seed):
    """The numbers that decide: a stream of 64 bits for each input; each row takes whole words,
    of which four entries each have 16 bits, the lowest first."""
    out, inner = shape
    words = -(-inner // 4)
    drawn = []
    for index in range(n):
        stream = np.random.PCG64([seed, index]).random_raw(out * words).reshape(out, words)
        lanes = [(stream >> (16 * lane)) & 0xFFFF for lane in range(4)]
        drawn.append(np.stack(lanes, axis=2).reshape(out, 4 * words)[:, :inner] / 2**16)
    return torch.from_numpy(np.stack(drawn))


@pytest.fixture(params=[1, 100, 1 << 20])
def tile(request, monkeypatch):
    """The number of entries in a tile: one row, a few, all."""
    monkeypatch.setattr(stacks_module, "TILE_ELEMENTS", request.param)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("density", DENSITIES)
def test_trimming_keeps_the_largest_entries_of_each_input(density, kind, dtype, tile):
    updates = inputs(kind, dtype)
    matrices = scaled(updates)
    count = int(density * matrices[0].numel())
    trimmed = torch.stack([between(matrix, 0, count) for matrix in matrices])
    for name, expected in (("magnitude", trimmed.sum(0)), ("ties", disjoint_mean(trimmed))):
        merged = Merge(name, {"density": density})(updates, WEIGHTS).update
        assert isinstance(merged, Dense) and merged.values.dtype == dtype
        assert error(dense(merged), expected) < LIMIT[dtype]


@pytest.mark.parametrize(
    "density, gamma", [(0.5, 0.1), (0.9, 0.3), (0.3, 0.0), (0.0, 1.0), (1.0, 1.0)]
)
def test_breadcrumbs_leaves_out_both_ends(density, gamma, tile):
    updates = inputs("random", F64)
    matrices = scaled(updates)
    count = int(density * matrices[0].numel())
    above = min(int(gamma * matrices[0].numel()), matrices[0].numel() - count)
    masked = torch.stack([between(matrix, above, above + count) for matrix in matrices])
    for elect, expected in ((False, masked.sum(0)), (True, disjoint_mean(masked))):
        parameters = {"density": density, "gamma": gamma, "elect": elect}
        merged = Merge("breadcrumbs", parameters)(updates, WEIGHTS).update
        assert error(dense(merged), expected) < 1e-12


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("density", DENSITIES)
def test_dare_drops_at_random_and_divides_by_the_density(density, seed, tile):
    updates = inputs("random", F64)
    matrices = scaled(updates)
    drawn = chances(3, matrices[0].shape, seed)
    density_kept = round(density * 2**16) / 2**16
    kept = torch.where(drawn < density_kept, matrices / max(density_kept, 1e-9), 0.0)
    for elect, expected in ((False, kept.sum(0)), (True, disjoint_mean(kept))):
        merge = Merge("dare", {"density": density, "elect": elect}, seed)
        assert error(dense(merge(updates, WEIGHTS).update), expected) < 1e-12


@pytest.mark.parametrize("epsilon", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("density", DENSITIES)
def test_della_keeps_large_entries_of_a_row_more_often(density, epsilon, tile):
    updates = inputs("random", F64)
    matrices = scaled(updates)
    n = matrices.shape[2]
    spread = min(epsilon, 2 * density, 2 * (1 - density))
    ranks = (matrices.abs()[:, :, None, :] > matrices.abs()[:, :, :, None]).sum(3).double()
    dropping = (1 - density) - spread / 2 + spread / n * ranks
    kept = torch.where(
        chances(3, matrices[0].shape, 3) < 1 - dropping, matrices / (1 - dropping), 0.0
    )
    for elect, expected in ((False, kept.sum(0)), (True, disjoint_mean(kept))):
        parameters = {"density": density, "epsilon": epsilon, "elect": elect}
        merged = Merge("della", parameters, 3)(updates, WEIGHTS).update
        assert error(dense(merged), expected) < 1e-12


@pytest.mark.parametrize("name", ["dare", "della"])
def test_random_methods_keep_the_expectation_and_the_density(name):
    one = LowRank.of(randn((120, 3)), randn((3, 100)), (120, 100))
    parameters = {"density": 0.3, "elect": False}

    def drawn(seed, second=1.0):
        merge = Merge(name, parameters, seed)
        return dense(merge([one, one], [0.5, 0.5 * second]).update)

    # The mean of 40 draws, each of a variance of about (1 - p) / p times the squared entry.
    mean = torch.stack([drawn(seed) for seed in range(20)]).mean(0)
    assert 0.05 < error(mean, dense(one)) < 0.4
    alone = drawn(0, second=1e-9)
    assert float((alone.abs() > 1e-7).double().mean()) == pytest.approx(0.3, abs=0.02)
    assert torch.equal(drawn(0), drawn(0)) and not torch.equal(drawn(0), drawn(1))


@pytest.mark.parametrize("name", ["magnitude", "ties", "dare", "della", "breadcrumbs"])
@pytest.mark.parametrize("rank", [None, 3])
def test_results_do_not_depend_on_the_size_of_tiles(name, rank, monkeypatch):
    """In float64: the rounding of a product may depend on how many rows it has."""
    updates, found = inputs("trained", F64), []
    for size in (1, 500, 1 << 20):
        monkeypatch.setattr(stacks_module, "TILE_ELEMENTS", size)
        found.append(dense(Merge(name)(updates, WEIGHTS, rank).update))
    assert error(found[0], found[2]) < 1e-10 and error(found[1], found[2]) < 1e-10


def test_the_order_statistics_are_exact_with_ties_and_zeros(tile, monkeypatch):
    values = torch.randn(50, 30).mul(3).round() * torch.randn(50, 1).sign()
    values[:7] = 0
    monkeypatch.setattr(bins, "HELD_CODES", 10)
    stacks = Stacks([Dense(values), Dense(2 * values)])
    ranks = [0, 1, 700, 1499]
    ordered = values.abs().flatten().sort(descending=True).values[ranks]
    assert np.array_equal(stacks.magnitudes(ranks).T, [ordered, 2 * ordered])


def test_where_the_sum_is_zero_nobody_is_elected():
    rows = ([[1.0, 0.0, 2.0, -3.0]], [[-1.0, 0.0, 1.0, 1.0]])
    stacks = Stacks([Dense(torch.tensor(row)) for row in rows])
    assert elected(stacks, next(iter(stacks))).tolist() == [[0.0, 0.0, 1.5, -3.0]]


# PEFT: https://huggingface.co/docs/peft, add_weighted_adapter, on layers of its own.


def layer(updates):
    """A model of one linear layer with each update as an adapter of scale 1."""
    ranks = [update.rank for update in updates]
    out, inner = updates[0].matrix_shape
    net = torch.nn.Sequential(torch.nn.Linear(inner, out, bias=False))
    configs = [peft.LoraConfig(r=r, lora_alpha=r, target_modules=["0"]) for r in ranks]
    model = peft.get_peft_model(net, configs[0], adapter_name="0")
    for index, config in enumerate(configs[1:], start=1):
        model.add_adapter(str(index), config)
    linear = model.base_model.model[0]
    with torch.no_grad():
        for index, update in enumerate(updates):
            linear.lora_B[str(index)].weight.copy_(update.up)
            linear.lora_A[str(index)].weight.copy_(update.down)
    return model, linear


def of_peft(updates, weights, kind, **options):
    model, linear = layer(updates)
    names = [str(index) for index in range(len(updates))]
    model.add_weighted_adapter(names, weights, "merged", combination_type=kind, **options)
    return linear.get_delta_weight("merged").detach().double()


@pytest.mark.parametrize("kind", ["random", "trained"])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.8, 0.5, -1.3]])
def test_sums_are_those_of_peft(kind, weights):
    updates = inputs(kind)
    assert error(dense(Merge()(updates, weights).update), of_peft(updates, weights, "cat")) < 1e-5
    cut = dense(Merge()(updates, weights, 3).update)
    assert error(cut, of_peft(updates, weights, "svd", svd_rank=3)) < 1e-5


@pytest.mark.parametrize("kind", ["random", "trained"])
@pytest.mark.parametrize("density", [0.3, 0.5])
def test_trimmed_sums_and_ties_of_equal_weights_are_those_of_peft(kind, density):
    updates, ones = inputs(kind), [0.6] * 3
    for name, theirs in (("ties", "ties_svd"), ("magnitude", "magnitude_prune_svd")):
        merge = Merge(name, {"density": density})
        whole = of_peft(updates, ones, theirs, density=density, svd_rank=24)
        assert error(dense(merge(updates, ones).update), whole) < 1e-5
        cut = of_peft(updates, ones, theirs, density=density, svd_rank=4)
        ours = merge(updates, ones, 4)
        assert error(dense(ours.update), whole) == pytest.approx(error(cut, whole), rel=0.02)
        assert error(dense(ours.update), whole) == pytest.approx(ours.error, rel=1e-3)


def test_dare_is_that_of_peft_with_the_same_numbers(monkeypatch):
    updates, ones = inputs("random"), [1.0] * 3
    drawn = iter(chances(3, (40, 24), 5).repeat(2, 1, 1))

    def bernoulli(probabilities):
        return (next(drawn) < probabilities).to(probabilities)

    monkeypatch.setattr(merge_utils.torch, "bernoulli", bernoulli)
    for elect, theirs in ((False, "dare_linear_svd"), (True, "dare_ties_svd")):
        expected = of_peft(updates, ones, theirs, density=0.375, svd_rank=24)
        merge = Merge("dare", {"density": 0.375, "elect": elect}, 5)
        assert error(dense(merge(updates, ones).update), expected) < 1e-5


def test_peft_elects_signs_without_the_weights():
    """Named difference: an input of weight 0.1 outvotes one of weight 1, a negative weight counts
    with the sign that it does not have. Here the sum that is elected is the weighted one."""
    large, small = (Dense(torch.tensor([[value]])) for value in (1.0, -2.0))
    weights = [1.0, 0.1]
    theirs = merge_utils.ties([large.values, small.values], torch.tensor(weights), 1.0)
    ours = Merge("ties", {"density": 1.0})([large, small], weights).update
    assert theirs.item() == pytest.approx(-0.2) and ours.values.item() == 1.0


def test_peft_takes_the_positive_side_where_the_sum_is_zero():
    """Named difference: of A and -A PEFT makes |A|; here opposites are nothing, as in the sum."""
    one = Dense(torch.tensor([[2.0, -3.0]]))
    both = [one.values, -one.values]
    assert merge_utils.ties(both, torch.ones(2), 1.0).tolist() == [[2.0, 3.0]]
    merged = Merge("ties", {"density": 1.0})([one, one], [1.0, -1.0]).update
    assert merged.values.tolist() == [[0.0, 0.0]]


def test_peft_s_methods_on_factors_are_not_those_of_the_updates():
    """Named difference: without "_svd" PEFT trims, elects and adds A and B on their own."""
    updates = [LowRank.of(u.up[:, :3], u.down[:3], u.shape) for u in inputs("random")]
    expected = dense(Merge("ties")(updates, [1.0] * 3).update)
    assert error(of_peft(updates, [1.0] * 3, "ties", density=0.5), expected) > 0.5
    total = sum(dense(update) for update in updates)
    assert error(of_peft(updates, [1.0] * 3, "linear"), total) > 0.5
