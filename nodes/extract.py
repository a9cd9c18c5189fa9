"""LoRA Extract: what a fine-tuned model changed in its base model, as a LoRA."""

from typing import Any

from comfy_api.latest import io, ui

from ..core import WHOLE_METHODS, Output, curve_chart, extract
from . import comfy_bridge, inputs
from .inputs import CATEGORY, RULES, chinese
from .pictures import image_of
from .wires import edited

EXTRACT_RULES = {**RULES, "everything (exact)": ("full", None)}


class LoraAlloyExtract(io.ComfyNode):
    """A thin shell around core.extract."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloyExtract",
            display_name="LoRA Extract",
            category=CATEGORY,
            description="Makes a LoRA of two models: what a fine-tuned model changed in the model "
            "that it was made of. The chart says what each rank would keep.",
            search_aliases=["lora alloy", "extract lora", "lora from model", "lora from checkpoint",
                            "model difference", "model subtract", "svd",
                            *chinese("LoraAlloyExtract")],
            inputs=[
                io.Model.Input("model_tuned", tooltip="The model with the changes. LoRAs that are "
                               "on it count, too."),
                io.Model.Input("model_base", tooltip="The model that it was made of, of the same "
                               "architecture."),
                io.Clip.Input("clip_tuned", optional=True,
                              tooltip="The text encoders with the changes, where the LoRA is to "
                              "have these, too. Needs clip_base."),
                io.Clip.Input("clip_base", optional=True,
                              tooltip="The text encoders that these were made of."),
                inputs.rank_rule("rule", EXTRACT_RULES),
                inputs.layers("Take only the changes of these layers."),
                *inputs.rank_limits(),
                io.Combo.Input("method", options=list(WHOLE_METHODS), default=WHOLE_METHODS[0],
                               advanced=True,
                               tooltip="randomised finds what is asked for and measures what is "
                               "left. exact decomposes every difference as a whole, which takes "
                               "minutes."),
                io.Boolean.Input("vectors", default=False, advanced=True,
                                 tooltip="Take the changes of norms and biases, too, as they are. "
                                 "ComfyUI reads them; many other programs do not."),
                inputs.compute_device(),
                inputs.output_dtype(),
                inputs.spelling(),
                inputs.theme(),
            ],
            outputs=[
                inputs.lora_output(tooltip="The LoRA: on the base model it gives the tuned one."),
                inputs.report_output(),
                io.Image.Output("chart", display_name="chart",
                                tooltip="What each rank keeps, against the size of the file. It is "
                                "shown on the node, too."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, layers: str = "", *, rule: Any = None) -> bool | str:
        return inputs.problem_of(layers)

    @classmethod
    def execute(
        cls,
        model_tuned: Any,
        model_base: Any,
        layers: str,
        min_rank: int,
        max_rank: int,
        method: str,
        vectors: bool,
        compute_device: str,
        output_dtype: str,
        spelling: str,
        theme: str,
        clip_tuned: Any = None,
        clip_base: Any = None,
        rule: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        settings = inputs.rank_rule_of(rule, "rule", EXTRACT_RULES, min_rank, max_rank)
        tuned = comfy_bridge.base_model(model_tuned, clip_tuned, compute_device)
        base = comfy_bridge.base_model(model_base, clip_base, compute_device)
        tuned.tensors.name, base.tensors.name = "model_tuned", "model_base"
        output = Output(dtype=output_dtype, spelling=spelling)
        result, notes = comfy_bridge.compute(
            lambda compute: extract(
                tuned, base, settings, layers, output, compute, method, vectors
            ),
            compute_device,
            inputs.dtype_of("float32"),
            [],
            base,
        )
        notes += comfy_bridge.patched_note("model_tuned", model_tuned, clip_tuned)
        notes += comfy_bridge.patched_note("model_base", model_base, clip_base)
        lora, report, status = edited(result, notes, "extracted LoRA")
        if not result.curve.points:
            return io.NodeOutput(lora, report, None, ui=status)
        chart = image_of(curve_chart(result.curve, inputs.theme_of(theme)))
        preview = ui.PreviewImage(chart, cls=cls).as_dict()
        return io.NodeOutput(lora, report, chart, ui=preview | status)
