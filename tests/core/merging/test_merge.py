"""What holds of every method, and of truncation.

Also of method.py: the registry and the parameters of every method.
"""

import subprocess
import sys
from math import inf, nan

import pytest
import torch

from core import Dense, LowRank
from core.errors import MismatchError, SettingError
from core.merging.merge import Merge, automatic_strength, cut
from core.merging.method import METHODS, Parameter, method
from tests.core.updates import dense, inputs, product
from tests.helpers import best_error, error, randn

F64 = torch.float64
ALL = sorted(METHODS)
NAMES = [name for name in ALL if name != "slerp"]
RANDOM = ("dare", "della")
# At these parameters a method cannot do without part of its inputs.
WHOLE = {"tsv": {}, **{name: {"density": 1.0} for name in ("magnitude", "ties", *RANDOM)}}
# Whose result is the sum where the inputs share no column and no row direction,
ADD = ("sum", "tsv", "np", "orthogonal")
# or share no entry at all.
ADD_APART = (*ADD, "magnitude", "ties", "dare", "della", "breadcrumbs")


def apart() -> list[LowRank]:
    """Three updates with rows and columns of their own."""
    ups = torch.block_diag(*(randn((8, rank), "up", rank) for rank in (3, 2, 3)))
    downs = torch.block_diag(*(randn((rank, 6), "down", rank) for rank in (3, 2, 3)))
    parts = (slice(0, 3), slice(3, 5), slice(5, 8))
    return [product(ups[:, part], downs[part], F64) for part in parts]


def pair(name: str) -> int:
    return 2 if name == "slerp" else 3


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("weight", [1.0, -0.4, 2.5])
def test_one_input_is_itself(name, weight):
    one, other, _ = inputs("random", F64)
    zero = LowRank.of(other.up * 0, other.down, other.shape)
    for updates, weights in (
        ([one], [weight]),
        ([one, other], [weight, 0.0]),
        ([zero, one, zero], [1.0, weight, 2.0]),
    ):
        merged = Merge(name)(updates, weights)
        assert error(dense(merged.update), weight * dense(one)) < 1e-12
        assert merged.error == 0 and merged.strength == pytest.approx(1.0)


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_nothing(name):
    one = inputs("random")[0]
    zero = LowRank.of(one.up * 0, one.down, one.shape)
    for updates in (
        [one],
        [one, one],
        [zero, zero],
        [LowRank.of(one.up[:, :0], one.down[:0], one.shape)],
    ):
        weights = [0.0 if update is one else 1.0 for update in updates]
        for rank in (None, 2):
            merged = Merge(name)(updates, weights, rank)
            assert dense(merged.update).norm() == merged.norm == merged.error == 0
            assert merged.strength == 1.0


@pytest.mark.parametrize("name", ALL)
def test_scaling_the_inputs_scales_the_result(name):
    updates = inputs("random", F64)[: pair(name)]
    weights = [0.8, 0.5, 1.3][: pair(name)]
    one = dense(Merge(name)(updates, weights).update)
    scaled = dense(Merge(name)([update.scaled(-3.0) for update in updates], weights).update)
    assert error(scaled, -3 * one) < 1e-11
    assert error(dense(Merge(name)(updates, [2 * w for w in weights]).update), 2 * one) < 1e-11


@pytest.mark.parametrize("name", [name for name in NAMES if not METHODS[name].ordered])
def test_the_order_does_not_matter(name):
    if name in RANDOM:
        pytest.skip("its numbers belong to places, not to inputs")
    updates, weights = inputs("random", F64), [0.8, 0.5, 1.3]
    one = dense(Merge(name)(updates, weights).update)
    for order in ((2, 0, 1), (1, 0, 2)):
        other = Merge(name)([updates[i] for i in order], [weights[i] for i in order])
        assert error(dense(other.update), one) < 1e-11


@pytest.mark.parametrize("name, times", [
    ("sum", 2), ("slerp", 2), ("karcher", 2), ("svd-average", 2), ("tsv", 1), ("ties", 1),
    ("magnitude", 2), ("np", 1), ("orthogonal", 1), ("dare", 2), ("della", 1),
])  # fmt: skip
def test_two_equal_inputs(name, times):
    """A sum doubles, a mean of what counts does not; what avoids the first leaves the first."""
    one = inputs("random", F64)[0]
    parameters = WHOLE.get(name, {"mu": inf} if name == "np" else {})
    merged = dense(Merge(name, parameters)([one, one], [1.0, 1.0]).update)
    assert error(merged, times * dense(one)) < 1e-12


@pytest.mark.parametrize("name", ALL)
def test_one_input_at_two_strengths_spans_no_more_than_itself(name):
    """Scaled in float32 the copies differ by rounding: no method may take that for directions."""
    one = inputs("random")[0]
    if METHODS[name].needs != "factors" or name == "knots":
        pytest.skip("its results leave the space of its inputs")
    merged = Merge(name)([one, one.scaled(0.3)], [1.0, 1.0]).update
    assert merged.rank <= 8
    left, _, right = torch.linalg.svd(dense(one), full_matrices=False)
    inside = left[:, :4] @ left[:, :4].T @ dense(merged) @ right[:4].T @ right[:4]
    assert error(inside, dense(merged)) < 1e-5


@pytest.mark.parametrize("name", ADD_APART)
def test_inputs_with_nothing_in_common_add(name):
    updates = apart()
    parameters = WHOLE.get(name, {"density": 1.0} if name == "breadcrumbs" else {})
    merged = Merge(name, parameters)(updates, [1.0, 0.6, -0.7]).update
    expected = sum(w * dense(u) for w, u in zip([1.0, 0.6, -0.7], updates, strict=True))
    assert error(dense(merged), expected) < 1e-12


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rank", [1, 4, 100])
def test_the_reported_error_is_that_of_the_rank(name, rank):
    updates, weights = inputs("random"), [0.8, 0.5, 1.3]
    whole = dense(Merge(name)(updates, weights).update)
    merged = Merge(name)(updates, weights, rank)
    assert isinstance(merged.update, LowRank) and merged.update.rank <= rank
    assert merged.update.shape == updates[0].shape
    assert error(dense(merged.update), whole) == pytest.approx(merged.error, rel=1e-3, abs=2e-6)
    assert merged.error == pytest.approx(best_error(whole, rank), rel=0.05, abs=2e-6)
    assert merged.norm == pytest.approx(float(whole.norm()), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_kernels_full_differences_and_vectors(name):
    weights = [0.8, 0.5]
    first, second = (LowRank.of(u.up, u.down, (40, 6, 2, 2)) for u in inputs("random", F64)[:2])
    flat = LowRank.of(second.up, second.down, (40, 24))
    full = Dense(dense(second).reshape(40, 6, 2, 2))
    thin = Merge(name)([first, second], weights).update
    assert thin.shape == (40, 6, 2, 2)
    assert Merge(name)([first, flat], weights).update.shape == (40, 6, 2, 2)
    mixed = Merge(name)([first, full], weights)
    assert error(dense(mixed.update), dense(thin)) < 1e-9 and mixed.update.shape == (40, 6, 2, 2)
    both = Merge(name)([Dense(dense(first).reshape(40, 6, 2, 2)), full], weights, 3).update
    assert isinstance(both, Dense) and both.shape == (40, 6, 2, 2)
    assert error(dense(both), dense(thin)) < 1e-9
    vector = Merge(name)([Dense(randn((7,), 1)), Dense(randn((7,), 2))], weights, 3).update
    assert isinstance(vector, Dense) and vector.shape == (7,)


def test_a_number_may_be_merged_and_sizes_have_to_fit():
    for name in ("sum", "iso", "ties"):
        merged = Merge(name)([Dense(torch.tensor(2.0)), Dense(torch.tensor(4.0))], [1.0, 0.5])
        assert merged.update.shape == ()
    one, other = inputs("random")[0], inputs("wide")[0]
    for name in ("tsv", "ties"):
        with pytest.raises(MismatchError, match="different sizes"):
            Merge(name)([one, other], [1.0, 1.0])


@pytest.mark.parametrize("name, parameters, words", [
    ("nothing", {}, "method 'nothing' is unknown; choose one of"),
    ("ties", {"mu": 1.0}, "method ties has no parameter 'mu'; it has density"),
    ("sum", {"density": 1.0}, "it has none"),
    ("ties", {"density": 1.01}, "density 1.01 of method ties is out of range; choose from 0 to 1"),
    ("ties", {"density": -0.1}, "out of range"),
    ("ties", {"density": nan}, "out of range"),
    ("ties", {"density": "half"}, "out of range"),
    ("ties", {"density": True}, "out of range"),
    ("dare", {"elect": 1}, "choose true or false"),
    ("np", {"mu": -1.0}, "choose from 0 to inf"),
])  # fmt: skip
def test_settings_that_make_no_sense(name, parameters, words):
    with pytest.raises(SettingError) as raised:
        Merge(name, parameters)
    assert words in str(raised.value)


@pytest.mark.parametrize("weights", [[1.0], [1.0, inf], [1.0, nan], []])
def test_weights_that_make_no_sense(weights):
    with pytest.raises(SettingError, match="weights"):
        Merge()(inputs("random")[:2], weights)
    with pytest.raises(SettingError, match="weights"):
        Merge()([], weights)


def test_a_method_of_one_s_own():
    name = "half the sum"
    try:

        @method(name, needs="factors", paper="none", by=Parameter(0.5, 0.0, 1.0, "the factor"))
        def part(space, shares, by):
            """A part of the sum."""
            return space.update(space.sum * by)

        updates = inputs("random")
        merged = Merge(name)(updates, [1.0] * 3).update
        assert error(dense(merged), 0.5 * sum(map(dense, updates))) < 1e-6
        assert METHODS[name].summary == "A part of the sum."
    finally:
        del METHODS[name]


@pytest.mark.parametrize("name", ALL)
def test_every_method_says_what_it_is(name):
    assert METHODS[name].summary.endswith((".", ":")) or METHODS[name].summary
    assert (
        METHODS[name].paper and METHODS[name].checked({}).keys() == METHODS[name].parameters.keys()
    )


def test_automatic_strength():
    assert automatic_strength([3.0, 4.0], 5.0) == 0.8
    assert automatic_strength([3.0, 3.0], 0.0) == 1.0
    one = inputs("random", F64)[0]
    assert Merge()([one, one], [1.0, 1.0]).strength == pytest.approx(0.5)
    assert Merge()([one, one], [1.0, -1.0]).strength == 1.0


def test_cutting_nothing_keeps_the_factors_side_by_side():
    one = inputs("random")[0]
    update, norm, lost = cut(one, None)
    assert update.rank == one.rank and lost == 0
    assert norm == pytest.approx(float(dense(one).norm()))
    assert cut(LowRank.sum([one, one.scaled(-1.0)]), None)[0].rank == 0


@pytest.mark.slow
def test_the_library_lists_all_methods_whoever_asks_first():
    asked = "import core; print(len(core.METHODS))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(METHODS)
