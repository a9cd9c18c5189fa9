"""LoRA Find: what the loras folders have of a LoRA."""

import torch
from comfy_api.latest import io

from ..core import Neighbour, StateDict, markdown_table, neighbours, quoting
from . import comfy_bridge, inputs
from .inputs import CATEGORY, chinese
from .wires import named, shown

# Relations of files that have to do with it, the nearest first.
NEAR = ("copy", "same in other names", "related")


class LoraAlloyFind(io.ComfyNode):
    """A thin shell around core.neighbours."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloyFind",
            display_name="LoRA Find",
            category=CATEGORY,
            description="Looks through the loras folders for a LoRA: copies of it, the same under "
            "other names, files with it inside, and files made of it.",
            search_aliases=["lora alloy", "find duplicate lora", "similar lora", "lora distance",
                            "is this lora inside", "lora copies",
                            *chinese("LoraAlloyFind")],
            # Its report is all that it makes: it runs without anything connected behind it.
            is_output_node=True,
            inputs=[
                inputs.lora_input(tooltip="The LoRA to look for."),
                io.String.Input("folder", default="",
                                tooltip="A folder inside the loras folders, such as styles. Empty: "
                                "all of them, which takes a while where there are many files."),
                inputs.compute_device(),
            ],
            outputs=[
                io.String.Output("report", display_name="report",
                                 tooltip="What was found, the nearest first, as Markdown. Connect "
                                 "it to Preview as Text."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, folder: str = "") -> bool | str:
        return inputs.problem_of("", lambda: comfy_bridge.lora_folders(folder or ""))

    @classmethod
    def execute(
        cls, lora: comfy_bridge.LoraModel, folder: str, compute_device: str
    ) -> io.NodeOutput:
        source = named(lora, "lora")
        found: list[Neighbour] = []
        notes: list[str] = []
        for path in comfy_bridge.lora_folders(folder):
            near, said = comfy_bridge.compute(
                lambda compute, path=path: neighbours(source, path, compute),
                compute_device,
                torch.float32,
                [source],
            )
            found, notes = [*found, *near], [*notes, *said]
        report = markdown(source, found, notes)
        return io.NodeOutput(report, ui=shown(report.splitlines()[1].lstrip("* ")))


def markdown(source: StateDict, found: list[Neighbour], notes: list[str]) -> str:
    """A row for every file that has to do with the LoRA, and how many have not."""
    near = sorted(
        (one for one in found if one.relation in NEAR),
        key=lambda one: (NEAR.index(one.relation), -abs(one.cosine)),
    )
    unread = [one for one in found if one.relation == "not read"]
    lines = [f"## Where is {quoting.markdown(str(source.name))}?"]
    lines += [f"* {len(near)} of {len(found)} files have to do with it"]
    lines += [f"* {quoting.markdown(note)}" for note in notes]
    lines += [f"* not read: {quoting.markdown(f'{one.path} ({one.text})')}" for one in unread]
    if near:
        rows = [(one.path, one.relation, f"{one.cosine:.3f}", one.text) for one in near]
        lines += ["", *markdown_table(("file", "relation", "cosine", "what it is"), rows)]
    return "\n".join(lines)
