"""Which models each trainer trains, and which of their blocks a setting of it can choose.

What a trainer does with its setting, and which layers it looks at, read in its source in 2026:

* ai-toolkit (toolkit/lora_special.py, `create_modules`): a layer is trained when any text of
  `only_if_contains` is part of its dotted name: "transformer." (or "lora_unet." for UNets) and the
  model's own path; the names are diffusers' for some. By default `transformer_only` keeps only the
  main blocks (`get_transformer_block_names`): not the refiners.
* kohya's sd-scripts, --network_args: `train_double_block_indices`, `train_single_block_indices` for
  Flux and Chroma (networks/lora_flux.py, docs/flux_train_network.md), `train_block_indices` for SD3
  (networks/lora_sd3.py); `block_dims` for UNets, a rank per block, 0 for none: 25 for SD1.5 (12 in,
  middle, 12 out), 23 for SDXL (embeddings, 9 in, 3 middle, 9 out, last) in networks/lora.py. Its
  networks for Lumina 2 and HunyuanImage have no setting for single blocks.
* kohya's musubi-tuner (networks/lora.py, docs/advanced_config.md), and sd-scripts for Anima
  (networks/lora_anima.py): `exclude_patterns`, then `include_patterns` on top, regular expressions
  for the model's whole names (re.fullmatch), in the blocks of its TARGET_REPLACE_MODULES only. The
  alpha of both scripts is 1 unless told otherwise.
* diffusion-pipe (models/base.py, `get_target_modules`, `configure_adapter`): every linear layer of
  the blocks in `adapter_target_modules`, except those whose whole name `exclude_modules` matches;
  passed on to PEFT. It is not read for SDXL. Alpha is the rank, and an error where it is set.
* PEFT (tuners_utils.py, `check_target_module_exists`): `target_modules` as a text is a regular
  expression for whole names, which must not match a container, only layers. Any model will do.
"""

from __future__ import annotations

from typing import NamedTuple

AI_TOOLKIT, KOHYA, DIFFUSION_PIPE = "ai-toolkit", "kohya", "diffusion-pipe"
COSMOS = "Cosmos Predict2 / Anima"
ALL = ""


class Trained(NamedTuple):
    """How a trainer's setting reaches the blocks of one family.

    `containers` are the native containers whose blocks it can choose, with a space between them;
    all where it is empty. `main` are those that it trains unless told otherwise. `diffusers` says
    that its model has diffusers' names, `before` is what stands before them in it.
    """

    containers: str = ALL
    main: str = ALL
    diffusers: bool = False
    before: str = ""

    def reaches(self, container: str) -> bool:
        return not self.containers or container in self.containers.split()


TWO_STREAMS = Trained("double_blocks single_blocks")
LAYERS = Trained("layers")
BLOCKS = Trained("blocks")
REFINED = "layers noise_refiner context_refiner"
TRAINED: dict[str, dict[str, Trained]] = {
    AI_TOOLKIT: {
        **dict.fromkeys(("Flux", "SD3", "SDXL", "SD1.5", "AuraFlow"), Trained(diffusers=True)),
        "PixArt": Trained("blocks", diffusers=True),
        COSMOS: Trained("blocks", diffusers=True),
        "Flux.2": TWO_STREAMS,
        "Chroma": Trained("double_blocks single_blocks nerf_blocks", "double_blocks single_blocks"),
        "Qwen-Image": Trained("transformer_blocks"),
        "MageFlow": Trained("transformer_blocks"),
        "LTX-Video": Trained("transformer_blocks"),
        "Wan": BLOCKS,
        "Krea 2": Trained("blocks txtfusion.layerwise_blocks txtfusion.refiner_blocks"),
        "MiniMax H3": Trained("blocks token_refiner.blocks"),
        "Z-Image": Trained(REFINED, "layers"),
        "Lumina 2": Trained(REFINED),
        "OmniGen2": Trained(f"{REFINED} ref_image_refiner", REFINED),
        "ERNIE-Image": LAYERS,
        "Ideogram 4": LAYERS,
        "ACE-Step 1.5": Trained("decoder.layers"),
        "HiDream": Trained("double_stream_blocks single_stream_blocks"),
        "HiDream-O1": Trained("language_model.layers", before="model."),
        "Boogu": Trained(
            "double_stream_layers single_stream_layers noise_refiner context_refiner "
            "ref_image_refiner",
            "double_stream_layers single_stream_layers",
        ),
    },
    KOHYA: {
        "SD1.5": Trained("input_blocks middle_block output_blocks"),
        "SDXL": Trained("input_blocks middle_block output_blocks"),
        "SD3": Trained("joint_blocks"),
        **dict.fromkeys(("Flux", "Flux.2", "Chroma", "HunyuanVideo"), TWO_STREAMS),
        "HunyuanVideo 1.5": Trained("double_blocks"),
        COSMOS: BLOCKS,
        "Wan": BLOCKS,
        "Krea 2": Trained("blocks txtfusion.layerwise_blocks txtfusion.refiner_blocks"),
        "Qwen-Image": Trained("transformer_blocks"),
        "Z-Image": Trained(REFINED),
        "Ideogram 4": LAYERS,
        "Kandinsky 5": Trained("text_transformer_blocks visual_transformer_blocks"),
        "HiDream-O1": Trained("language_model.layers", before="model."),
    },
    DIFFUSION_PIPE: {
        **dict.fromkeys(("Flux", "SD3", "AuraFlow"), Trained(diffusers=True)),
        **dict.fromkeys(("Flux.2", "Chroma", "HunyuanVideo", "HunyuanImage"), TWO_STREAMS),
        "HunyuanVideo 1.5": Trained("double_blocks"),
        COSMOS: Trained("blocks llm_adapter.blocks"),
        "Cosmos 1": BLOCKS,
        "Wan": BLOCKS,
        "Krea 2": Trained("blocks txtfusion.layerwise_blocks txtfusion.refiner_blocks"),
        "MiniMax H3": Trained("blocks token_refiner.blocks"),
        "Qwen-Image": Trained("transformer_blocks"),
        "LTX-Video": Trained("transformer_blocks"),
        "Z-Image": Trained(REFINED),
        "Lumina 2": Trained(REFINED),
        "OmniGen2": Trained(f"{REFINED} ref_image_refiner"),
        "ERNIE-Image": LAYERS,
        "Ideogram 4": LAYERS,
        "HiDream": Trained("double_stream_blocks single_stream_blocks"),
    },
}
