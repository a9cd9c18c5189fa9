"""Decompositions when LAPACK's fast routines fail: float64, another routine, then named."""

import pytest
import torch

from core import Blend, LoraError, RankRule, analyze_lora, blend, resize
from core.algebra import lapack
from tests.core.kinds import lokr
from tests.helpers import dense, error, lora, lora_file, randn, save

MATRICES = {
    "tall": randn((9, 4)),
    "wide": randn((4, 9)),
    "square": randn((7, 7), dtype=torch.float64),
    "of low rank": randn((8, 2)) @ randn((2, 6), 1),
    "zero": torch.zeros(3, 5),
    "falling": randn((6, 6), 2) * 10.0 ** -torch.arange(6),
}
FAILING = {"svd": torch.linalg.svd, "svdvals": torch.linalg.svdvals, "eigh": torch.linalg.eigh}


def failing(monkeypatch, *names, when=lambda matrix: True):
    """Make these routines fail on such matrices; returns the list of calls that failed."""
    calls = []
    for name in names:

        def routine(matrix, *args, name=name, **options):
            if when(matrix):
                calls.append(name)
                raise torch.linalg.LinAlgError(f"linalg.{name}: failed to converge")
            return FAILING[name](matrix, *args, **options)

        monkeypatch.setattr(torch.linalg, name, routine)
    return calls


FAULTS = {
    "none": ((), None),
    "in float32": (("svd", "svdvals", "eigh"), lambda m: m.dtype == torch.float32),
    "gesdd": (("svd", "svdvals"), lambda m: True),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", MATRICES)
def test_singular_values_and_vectors_come_by_another_way(monkeypatch, kind, fault):
    matrix = MATRICES[kind]
    expected = torch.linalg.svdvals(matrix.double())
    calls = failing(monkeypatch, *FAULTS[fault][0], when=FAULTS[fault][1])
    u, values, vh = lapack.svd(matrix)
    assert bool(calls) == (fault == "gesdd" or (fault != "none" and matrix.dtype.itemsize == 4))
    assert {t.dtype for t in (u, values, vh)} == {matrix.dtype}
    limit = 1e-5 * float(expected[0]) + 1e-9
    for found in (values, lapack.svdvals(matrix)):
        assert torch.allclose(found.double(), expected, atol=limit)
    assert torch.allclose(u * values @ vh, matrix, atol=limit)
    kept = values > 1e-4 * values[0]
    for vectors in (u[:, kept], vh[kept].T):
        eye = torch.eye(int(kept.sum()), dtype=matrix.dtype)
        assert torch.allclose(vectors.T @ vectors, eye, atol=1e-4)


@pytest.mark.parametrize("fault", [None, "eigh"])
def test_eigenvectors_come_by_another_way(monkeypatch, fault):
    gram = randn((6, 3), dtype=torch.float64) @ randn((6, 3), dtype=torch.float64).T
    calls = failing(monkeypatch, *filter(None, [fault]))
    values, vectors = lapack.eigh(gram)
    assert bool(calls) == bool(fault)
    assert torch.allclose(vectors * values @ vectors.T, gram, atol=1e-12)


def test_damaged_numbers_are_not_tried_again(monkeypatch):
    calls = failing(monkeypatch, "svd")
    with pytest.raises(torch.linalg.LinAlgError):
        lapack.svd(torch.tensor([[1.0, float("nan")]]))
    assert calls == ["svd"]


EDITS = {
    "resize": lambda tensors: resize(tensors, RankRule("rank", 2)).lora,
    "blend": lambda tensors: blend(tensors, None, Blend((0.5,), 2)).lora,
    "dependent columns": lambda tensors: blend(tensors, tensors, Blend((0.5, 0.2), 2)).lora,
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("fault", ["svd", "eigh"])
def test_edits_give_the_same_where_a_routine_fails(monkeypatch, edit, fault):
    tensors = lora_file("xy") | lokr("k", (8, 4), (4, 4), 1)
    expected = dense(EDITS[edit](tensors))
    failing(monkeypatch, fault)
    found = dense(EDITS[edit](tensors))
    assert max(error(found[name], expected[name]) for name in expected) < 1e-4


def test_analysis_gives_the_same_where_a_routine_fails(monkeypatch):
    tensors = lora_file("xy") | {"d.diff": randn((9, 5))}
    expected = analyze_lora(tensors)["dW.svd.spectral_norm"]
    failing(monkeypatch, "svd", "svdvals")
    assert analyze_lora(tensors)["dW.svd.spectral_norm"].to_list() == pytest.approx(
        expected.to_list(), rel=1e-5
    )


def test_where_every_way_fails_the_module_and_the_file_are_named(monkeypatch, tmp_path):
    path = save(lora("x"), tmp_path / "in.safetensors")
    failing(monkeypatch, "svd", "eigh", "svdvals")
    with pytest.raises(LoraError, match=r"in\.safetensors: module x: its singular values"):
        resize(path, RankRule("rank", 2))
