"""The example workflows as they are laid out.

`make_examples.py` turns EXAMPLES into files; the tests run those files, not these lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HUB = "https://huggingface.co"
FLUX_TEXT = f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main"
# file -> (models folder, where to get it)
FILES = {
    "sd_xl_base_1.0.safetensors": (
        "checkpoints", f"{HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main"),
    "flux1-dev.safetensors": (
        "diffusion_models", f"{HUB}/Comfy-Org/flux1-dev/resolve/main"),
    "clip_l.safetensors": ("text_encoders", FLUX_TEXT),
    "t5xxl_fp16.safetensors": ("text_encoders", FLUX_TEXT),
    "ae.safetensors": (
        "vae", f"{HUB}/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae"),
    "pixel-art-xl.safetensors": ("loras", f"{HUB}/nerijs/pixel-art-xl/resolve/main"),
    "toy_face_sdxl.safetensors": ("loras", f"{HUB}/CiroN2022/toy-face/resolve/main"),
    "ikea_instructions_xl_v1_5.safetensors": (
        "loras", f"{HUB}/ostris/ikea-instructions-lora-sdxl/resolve/main"),
    "fengzikai_v1.0_XL.safetensors": ("loras", f"{HUB}/lordjia/by-feng-zikai/resolve/main"),
    "FLUX-dev-lora-add_details.safetensors": (
        "loras", f"{HUB}/Shakker-Labs/FLUX.1-dev-LoRA-add-details/resolve/main"),
    "FLUX-dev-lora-AntiBlur.safetensors": (
        "loras", f"{HUB}/Shakker-Labs/FLUX.1-dev-LoRA-AntiBlur/resolve/main"),
}  # fmt: skip
PIXEL, TOY = "pixel-art-xl.safetensors", "toy_face_sdxl.safetensors"
DRAWING, FENG = "ikea_instructions_xl_v1_5.safetensors", "fengzikai_v1.0_XL.safetensors"
DETAILS, ANTIBLUR = (
    "FLUX-dev-lora-add_details.safetensors",
    "FLUX-dev-lora-AntiBlur.safetensors",
)

Wire = tuple[str, str]  # (node's name, its output)


@dataclass
class Spec:
    """One node of an example: where it stands, what its widgets say, what feeds its inputs."""

    name: str
    type: str
    pos: tuple[int, int]
    size: tuple[int, int] = (0, 0)  # 0: as small as it can be
    widgets: dict[str, Any] = field(default_factory=dict)
    links: dict[str, Wire] = field(default_factory=dict)
    title: str = ""

    def spec(self) -> dict[str, Any]:
        files = [v for v in self.widgets.values() if v in FILES]
        needs = [{"name": f, "url": f"{FILES[f][1]}/{f}", "directory": FILES[f][0]} for f in files]
        properties = {"models": needs} if needs else {}
        return {**vars(self), "properties": properties}


@dataclass
class Example:
    """The nodes of a workflow, and boxes around some of them: title -> their names."""

    title: str
    nodes: list[Spec]
    groups: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The note ends with where to get what the other nodes name."""
        needed = {v: FILES[v] for n in self.nodes for v in n.widgets.values() if v in FILES}
        lines = [f"* [{f}]({url}/{f}) in `{folder}`" for f, (folder, url) in needed.items()]
        self.nodes[0].widgets[""] += "\n\n**Models**\n\n" + "\n".join(lines)


def note(text: str, size: tuple[int, int]) -> Spec:
    """The first node of an example."""
    return Spec("note", "MarkdownNote", (0, 0), size, {"": text}, {}, "What this does")


def load(name: str, file: str, pos: tuple[int, int]) -> Spec:
    return Spec(name, "LoraAlloyLoad", pos, (340, 0), {"lora_name": file})


def text(name: str, wire: Wire, pos: tuple[int, int], size: tuple[int, int], title: str) -> Spec:
    return Spec(name, "PreviewAny", pos, size, {}, {"source": wire}, title)


def sdxl(pos: tuple[int, int]) -> list[Spec]:
    x, y = pos
    return [
        Spec("base", "CheckpointLoaderSimple", (x, y), (340, 0),
             {"ckpt_name": "sd_xl_base_1.0.safetensors"}),
    ]  # fmt: skip


def flux(pos: tuple[int, int]) -> list[Spec]:
    x, y = pos
    return [
        Spec("base", "UNETLoader", (x, y), (340, 0),
             {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"}),
        Spec("text", "DualCLIPLoader", (x, y + 140), (340, 0),
             {"clip_name1": "clip_l.safetensors", "clip_name2": "t5xxl_fp16.safetensors",
              "type": "flux"}),
        Spec("vae", "VAELoader", (x, y + 350), (340, 0), {"vae_name": "ae.safetensors"}),
    ]  # fmt: skip


def prompt(name: str, clip: Wire, words: str, pos: tuple[int, int], title: str = "") -> Spec:
    return Spec(name, "CLIPTextEncode", pos, (340, 110), {"text": words}, {"clip": clip}, title)


def picture(
    name: str, model: Wire, links: Mapping[str, Wire], vae: Wire, settings: dict[str, Any],
    pos: tuple[int, int], title: str,
) -> list[Spec]:  # fmt: skip
    """KSampler, VAEDecode and the picture, from left to right."""
    x, y = pos
    defaults = {"seed": 20, "control_after_generate": "fixed"}
    return [
        Spec(f"{name}.sampler", "KSampler", (x, y), (290, 0), defaults | settings,
             {"model": model, **links}),
        Spec(f"{name}.decode", "VAEDecode", (x, y + 330), (290, 0), {},
             {"samples": (f"{name}.sampler", "LATENT"), "vae": vae}),
        Spec(f"{name}.image", "SaveImage", (x + 320, y), (370, 400),
             {"filename_prefix": f"lora-alloy/{name}"}, {"images": (f"{name}.decode", "IMAGE")},
             title),
    ]  # fmt: skip


SDXL_SETTINGS = {"steps": 25, "cfg": 7.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
FLUX_SETTINGS = {"steps": 20, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}


def blend() -> Example:
    conditions = {
        "positive": ("positive", "CONDITIONING"),
        "negative": ("negative", "CONDITIONING"),
        "latent_image": ("latent", "LATENT"),
    }
    return Example("Blend two LoRAs and generate", [
        note("### Two LoRAs become one\n\n**LoRA Blend** adds them at their weights into one LoRA "
             "with the larger rank of both. The report says how much that loses; *everything* "
             "loses nothing. Add **Save LoRA** once you like the picture.", (340, 250)),
        *sdxl((0, 360)),
        load("first", PIXEL, (0, 520)),
        load("second", TOY, (0, 670)),
        Spec("blend", "LoraAlloyBlend", (430, 50), (340, 560),
             {"weight_1": 1.0, "weight_2": 0.6},
             {"lora_1": ("first", "lora"), "lora_2": ("second", "lora")}),
        Spec("apply", "LoraAlloyApply", (860, 50), (300, 180), {},
             {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "lora": ("blend", "lora")}),
        prompt("positive", ("apply", "clip"), "toy_face of a knight, pixel art", (1210, 50),
               "Prompt"),
        prompt("negative", ("apply", "clip"), "blurry, text, watermark", (1210, 220),
               "Negative prompt"),
        Spec("latent", "EmptyLatentImage", (1210, 390), (340, 0),
             {"width": 1024, "height": 1024, "batch_size": 1}),
        text("report", ("blend", "report"), (860, 610), (1120, 300), "What the blend did"),
        *picture("blend", ("apply", "model"), conditions, ("base", "VAE"), SDXL_SETTINGS,
                 (1600, 50), "Both LoRAs in one"),
    ], {
        "Load": ["base", "first", "second"],
        "Blend": ["blend"],
        "Generate": ["apply", "positive", "negative", "latent", "blend.sampler", "blend.decode",
                     "blend.image"],
    })  # fmt: skip


def shrink() -> Example:
    conditions = {
        "positive": ("positive", "CONDITIONING"),
        "negative": ("negative", "CONDITIONING"),
        "latent_image": ("latent", "LATENT"),
    }
    small = Spec("apply.small", "LoraAlloyApply", (900, 560), (300, 180), {},
                 {"model": ("base", "MODEL"), "clip": ("base", "CLIP"),
                  "lora": ("resize", "lora")}, "Apply the small one")  # fmt: skip
    return Example("Shrink a LoRA and compare", [
        note("### Smaller, with the same picture\n\n**LoRA Rank Resize** keeps the ranks that "
             "matter. Both pictures have the same seed: compare them before you keep the small "
             "file.", (340, 230)),
        *sdxl((0, 340)),
        load("lora", PIXEL, (0, 500)),
        prompt("positive", ("base", "CLIP"), "a castle on a hill, pixel art", (0, 690), "Prompt"),
        prompt("negative", ("base", "CLIP"), "blurry, text", (0, 860), "Negative prompt"),
        Spec("latent", "EmptyLatentImage", (0, 1030), (340, 0),
             {"width": 1024, "height": 1024, "batch_size": 1}),
        Spec("resize", "LoraAlloyRankResize", (430, 50), (380, 590),
             {"rule": "energy", "rule.share": 0.9}, {"lora": ("lora", "lora")}),
        Spec("save", "LoraAlloySave", (430, 710), (380, 200),
             {"filename_prefix": "loras/pixel-art-xl-small", "dtype": "match"},
             {"lora": ("resize", "lora")}),
        Spec("apply", "LoraAlloyApply", (900, 50), (300, 180), {},
             {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "lora": ("lora", "lora")},
             "Apply the original"),
        small,
        *picture("before", ("apply", "model"), conditions, ("base", "VAE"), SDXL_SETTINGS,
                 (1240, 50), "Before"),
        *picture("after", ("apply.small", "model"), conditions, ("base", "VAE"), SDXL_SETTINGS,
                 (1240, 560), "After"),
        text("report", ("resize", "report"), (430, 1030), (1500, 260), "What it lost"),
    ], {
        "Load": ["base", "lora"],
        "Prompt": ["positive", "negative", "latent"],
        "Shrink": ["resize", "save"],
        "The original": ["apply", "before.sampler", "before.decode", "before.image"],
        "The small one": ["apply.small", "after.sampler", "after.decode", "after.image"],
    })  # fmt: skip


def inside() -> Example:
    return Example("What is inside this LoRA", [
        note("### No base model needed\n\n**LoRA Layer Analysis** measures every layer. The blocks "
             "chart shows where in the network the LoRA works, the heat map in which kind of "
             "layer.", (340, 210)),
        load("lora", DETAILS, (0, 320)),
        text("info", ("lora", "info"), (0, 470), (340, 300), "The file"),
        Spec("blocks", "LoraAlloyLayerAnalysis", (430, 50), (480, 620),
             {"chart": "blocks", "rows": 12}, {"lora": ("lora", "lora")}, "Where it works"),
        Spec("kinds", "LoraAlloyLayerAnalysis", (960, 50), (480, 620),
             {"chart": "heat map", "rows": 12}, {"lora": ("lora", "lora")},
             "In which kind of layer"),
        text("table", ("blocks", "table"), (0, 860), (1440, 420), "The strongest layers"),
    ], {"Load": ["lora", "info"], "Measure": ["blocks", "kinds"]})  # fmt: skip


def top_blocks() -> Example:
    conditions = {
        "positive": ("guidance", "CONDITIONING"),
        "negative": ("nothing", "CONDITIONING"),
        "latent_image": ("latent", "LATENT"),
    }
    return Example("Keep the top blocks", [
        note("### The few blocks that do the work\n\n**Top Blocks Filter** splits a LoRA: the "
             "blocks that hold 80 % of its energy, and the rest. The settings below train only "
             "those blocks next time.", (340, 260)),
        *flux((0, 370)),
        load("lora", DETAILS, (0, 860)),
        prompt("positive", ("text", "CLIP"),
               "portrait of an old fisherman, detailed skin, morning light", (0, 1080), "Prompt"),
        Spec("top", "LoraAlloyTopBlocks", (430, 50), (460, 620),
             {"threshold": 0.8, "importance": "energy share"}, {"lora": ("lora", "lora")}),
        Spec("guidance", "FluxGuidance", (390, 1080), (290, 0), {"guidance": 3.5},
             {"conditioning": ("positive", "CONDITIONING")}),
        Spec("nothing", "ConditioningZeroOut", (390, 1210), (290, 0), {},
             {"conditioning": ("positive", "CONDITIONING")}),
        Spec("latent", "EmptySD3LatentImage", (0, 1260), (340, 0),
             {"width": 1024, "height": 1024, "batch_size": 1}),
        Spec("apply", "LoraAlloyApply", (970, 50), (300, 180), {},
             {"model": ("base", "MODEL"), "lora": ("top", "lora")}, "Apply the top blocks"),
        Spec("apply.rest", "LoraAlloyApply", (970, 560), (300, 180), {},
             {"model": ("base", "MODEL"), "lora": ("top", "rest")}, "Apply the rest"),
        *picture("top", ("apply", "model"), conditions, ("vae", "VAE"), FLUX_SETTINGS,
                 (1310, 50), "Only the top blocks"),
        *picture("rest", ("apply.rest", "model"), conditions, ("vae", "VAE"), FLUX_SETTINGS,
                 (1310, 560), "Only the rest"),
        text("chosen", ("top", "blocks"), (770, 1080), (500, 290), "The blocks"),
        text("trainer", ("top", "trainer_config"), (1310, 1080), (690, 290),
             "Train only these blocks"),
    ], {
        "Load": ["base", "text", "vae", "lora"],
        "Split": ["top"],
        "Prompt": ["positive", "guidance", "nothing", "latent"],
        "The top blocks": ["apply", "top.sampler", "top.decode", "top.image"],
        "The rest": ["apply.rest", "rest.sampler", "rest.decode", "rest.image"],
        "For the next training": ["chosen", "trainer"],
    })  # fmt: skip


def by_block() -> Example:
    return Example("Mix two LoRAs by block", [
        note("### Blocks 0-9 from one, 10-18 from the other\n\n*Block weights* are factors for "
             "each LoRA, by layer name: `pattern: first, second`. The result is one file, ready "
             "for any LoRA loader.", (340, 230)),
        load("first", DETAILS, (0, 340)),
        load("second", ANTIBLUR, (0, 490)),
        Spec("blend", "LoraAlloyBlend", (430, 50), (380, 570),
             {"target_rank": "everything (exact)", "layers": "double_blocks.*",
              "block_weights": "double_blocks.0-9: 1, 0\ndouble_blocks.10-18: 0, 1"},
             {"lora_1": ("first", "lora"), "lora_2": ("second", "lora")}),
        Spec("save", "LoraAlloySave", (430, 760), (380, 300),
             {"filename_prefix": "loras/details-and-antiblur", "dtype": "bf16",
              "title": "Details early, sharpness late"},
             {"lora": ("blend", "lora")}),
        text("report", ("blend", "report"), (900, 50), (700, 570), "What the blend did"),
        text("path", ("save", "path"), (900, 760), (700, 200), "The file"),
    ], {"Load": ["first", "second"], "Mix": ["blend"], "Save": ["save"]})  # fmt: skip


def four() -> Example:
    conditions = {
        "positive": ("positive", "CONDITIONING"),
        "negative": ("negative", "CONDITIONING"),
        "latent_image": ("latent", "LATENT"),
    }
    loaded = {"first": PIXEL, "second": TOY, "third": DRAWING, "fourth": FENG}
    sockets = ["lora_1", "lora_2", "more_loras.lora_3", "more_loras.lora_4"]
    return Example("Four styles in one", [
        note("### Many styles, one LoRA\n\nConnect one and **LoRA Blend** has room for the next. "
             "*rows* has the weights of the third on. *even* lets no style drown the others, "
             "and *auto strength* keeps the stack from burning.", (340, 330)),
        *sdxl((0, 440)),
        *(load(name, file, (0, 600 + 150 * i)) for i, (name, file) in enumerate(loaded.items())),
        Spec("blend", "LoraAlloyBlend", (430, 50), (380, 620),
             {"weight_1": 0.8, "weight_2": 0.8, "rows": "lora_3: 0.8\nlora_4: 0.5",
              "target_rank": "fixed rank", "target_rank.rank": 32, "balance": "even",
              "balance.strength": 0.5, "auto_strength": True},
             {socket: (name, "lora") for socket, name in zip(sockets, loaded, strict=True)}),
        Spec("apply", "LoraAlloyApply", (900, 50), (300, 180), {},
             {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "lora": ("blend", "lora")}),
        prompt("positive", ("apply", "clip"), "toy_face of a fox, pixel art, by Feng Zikai",
               (1250, 50), "Prompt"),
        prompt("negative", ("apply", "clip"), "blurry, text, watermark", (1250, 220),
               "Negative prompt"),
        Spec("latent", "EmptyLatentImage", (1250, 390), (340, 0),
             {"width": 1024, "height": 1024, "batch_size": 1}),
        Spec("save", "LoraAlloySave", (430, 790), (380, 300),
             {"filename_prefix": "loras/four-styles", "title": "Four styles in one"},
             {"lora": ("blend", "lora")}),
        text("report", ("blend", "report"), (900, 570), (1060, 380), "What the blend did"),
        *picture("four", ("apply", "model"), conditions, ("base", "VAE"), SDXL_SETTINGS,
                 (1640, 50), "All of them"),
    ], {
        "Load": ["base", *loaded],
        "Blend": ["blend", "save"],
        "Generate": ["apply", "positive", "negative", "latent", "four.sampler", "four.decode",
                     "four.image"],
    })  # fmt: skip


EXAMPLES = [blend(), four(), shrink(), inside(), top_blocks(), by_block()]
