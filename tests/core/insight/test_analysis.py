"""The table: the notebook's 88 columns, finite for every layer, equal to a dense float64 oracle."""

import builtins
import inspect
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.columns import entries, spectrum
from benchmarks.generate import generate
from benchmarks.measure import anonymous_memory_peak
from core import (
    Cancelled,
    Compute,
    LoraError,
    analyze_and_display,
    analyze_lora,
    block_importance_from_softmax,
    top_blocks_by_threshold,
)
from core.insight.analysis import EXTRA_COLUMNS, notebook_columns, sort_table
from core.insight.charts import CHARTS
from core.naming.family import expand_braces
from core.storage.files import open_tensors
from tests.helpers import KOHYA, PEFT, dense, lora, lora_file, randn
from tests.marks import one_in

SAMPLES = Path(__file__).parents[3] / "core" / "samples"
STATISTICS = [
    "basic.min",
    "basic.max",
    "basic.mean",
    "basic.std",
    "basic.median",
    "sign.count",
    "sign.pos",
    "sign.neg",
    "sign.zero",
    "sign.pos_frac",
    "sign.neg_frac",
    "sign.zero_frac",
    "norms.l1",
    "norms.l2",
    "norms.linf",
    "percentiles.p1",
    "percentiles.p5",
    "percentiles.p25",
    "percentiles.p50",
    "percentiles.p75",
    "percentiles.p95",
    "percentiles.p99",
]
NOTEBOOK = [
    *[
        "layer",
        "A.shape",
        "B.shape",
        "deltaW.shape",
        "rank",
        "rank_match",
        "in_dim",
        "out_dim",
        "delta_error",
    ],
    *(f"{tensor}.{name}" for tensor in ("A", "B", "dW") for name in STATISTICS),
    *(f"dW.svd.{name}" for name in ("spectral_norm", "energy_total", "energy_topk")),
    *(f"dW.svd.{name}" for name in ("energy_ratio_topk", "nuclear_norm")),
    *(f"dW.svd.s{i}" for i in range(1, 9)),
]
NUMBERS = [c for c in NOTEBOOK if "." in c and "shape" not in c] + [
    *("rank", "in_dim", "out_dim", "scale", "effective_rank", "stable_rank"),
    *("dW.softmax_norm", "dW.energy_share"),
]


def oracle(matrix: torch.Tensor, top: int | None = None) -> dict[str, float]:
    """The notebook's figures of a dense float64 matrix; singular values too if `top` is given."""
    dense_matrix = matrix.double().numpy()
    row = entries(dense_matrix)
    if top is not None:
        figures = spectrum(dense_matrix, top)
        row |= {key[3:]: value for key, value in figures.items() if key.startswith("dW.")}
    return row


def assert_row(row, tensor: str, expected: dict[str, float]) -> None:
    """Equal to float32 rounding: signs of entries that round to the other side of zero too."""
    largest = expected["norms.linf"]
    for key, value in expected.items():
        slack = 1e-6 * largest
        if key.startswith("sign"):
            slack = 1e-4 * (expected["sign.count"] if "frac" not in key else 1)
        elif key.startswith("svd"):
            slack = 1e-6 * expected["svd.spectral_norm"]
        assert row[f"{tensor}.{key}"] == pytest.approx(value, rel=1e-5, abs=slack), key


def factors(stored: dict[str, torch.Tensor], raw: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(up, down) of a module in either of the sample files' spellings."""
    up, down = KOHYA if raw + KOHYA[0] in stored else PEFT
    return stored[raw + up], stored[raw + down]


def mixed() -> dict[str, torch.Tensor]:
    """Every kind that has an update, alone and as a convolution, with and without alpha."""
    state = lora_file(["blocks.0.attn.q", "blocks.1.attn.q"], KOHYA, alpha=2.0)
    state |= lora("blocks.1.mlp.0", (30, 20), 6, PEFT, dtype=torch.bfloat16)
    state |= lora("blocks.2.conv", (6, 4, 3, 3), 3, KOHYA, 6.0, mid=True)
    state |= lora("blocks.2.skip", (6, 4, 1, 1), 3, KOHYA, 1.0)
    state |= {"blocks.1.mlp.2.diff": randn((9, 7)), "blocks.1.mlp.0.diff_b": randn((30,), 3)}
    return state | {"blocks.0.norm.w_norm": randn((16,), 4)}


@pytest.mark.slow
def test_the_columns_are_the_notebooks_and_then_ours():
    table = analyze_lora(SAMPLES / "character_kohya.safetensors")
    assert len(NOTEBOOK) == 88
    assert notebook_columns() == NOTEBOOK
    assert list(table.columns) == [*NOTEBOOK, *EXTRA_COLUMNS]
    wanted = ["alpha", "scale", "block", "component", "module", "effective_rank", "stable_rank"]
    assert list(EXTRA_COLUMNS[:9]) == [*wanted, "dW.softmax_norm", "dW.energy_share"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["character_kohya", "style_diffusers"])
def test_the_sample_files_equal_the_oracle_in_every_column_of_every_layer(name):
    path = SAMPLES / f"{name}.safetensors"
    tensors = open_tensors(path)
    stored = {key: tensors[key] for key in tensors.info}
    table = analyze_lora(path)
    assert np.isfinite(table[NUMBERS].astype(float)).all(axis=None)
    updates = dense(stored)
    assert list(table["layer"]) == list(updates)
    for _, row in table.iterrows():
        up, down = factors(stored, row["layer"])
        assert row["B.shape"] == up.shape and row["A.shape"] == down.shape
        assert_row(row, "A", oracle(down.float()))
        assert_row(row, "B", oracle(up.float()))
        assert_row(row, "dW", oracle(updates[row["layer"]], 8))
        assert row["rank"] == down.shape[0] and row["rank_match"]
        assert (row["out_dim"], row["in_dim"]) == row["deltaW.shape"] == updates[row["layer"]].shape


def test_every_kind_with_an_update_is_measured():
    state = mixed()
    table = analyze_lora(state)
    updates = dense(state)
    for _, row in table.iterrows():
        name = row["layer"] + (".bias" if row["module"].endswith(".bias") else "")
        assert_row(row, "dW", oracle(updates[name], 8))
        assert (row["not_measured"], row["delta_error"]) == ("", None)
    assert len(table) == len(updates)
    stored = table[table["kind"] == "difference"].iloc[0]
    assert stored[[c for c in NOTEBOOK if c.startswith(("A.", "B."))]].isna().all()
    conv = table[table["layer"] == "blocks.2.conv"].iloc[0]
    assert conv["deltaW.shape"] == (6, 4, 3, 3) and conv["rank"] == 3 and conv["scale"] == 2.0


def test_alpha_counts_in_the_update_and_not_in_the_factors():
    plain, scaled = lora("blocks.0.q", pair=KOHYA), lora("blocks.0.q", pair=KOHYA, alpha=1.0)
    one, quarter = analyze_lora(plain).iloc[0], analyze_lora(scaled).iloc[0]
    assert (one["scale"], quarter["scale"], quarter["alpha"]) == (1.0, 0.25, 1.0)
    assert math.isnan(one["alpha"])
    # Of a difference an alpha does not change the meaning.
    stored = {"blocks.0.q.diff": randn((4, 3)), "blocks.0.q.alpha": torch.tensor(2.0)}
    difference = analyze_lora(stored).iloc[0]
    assert (difference["alpha"], difference["scale"]) == (2.0, 1.0)
    assert difference["dW.basic.max"] == float(randn((4, 3)).max())
    assert quarter["A.norms.l2"] == one["A.norms.l2"]
    for column in ("dW.svd.spectral_norm", "dW.norms.l1", "dW.basic.max", "dW.percentiles.p95"):
        assert quarter[column] == pytest.approx(one[column] / 4, rel=1e-6)


def test_what_cannot_be_measured_is_a_row_that_says_why():
    state = mixed() | lora("blocks.3.attn.q") | {"blocks.3.attn.q.dora_scale": randn((16, 1))}
    state |= {"blocks.4.attn.q.oft_blocks": randn((2, 4, 4))}
    broken = lora("blocks.5.attn.q", pair=KOHYA)
    broken["blocks.5.attn.q.lora_up.weight"][0, 0] = float("nan")
    unequal = lora("blocks.6.attn.q", pair=KOHYA)
    unequal["blocks.6.attn.q.lora_up.weight"] = randn((16, 5))
    scaled = lora("blocks.7.attn.q", pair=KOHYA, alpha=float("inf"))
    table = analyze_lora(state | broken | unequal | scaled)
    last = sort_table(table, "dW.norms.l2", ascending=True)["layer"][-5:]
    assert set(last) == {f"blocks.{block}.attn.q" for block in (3, 4, 5, 6, 7)}
    table = table.set_index("layer")
    columns = [c for c in table.columns if c.startswith("dW.") and not c.endswith(".error")]
    for layer, reason in (
        ("blocks.3.attn.q", "is a DoRA"),
        ("blocks.4.attn.q", "is an OFT"),
        ("blocks.5.attn.q", "NaN or Inf"),
        ("blocks.6.attn.q", "do not fit"),
        ("blocks.7.attn.q", "the scale of the layer is unknown"),
    ):
        row = table.loc[layer]
        assert reason in row["not_measured"] and layer in row["not_measured"]
        assert row["delta_error"] == row["not_measured"]
        assert row[columns].isna().all()
    assert not table.loc["blocks.6.attn.q", "rank_match"]
    assert "NaN or Inf" in table.loc["blocks.5.attn.q", "B.basic.error"]
    assert table.loc["blocks.6.attn.q", "A.basic.max"] > 0
    # They take no part in the shares of the others.
    assert table["dW.energy_share"].sum() == pytest.approx(1)


def test_spectral_is_full_without_the_entries_of_the_updates():
    full, spectral = analyze_lora(mixed()), analyze_lora(mixed(), statistics="spectral")
    missing = set(full.columns) - set(spectral.columns)
    assert missing == {
        f"dW.{name}" for name in STATISTICS if name not in ("basic.mean", "basic.std", "norms.l2")
    }
    assert spectral.equals(full[list(spectral.columns)])


def test_energy_is_spectral_without_the_singular_values(monkeypatch):
    spectral = analyze_lora(mixed(), statistics="spectral")
    monkeypatch.setattr("core.insight.analysis.Measured", None)  # Nothing asks for them.
    energy = analyze_lora(mixed(), statistics="energy")
    columns = [*energy.columns.drop(["dW.norms.l2", "dW.energy_share"])]
    assert energy[columns].equals(spectral[columns])
    for column in ("dW.norms.l2", "dW.energy_share"):
        assert np.allclose(energy[column], spectral[column], rtol=1e-6, equal_nan=True)
    assert not [c for c in energy if "svd" in c or c.startswith(("A.n", "B.n", "effective"))]


def test_the_shares_compare_all_layers():
    table = analyze_lora(mixed(), statistics="spectral")
    norms, energies = table["dW.svd.spectral_norm"], table["dW.svd.energy_total"]
    softmax = np.exp(norms - norms.max())
    assert np.allclose(table["dW.softmax_norm"], softmax / softmax.sum())
    assert np.allclose(table["dW.energy_share"], energies / energies.sum())


def test_the_notebooks_arguments():
    state = mixed()
    table = analyze_lora(state, "cpu", torch.float64, svd_topk=3, svd_exact_max_elems=10)
    assert [c for c in table if c.startswith("dW.svd.s")][1:] == [f"dW.svd.s{i}" for i in (1, 2, 3)]
    assert table["dW.svd.spectral_norm"].notna().all()
    rows = analyze_lora(state, return_df=False)
    assert [row["layer"] for row in rows] == list(table["layer"])
    assert rows[0]["dW.basic.max"] == analyze_lora(state)["dW.basic.max"][0]


def test_layers_progress_and_cancelling():
    calls = []
    compute = Compute(progress=lambda *call: calls.append(call))
    table = analyze_lora(mixed(), layers="blocks.0, -*norm*", compute=compute)
    assert list(table["module"]) == ["blocks.0.attn.q"]
    assert calls == [(1, 1, "blocks.0.attn.q")]
    with pytest.raises(Cancelled):
        analyze_lora(mixed(), compute=Compute(cancelled=lambda: True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"statistics": "everything"}, "choose one of energy, spectral, full"),
        ({"svd_topk": 0}, "must be from 1 to"),
        ({"layers": "nothing"}, "matches no layer"),
        ({"device": "cuda:99"}, "cuda:99"),
    ],
)
def test_settings_that_make_no_sense(arguments, message):
    with pytest.raises(LoraError, match=message):
        analyze_lora(mixed(), **arguments)


def test_display_shows_the_sorted_table_and_returns_it(capsys):
    table = analyze_and_display(mixed(), sort_by="dW.norms.l1", ascending=True)
    assert table["dW.norms.l1"].is_monotonic_increasing
    assert "blocks.0.attn.q" in capsys.readouterr().out


def test_a_notebook_displays_the_table(monkeypatch):
    shown = []
    monkeypatch.setattr(builtins, "display", shown.append, raising=False)
    assert shown == [] and analyze_and_display(mixed()) is shown[0]


def test_the_functions_take_the_notebooks_arguments_in_its_order():
    norm = "dW.svd.spectral_norm"
    expected = {
        analyze_lora: "state_dict device dtype svd_topk svd_exact_max_elems return_df",
        analyze_and_display: "lora device dtype sort_by ascending",
        block_importance_from_softmax: "df layer_col norm_col pattern",
        top_blocks_by_threshold: "df threshold layer_col norm_col return_layers",
    }
    defaults = {"svd_topk": 8, "return_df": True, "sort_by": norm, "ascending": False}
    defaults |= {"layer_col": "layer", "norm_col": norm, "threshold": 0.9, "return_layers": False}
    for function, names in expected.items():
        found = inspect.signature(function).parameters
        assert list(found)[: len(names.split())] == names.split()
        for name in defaults.keys() & names.split():
            assert found[name].default == defaults[name]


def test_sorting_by_an_unknown_column_names_those_like_it():
    table = analyze_lora(mixed(), statistics="spectral")
    with pytest.raises(LoraError, match=r"no such column.*dW\.svd\.spectral_norm"):
        sort_table(table, "spectral_norm")
    with pytest.raises(LoraError, match="statistics=full"):
        sort_table(table, "dW.norms.l1")


def test_results_do_not_depend_on_the_number_of_workers():
    one = analyze_lora(mixed(), compute=Compute(workers=1))
    assert one.equals(analyze_lora(mixed(), compute=Compute(workers=3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "modules"),
    [
        ("flux", "single_blocks.7.linear2, double_blocks.3.txt_attn.proj"),  # 3072 x 15360
        ("qwen-image", "transformer_blocks.9.attn.to_q, transformer_blocks.9.txt_mlp.net.2"),
        ("sdxl", "input_blocks.4.1.*attn2.to_k, output_blocks.8.0.out_layers.3"),
        ("wan2.1-14b", "blocks.3.self_attn.o"),
        ("z-image", "layers.5.attention.qkv"),
    ],
)
def test_layers_of_full_size_equal_the_oracle(family, modules, tmp_path):
    path = tmp_path / "full.safetensors"
    generate(path, family, 6, modules=modules.replace(", ", ","))
    tensors = open_tensors(path)
    stored = {key: tensors[key] for key in tensors.info}
    updates = dense(stored)
    table = analyze_lora(path)
    assert np.isfinite(table[NUMBERS].astype(float)).all(axis=None)
    assert len(table) == len(updates)
    spectral = analyze_lora(path, statistics="spectral").set_index("layer")
    for _, row in table.iterrows():
        assert_row(row, "dW", oracle(updates[row["layer"]]))
        pair = [factor.float() for factor in factors(stored, row["layer"])]
        for tensor, factor in zip("BA", pair, strict=True):
            assert_row(row, tensor, oracle(factor))
        up, down = (factor.double().flatten(1) for factor in pair)
        small = torch.linalg.qr(up).R @ torch.linalg.qr(down.T).R.T * row["scale"]
        sigma = torch.linalg.svdvals(small)
        found = [row[f"dW.svd.s{i + 1}"] for i in range(6)]
        assert found == pytest.approx(sigma.tolist(), rel=1e-6)
        assert row["dW.svd.nuclear_norm"] == pytest.approx(float(sigma.sum()), rel=1e-6)
        shares = sigma / sigma.sum()
        entropy = float(-(shares * shares.log()).sum())
        assert row["effective_rank"] == pytest.approx(math.exp(entropy), rel=1e-6)
        assert row["stable_rank"] == pytest.approx(float((sigma / sigma[0]).square().sum()))
        for column in NUMBERS:
            if column in spectral:
                assert spectral.loc[row["layer"], column] == pytest.approx(row[column], rel=1e-9)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_the_largest_module_takes_less_than_300_mb():
    program = (
        "import torch; from core import Compute, analyze_lora; torch.manual_seed(0)\n"
        "state = {'blocks.0.lora_up.weight': torch.randn(21504, 32),\n"
        "         'blocks.0.lora_down.weight': torch.randn(32, 3072)}\n"
        "rows = analyze_lora(state, return_df=False, compute=Compute(workers=1))\n"
        "assert rows[0]['dW.sign.count'] == 21504 * 3072\n"
    )
    peak = anonymous_memory_peak(program, folder=Path(__file__).parents[3])
    assert peak < 300e6


ADAPTERS = sorted(
    path.name.removesuffix(".expected.safetensors")
    for path in (Path(__file__).parents[2] / "data" / "adapters").glob("*.expected.safetensors")
)


def test_every_column_and_chart_is_explained():
    root = Path(__file__).parents[3]
    text = (root / "docs" / "reading-an-analysis.md").read_text(encoding="utf-8")
    tables = text.partition("## The columns")[2].partition("## The charts")[0]
    spectral = set(analyze_lora(mixed(), statistics="spectral"))
    explained = []
    for line in re.findall(r"^\| (`.*?) \|", tables, re.M):
        if line.endswith("(*base*)"):  # Those of insight/base_statistics.py.
            continue
        for names, full in re.findall(r"`([^`]+)`( \(\*full\*\))?", line):
            columns = list(expand_braces(names))
            explained += columns
            assert all((column in spectral) != bool(full) for column in columns), names
    assert sorted(explained) == sorted([*notebook_columns(), *EXTRA_COLUMNS])
    headings = re.findall("^### (.*)$", text.partition("## The charts")[2], re.M)
    assert headings == list(CHARTS)
    for page in (
        "README.md",
        "web/docs/LoraAlloyLayerAnalysis.md",
        "web/docs/LoraAlloyTopBlocks.md",
    ):
        assert "docs/reading-an-analysis.md" in (root / page).read_text(encoding="utf-8"), page


@pytest.mark.parametrize("name", one_in(4, ADAPTERS))
def test_every_kind_as_its_own_library_writes_it(name):
    folder = Path(__file__).parents[2] / "data" / "adapters"
    expected = open_tensors(folder / f"{name}.expected.safetensors")
    table = analyze_lora(folder / f"{name}.safetensors")
    measured = table[table["not_measured"] == ""]
    assert list(table.columns)[:88] == NOTEBOOK
    # What depends on the base weights says so in every row; everything else is measured.
    depends = any(word in name for word in ("dora", "oft", "glora"))
    assert measured.empty == depends and (depends or len(measured) == len(table))
    assert measured["dW.svd.spectral_norm"].notna().all()
    if expected.metadata["comfyui"] != "same":
        return
    for _, row in measured.iterrows():
        key = row["layer"] + (".bias" if row["module"].endswith(".bias") else "")
        update = expected[key]
        assert_row(row, "dW", oracle(update.reshape(update.shape[0], -1), 8))
