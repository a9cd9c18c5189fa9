"""The example workflows in which models are what a LoRA is made of, or measured by."""

from __future__ import annotations

from tests.comfyui.example_parts import (
    PIXEL,
    SDXL_SETTINGS,
    TOY,
    TUNED,
    Example,
    Spec,
    conditions,
    generate,
    latent,
    load,
    note,
    prompt,
    sdxl,
    text,
)

FAST = {"steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "sgm_uniform"}


def extract() -> Example:
    return Example("Make a LoRA from two models", [
        note("### What a fine-tune changed, as a LoRA\n\n**LoRA Extract** takes the difference of "
             "every weight and keeps as many ranks as you ask for. The report measures what is "
             "lost, the chart what other ranks would keep. Both pictures have one seed: above is "
             "the tuned model, below its base with the LoRA.", (340, 290)),
        *sdxl((0, 380)),
        Spec("tuned", "CheckpointLoaderSimple", (0, 530), (340, 0), {"ckpt_name": TUNED}, {},
             "The tuned model"),
        prompt("positive", ("base", "CLIP"), "a fox in the snow, photograph", (0, 710), "Prompt"),
        prompt("negative", ("base", "CLIP"), "blurry, text", (0, 860), "Negative prompt"),
        latent((400, 830)),
        Spec("extract", "LoraAlloyExtract", (400, 0), (400, 720),
             {"rule": "fixed rank", "rule.rank": 64},
             {"model_tuned": ("tuned", "MODEL"), "model_base": ("base", "MODEL")}),
        Spec("save", "LoraAlloySave", (1580, 600), (400, 300),
             {"filename_prefix": "loras/lightning-64"}, {"lora": ("extract", "lora")}),
        Spec("apply", "LoraAlloyApply", (860, 440), (300, 150), {},
             {"model": ("base", "MODEL"), "lora": ("extract", "lora")}),
        *generate("tuned.picture", conditions(("tuned", "MODEL")), ("base", "VAE"), FAST,
                  (860, 0), (1200, 0), "The tuned model"),
        *generate("extracted", conditions(("apply", "model")), ("base", "VAE"), FAST,
                  (860, 640), (1200, 440), "The base with the LoRA"),
        text("report", ("extract", "report"), (1580, 0), (420, 480), "What it keeps"),
    ], {"Load": ["base", "tuned"], "Extract": ["extract"]})  # fmt: skip


def dora() -> Example:
    return Example("Use a DoRA in a blend", [
        note("### DoRA, GLoRA, OFT and BOFT\n\nWhat they do depends on the weights of the model: "
             "connect it as *base_model* (and *base_clip*), and they mix with any LoRA. Choose "
             "your DoRA in the first loader; with an ordinary LoRA there the graph works all the "
             "same. The report says what the rank loses.", (340, 290)),
        *sdxl((0, 400)),
        prompt("positive", ("apply", "clip"), "toy_face of a knight, pixel art", (0, 570),
               "Prompt"),
        prompt("negative", ("apply", "clip"), "blurry, text, watermark", (0, 740),
               "Negative prompt"),
        latent((0, 910)),
        load("first", PIXEL, (400, 0)),
        load("second", TOY, (400, 560)),
        Spec("blend", "LoraAlloyBlend", (800, 0), (400, 900),
             {"weight_1": 1.0, "weight_2": 0.6, "target_rank": "fixed rank",
              "target_rank.rank": 64},
             {"lora_1": ("first", "lora"), "lora_2": ("second", "lora"),
              "base_model": ("base", "MODEL"), "base_clip": ("base", "CLIP")}),
        Spec("apply", "LoraAlloyApply", (1260, 0), (300, 160), {},
             {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "lora": ("blend", "lora")}),
        *generate("dora", conditions(("apply", "model")), ("base", "VAE"), SDXL_SETTINGS,
                  (1260, 230), (1600, 0), "Both in one"),
        text("report", ("blend", "report"), (1260, 760), (820, 250), "What the blend did"),
    ], {
        "Load": ["first", "second"],
        "Blend": ["blend"],
        "Generate": ["apply", "dora.sampler", "dora.decode", "dora.image"],
    })  # fmt: skip
