"""The example workflows as they are laid out.

`make_examples.py` turns EXAMPLES into files; the tests run those files, not these lists.
"""

from __future__ import annotations

from tests.comfyui.base_examples import dora, extract
from tests.comfyui.example_parts import (
    ANTIBLUR,
    DETAILS,
    DRAWING,
    FENG,
    FLUX_SETTINGS,
    PIXEL,
    SDXL_SETTINGS,
    TOY,
    Example,
    Spec,
    conditions,
    flux,
    generate,
    latent,
    load,
    note,
    prompt,
    sdxl,
    text,
)


def blend() -> Example:
    return Example("Blend two LoRAs and generate", [
        note("### Two LoRAs become one\n\n**LoRA Blend** adds them at their weights into one LoRA "
             "with the larger rank of both. The report says how much that loses; *everything* "
             "loses nothing. Add **Save LoRA** once you like the picture.", (340, 260)),
        *sdxl((0, 370)),
        prompt("positive", ("apply", "clip"), "toy_face of a knight, pixel art", (0, 540),
               "Prompt"),
        prompt("negative", ("apply", "clip"), "blurry, text, watermark", (0, 710),
               "Negative prompt"),
        latent((0, 880)),
        load("first", PIXEL, (400, 0)),
        load("second", TOY, (400, 560)),
        Spec("blend", "LoraAlloyBlend", (800, 0), (400, 860),
             {"weight_1": 1.0, "weight_2": 0.6},
             {"lora_1": ("first", "lora"), "lora_2": ("second", "lora")}),
        Spec("apply", "LoraAlloyApply", (1260, 0), (300, 160), {},
             {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "lora": ("blend", "lora")}),
        *generate("blend", conditions(("apply", "model")), ("base", "VAE"), SDXL_SETTINGS,
                  (1260, 230), (1600, 0), "Both LoRAs in one"),
        text("report", ("blend", "report"), (1260, 760), (820, 250), "What the blend did"),
    ], {
        "Load": ["first", "second"],
        "Blend": ["blend"],
        "Generate": ["apply", "blend.sampler", "blend.decode", "blend.image"],
    })  # fmt: skip


def four() -> Example:
    weights = {PIXEL: 0.8, TOY: 0.8, DRAWING: 0.8, FENG: 0.5}
    return Example("Four styles in one", [
        note("### Many styles, one LoRA\n\nA row of **LoRA Blend** takes a file without a wire: "
             "its weight, on or off, blocks of its own. *rows* has them as text. With wires it is "
             "the same: connect one, and there is room for the next. Among the advanced inputs "
             "*balance* lets no style drown the others.", (340, 300)),
        *sdxl((0, 400)),
        prompt("positive", ("apply", "clip"), "toy_face of a fox, pixel art, by Feng Zikai",
               (0, 560), "Prompt"),
        prompt("negative", ("apply", "clip"), "blurry, text, watermark", (0, 720),
               "Negative prompt"),
        latent((0, 880)),
        Spec("blend", "LoraAlloyBlend", (400, 0), (440, 880),
             {"rows": "\n".join(f"{file}: {weight}" for file, weight in weights.items()),
              "target_rank": "fixed rank", "target_rank.rank": 32}),
        Spec("apply", "LoraAlloyApply", (900, 0), (300, 160), {},
             {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "lora": ("blend", "lora")}),
        *generate("four", conditions(("apply", "model")), ("base", "VAE"), SDXL_SETTINGS,
                  (900, 230), (1240, 0), "All of them"),
        Spec("save", "LoraAlloySave", (880, 770), (360, 0),
             {"filename_prefix": "loras/four-styles", "title": "Four styles in one"},
             {"lora": ("blend", "lora")}),
        text("report", ("blend", "report"), (1300, 770), (820, 250), "What the blend did"),
    ], {
        "Blend": ["blend"],
        "Generate": ["apply", "four.sampler", "four.decode", "four.image"],
    })  # fmt: skip


def shrink() -> Example:
    return Example("Shrink a LoRA and compare", [
        note("### Smaller, with the same picture\n\n**LoRA Rank Resize** keeps the ranks that "
             "matter. Both pictures have the same seed: compare them before you keep the small "
             "file.", (340, 230)),
        *sdxl((0, 340)),
        load("lora", PIXEL, (0, 510)),
        prompt("positive", ("base", "CLIP"), "a castle on a hill, pixel art", (400, 0), "Prompt"),
        prompt("negative", ("base", "CLIP"), "blurry, text", (400, 170), "Negative prompt"),
        latent((400, 340)),
        Spec("resize", "LoraAlloyRankResize", (800, 0), (400, 800),
             {"rule": "energy", "rule.share": 0.9}, {"lora": ("lora", "lora")}),
        text("report", ("resize", "report"), (800, 890), (400, 130), "What it lost"),
        Spec("save", "LoraAlloySave", (400, 560), (340, 300),
             {"filename_prefix": "loras/pixel-art-xl-small", "dtype": "match"},
             {"lora": ("resize", "lora")}),
        Spec("apply", "LoraAlloyApply", (1280, 0), (300, 160), {},
             {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "lora": ("lora", "lora")},
             "Apply the original"),
        *generate("before", conditions(("apply", "model")), ("base", "VAE"), SDXL_SETTINGS,
                  (1280, 230), (1280, 690), "Before"),
        Spec("apply.small", "LoraAlloyApply", (1680, 0), (300, 160), {},
             {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "lora": ("resize", "lora")},
             "Apply the small one"),
        *generate("after", conditions(("apply.small", "model")), ("base", "VAE"), SDXL_SETTINGS,
                  (1680, 230), (1680, 690), "After"),
    ], {
        "Shrink": ["resize", "report"],
        "The original": ["apply", "before.sampler", "before.decode", "before.image"],
        "The small one": ["apply.small", "after.sampler", "after.decode", "after.image"],
    })  # fmt: skip


def inside() -> Example:
    return Example("What is inside this LoRA", [
        note("### No base model needed\n\n**LoRA Layer Analysis** measures every layer. The blocks "
             "chart shows where in the network the LoRA works, the heat map in which kind of "
             "layer.", (340, 220)),
        load("lora", DETAILS, (0, 330)),
        text("info", ("lora", "info"), (0, 850), (340, 180), "The file"),
        Spec("blocks", "LoraAlloyLayerAnalysis", (400, 0), (480, 1000),
             {"chart": "blocks", "rows": 12}, {"lora": ("lora", "lora")}, "Where it works"),
        Spec("kinds", "LoraAlloyLayerAnalysis", (920, 0), (480, 1000),
             {"chart": "heat map", "rows": 12}, {"lora": ("lora", "lora")},
             "In which kind of layer"),
        text("table", ("blocks", "table"), (1460, 0), (640, 600), "The strongest layers"),
    ], {"Measure": ["blocks", "kinds"]})  # fmt: skip


def top_blocks() -> Example:
    return Example("Keep the top blocks", [
        note("### The few blocks that do the work\n\n**Top Blocks Filter** splits a LoRA: the "
             "blocks that hold 80 % of its energy, and the rest. The settings below train only "
             "those blocks next time.", (340, 290)),
        *flux((0, 400)),
        prompt("positive", ("text", "CLIP"),
               "portrait of an old fisherman, detailed skin, morning light", (0, 890), "Prompt"),
        load("lora", DETAILS, (400, 0)),
        latent((400, 540), "EmptySD3LatentImage"),
        text("chosen", ("top", "blocks"), (400, 720), (340, 110), "The blocks"),
        text("trainer", ("top", "trainer_config"), (400, 890), (340, 150),
             "Train only these blocks"),
        Spec("top", "LoraAlloyTopBlocks", (800, 0), (400, 960),
             {"threshold": 0.8}, {"lora": ("lora", "lora")}),
        Spec("apply", "LoraAlloyApply", (1280, 0), (300, 160), {},
             {"model": ("base", "MODEL"), "lora": ("top", "lora")}, "Apply the top blocks"),
        *generate("top", conditions(("apply", "model"), negative="positive"), ("vae", "VAE"),
                  FLUX_SETTINGS, (1280, 230), (1280, 690), "Only the top blocks"),
        Spec("apply.rest", "LoraAlloyApply", (1700, 0), (300, 160), {},
             {"model": ("base", "MODEL"), "lora": ("top", "rest")}, "Apply the rest"),
        *generate("rest", conditions(("apply.rest", "model"), negative="positive"),
                  ("vae", "VAE"), FLUX_SETTINGS, (1700, 230), (1700, 690), "Only the rest"),
    ], {
        "Split": ["top"],
        "The top blocks": ["apply", "top.sampler", "top.decode", "top.image"],
        "The rest": ["apply.rest", "rest.sampler", "rest.decode", "rest.image"],
    })  # fmt: skip


def by_block() -> Example:
    return Example("Mix two LoRAs by block", [
        note("### Blocks 0-9 from one, 10-18 from the other\n\nIn *rows* the lines below a LoRA "
             "are its own block weights: `pattern: factor`. The result is one file, ready for any "
             "LoRA loader.", (340, 260)),
        load("first", DETAILS, (400, 0)),
        load("second", ANTIBLUR, (400, 560)),
        Spec("blend", "LoraAlloyBlend", (800, 0), (420, 980),
             {"rows": "lora_1: 1\n  double_blocks.10-18: 0\nlora_2: 1\n  double_blocks.0-9: 0",
              "target_rank": "everything (exact)", "layers": "double_blocks.*"},
             {"lora_1": ("first", "lora"), "lora_2": ("second", "lora")}),
        Spec("save", "LoraAlloySave", (1300, 0), (400, 0),
             {"filename_prefix": "loras/details-and-antiblur", "dtype": "bf16",
              "title": "Details early, sharpness late"},
             {"lora": ("blend", "lora")}),
        text("report", ("blend", "report"), (1280, 450), (820, 400), "What the blend did"),
    ], {"Load": ["first", "second"], "Mix": ["blend"], "Save": ["save"]})  # fmt: skip


def every_block() -> Example:
    return Example("A strength for every block", [
        note("### Half of the late blocks\n\n**LoRA Blocks** has a slider for every block of the "
             "LoRA. Its text is the setting: `output_blocks: 0.5`. Save what you like.",
             (340, 220)),
        *sdxl((0, 330)),
        prompt("positive", ("apply", "clip"), "a lighthouse in a storm, pixel art", (0, 500),
               "Prompt"),
        prompt("negative", ("apply", "clip"), "blurry, text", (0, 670), "Negative prompt"),
        latent((0, 840)),
        load("lora", PIXEL, (400, 0)),
        Spec("blocks", "LoraAlloyBlocks", (800, 0), (420, 640),
             {"block_weights": "output_blocks: 0.5"}, {"lora": ("lora", "lora")}),
        Spec("apply", "LoraAlloyApply", (1280, 0), (300, 160), {},
             {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "lora": ("blocks", "lora")}),
        *generate("blocks", conditions(("apply", "model")), ("base", "VAE"), SDXL_SETTINGS,
                  (1280, 230), (1620, 0), "Half of the late blocks"),
        Spec("save", "LoraAlloySave", (1280, 730), (400, 0),
             {"filename_prefix": "loras/pixel-art-xl-half-late"}, {"lora": ("blocks", "lora")}),
    ], {
        "Blocks": ["blocks"],
        "Generate": ["apply", "blocks.sampler", "blocks.decode", "blocks.image"],
    })  # fmt: skip


def fight() -> Example:
    return Example("Do these two LoRAs fight", [
        note("### Do these two LoRAs fight?\n\n**LoRA Compare** holds them against each other, "
             "block by block. Its *block_weights* are those with which each keeps its own effect: "
             "they go into **LoRA Blend** at weights of 1.", (340, 300)),
        Spec("save", "LoraAlloySave", (0, 400), (340, 330),
             {"filename_prefix": "loras/details-and-antiblur-in-peace", "dtype": "bf16"},
             {"lora": ("blend", "lora")}),
        load("first", DETAILS, (400, 0)),
        load("second", ANTIBLUR, (400, 560)),
        Spec("compare", "LoraAlloyCompare", (800, 0), (420, 760), {},
             {"lora_1": ("first", "lora"), "lora_2": ("second", "lora")}),
        text("weights", ("compare", "block_weights"), (800, 850), (420, 160), "Weights for peace"),
        Spec("blend", "LoraAlloyBlend", (1300, 0), (420, 960),
             {"target_rank": "everything (exact)"},
             {"lora_1": ("first", "lora"), "lora_2": ("second", "lora"),
              "block_weights": ("compare", "block_weights")}),
        text("report", ("compare", "report"), (1780, 0), (360, 600), "Do they fight?"),
        text("blended", ("blend", "report"), (1780, 690), (360, 300), "What the blend did"),
    ], {
        "Load": ["first", "second"],
        "Compare": ["compare", "weights"],
        "Blend in peace": ["blend"],
    })  # fmt: skip


def split() -> Example:
    return Example("Split, convert and find a LoRA", [
        note("### Parts, names, relatives\n\n**LoRA Select** takes layers and hands out the "
             "others. **LoRA Convert** gives them the names that another program reads, and **LoRA "
             "Find** says what else in the loras folders is made of the same.", (340, 280)),
        load("lora", DETAILS, (0, 390)),
        Spec("select", "LoraAlloySelect", (420, 0), (360, 720), {"layers": "double_blocks"},
             {"lora": ("lora", "lora")}),
        Spec("convert", "LoraAlloyConvert", (840, 0), (340, 320),
             {"spelling": "kohya", "dtype": "bf16"}, {"lora": ("select", "lora")}),
        Spec("find", "LoraAlloyFind", (840, 430), (340, 160), {}, {"lora": ("lora", "lora")}),
        Spec("save", "LoraAlloySave", (1260, 0), (400, 330),
             {"filename_prefix": "loras/details-double"}, {"lora": ("convert", "lora")},
             "Save the double blocks for other programs"),
        Spec("save.rest", "LoraAlloySave", (1260, 440), (400, 330),
             {"filename_prefix": "loras/details-single"}, {"lora": ("select", "rest")},
             "Save the single blocks"),
        text("found", ("find", "report"), (840, 850), (820, 180), "Where it is"),
    ], {"Split, convert, find": ["select", "convert", "find"],
        "Save": ["save", "save.rest"]})  # fmt: skip


EXAMPLES = [
    blend(), four(), fight(), every_block(), by_block(), shrink(), inside(), top_blocks(), split(),
    extract(), dora(),
]  # fmt: skip
