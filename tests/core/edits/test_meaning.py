"""What a page shows of block weights and selectors is what the edits do with them."""

import pytest

from core import Blend, Lora, SettingError, blend, layer_weights, samples, select, selected_layers

STYLE, CHARACTER = samples()


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["double_blocks.0: 0.5, 0\n*proj: 0.25", "lbw=NONE/ALL", "unet: 0, 1"]
)
def test_shown_weights_are_those_of_the_blend(text):
    weights, _ = layer_weights([Lora(STYLE), Lora(CHARACTER)], text)
    seen = {}

    def rule(name, raws):
        seen[name] = weights.get(name, [1.0, 1.0])
        return seen[name]

    shown = blend([STYLE, CHARACTER], settings=Blend(rank="full"), block_rule=rule).lora
    done = blend([STYLE, CHARACTER], settings=Blend(rank="full", block_weights=text)).lora
    assert weights and shown.keys() == done.keys()
    assert all(shown[key].equal(done[key]) for key in done)


def test_shown_layers_are_those_that_are_selected():
    text = "double_blocks.0-9, -*mod*, single_blocks.7"
    shown, notes = selected_layers([Lora(STYLE)], text)
    kept, _ = select(STYLE, text)
    assert sorted(shown) == sorted(row.module for row in kept.report.modules)
    assert notes == [note for note in kept.report.notes if "has no such layers" in note]


def test_a_text_that_cannot_be_read_is_the_error_of_the_edit():
    with pytest.raises(SettingError, match="cannot be read"):
        layer_weights([Lora(STYLE)], "double_blocks.0: 0.5, 0.7")
    with pytest.raises(SettingError, match="did you mean double_blocks"):
        selected_layers([Lora(STYLE)], "duble_blocks")
    with pytest.raises(SettingError, match="no LoRA"):
        layer_weights([], "")
