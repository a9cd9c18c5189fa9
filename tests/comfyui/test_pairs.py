"""One LoRA in every ordered pair of spellings, for the families beyond those with a key map here.

What a name means is what ComfyUI's own key map says of it; the models are made small.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import product

import pytest

from benchmarks.key_maps import Target
from core import Blend, StateDict, blend
from tests import helpers
from tests.audit import known_fault
from tests.core.kinds import EXACT
from tests.core.small_models import Small
from tests.helpers import dense
from tests.key_maps import DIFFUSION_MODELS, load

MODELS = (
    *("Chroma", "Flux.2 dev", "HunyuanVideo", "SD3.5 medium", "Wan image-to-video"),
    *("LTX-Video 2B", "Lumina 2", "AuraFlow", "PixArt Alpha", "HiDream", "Krea 2"),
    *("Kandinsky 5 lite", "ACE-Step 1.5"),
)


def small(model: str) -> Small:
    """One weight of each name (numbers aside) whose sizes a quarter of the usual width divides."""
    grouped: dict[tuple, list[str]] = {}
    firsts: dict[str, str] = {}
    for entry in load(DIFFUSION_MODELS, model):
        if (
            known_fault(model, entry)
            or firsts.setdefault(re.sub(r"\d+", "#", entry.weight), entry.weight) != entry.weight
        ):
            continue
        piece = None if entry.shape == entry.whole else (0, entry.start, entry.shape[0])
        place = entry.weight, entry.whole, piece, entry.swapped
        grouped.setdefault(place, []).append(entry.raw)
    width = Counter(place[1][1] for place in grouped if len(place[1]) > 1).most_common(1)[0][0]
    fit = [p for p in grouped if not any(size % (width // 4) for size in p[1][:2])]
    return Small((Target(*place, tuple(grouped[place])) for place in fit), width // 4)


def without(tensors: StateDict, every: int) -> StateDict:
    """The file without every so many of its modules."""
    left_out = tuple(f"{raw}." for raw in sorted(dense(tensors))[1::every])
    return StateDict({k: t for k, t in tensors.items() if not k.startswith(left_out)})


@pytest.mark.parametrize("name", MODELS)
def test_a_blend_across_spellings_is_the_blend_within_one(name):
    model = small(name)
    styles = [style for style, weights in model.styles.items() if len(weights) > 3]
    assert len(styles) > 1
    for first, second in product(styles, styles):
        one = without(model.file(first, 2, "one"), 4)
        two = without(model.file(second, 3, "two"), 3)
        written = blend(one, two, Blend((0.7, -0.4), "full"), compute=EXACT).lora
        exact = model.weighted_sum((one, two), (0.7, -0.4))
        helpers.assert_close(model.meaning(written), exact, 1e-6)
