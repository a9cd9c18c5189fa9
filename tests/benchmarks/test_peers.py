"""The ways of others do the same work, so that their time is worth a comparison."""

import pytest

from benchmarks.checks import require_optimal, true_errors
from benchmarks.peers import concatenation, gram_energies, one_threshold, qr_of_both, read
from benchmarks.rows import WEIGHTS, Workshop
from core import analyze_lora


@pytest.fixture
def shop(tmp_path):
    return Workshop(tmp_path, repeats=1, modules="double_blocks.0.img_attn.*")


@pytest.mark.slow
def test_every_way_ends_at_the_right_file(shop):
    inputs = [shop.file("flux", 8, "kohya"), shop.file("flux", 8, "generic", 1)]
    for way in (concatenation, lambda *where: qr_of_both(*where, 8)):
        way(inputs, shop.output)
        require_optimal(shop.output, inputs, WEIGHTS)
    one_threshold(inputs[0], shop.output, 0.5 * inputs[0].stat().st_size)
    assert 0.4 < shop.output.stat().st_size / inputs[0].stat().st_size < 0.52
    for _, error, least, rounding in true_errors(shop.output, inputs[:1], [1.0]):
        assert least - 1e-4 <= error <= least + rounding
    table = analyze_lora(inputs[0], statistics="energy")
    assert gram_energies(inputs[0]).keys() == read(inputs[0]).keys()
    energy = sum(gram_energies(inputs[0]).values())
    assert (table["dW.norms.l2"] ** 2).sum() == pytest.approx(energy, rel=1e-5)
