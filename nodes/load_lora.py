"""Load LoRA for Editing: a file of the loras folder onto a LORA_MODEL wire."""

from comfy_api.latest import io

from ..core import Lora, Output, Reading, StateDict, convert, describe, quoting, summary
from . import comfy_bridge
from .inputs import CATEGORY, chinese, lora_output, problem_of


class LoraAlloyLoad(io.ComfyNode):
    """Reads the file again whenever it changed on disk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloyLoad",
            display_name="Load LoRA for Editing",
            category=CATEGORY,
            description="Opens a LoRA file for the other LoRA Alloy nodes, with everything in it: "
            "all tensors and the metadata. It does not touch a model; use Apply LoRA for that.",
            search_aliases=[
                "lora alloy",
                "open lora",
                "lora file",
                "lora info",
                "lora metadata",
                *chinese("LoraAlloyLoad"),
            ],
            inputs=[
                io.Combo.Input(
                    "lora_name",
                    options=comfy_bridge.lora_names(),
                    tooltip="A .safetensors file in one of ComfyUI's loras folders. A file that "
                    "is replaced on disk is read again.",
                ),
                io.Boolean.Input(
                    "drop_magnitude",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Read DoRA as its low-rank part alone, which can be blended and "
                    "resized. That is not the update that was trained.",
                ),
                io.Boolean.Input(
                    "scale_from_metadata",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Scale as diffusers does by the alpha in the metadata, which ComfyUI "
                    "ignores. info says where the two differ.",
                ),
            ],
            outputs=[
                lora_output(tooltip="The whole file: blend, resize, analyse, apply or save it."),
                io.String.Output(
                    "info",
                    display_name="info",
                    tooltip="What is in the file: model family, ranks, kinds, training metadata. "
                    "Connect it to Preview as Text.",
                ),
                io.String.Output(
                    "trigger_words",
                    display_name="trigger_words",
                    tooltip="The words for the prompt that the file names, separated by commas.",
                ),
                io.String.Output(
                    "metadata",
                    display_name="metadata",
                    tooltip="All that the file says about itself, one 'key: value' a line, as the "
                    "metadata input of Save LoRA takes it.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, lora_name: str | None = None) -> bool | str:
        return problem_of("", lambda: lora_name and Lora(comfy_bridge.existing_lora(lora_name)))

    @classmethod
    def fingerprint_inputs(
        cls, lora_name: str, drop_magnitude: bool = False, scale_from_metadata: bool = False
    ) -> str:
        return comfy_bridge.lora_fingerprint(lora_name)

    @classmethod
    def execute(
        cls, lora_name: str, drop_magnitude: bool = False, scale_from_metadata: bool = False
    ) -> io.NodeOutput:
        lora = comfy_bridge.load_lora(lora_name)
        reading = Reading(drop_magnitude, scale_from_metadata)
        opened = Lora(lora, reading=reading)
        if reading != Reading():
            lora = _as_read(opened)
        facts = describe(opened)
        return io.NodeOutput(
            lora,
            "\n".join(f"* {quoting.markdown(line)}" for line in summary(opened)),
            ", ".join(facts["trigger_words"]),
            "\n".join(map(_line, sorted(facts["metadata"].items()))),
        )


def _line(entry: tuple[str, str]) -> str:
    """An entry in a line: what has several of them is JSON's business to quote, and mostly is."""
    key, value = entry
    return f"{key}: " + " ".join(value.splitlines())


def _as_read(opened: Lora) -> StateDict:
    """What the file means in this reading, for every node that follows, ComfyUI's own too."""
    lora = convert(opened, Output(), comfy_bridge.interruptible()).lora
    assert isinstance(lora, StateDict)
    lora.name = opened.name
    return lora
