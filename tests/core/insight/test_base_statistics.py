"""What an update is beside its base weight, against float64 and the definitions."""

import math

import pytest
import torch

from core import (
    CHARTS,
    Lora,
    SettingError,
    StateDict,
    analyze_lora,
    chart,
    choose_blocks,
    importance_table,
    to_png,
)
from core.insight.base_statistics import BASE_COLUMNS
from tests.core.kinds import FOLDER
from tests.helpers import dense, lora, lora_file, randn

NAMES = [f"double_blocks.{n}.img_attn.proj" for n in range(3)]
RAWS = [f"diffusion_model.{name}" for name in NAMES]


def base() -> dict[str, torch.Tensor]:
    """Three weights of a falling spectrum, each ten times as large as the one before."""
    found = {}
    for number, name in enumerate(NAMES):
        u, v = (torch.linalg.qr(randn((128, 128), name, side)).Q for side in "uv")
        found[f"{name}.weight"] = 10.0**number * u * torch.arange(1, 129) ** -0.5 @ v.T
    return found


def test_the_columns_are_what_they_say():
    weights, tensors = base(), lora_file(RAWS, shape=(128, 128), rank=4)
    table = analyze_lora(Lora(StateDict(tensors), base=weights), "cpu", statistics="spectral")
    assert list(table.columns[-4:]) == list(BASE_COLUMNS)
    changes = dense(tensors)
    white = randn((128, 4000), "white").double()
    for (_, row), raw, name in zip(table.iterrows(), RAWS, NAMES, strict=True):
        weight, change = weights[f"{name}.weight"].double(), changes[raw]
        assert row["relative_norm"] == pytest.approx(float(change.norm() / weight.norm()), rel=1e-5)
        moved = (change @ white).norm() / (weight @ white).norm()
        assert row["relative_norm"] == pytest.approx(float(moved), rel=0.1)
        u, s, vh = torch.linalg.svd(weight)
        largest = torch.linalg.svdvals(change)[0] / s[0]
        assert row["relative_spectral_norm"] == pytest.approx(float(largest), rel=1e-3)
        inside = u[:, :32].T @ change @ vh[:32].T
        share = float((inside.norm() / change.norm()) ** 2)
        assert row["base_share"] == pytest.approx(share, abs=0.02)
        after = weight + change
        cosine = (weight * after).sum() / weight.norm() / after.norm()
        angle = math.degrees(math.acos(float(cosine)))
        assert row["output_angle"] == pytest.approx(angle, abs=1e-2)


@pytest.mark.slow
def test_the_same_lora_is_most_important_where_the_base_is_small():
    tensors = (
        lora(RAWS[0], (128, 128), 4) | lora(RAWS[1], (128, 128), 4) | lora(RAWS[2], (128, 128), 4)
    )
    opened = Lora(StateDict(tensors), base=base())
    plain = choose_blocks(opened, 1.0)
    assert plain.table["block_importance"].max() < 0.34
    relative = choose_blocks(opened, 0.9, "relative")
    assert relative.blocks == ("double_blocks.0",)
    assert "energy relative to the base model's" in relative.text[0]
    for name in CHARTS:
        table = analyze_lora(opened, "cpu", statistics="spectral")
        assert to_png(chart(table, name, "relative"))
    without = analyze_lora(StateDict(tensors), "cpu", statistics="spectral")
    assert not set(BASE_COLUMNS) & set(without.columns)
    with pytest.raises(SettingError, match="without its base model"):
        importance_table(without, "relative")


def test_intruders_are_directions_that_the_base_has_not():
    weights = {f"{NAMES[0]}.weight": base()[f"{NAMES[0]}.weight"]}
    u, _, vh = torch.linalg.svd(weights[f"{NAMES[0]}.weight"])
    flat = randn((128, 2), "unlike")  # A mixture of all directions.
    strong = {
        "amplifies what is there": (u[:, :2], vh[:2]),
        "brings two of its own": (torch.linalg.qr(flat).Q, vh[60:62]),
    }
    for (up, down), expected in zip(strong.values(), (0, 2), strict=True):
        tensors = {f"{RAWS[0]}.lora_B.weight": 3 * up, f"{RAWS[0]}.lora_A.weight": down.clone()}
        opened = Lora(StateDict(tensors), base=weights)
        table = analyze_lora(opened, "cpu", statistics="spectral", intruders=True)
        assert table["intruders"].tolist() == [expected]


def test_what_needs_the_base_is_measured_with_it():
    for name in ("diffusers_dora", "oft", "boft", "glora"):
        path = FOLDER / f"{name}.safetensors"
        assert (analyze_lora(path, "cpu")["not_measured"] != "").all()
        table = analyze_lora(Lora(path, base=FOLDER / "base.safetensors"), "cpu")
        assert (table["not_measured"] == "").all() and (table["relative_norm"] > 0).all()
    vector = {"diffusion_model.double_blocks.0.img_attn.norm.query_norm.diff": torch.ones(8)}
    weights = {"double_blocks.0.img_attn.norm.query_norm.scale": torch.full((8,), 4.0)}
    table = analyze_lora(Lora(StateDict(vector), base=weights), "cpu", statistics="energy")
    assert table["relative_norm"].tolist() == [pytest.approx(0.25)]
