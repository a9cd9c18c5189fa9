"""A LoRA in Python: chains of edits are the edits, and nothing that it shows is obeyed.

Also of html.py: it is what notebooks show.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import core
from tests.helpers import dense, error, lora_file, same_bits

NAMES = ["blocks.0.attn", "blocks.1.attn"]
ROOT = Path(__file__).parents[3]


def test_a_chain_is_the_edits_one_after_another(tmp_path):
    first, second = lora_file(NAMES, seed=1), lora_file(NAMES, seed=2)
    chain = core.Lora(first).blend(second, weights=(0.5, 2.0)).resize(rank=3)
    exact = dense(first)[NAMES[0]] * 0.5 + dense(second)[NAMES[0]] * 2
    u, s, v = torch.linalg.svd(exact, full_matrices=False)
    best = u[:, :3] @ torch.diag(s[:3]) @ v[:3]
    path = chain.save(tmp_path / "o.safetensors", dtype="fp32", title="mine")
    written = core.load(path)
    assert error(dense(written)[NAMES[0]], best) < 1e-5
    assert written.metadata["title"] == "mine" and chain.report.operation == "resize"
    # The same as the functions.
    edited = core.blend(first, second, core.Blend((0.5, 2.0), "full"))
    assert same_bits(
        core.resize(edited.lora, core.RankRule("rank", 3)).lora, chain.original.state_dict
    )


def test_every_edit_is_a_method():
    style = core.Lora(core.samples()[0])
    assert len(style.select("double_blocks").modules) == 20
    assert style.convert("kohya", "fp16").spelling.name == "kohya"
    assert style.resize("double_blocks", energy=0.5, min_rank=2).report.rank_summary() == "2 to 8"
    for wrong in ({}, {"rank": 2, "energy": 0.5}):
        with pytest.raises(core.SettingError):
            style.resize(**wrong)


def test_the_table_is_what_the_file_says():
    character = core.Lora(core.samples()[1])
    table = character.table
    assert list(table["module"]) == list(character.modules)
    assert list(table["rank"]) == [module.rank for module in character.modules.values()]
    assert table["bytes"].sum() == character.bytes


def test_what_is_shown_is_short_and_means_nothing():
    state = core.StateDict(lora_file(NAMES), {"ss_output_name": "<script>x</script>"}, "<b>\x1b[1m")
    lora = core.Lora(state)
    page = lora._repr_html_()
    assert "<script>" not in page and "<b>" not in page and "\x1b" not in page
    assert page.count("<div") == 2 and len(repr(lora)) < 150
    style = core.samples()[0]
    edited = core.resize(style, core.RankRule("rank", 2))
    assert len(repr(edited)) < 200 and "resize" in repr(edited)
    assert "|" in edited._repr_markdown_() and len(edited._repr_markdown_()) < 5000


@pytest.mark.slow
def test_the_package_is_the_library_and_the_program(tmp_path):
    """`import lora_alloy`, and `python -m lora_alloy`, as they are where it is installed."""
    (tmp_path / "lora_alloy").symlink_to(ROOT)
    code = (
        "import sys, lora_alloy; assert 'torch' not in sys.modules;"
        "lora = lora_alloy.Lora(lora_alloy.samples()[1])\n"
        "print(lora, hasattr(lora_alloy, 'NODE_CLASS_MAPPINGS'))"
    )
    for words in (["-c", code], ["-m", "lora_alloy", "info", "lora_alloy/core/samples/"]):
        run = [sys.executable, *words]
        result = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0 and "Flux" in result.stdout, result.stderr
        assert "True" not in result.stdout
