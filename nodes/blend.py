"""LoRA Blend: any number of LoRAs as one LoRA. What its text `rows` means says rows.py."""

from typing import Any

from comfy_api.latest import io

from ..core import (
    METHODS,
    TRUNCATIONS,
    Balance,
    Blend,
    Even,
    Lora,
    Output,
    SettingError,
    blend,
    layer_weights,
)
from ..core import balance as named_balance
from . import comfy_bridge, inputs
from .inputs import ADVANCED, BLEND_RULES, CATEGORY, chinese, options_of
from .rows import MOST_LORAS, block_weights_of, check_files, gather, parse_rows
from .tables import weighed
from .wires import edited, on_base

# The first is what a new node has.
METHOD_NAMES = ["sum", *(name for name in METHODS if name != "sum")]
# The widget's words -> the library's.
BALANCE_NAMES = {
    "none": "none",
    "even": "even",
    "even-file": "even-file",
    "softmax": "softmax",
    "proportional": "proportional",
    "power law": "powerlaw",
    "sigmoid": "sigmoid",
}


class LoraAlloyBlend(io.ComfyNode):
    """A thin shell around core.blend."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraAlloyBlend",
            display_name="LoRA Blend",
            category=CATEGORY,
            description="Merges any number of LoRAs, each at its own strength, into a single LoRA "
            "of the rank you want. The result is the best approximation that this rank allows.",
            search_aliases=["lora alloy", "merge lora", "combine lora", "mix lora", "add lora",
                            "lora block weight", "lora svd", "lora stack", "lora strength",
                            "stack loras",
                            *chinese("LoraAlloyBlend")],
            inputs=[
                inputs.lora_input("lora_1", "The first LoRA. The result has its spelling, its "
                                  "number format and its metadata.", True),
                inputs.lora_input("lora_2", "The second LoRA, for the same base model. Leave it "
                                  "out to scale, filter or resize the first alone.", True),
                inputs.LoraStack.Input("lora_stack", optional=True,
                                       tooltip="LoRAs by name and strength, as the stack nodes of "
                                       "other packs make it. They follow those on wires."),
                io.Autogrow.Input(
                    "more_loras",
                    optional=True,
                    template=io.Autogrow.TemplateNames(
                        inputs.lora_input("lora", "A further LoRA for the same base model."),
                        [f"lora_{number}" for number in range(3, MOST_LORAS + 1)], min=0),
                    tooltip="Further LoRAs for the same base model. Connect one, and there is "
                    f"room for the next, up to {MOST_LORAS} in all."),
                io.Float.Input("weight_1", default=1.0, min=-100.0, max=100.0, step=0.01,
                               tooltip="The strength of the first LoRA in the result. May be "
                               "negative."),
                io.Float.Input("weight_2", default=1.0, min=-100.0, max=100.0, step=0.01,
                               tooltip="The strength of the second LoRA in the result. May be "
                               "negative."),
                io.String.Input("rows", default="", multiline=True,
                                tooltip="What else there is to say of a LoRA, one a line: "
                                "'lora_3: 0.8' is its weight, 'lora_1: 1 off' leaves it out, "
                                "'styles/ink.safetensors: 0.5' takes a file of the loras folder "
                                "without a wire. Lines that begin with a space belong to the LoRA "
                                "above: its own block weights, as in ' double_blocks.0-9: 0'. The "
                                "order of the lines is the order of the LoRAs."),
                inputs.rank_rule("target_rank", BLEND_RULES),
                inputs.layers("The layers that the result has."),
                io.String.Input("block_weights", default="", multiline=True, advanced=True,
                                tooltip="Extra factors for some layers, one line each: "
                                "'pattern: factor 1, factor 2' with a factor for each LoRA, such "
                                "as 'double_blocks.0-9: 1, 0'. They are multiplied onto the "
                                "weights; the last line that fits a layer counts. Where a factor "
                                "is left out, earlier lines count. Vectors and presets "
                                "such as lbw=OUTD are read for SD1.5, SDXL and Flux."),
                _method(),
                _balance(),
                io.Boolean.Input("auto_strength", default=False, advanced=True,
                                 tooltip="Scale each layer so that it is as large as the largest "
                                 "of its inputs: stacks of LoRAs do not burn."),
                io.Boolean.Input("drop_near_zero", default=True, advanced=True,
                                 tooltip="Leave out layers that come out as zero, such as those "
                                 "with a weight of 0."),
                _truncation(),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, advanced=True,
                             control_after_generate=False,
                             tooltip="For methods that draw at random (dare, della) and for pca: "
                             "the same seed gives the same result."),
                inputs.compute_device(),
                inputs.compute_dtype(),
                inputs.output_dtype(),
                inputs.spelling(),
                *inputs.rank_limits(),
                *inputs.base_inputs(),
            ],
            outputs=[inputs.lora_output(tooltip="The blended LoRA."), inputs.report_output()],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, rows: str = "", layers: str = "", *, more_loras: Any = None, target_rank: Any = None,
        method: Any = None, truncation: Any = None, balance: Any = None,
    ) -> bool | str:  # fmt: skip
        return inputs.problem_of(layers, lambda: check_files(parse_rows(rows or "")))

    @classmethod
    def fingerprint_inputs(cls, rows: str = "", **others: Any) -> str:
        try:
            files = [row.name for row in parse_rows(rows) if row.on and not row.socket]
        except SettingError:
            return ""  # The run says what is wrong with them.
        return ", ".join(map(comfy_bridge.lora_fingerprint, files))

    @classmethod
    def execute(
        cls,
        weight_1: float,
        weight_2: float,
        rows: str,
        min_rank: int,
        max_rank: int,
        layers: str,
        block_weights: str,
        drop_near_zero: bool,
        auto_strength: bool,
        seed: int,
        compute_device: str,
        compute_dtype: str,
        output_dtype: str,
        spelling: str,
        lora_1: comfy_bridge.LoraModel | None = None,
        lora_2: comfy_bridge.LoraModel | None = None,
        lora_stack: list[Any] | None = None,
        more_loras: dict[str, comfy_bridge.LoraModel | None] | None = None,
        target_rank: dict[str, Any] | None = None,
        method: dict[str, Any] | None = None,
        truncation: dict[str, Any] | None = None,
        balance: dict[str, Any] | None = None,
        base_model: Any = None,
        base_clip: Any = None,
    ) -> io.NodeOutput:
        sockets = {"lora_1": lora_1, "lora_2": lora_2, **(more_loras or {})}
        parts, waiting = gather(sockets, lora_stack or [], parse_rows(rows))
        on = [part for part in parts if part.row.on]
        if not on:
            raise SettingError(
                "LoRA Blend: there is no LoRA that is on",
                fix="connect one, or name a file of the loras folder in rows",
            )
        own = {"lora_1": weight_1, "lora_2": weight_2}
        loras = [part.lora for part in on]
        merging = dict(options_of(method, "method", METHOD_NAMES))
        cutting = options_of(truncation, "truncation", list(TRUNCATIONS))
        settings = Blend(
            weights=[part.row.weight * own.get(part.row.name, 1.0) for part in on],
            rank=inputs.rank_rule_of(target_rank, "target_rank", BLEND_RULES, min_rank, max_rank),
            method=merging.pop("method"),
            parameters=merging,
            strength="auto" if auto_strength else "none",
            layers=layers,
            block_weights=block_weights_of(parts, block_weights),
            drop_near_zero=drop_near_zero,
            truncation=cutting["truncation"],
            oversampling=cutting.get("oversampling", 8),
            power_iterations=cutting.get("power_iterations", 2),
            seed=seed,
            balance=balance_of(balance),
        )
        output = Output(dtype=output_dtype, spelling=spelling)
        opened, base, told = on_base(loras, base_model, base_clip, compute_device)
        result, notes = comfy_bridge.compute(
            lambda compute: blend(opened, None, settings, output, compute),
            compute_device,
            inputs.dtype_of(compute_dtype),
            loras,
            base,
        )
        names = " and ".join(str(lora.name) for lora in loras)
        factors, _ = layer_weights([Lora(lora) for lora in loras], settings.block_weights)
        made_of = weighed([str(lora.name) for lora in loras], settings.weights, factors)
        said = [*waiting, *told, *notes]
        lora, report, ui = edited(result, said, f"blend of {names}", made_of)
        return io.NodeOutput(lora, report, ui=ui)


def balance_of(widget: dict[str, Any] | None) -> Balance | Even | None:
    """What the balance widget describes."""
    chosen = dict(options_of(widget, "balance", list(BALANCE_NAMES)))
    name = BALANCE_NAMES[chosen.pop("balance")]
    if name in ("even", "even-file"):
        return Even(name == "even-file", chosen["strength"])
    return None if name == "none" else named_balance(name, **chosen)


def _method() -> Any:
    """How the LoRAs become one: a choice for each method, with its parameters."""
    return io.DynamicCombo.Input(
        "method",
        options=[
            io.DynamicCombo.Option(
                name, [_parameter(*one) for one in METHODS[name].parameters.items()]
            )
            for name in METHOD_NAMES
        ],
        tooltip="How the LoRAs become one. sum adds them, which is usually right. The others keep "
        "them out of each other's way; the help page says how.",
        extra_dict=ADVANCED,
    )


def _parameter(name: str, parameter: Any) -> Any:
    meaning = f"{parameter.meaning[0].upper()}{parameter.meaning[1:]}."
    if isinstance(parameter.default, bool):
        return io.Boolean.Input(name, default=parameter.default, tooltip=meaning, advanced=True)
    # JSON has no infinity: a page cannot read it.
    return io.Float.Input(
        name, default=parameter.default, min=parameter.low, max=min(parameter.high, 1e6), step=0.01,
        tooltip=meaning, advanced=True,
    )  # fmt: skip


def _truncation() -> Any:
    return io.DynamicCombo.Input(
        "truncation",
        options=[
            io.DynamicCombo.Option("svd", []),
            io.DynamicCombo.Option("pca", [
                io.Int.Input("oversampling", default=8, min=0, max=1024, advanced=True,
                             tooltip="Extra directions that make the estimate better."),
                io.Int.Input("power_iterations", default=2, min=0, max=32, advanced=True,
                             tooltip="Passes that sharpen the estimate."),
            ]),
        ],
        tooltip="How to reach the target rank: svd is exact and the best possible; pca is the "
        "randomised estimate of older tools, and not faster here.",
        extra_dict=ADVANCED,
    )  # fmt: skip


def _balance() -> Any:
    def number(name: str, default: float, tooltip: str, low: float = 0.0) -> Any:
        return io.Float.Input(name, default=default, min=low, max=1000.0, step=0.01,
                              tooltip=tooltip, advanced=True)  # fmt: skip

    strength = number("target_strength", 1.0, "What the weighted strengths of a layer add up to.")
    temperature = number(
        "temperature", 1.0, "How soft the choice is: low lets the stronger LoRA win.", 0.01
    )
    floor = "The least that either LoRA counts: its share for softmax, its strength for the others."
    least, share = number("floor", 0.02, floor), number("floor", 0.0, floor)
    power = number("power", 0.5, "1 is proportional, 0 shares equally, -1 evens both out.", -10.0)
    bias = number("bias", 0.0, "Above 0 favours the first LoRA, below 0 the second.", -1000.0)
    even = io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.05,
                          advanced=True,
                          tooltip="0 is the plain sum, 1 evens out completely.")  # fmt: skip
    return io.DynamicCombo.Input(
        "balance",
        options=[
            io.DynamicCombo.Option("none", []),
            io.DynamicCombo.Option("even", [even]),
            io.DynamicCombo.Option("even-file", [even]),
            io.DynamicCombo.Option("softmax", [temperature, share]),
            io.DynamicCombo.Option("proportional", [strength, least]),
            io.DynamicCombo.Option("power law", [strength, power, least]),
            io.DynamicCombo.Option("sigmoid", [strength, temperature, bias, least]),
        ],
        tooltip="Weigh the LoRAs by how strong they are. none adds them plainly, which is usually "
        "right. even gives all of them the same size in every layer, even-file as whole files, so "
        "that none drowns another. The others are older rules: the stronger LoRA of a layer leads.",
        extra_dict=ADVANCED,
    )
