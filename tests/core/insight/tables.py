"""Analyses of full-size files, to draw and to read."""

import functools

import pandas as pd

from benchmarks.modules import select
from core import analyze_lora
from tests.helpers import KOHYA, lora


def state_of(family: str) -> dict:
    """A LoRA with every module of a full-size file, the weights small; spectra that differ."""
    state = {}
    encoders = family.startswith("sd")
    for number, module in enumerate(select(family, "kohya", text_encoders=encoders)):
        shape = (10, 9, *[1] * (len(module.shape) - 2))
        state |= lora(module.name, shape, 4, KOHYA, 0.1 + (number * 7 % 13), seed=number)
    return state


@functools.cache
def table_of(family: str) -> pd.DataFrame:
    return analyze_lora(state_of(family), statistics="spectral")
