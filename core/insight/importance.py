"""Which blocks a LoRA lives in: importance per block, and the few that hold most of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import ceil, exp
from typing import TYPE_CHECKING, Any, Literal, overload

from ..deferred import np
from ..errors import FileError, SettingError, one_of
from ..naming.blocks import container_of, locate, network_order
from ..naming.numbers import number
from ..naming.recognition import recognise
from ..naming.spelling import resolve
from .base_statistics import RELATIVE_NORM

if TYPE_CHECKING:
    import pandas as pd

SOFTMAX, ENERGY, RELATIVE = "softmax", "energy", "relative"
IMPORTANCES = (SOFTMAX, ENERGY, RELATIVE)
SPECTRAL_NORM, FROBENIUS_NORM = "dW.svd.spectral_norm", "dW.norms.l2"


def block_importance_from_softmax(
    df: pd.DataFrame,
    layer_col: str = "layer",
    norm_col: str = SPECTRAL_NORM,
    pattern: str | None = None,
    temperature: float = 1.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(per block, per layer): the softmax of the layers' norms over `temperature`, block by block.

    `df` is an analysis, or any table with a column of names, `layer_col`, and one of norms,
    `norm_col`.

    Per block, most important first: `block`, `block_importance` (the sum of its layers' softmax),
    `layers` (their number), `max_norm`, `mean_norm`. Per layer, in the table's order: its
    `layer_col` and `norm_col`, `block`, `softmax_norm`. The shares of all blocks add up to 1;
    layers outside any block have none.

    `pattern` None takes the table's own blocks. They are called by their numbers, as in the
    notebook, where one container has all of them. A regular expression is searched in the layers'
    names and its first group is the block's number.

    Where the notebook was wrong:

    * its pattern, `transformer_blocks\\.(\\d+)`, is also found in `single_transformer_blocks.3`,
      and the double and single blocks of one number were added together: blocks of several
      containers have their names here, `double_blocks.3`;
    * it is not found in other trainers' names, and the inner index of SDXL's
      `input_blocks.4.1.transformer_blocks.0` is no block: the outer one counts here;
    * the softmax of raw norms depends on the scale of the file: there is a `temperature`, and
      `block_importance_from_energy` beside it.

    Raises FileError, a ValueError, when no layer of a block has a finite norm, and SettingError for
    a temperature that is not above 0.

    >>> table = core.analyze_lora(core.samples()[1], "cpu", statistics="spectral")
    >>> blocks, layers = core.block_importance_from_softmax(table)
    >>> blocks["block"].iloc[0], round(float(layers["softmax_norm"].sum()), 6)
    ('double_blocks.0', 1.0)
    """
    blocks, layers = _softmax_importance(df, layer_col, norm_col, pattern, temperature)
    names = blocks["block"].astype(str)
    numbered = names.str.fullmatch(r".*\.\d+").all() and names.map(container_of).nunique() == 1
    if pattern is None and numbered:
        for table in (blocks, layers):
            table["block"] = [int(str(name).rpartition(".")[2]) for name in table["block"]]
    return blocks, layers


def _softmax_importance(
    df: pd.DataFrame, layer_col: str, norm_col: str, pattern: str | None, temperature: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """block_importance_from_softmax with the blocks' names."""
    if not temperature > 0:
        raise SettingError(f"temperature {temperature:g} must be above 0", fix="1 is a good start")

    def softmax(norms: pd.Series[float]) -> pd.Series[float]:
        exponents = ((norms - norms.max()) / temperature).map(exp)
        return exponents / exponents.sum()

    return _importance(df, layer_col, norm_col, pattern, "softmax_norm", softmax)


def block_importance_from_energy(
    df: pd.DataFrame,
    layer_col: str = "layer",
    norm_col: str = FROBENIUS_NORM,
    pattern: str | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As block_importance_from_softmax, with each layer's share of the sum of squared norms.

    `df`, `layer_col`, `norm_col` and `pattern` are those of that function. Blocks have their names.
    The column of the layers' shares is `energy_share`. With Frobenius norms this is the energy: all
    singular values count, and the scale of the file does not. Where every layer is zero all layers
    are equally important.

    >>> table = core.analyze_lora(core.samples()[1], "cpu", statistics="spectral")
    >>> blocks, _ = core.block_importance_from_energy(table)
    >>> blocks["block"].iloc[0]
    'double_blocks.1'
    """

    def energy(norms: pd.Series[float]) -> pd.Series[float]:
        squares = norms**2
        return squares / squares.sum() if squares.sum() > 0 else squares * 0 + 1 / len(squares)

    return _importance(df, layer_col, norm_col, pattern, "energy_share", energy)


def importance_table(
    df: pd.DataFrame, importance: str = SOFTMAX, temperature: float = 1.0
) -> pd.DataFrame:
    """Importance per block, most important first, with a running `cumulative` column.

    `df` is an analysis; `importance` is softmax (with its `temperature`), energy, or relative:
    energy of the norms relative to those of the base model's weights, where the LoRA was opened
    with that. Raises SettingError for an unknown importance or one that was not measured, FileError
    where nothing was.

    >>> table = core.analyze_lora(core.samples()[1], "cpu", statistics="spectral")
    >>> list(core.importance_table(table, core.ENERGY)["block"][:2])
    ['double_blocks.1', 'double_blocks.0']
    """
    one_of("importance", importance, IMPORTANCES)
    if importance == ENERGY:
        blocks, _ = block_importance_from_energy(df)
    elif importance == RELATIVE:
        if RELATIVE_NORM not in df.columns:
            raise SettingError(
                "importance relative: the LoRA was measured without its base model",
                fix="give the base model (base)",
                file=df.attrs.get("lora", ""),
            )
        blocks, _ = block_importance_from_energy(df, norm_col=RELATIVE_NORM)
    else:
        blocks, _ = _softmax_importance(df, "layer", SPECTRAL_NORM, None, temperature)
    return blocks.assign(cumulative=blocks["block_importance"].cumsum())


@overload
def top_blocks_by_threshold(
    df: pd.DataFrame,
    threshold: float = ...,
    layer_col: str = ...,
    norm_col: str = ...,
    return_layers: Literal[False] = ...,
    pattern: str | None = ...,
    temperature: float = ...,
) -> pd.DataFrame: ...


@overload
def top_blocks_by_threshold(
    df: pd.DataFrame,
    threshold: float = ...,
    layer_col: str = ...,
    norm_col: str = ...,
    *,
    return_layers: Literal[True],
    pattern: str | None = ...,
    temperature: float = ...,
) -> tuple[pd.DataFrame, pd.DataFrame]: ...


def top_blocks_by_threshold(
    df: pd.DataFrame,
    threshold: float = 0.90,
    layer_col: str = "layer",
    norm_col: str = SPECTRAL_NORM,
    return_layers: bool = False,
    pattern: str | None = None,
    temperature: float = 1.0,
) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
    """The smallest set of blocks whose softmax importance reaches the `threshold`.

    The rows of block_importance_from_softmax up to there, with a running `cumulative` column;
    `return_layers` adds the layers of these blocks. `df`, `layer_col`, `norm_col`, `pattern` and
    `temperature` are those of that function. Where the notebook was wrong: see there; and a
    threshold of 0.9 is reached by a sum of 0.8999999999999999, which is rounding. Raises
    SettingError, a ValueError, for a threshold outside (0, 1].

    >>> table = core.analyze_lora(core.samples()[1], "cpu", statistics="spectral")
    >>> list(core.top_blocks_by_threshold(table, 0.7)["block"])
    ['double_blocks.0', 'single_blocks.0']
    """
    blocks, layers = block_importance_from_softmax(df, layer_col, norm_col, pattern, temperature)
    blocks = blocks.assign(cumulative=blocks["block_importance"].cumsum())
    chosen = up_to(blocks, threshold)
    if not return_layers:
        return chosen
    return chosen, layers[layers["block"].isin(chosen["block"])].reset_index(drop=True)


def up_to(blocks: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """The first rows of an importance table whose cumulative importance reaches the threshold."""
    if not 0 < threshold <= 1:
        problem = f"threshold {threshold:g} must be above 0 and at most 1"
        raise SettingError(problem, fix="0.9 is a good start")
    if threshold == 1:
        return blocks
    # Of a sum of shares the last digits are rounding: 0.8999999999999999 reaches 0.9.
    return blocks.head(int((blocks["cumulative"] < threshold - 1e-12).sum()) + 1)


def _importance(
    df: pd.DataFrame,
    layer_col: str,
    norm_col: str,
    pattern: str | None,
    share_col: str,
    shares: Callable[[pd.Series[float]], pd.Series[float]],
) -> tuple[pd.DataFrame, pd.DataFrame]:

    for column in (layer_col, norm_col):
        if column not in df.columns:
            problem = f"the table has no column {column!r}"
            raise SettingError(problem, fix="take one that comes from analyze_lora")
    layers = df[[layer_col, norm_col]].astype({norm_col: float})
    layers["block"] = _blocks(df, layer_col, pattern)
    layers = layers[np.isfinite(layers[norm_col]) & layers["block"].notna()].reset_index(drop=True)
    if layers.empty:
        raise FileError(
            f"no layer of a block has a finite {norm_col}: nothing to compare",
            fix="take a LoRA of which something can be measured, or a pattern that fits its names",
            file=df.attrs.get("lora", "analysis"),
        )
    layers[share_col] = shares(layers[norm_col])
    blocks = (
        layers.groupby("block", sort=False)
        .agg(
            block_importance=(share_col, "sum"),
            layers=(layer_col, "size"),
            max_norm=(norm_col, "max"),
            mean_norm=(norm_col, "mean"),
        )
        .reset_index()
        .sort_values("block_importance", ascending=False, kind="stable")
        .reset_index(drop=True)
    )
    return blocks, layers


def _blocks(df: pd.DataFrame, layer_col: str, pattern: str | None) -> list[Any]:
    if pattern is not None:
        found = (re.search(pattern, layer) for layer in df[layer_col])
        return [number(match[1]) if match else None for match in found]
    if "block" in df.columns:
        return list(df["block"].where(df["block"].notna(), None))
    family = recognise({name: () for name in df[layer_col]}).family
    return [locate(resolve(layer, family).canonical).block for layer in df[layer_col]]


WORDS = {
    ENERGY: "energy",
    SOFTMAX: "softmax of the spectral norms",
    RELATIVE: "energy relative to the base model's",
}


def explain(
    table: pd.DataFrame, importance: str, threshold: float, chosen: Sequence[str] | None = None
) -> list[str]:
    """What an importance `table` says, in a few plain sentences.

    `importance` is what it was made with, softmax or energy. `threshold` says how much the chosen
    blocks are to hold; `chosen` None takes the smallest set that does.

    >>> table = core.analyze_lora(core.samples()[1], "cpu", statistics="spectral")
    >>> blocks = core.importance_table(table, core.ENERGY)
    >>> core.explain(blocks, core.ENERGY, 0.8)[0]
    '80 % of the energy sits in 4 of 6 blocks (81.86%): double_blocks.1, ...'
    """
    blocks = list(table["block"])
    chosen = list(up_to(table, threshold)["block"]) if chosen is None else list(chosen)
    what = WORDS[importance]
    shown = ", ".join(chosen[:6]) + (f" and {len(chosen) - 6} more" if len(chosen) > 6 else "")
    reached = float(table["cumulative"][len(chosen) - 1])
    lines = [
        f"{100 * threshold:g} % of the {what} sits in {len(chosen)} of {len(blocks)} blocks "
        f"({reached:.2%}): {shown}"
    ]
    if importance == SOFTMAX and len(blocks) > 2:
        lines += _softmax_advice(table)
    elif len(blocks) > 2 and len(chosen) > threshold * 0.75 * len(blocks):
        lines.append("it is spread over the blocks: lower the ranks rather than drop blocks")
    containers: dict[str, float] = {}
    for block, share in zip(blocks, table["block_importance"], strict=True):
        name = container_of(str(block))
        containers[name] = containers.get(name, 0.0) + float(share)
    if len(containers) > 1:
        order = sorted(containers, key=network_order)
        shares = ", ".join(f"{name} {containers[name]:.1%}" for name in order)
        lines.append(f"{what} by container: {shares}")
    return lines


def _softmax_advice(table: pd.DataFrame) -> list[str]:
    """A softmax that has collapsed to few blocks or tells none apart, and what to do."""
    shares, norms = table["block_importance"], table["max_norm"]
    spread = float(norms.max() - norms.median())
    # At this temperature the strongest block counts e times as much as a middling one.
    hint = f"temperature (about {spread:.2g})" if spread > 0 else "temperature"
    if shares.iloc[0] > 0.9:
        return [
            f"the softmax has collapsed to one block ({shares.iloc[0]:.2%}): raise the {hint} or "
            "use energy"
        ]
    if shares.iloc[0] < 2 / len(shares) and shares.iloc[: ceil(len(shares) / 10)].sum() < 0.2:
        return [
            "the softmax hardly tells the blocks apart, as the norms are small: lower the "
            f"{hint} or use energy"
        ]
    return []
