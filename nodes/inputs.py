"""Sockets and widgets that several nodes share, so that they look and read the same everywhere."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from ..core import DTYPE_CHOICES, SPELLING_CHOICES, LoraError, RankRule, Selector, one_of
from . import comfy_bridge

CATEGORY = "LoRA Alloy"

# ComfyUI's own type: a plain dict of tensors, what Train LoRA makes and Load LoRA Model takes.
LoraModel = io.Custom("LORA_MODEL")
# Of other packs: a list of (file in the loras folders, strength for the model, for the encoder).
LoraStack = io.Custom("LORA_STACK")
# The pandas DataFrame of Layer Analysis.
Analysis = io.Custom("LORA_ANALYSIS")

COMPUTE_DTYPES = ("float32", "float64")

LAYERS_TOOLTIP = (
    "Which layers, by their names as Load LoRA for Editing and Layer Analysis list them. Patterns "
    "separated by commas; * is anything, 0-9 a range of blocks, a leading - excludes: "
    "double_blocks.0-9, single_blocks.*, -*mod*. Empty: all layers."
)
# Advanced is the page's word for widgets that are folded away until asked for. DynamicCombo has
# no argument for it.
ADVANCED = {"advanced": True}


@cache
def _chinese() -> dict[str, list[str]]:
    path = Path(__file__).parents[1] / "locales/zh/search.json"
    found: dict[str, list[str]] = json.loads(path.read_text("ascii"))
    return found


def chinese(node_id: str) -> list[str]:
    """The words by which a node is found in Chinese, whatever the page's language."""
    return _chinese().get(node_id, [])


def lora_input(
    name: str = "lora", tooltip: str = "The LoRA to work on.", optional: bool = False
) -> Any:
    return LoraModel.Input(name, tooltip=tooltip, optional=optional)


def lora_output(name: str = "lora", tooltip: str = "The edited LoRA.") -> Any:
    return LoraModel.Output(name, display_name=name, tooltip=tooltip)


def base_inputs() -> list[Any]:
    """The base model, for LoRAs that say nothing without it."""
    return [
        io.Model.Input("base_model", optional=True,
                       tooltip="The model that the LoRA is for, as loaded. Only DoRA, GLoRA, OFT "
                       "and BOFT need it: with it they become plain LoRAs, and mix with others."),
        io.Clip.Input("base_clip", optional=True,
                      tooltip="The text encoders that the LoRA is for, where it is such a LoRA and "
                      "changes these, too."),
    ]  # fmt: skip


def report_output() -> Any:
    return io.String.Output(
        "report",
        display_name="report",
        tooltip="What was done to each layer, as Markdown. Connect it to Preview as Text.",
    )


def layers(effect: str) -> Any:
    return io.String.Input("layers", default="", tooltip=f"{effect} {LAYERS_TOOLTIP}")


def problem_of(layers: str | None, *checks: Callable[[], Any]) -> bool | str:
    """What a validate_inputs answers: True, or what is wrong with a selector or what a check says.

    A text is None where a wire brings it. Dynamic inputs are keywords of a validate_inputs: what
    it takes by position ComfyUI does not check itself, and repeats its answer for.
    """
    try:
        Selector.parse(layers)
        for check in checks:
            check()
    except LoraError as error:
        return str(error)
    return True


def rank_limits() -> list[Any]:
    """Limits of the ranks that a rule gives."""
    return [
        io.Int.Input("min_rank", default=1, min=1, max=4096, advanced=True,
                     tooltip="Every layer keeps at least this rank."),
        io.Int.Input("max_rank", default=0, min=0, max=4096, advanced=True,
                     tooltip="No layer keeps more than this rank. 0 is no limit."),
    ]  # fmt: skip


def compute_device() -> Any:
    return io.Combo.Input(
        "compute_device",
        options=comfy_bridge.device_options(),
        default="auto",
        advanced=True,
        tooltip="Where to compute. auto is the device that ComfyUI computes on; if its memory "
        "runs out, the CPU takes over. cpu is fast enough for most files.",
    )


def compute_dtype() -> Any:
    return io.Combo.Input(
        "compute_dtype",
        options=list(COMPUTE_DTYPES),
        default="float32",
        advanced=True,
        tooltip="The precision of the computation, whatever the file stores. float64 is slower "
        "and rarely changes a digit that matters.",
    )


def output_dtype() -> Any:
    return io.Combo.Input(
        "output_dtype",
        options=list(DTYPE_CHOICES),
        default="match",
        advanced=True,
        tooltip="The number format of the result: match keeps that of the (first) LoRA.",
    )


def spelling() -> Any:
    return io.Combo.Input(
        "spelling",
        options=list(SPELLING_CHOICES),
        default="match",
        advanced=True,
        tooltip="How the result names its layers: match keeps the names of the (first) LoRA; the "
        "others rename them for programs that read only one spelling. ComfyUI reads all of them.",
    )


def theme() -> Any:
    """The page sends light or dark for auto (web/); without its script auto is light."""
    return io.Combo.Input(
        "theme",
        options=["auto", "light", "dark"],
        default="auto",
        advanced=True,
        tooltip="The colours of the chart. auto is those of the page.",
    )


def theme_of(name: str) -> str:
    """What the library calls the theme of a widget."""
    return "light" if name == "auto" else name


def options_of(value: dict[str, Any] | None, name: str, keys: list[str]) -> dict[str, Any]:
    """What a DynamicCombo holds, as {name: chosen key, its parameters...}.

    ComfyUI leaves the argument out altogether where a saved key is not one of the options.
    """
    one_of(name, (value or {}).get(name), keys)
    assert value is not None
    return value


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype of a compute_dtype."""
    one_of("compute dtype", name, COMPUTE_DTYPES)
    return torch.float64 if name == "float64" else torch.float32


# The widget's words -> (the library's rule, the name of its number).
RULES = {
    "fixed rank": ("rank", "rank"),
    "energy": ("energy", "share"),
    "singular value ratio": ("sv_ratio", "ratio"),
    "cumulative": ("sv_cumulative", "share"),
    "Frobenius": ("sv_fro", "share"),
    "knee": ("knee", None),
    "file size in MB": ("megabytes", "megabytes"),
    "parameters": ("parameters", "parameters"),
}
BLEND_RULES = {"auto": ("auto", None), "everything (exact)": ("full", None), **RULES}


def rank_rule(name: str, rules: dict[str, tuple[str, str | None]]) -> Any:
    """How many ranks are kept, by one of these rules."""

    def share(default: float) -> Any:
        return io.Float.Input("share", default=default, min=0.001, max=1.0, step=0.001,
                              round=0.0001,
                              tooltip="How much each layer keeps: of its energy (the sum of "
                              "squared singular values), of the sum of its singular values, or of "
                              "its Frobenius norm. 1 keeps all.")  # fmt: skip

    numbers = {
        "fixed rank": [
            io.Int.Input("rank", default=16, min=1, max=4096,
                         tooltip="Every layer gets this rank, or its own where that is lower."),
        ],
        "energy": [share(0.95)],
        "singular value ratio": [
            io.Float.Input("ratio", default=10.0, min=1.0, max=1e6, step=0.1,
                           tooltip="Keep singular values of at least the largest divided by this."),
        ],
        "cumulative": [share(0.9)],
        "Frobenius": [share(0.975)],
        "file size in MB": [
            io.Float.Input("megabytes", default=50.0, min=0.01, max=1e5, step=0.1,
                           tooltip="The LoRA is at most this large (10^6 bytes; the workflow that "
                           "Save LoRA embeds is extra). The ranks go to the layers where they "
                           "matter most."),
        ],
        "parameters": [
            io.Int.Input("parameters", default=10_000_000, min=1, max=10**12,
                         tooltip="The LoRA has at most this many numbers, where they matter most."),
        ],
    }  # fmt: skip
    auto = "auto: the largest rank that the LoRAs have in each layer. everything: exact. "
    return io.DynamicCombo.Input(
        name,
        options=[io.DynamicCombo.Option(rule, numbers.get(rule, [])) for rule in rules],
        tooltip=(auto if "auto" in rules else "")
        + "How many ranks each layer keeps: the same number everywhere, as many as a share of its "
        "content needs, up to the knee of its spectrum, or what fits into a file size or a number "
        "of parameters.",
    )


def rank_rule_of(
    widget: dict[str, Any] | None,
    name: str,
    rules: dict[str, tuple[str, str | None]],
    min_rank: int = 1,
    max_rank: int = 0,
) -> RankRule:
    """The rule that such a widget describes."""
    chosen = options_of(widget, name, list(rules))
    rule, number = rules[chosen[name]]
    return RankRule(rule, float(chosen[number]) if number else 0.0, min_rank, max_rank or None)
