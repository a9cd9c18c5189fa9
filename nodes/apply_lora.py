"""Apply LoRA: a LORA_MODEL onto a model and its text encoder."""

from typing import Any

from comfy_api.latest import io

from ..core import SettingError, quoting
from . import comfy_bridge, inputs
from .fit import check_fit
from .inputs import CATEGORY, chinese
from .wires import named, shown


class LoraAlloyApply(io.ComfyNode):
    """Core's Load LoRA for a LoRA that is already in the graph, and that says what did not fit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        def strength(name: str, of: str) -> Any:
            tooltip = f"How strongly to change {of}. May be negative."
            return io.Float.Input(
                name, default=1.0, min=-100.0, max=100.0, step=0.01, tooltip=tooltip
            )

        return io.Schema(
            node_id="LoraAlloyApply",
            display_name="Apply LoRA",
            category=CATEGORY,
            description="Applies a LoRA from the graph to a model, its text encoder, or both, "
            "exactly as core's Load LoRA applies a file. A LoRA for another model is an error "
            "instead of a picture without it.",
            search_aliases=["lora alloy", "use lora", "load lora model", "lora to model",
                            "lora clip", "lora strength",
                            *chinese("LoraAlloyApply")],
            inputs=[
                io.Model.Input("model", optional=True, tooltip="The diffusion model to change."),
                io.Clip.Input("clip", optional=True,
                              tooltip="The text encoder to change, for LoRAs that have layers "
                              "for it."),
                inputs.lora_input(tooltip="The LoRA to apply."),
                strength("strength_model", "the diffusion model"),
                strength("strength_clip", "the text encoder"),
            ],
            outputs=[
                io.Model.Output("model", display_name="model",
                                tooltip="The model with the LoRA applied."),
                io.Clip.Output("clip", display_name="clip",
                               tooltip="The text encoder with the LoRA applied."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        lora: comfy_bridge.LoraModel,
        strength_model: float,
        strength_clip: float,
        model: Any = None,
        clip: Any = None,
    ) -> io.NodeOutput:
        if model is None and clip is None:
            raise SettingError(
                "Apply LoRA: nothing to apply it to", fix="connect a model, a clip or both"
            )
        source = named(lora, "lora")
        fit = check_fit(source, model, clip)
        if fit.partial:
            comfy_bridge.log.warning(quoting.terminal(f"{fit.name}: {fit.summary()}"))
        if strength_model != 0 or strength_clip != 0:
            model, clip = comfy_bridge.apply_lora(
                model, clip, source, strength_model, strength_clip
            )
        return io.NodeOutput(
            comfy_bridge.blocked("Apply LoRA: no model is connected") if model is None else model,
            comfy_bridge.blocked("Apply LoRA: no clip is connected") if clip is None else clip,
            ui=shown(*fit.facts()),
        )
