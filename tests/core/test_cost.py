"""Memory and time follow what is stored, not what it claims to stand for."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core import Output, RankRule, analyze_lora, convert, resize, select
from tests.core.kinds import loha, lokr
from tests.helpers import lora

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[2]
# What each file is, and what it may take in MB beyond what an empty run takes.
COPIES = {
    "loha": ("loha('m', 8192, 8192, 32)", 100),
    "lokr": ("lokr('m', (128, 128), (32, 32))", 100),
    "lokr wide": ("lokr('m', (16000, 1), (1, 1600))", 100),
    "lokr thin": ("{'m.lokr_w1': randn((128, 128)), 'm.lokr_w2_a': randn((64, 8)), "
                  "'m.lokr_w2_b': randn((8, 64))}", 150),
}  # fmt: skip
SCRIPT = """
import resource
from core import *
from tests.core.kinds import loha, lokr
from tests.helpers import lora, randn
state = {state}
edits = (lambda s: convert(s, Output()), lambda s: select(s | lora("n"), "m"),
         lambda s: convert(s, Output(dtype="bf16")), lambda s: blend([s]),
         lambda s: blend([s], settings=Blend(weights=(0.5,))),
         lambda s: blend([s], settings=Blend(weights=(0.3,))))
for edit in edits:
    edit(lora("m"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for edit in edits:
    edit(state)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("kind", COPIES)
def test_copying_takes_the_memory_of_what_is_stored(kind):
    state, most = COPIES[kind]
    command = [sys.executable, "-c", SCRIPT.format(state=state)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < most


def test_a_copy_to_the_bit_computes_nothing(monkeypatch):
    state = lokr("m", (4, 3), (4, 4)) | loha("n", 8, 6, 2) | lora("o")
    monkeypatch.setattr("core.algebra.update.Lazy.tiles", None)
    monkeypatch.setattr("core.algebra.low_rank.LowRank._factor", None)
    assert select(state, "m, o")[0].lora.keys() == {k for k in state if k[0] in "mo"}


@pytest.mark.parametrize("size", [1 << 15, 1 << 20, 1 << 40])
def test_a_file_of_nothing_costs_nothing(size):
    name = "diffusion_model.double_blocks.0.img_attn.proj"
    state = {f"{name}.lora_B.weight": torch.zeros(size, 0)}
    state |= {f"{name}.lora_A.weight": torch.zeros(0, size)}
    table = analyze_lora(state)
    assert "too many to visit each" in table["not_measured"][0]
    assert table["dW.norms.l2"][0] == 0.0
    assert convert(state, Output(dtype="bf16")).lora.keys() == state.keys()
    assert convert(state, Output(spelling="kohya")).report.modules[0].rank == 0


@pytest.mark.parametrize("kind", ["rank", "out", "in"])
def test_factors_without_entries_are_converted(kind):
    out, rank, inner = {"rank": (4, 0, 3), "out": (0, 2, 3), "in": (4, 2, 0)}[kind]
    name, other = (f"diffusion_model.double_blocks.{n}.img_attn.proj" for n in (0, 1))
    state = {f"{name}.lora_B.weight": torch.zeros(out, rank)}
    state |= {f"{name}.lora_A.weight": torch.zeros(rank, inner)} | lora(other)
    for output in (Output(dtype="bf16"), Output(spelling="kohya"), Output(spelling="generic")):
        assert len(convert(state, output).report.kept) == 2
    assert len(resize(state, RankRule("rank", 1)).report.kept) == 2


def test_kronecker_spectra_are_those_of_the_product():
    state = lokr("m", (6, 5), (7, 8))
    exact = torch.kron(*(state[f"m.lokr_{name}"].double() for name in ("w1", "w2")))
    row = analyze_lora(state).iloc[0]
    values = torch.linalg.svdvals(exact)
    assert row["dW.svd.s3"] == pytest.approx(float(values[2]), rel=1e-6)
    assert row["dW.svd.nuclear_norm"] == pytest.approx(float(values.sum()), rel=1e-6)
    assert row["dW.basic.mean"] == pytest.approx(float(exact.mean()), abs=1e-7)
    assert row["dW.basic.median"] == pytest.approx(float(exact.median()), abs=1e-6)


@pytest.mark.parametrize("sizes", [((3, 4), (5, 6)), ((1, 4), (7, 2)), ((7, 2), (1, 4))])
def test_rows_of_lazy_updates(sizes):
    from core.algebra.hadamard import Hadamard, Pair
    from core.algebra.kronecker import Kronecker
    from tests.helpers import randn

    first, second = (randn(size, i) for i, size in enumerate(sizes))
    whole = torch.kron(first, second)
    lazy = Kronecker(first, second, tuple(whole.shape))
    pairs = [Pair(randn((9, 2), i, "a"), randn((2, 7), i, "b")) for i in range(2)]
    entries = 0.5 * (pairs[0].left @ pairs[0].right) * (pairs[1].left @ pairs[1].right)
    hadamard = Hadamard(*pairs, (9, 7), 0.5)
    for update, expected in ((lazy, whole), (hadamard, entries)):
        for elements in (1, 20, 33, 1000):
            assert torch.allclose(torch.cat(list(update.tiles(elements))), expected)
        assert torch.allclose(update.values, expected)
        assert update.frobenius_norm() == pytest.approx(float(expected.norm()))
        assert update.sum_of_entries() == pytest.approx(float(expected.sum()), abs=1e-5)
        apart = update.distance(update.scaled(0.5))
        assert apart == pytest.approx(float(expected.norm()) / 2)
