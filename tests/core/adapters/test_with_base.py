"""Kinds that depend on the base weight, with it at hand: what the trainers' libraries compute.

Where ComfyUI means another thing than the library, ComfyUI counts: its formulas stand here again,
and tests/comfyui compares with ComfyUI itself.
Also of base_dependent.py: which kinds have an update once the base is there.
"""

import pytest
import torch
from safetensors.torch import load_file

from core import (
    BaseModel,
    Blend,
    Dense,
    Lora,
    LoraError,
    MismatchError,
    Output,
    RankRule,
    StateDict,
    blend,
    convert,
    resize,
    verify,
)
from tests.core.kinds import CPU, DORA, EXACT, FOLDER, NEEDS_BASE, expected
from tests.helpers import error, lora, randn

BASE = FOLDER / "base.safetensors"
# ComfyUI's n of a row is that of the base; it takes alpha for OFT's limit, and no rescale.
OTHERWISE = {"locon_dora", "loha_dora", "lokr_dora", "oft_constrained", "oft_rescaled"}


def dense(update) -> torch.Tensor:
    return update.values if isinstance(update, Dense) else update.dense()


def baked(name: str) -> dict[str, torch.Tensor]:
    opened = Lora(FOLDER / f"{name}.safetensors", base=BASE)
    return {m.raw: dense(m.update(CPU, torch.float64)) for m in opened.modules.values()}


@pytest.mark.parametrize("name", sorted(NEEDS_BASE - OTHERWISE))
def test_it_is_what_the_library_computes(name):
    ours = baked(name)
    for raw, change in expected(name).items():
        assert error(ours[raw].reshape(change.shape), change) < 1e-6, raw


@pytest.mark.parametrize("name", sorted(OTHERWISE & set(DORA)))
def test_comfyui_takes_the_rows_of_the_base_for_a_magnitude_of_rows(name):
    """Of the library's V * m / |V| it makes V * m / |W|: row by row another factor."""
    ours, base = baked(name), BaseModel(BASE)
    opened = Lora(FOLDER / f"{name}.safetensors", base=base)
    for module in opened.modules.values():
        weight = base.weight(module.name, dtype=torch.float64).flatten(1)
        theirs = expected(name)[module.raw].reshape(weight.shape) + weight
        mine = ours[module.raw].reshape(weight.shape) + weight
        ratio = mine.norm(dim=1) / theirs.norm(dim=1)
        assert error(theirs * ratio[:, None], mine) < 1e-6
        magnitude = load_file(FOLDER / f"{name}.safetensors")[f"{module.raw}.dora_scale"]
        assert error(theirs.norm(dim=1), magnitude.reshape(-1)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NEEDS_BASE))
@pytest.mark.parametrize("edit", ["convert", "blend", "resize"])
def test_every_edit_makes_it_a_plain_update(name, edit):
    """Exact as a whole, and at a rank with the error that the report says."""
    opened = Lora(FOLDER / f"{name}.safetensors", base=BASE)
    exact = {m.canonical: dense(m.update(CPU, torch.float64)) for m in opened.modules.values()}
    whole = Output(dtype="fp32", spelling="generic")
    edited = {
        "convert": lambda: convert(opened, whole, EXACT),
        "blend": lambda: blend(opened, None, Blend((0.5,), "full"), whole, EXACT),
        "resize": lambda: resize(opened, RankRule("rank", 3), output=whole, compute=EXACT),
    }[edit]()
    assert edited.report.settings["base"] == "base.safetensors"
    assert any("baked with base.safetensors" in note for note in edited.report.notes)
    factor = 0.5 if edit == "blend" else 1.0
    written = Lora(edited.lora, prefer=opened.family)
    rows = {row.module: row for row in edited.report.modules}
    for module in written.modules.values():
        assert module.adapter.kind.update is not None and not module.baked
        change = factor * exact[module.canonical]
        ours = dense(module.update(CPU, torch.float64)).reshape(change.shape)
        row = rows[module.canonical]
        lost = error(ours, change)
        assert lost == pytest.approx(row.relative_error, rel=1e-2, abs=1e-6)
        best = torch.linalg.svdvals(change.flatten(1))[3:].norm() / change.norm()
        assert lost < 1e-6 if edit != "resize" else lost < 1.02 * best + 1e-6
    assert verify(edited.lora, [opened], [factor]).relative_error == pytest.approx(
        edited.report.relative_error, rel=1e-2, abs=1e-6
    )


def test_a_blend_cuts_to_the_ranks_of_its_files_and_keeps_all_where_all_is_asked():
    dora = Lora(FOLDER / "diffusers_dora.safetensors", base=BASE)
    rank = next(iter(dora.modules.values())).rank
    auto = blend(dora, None, Blend((1.0,)))
    assert {row.rank for row in auto.report.kept} == {rank} and auto.report.relative_error > 0.1
    full = blend(dora, None, Blend((1.0,), "full"))
    assert {row.rank for row in full.report.kept} == {None} and full.report.relative_error < 1e-6
    assert all(key.endswith(".diff") for key in full.lora)
    budget = blend(dora, None, Blend((1.0,), RankRule("parameters", 1500)))
    assert sum(t.numel() for k, t in budget.lora.items() if "alpha" not in k) <= 1500


def test_a_part_of_a_fused_weight_meets_its_rows_of_the_base():
    fused = randn((24, 8), "base")
    base = {"double_blocks.0.img_attn.qkv.weight": fused}
    raw = "transformer.transformer_blocks.0.attn.to_k"
    tensors = lora(raw, (8, 8), 2) | {f"{raw}.dora_scale": randn((8, 1), "m").abs()}
    (module,) = Lora(StateDict(tensors), base=base).modules.values()
    update = dense(module.update(CPU, torch.float64))
    rows = fused[8:16].double()
    changed = (
        rows + tensors[f"{raw}.lora_B.weight"].double() @ tensors[f"{raw}.lora_A.weight"].double()
    )
    exact = changed * tensors[f"{raw}.dora_scale"] / rows.norm(dim=1, keepdim=True) - rows
    assert error(update, exact) < 1e-6
    (written,) = Lora(
        convert(Lora(StateDict(tensors), base=base), Output(spelling="generic")).lora
    ).modules.values()
    assert written.canonical == "double_blocks.0.img_attn.qkv"
    assert error(dense(written.update(CPU, torch.float64))[8:16], exact) < 1e-6


def test_a_stored_weight_and_norm_become_differences():
    base = {"double_blocks.0.img_attn.norm.query_norm.scale": torch.full((4,), 0.5)}
    raw = "diffusion_model.double_blocks.0.img_attn.norm.query_norm"
    opened = Lora(StateDict({f"{raw}.set_weight": torch.full((4,), 2.0)}), base=base)
    written = convert(opened, Output()).lora
    assert torch.equal(written[f"{raw}.diff"], torch.full((4,), 1.5)) and len(written) == 1


def test_what_does_not_fit_the_base_is_named():
    base = {"double_blocks.0.img_attn.proj.weight": torch.ones(8, 8)}
    raw = "diffusion_model.double_blocks.0.img_attn.proj"
    wrong = {
        "does not fit": lora(raw, (8, 6), 2) | {f"{raw}.dora_scale": torch.ones(8, 1)},
        "its magnitude": lora(raw, (8, 8), 2) | {f"{raw}.dora_scale": torch.ones(3, 1)},
        "3 blocks of 2 rows": {f"{raw}.oft_blocks": torch.zeros(3, 2, 2)},
        "ranks of its four": {f"{raw}.{n}.weight": torch.ones(3, k)
                              for n, k in zip(("a1", "a2", "b1", "b2"), range(4, 8), strict=True)},
    }  # fmt: skip
    for problem, tensors in wrong.items():
        with pytest.raises(LoraError, match=problem) as caught:
            convert(Lora(StateDict(tensors), base=base), Output())
        assert "double_blocks.0.img_attn.proj" in str(caught.value)
    other = lora("diffusion_model.layers.0.attention.out", (8, 8), 2)
    with pytest.raises(MismatchError, match="not one of its weights is in"):
        Lora(StateDict(other), base=base)
