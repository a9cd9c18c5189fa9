"""Top Blocks Filter: the few blocks that carry most of a LoRA, and the rest."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..core import (
    TRAINERS,
    Edited,
    EmptyRest,
    Lora,
    LoraError,
    Output,
    StateDict,
    chart,
    choose_blocks,
    quoting,
    top_blocks,
    trainer_config,
)
from . import comfy_bridge, inputs
from .inputs import CATEGORY, Analysis, chinese, options_of
from .pictures import image_of
from .wires import named, shown

# The widget's words -> the library's.
IMPORTANCES = {
    "energy share": "energy",
    "softmax": "softmax",
    "relative to the base": "relative",
}


class LoraAlloyTopBlocks(io.ComfyNode):
    """A thin shell around core's top blocks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloyTopBlocks",
            display_name="Top Blocks Filter",
            category=CATEGORY,
            description="Finds the smallest set of blocks that holds most of a LoRA, and keeps "
            "(or removes) exactly those. Also writes the settings for training only them.",
            search_aliases=["lora alloy", "block filter", "important blocks", "lora block weight",
                            "prune lora", "train fewer blocks",
                            *chinese("LoraAlloyTopBlocks")],
            inputs=[
                inputs.lora_input(tooltip="The LoRA to take apart."),
                Analysis.Input("analysis", optional=True,
                               tooltip="From LoRA Layer Analysis of all layers of this LoRA; "
                               "without it the LoRA is measured here."),
                io.Float.Input("threshold", default=0.9, min=0.01, max=1.0, step=0.01,
                               tooltip="How much of the whole importance the chosen blocks hold "
                               "together."),
                io.DynamicCombo.Input(
                    "importance",
                    options=[
                        io.DynamicCombo.Option("energy share", []),
                        io.DynamicCombo.Option("softmax", [
                            io.Float.Input("temperature", default=1.0, min=0.01, max=1000.0,
                                           step=0.01,
                                           tooltip="Higher spreads the importance over more "
                                           "blocks. Raise it where one block takes all."),
                        ]),
                        io.DynamicCombo.Option("relative to the base", []),
                    ],
                    tooltip="How important a block is. energy share: its part of the sum of all "
                    "squared singular values. softmax: of the layers' largest singular values, "
                    "which collapses to few layers where a LoRA is strong. relative to the base: "
                    "of sizes relative to the base model's weights; it needs an analysis with "
                    "base_model connected.",
                ),
                io.Combo.Input("mode", options=["keep", "remove"], default="keep",
                               tooltip="keep: the LoRA keeps only the top blocks. remove: it "
                               "keeps everything else."),
                io.Combo.Input("other_layers", options=["keep", "remove"], default="keep",
                               tooltip="What happens to layers outside any block, such as "
                               "embeddings and the final layer."),
                io.String.Input("always", default="", advanced=True,
                                tooltip="Blocks or layers that stay in any case. "
                                + inputs.LAYERS_TOOLTIP),
                inputs.compute_device(),
                inputs.theme(),
            ],
            outputs=[
                inputs.lora_output(tooltip="The LoRA with the chosen blocks."),
                inputs.lora_output("rest", "Everything that lora has not; both applied together "
                                   "are the original."),
                io.String.Output("blocks", display_name="blocks",
                                 tooltip="The top blocks, such as double_blocks.13-18, as text "
                                 "that fits the layers inputs of the other nodes."),
                io.String.Output("trainer_config", display_name="trainer_config",
                                 tooltip="Settings for ai-toolkit, kohya, diffusion-pipe and PEFT "
                                 "that train only the top blocks."),
                io.Image.Output("chart", display_name="chart",
                                tooltip="Cumulative importance with the threshold. It is shown on "
                                "the node, too."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, always: str = "", *, importance: Any = None) -> bool | str:
        return inputs.problem_of(always)

    @classmethod
    def execute(
        cls,
        lora: comfy_bridge.LoraModel,
        threshold: float,
        mode: str,
        other_layers: str,
        always: str,
        compute_device: str,
        theme: str,
        analysis: Any = None,
        importance: dict[str, Any] | None = None,
    ) -> io.NodeOutput:

        chosen = options_of(importance, "importance", list(IMPORTANCES))
        by, temperature = IMPORTANCES[chosen["importance"]], chosen.get("temperature", 1.0)
        source = named(lora, "lora")
        opened = Lora(source)
        choice, notes = comfy_bridge.compute(
            lambda compute: choose_blocks(opened, threshold, by, temperature, analysis, compute),
            compute_device,
            torch.float32,
            [source],
        )
        for note in notes:
            comfy_bridge.log.warning(note)
        settings: dict[str, Any] = {"mode": mode, "always": always, "other_layers": other_layers}
        kept: Edited
        rest: Any
        try:
            kept, remaining = top_blocks(opened, choice, rest=Output(), **settings)
            rest = _named(remaining, source)
        except EmptyRest as error:
            # Without a rest there is still a LoRA; only what needs the rest fails.
            kept, _ = top_blocks(opened, choice, **settings)
            rest = comfy_bridge.blocked(f"Top Blocks Filter has no rest: {error}")
        picture = image_of(
            chart(
                choice.analysis,
                "cumulative",
                by,
                temperature,
                threshold,
                theme=inputs.theme_of(theme),
            )
        )
        return io.NodeOutput(
            _named(kept, source),
            rest,
            choice.selector,
            trainer_configs(opened, choice.blocks),
            picture,
            ui=ui.PreviewImage(picture, cls=cls).as_dict() | shown(*choice.text, *notes),
        )


def _named(part: Edited | None, source: StateDict) -> StateDict:
    assert part is not None and isinstance(part.lora, StateDict)
    part.lora.name = f"part of {source.name}"
    return part.lora


def trainer_configs(lora: Lora, blocks: Sequence[str]) -> str:
    """What to paste into each trainer to train only these blocks, as Markdown."""
    parts = []
    for trainer in TRAINERS:
        try:
            config = trainer_config(trainer, lora, blocks)
            # No name of a block ends the fence early.
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", config)), default=0))
            text = f"{fence}\n{config}\n{fence}"
        except LoraError as error:
            text = quoting.markdown(str(error))  # not every trainer can do it for every model
        parts.append(f"### {trainer}\n\n{text}")
    return "\n\n".join(parts)
