"""Trainer configurations: applied as the trainer applies them, they select exactly the blocks.

The rules below are the trainers' own, read in their sources (see core/insight/trainers.py); for
PEFT and diffusion-pipe, which hands its setting to PEFT, it is PEFT itself. The audit does so for
every model and container (tests/audit_trainers.py).

Also of trainers.py: whom a setting is printed for.
"""

import ast
import re
import shlex

import pytest
import torch
import yaml

from benchmarks.modules import select
from core import Lora, LoraError, trainer_config
from core.insight.trainer_configs import TRAINERS
from core.naming.blocks import locate
from tests import audit, audit_trainers
from tests.helpers import KOHYA, StateDict, lora_file, randn
from tests.helpers import lora as lora_tensors
from tests.marks import one_in

# Blocks that are easy to confuse: 1 and 10, double and single, blocks inside blocks.
CHOSEN = {
    "flux": ["double_blocks.1", "single_blocks.2", "single_blocks.12"],
    "qwen-image": ["transformer_blocks.9", "transformer_blocks.33", "transformer_blocks.5"],
    "wan2.1-14b": ["blocks.3", "blocks.30"],
    "z-image": ["layers.2", "noise_refiner.0"],
    "sdxl": ["input_blocks.4", "middle_block", "output_blocks.1"],
    "sd1.5": ["input_blocks.1", "output_blocks.10", "output_blocks.5"],
}
UNETS = ("sdxl", "sd1.5")


def lora_of(family: str, spelling: str = "kohya", **options) -> Lora:
    """A LoRA with all names of a full-size file, and next to nothing in it."""
    state = {}
    for module in select(family, spelling, **options):
        kernel = [1] * (len(module.shape) - 2)
        for side, shape in (("up", (2, 1, *kernel)), ("down", (1, 2, *kernel))):
            state[f"{module.name}.lora_{side}.weight"] = torch.ones(shape)
    return Lora(state)


def layers(family: str, naming: str) -> dict[str, str]:
    """Layer, as the model itself or diffusers names it -> its block. From the key maps.

    LoRA files of UNets keep a name from before diffusers 0.20 that modules have no more.
    """
    names = {}
    for module in select(family, "kohya" if naming == "native" else naming):
        weight = module.identity.split()[0]
        name = weight if naming == "native" else module.name
        name = name.removeprefix("transformer.").removeprefix("unet.")
        name = re.sub(r"processor\.to_out$", "to_out.0", name).replace("processor.", "")
        names[name] = locate(weight).block
    return names


def wanted(names: dict[str, str], family: str) -> set[str]:
    return {name for name, block in names.items() if block in CHOSEN[family]}


def arguments(config: str) -> dict[str, str]:
    """The key=value pairs after --network_args, as a shell hands them over."""
    words = shlex.split(config, comments=True)
    return dict(pair.split("=", 1) for pair in words[words.index("--network_args") + 1 :])


def only_if_contains(config: str) -> list[str]:
    return yaml.safe_load(config)["network"]["network_kwargs"]["only_if_contains"]


def excluded(config: str) -> str:
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    return tomllib.loads(config)["adapter"]["exclude_modules"]


def given(config: str) -> dict:
    """What peft.LoraConfig would be given: the text is Python."""
    call = ast.parse(config, mode="eval").body
    return {word.arg: ast.literal_eval(word.value) for word in call.keywords}


def targets(config: str) -> str:
    return given(config)["target_modules"]


def trained_by_peft(names, **config) -> set[str]:
    from peft import LoraConfig  # takes seconds
    from peft.tuners.tuners_utils import check_target_module_exists

    # PEFT answers an excluded module with an object that counts as false.
    peft = LoraConfig(**config)
    return {name for name in names if check_target_module_exists(peft, name)}


READERS = {
    "ai-toolkit": only_if_contains,
    "kohya": arguments,
    "diffusion-pipe": excluded,
    "peft": targets,
}


def words(pattern: str) -> set[str]:
    """The segments of names that are written in a regular expression."""
    return set(re.findall(r"[A-Za-z_]\w*", pattern.replace(r"\.", " ").replace(r"\d+", " ")))


@pytest.mark.parametrize("family", one_in(6, CHOSEN))
@pytest.mark.parametrize("spelling", ["kohya", "generic", "diffusers"])
def test_ai_toolkit(family, spelling):
    if (family, spelling) == ("wan2.1-14b", "diffusers"):
        spelling = "kohya"
    config = trainer_config("ai-toolkit", lora_of(family, spelling), CHOSEN[family])
    texts = only_if_contains(config)
    same = family in ("qwen-image", "wan2.1-14b", "z-image")
    names = layers(family, "native" if same else "diffusers")
    prefixes = ["lora_unet.", "unet."] if family in UNETS else ["transformer."]
    if family == "wan2.1-14b":
        prefixes += ["transformer.transformer_1.", "transformer.transformer_2."]
    for prefix in prefixes:
        # toolkit/lora_special.py: any([word in clean_name for word in self.only_if_contains])
        trained = {name for name in names if any(w in prefix + name for w in texts)}
        assert trained == wanted(names, family)
    # Nothing is listed that this model's names do not have.
    assert all(any(text in "transformer." + name for name in names) for text in texts)
    # transformer_only, on by default, knows the main blocks alone.
    assert ("transformer_only: false" in config) == (family == "z-image")


def parsed_selection(selection: str, total: int) -> list[bool]:
    """networks/lora_flux.py, parse_block_selection."""
    if selection in ("none", ""):
        return [False] * total
    return [str(index) in selection.split(",") for index in range(total)]


@pytest.mark.slow
def test_sd_scripts_for_flux():
    config = arguments(trainer_config("kohya", lora_of("flux"), CHOSEN["flux"]))
    flags = {
        "double": parsed_selection(config["train_double_block_indices"], 19),
        "single": parsed_selection(config["train_single_block_indices"], 38),
    }
    names = layers("flux", "native")
    # networks/lora_flux.py: block_index = int(lora_name.split("_")[4])
    flat = {name: "lora_unet_" + name.replace(".", "_") for name in names}
    trained = {n for n, f in flat.items() if flags[f.split("_")[2]][int(f.split("_")[4])]}
    assert trained == wanted(names, "flux")
    only = trainer_config("kohya", lora_of("flux"), ["double_blocks.3"])
    assert arguments(only)["train_single_block_indices"] == "none"
    assert "--network_train_unet_only" in only


def block_index(name: str, sdxl: bool) -> int:
    """networks/lora.py, get_block_index."""
    if sdxl:
        kind, index = re.match(r"lora_unet_(input|middle|output)_blocks?_(\d+)_", name).groups()
        return {"input": 1, "middle": 10, "output": 13}[kind] + int(index)
    if "mid_block_" in name:
        return 12
    pattern = r"(up|down)_blocks_(\d+)_(resnets|upsamplers|downsamplers|attentions)_(\d+)_"
    way, level, kind, number = re.search(pattern, name).groups()
    index = 3 * int(level) + (2 if "samplers" in kind else int(number))
    return index + (1 if way == "down" else 13)


@pytest.mark.slow
@pytest.mark.parametrize("family", UNETS)
def test_sd_scripts_for_unets(family):
    config = arguments(trainer_config("kohya", lora_of(family), CHOSEN[family]))
    dims = [int(dim) for dim in config["block_dims"].split(",")]
    assert len(dims) == (23 if family == "sdxl" else 25)
    modules = select(family, "kohya")
    blocks = {m.name: locate(m.identity.split()[0]).block for m in modules}
    trained = {name for name in blocks if dims[block_index(name, family == "sdxl")]}
    assert trained == {name for name, block in blocks.items() if block in CHOSEN[family]}
    assert set(dims) == {0, 1}  # the rank of the file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "block", "beyond"),
    [
        ("sdxl", "input_blocks.8", "input_blocks.9"),
        ("sdxl", "output_blocks.8", "output_blocks.9"),
        ("sdxl", "output_blocks.8", "output_blocks.99"),
        ("sd1.5", "input_blocks.11", "input_blocks.12"),
        ("sd1.5", "output_blocks.11", "output_blocks.12"),
        ("flux", "single_blocks.37", "single_blocks.38"),
        ("flux", "double_blocks.18", "double_blocks.99"),
    ],
)
def test_blocks_that_a_model_lacks_have_no_place(family, block, beyond):
    """sd-scripts would train another block, or stop."""
    lora = lora_of(family)
    name = f"lora_unet_{beyond.replace('.', '_')}_0_in_layers_2"
    lora = Lora(
        {key: lora.tensors[key] for key in lora.tensors.info} | lora_tensors(name, (2, 2), 1, KOHYA)
    )
    with pytest.raises(LoraError, match=f"has no {re.escape(beyond)}, only"):
        trainer_config("kohya", lora, [beyond])
    if block in {locate(name).block for name in lora.modules}:
        assert trainer_config("kohya", lora, [block])


def test_sd_scripts_for_sd3():
    names = [f"joint_blocks.{i}.x_block.mlp.fc1" for i in range(24)]
    lora = Lora(lora_file(["diffusion_model." + name for name in names]))
    config = arguments(trainer_config("kohya", lora, ["joint_blocks.12", "joint_blocks.2"]))
    assert config == {"train_block_indices": "2,12"}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen-image", "wan2.1-14b", "z-image"])
def test_musubi_tuner(family):
    config = arguments(trainer_config("kohya", lora_of(family), CHOSEN[family]))
    out = [re.compile(p) for p in ast.literal_eval(config["exclude_patterns"])]
    included = [re.compile(p) for p in ast.literal_eval(config["include_patterns"])]
    # What each architecture adds (networks/lora_wan.py, lora_zimage.py, lora_qwen_image.py).
    out += [re.compile(r".*(_mod_).*"), re.compile(r".*(_modulation|_refiner).*")]
    names = layers(family, "native")
    trained = {
        name
        for name in names
        if any(p.fullmatch(name) for p in included) or not any(p.fullmatch(name) for p in out)
    }
    assert trained == wanted(names, family)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["flux", "qwen-image", "wan2.1-14b", "z-image"])
def test_diffusion_pipe(family):
    config = trainer_config("diffusion-pipe", lora_of(family), CHOSEN[family])
    pattern = excluded(config)
    names = layers(family, "diffusers" if family == "flux" else "native")
    assert words(pattern) <= {segment for name in names for segment in name.split(".")}
    trained = trained_by_peft(names, target_modules=list(names), exclude_modules=pattern)
    assert trained == wanted(names, family)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["flux", "qwen-image", "z-image", "sdxl", "sd1.5"])
@pytest.mark.parametrize("spelling", ["kohya", "diffusers"])
def test_peft(family, spelling):
    config = trainer_config("peft", lora_of(family, spelling), CHOSEN[family])
    pattern = targets(config)
    names = layers(family, "diffusers")
    assert trained_by_peft(names, **given(config)) == wanted(names, family)
    assert words(pattern) <= {segment for name in names for segment in name.split(".")}
    # PEFT refuses a pattern that also matches what holds the layers.
    parents = {name.rsplit(".", depth)[0] for name in names for depth in range(1, 6)}
    assert not trained_by_peft(parents - names.keys(), **given(config))


def test_framepack_is_trained_in_diffusers_names():
    names = [f"double_blocks.{i}.img_attn_qkv" for i in range(20)]
    names += [f"single_blocks.{i}.linear2" for i in range(40)]
    state = StateDict(lora_file(["lora_unet_" + name.replace(".", "_") for name in names]))
    state.metadata = {"modelspec.architecture": "hunyuan-video"}
    config = trainer_config("kohya", Lora.of(state), ["double_blocks.1", "single_blocks.12"])
    (included,) = ast.literal_eval(arguments(config)["include_patterns"])
    framepack = [f"{name}.{i}.attn.to_q" for name in FRAMEPACK for i in range(20)]
    trained = [name for name in names + framepack if re.fullmatch(included, name)]
    assert trained == [names[1], names[32], framepack[1], framepack[32]]


# musubi_tuner/frame_pack/hunyuan_video_packed.py
FRAMEPACK = ("transformer_blocks", "single_transformer_blocks")
MODELS = {
    "flux2": ("double_blocks.1.img_mlp.2", "single_blocks.2.linear2"),
    "chroma": ("double_blocks.1.img_mlp.2", "single_blocks.2.linear2"),
    "anima": ("blocks.1.self_attn.q_proj", "blocks.2.mlp.layer1"),
    "pixart": ("blocks.1.attn.qkv",),
    "auraflow": ("double_layers.1.attn.w1q", "single_layers.2.attn.w1q"),
}


@pytest.mark.parametrize(
    ("model", "trainer", "expected"),
    [
        # Flux.2 and Chroma are built by the trainers in the model's own names, not diffusers'.
        ("flux2", "ai-toolkit", {"transformer.double_blocks.1.", "transformer.single_blocks.2."}),
        ("flux2", "diffusion-pipe", {"double_blocks", "single_blocks"}),
        (
            *("flux2", "peft"),
            {"transformer_blocks", "ff", "linear_out"}
            | {"single_transformer_blocks", "attn", "to_out"},
        ),
        ("flux2", "kohya", {"double_blocks", "single_blocks"}),
        ("chroma", "ai-toolkit", {"transformer.double_blocks.1.", "transformer.single_blocks.2."}),
        ("chroma", "diffusion-pipe", {"double_blocks", "single_blocks"}),
        ("anima", "ai-toolkit", {f"transformer.transformer_blocks.{i}." for i in (1, 2)}),
        ("anima", "diffusion-pipe", {"blocks"}),
        ("anima", "kohya", {"blocks"}),
        (
            *("auraflow", "ai-toolkit"),
            {"transformer.joint_transformer_blocks.1.", "transformer.single_transformer_blocks.2."},
        ),
        ("auraflow", "diffusion-pipe", {"joint_transformer_blocks", "single_transformer_blocks"}),
    ],
)
def test_every_trainer_has_its_own_names_for_a_model(model, trainer, expected):
    state = StateDict(lora_file(["diffusion_model." + name for name in MODELS[model]]))
    state.metadata = {"modelspec.architecture": model}
    lora = Lora.of(state)
    assert model.replace("flux2", "flux.2") in lora.family.name.lower()
    blocks = [".".join(name.split(".")[:2]) for name in MODELS[model]]
    config = trainer_config(trainer, lora, blocks)
    found = READERS[trainer](config)
    if trainer == "kohya":
        (found,) = ast.literal_eval(found["include_patterns"])
        script = "sd-scripts" if model == "anima" else "musubi-tuner"
        assert config.startswith(f"# {script};")
    assert (set(found) if trainer == "ai-toolkit" else words(found)) == expected


def test_peft_takes_only_the_layers_that_the_file_has():
    names = [f"transformer_blocks.{block}.attn.to_q" for block in (1, 10)]
    names.append("transformer_blocks.1.img_mod.1")
    config = trainer_config("peft", Lora(lora_file(names)), ["transformer_blocks.1"])
    pattern = targets(config)
    assert [n for n in names if re.fullmatch(pattern, n)] == [names[0], names[2]]
    assert not re.fullmatch(pattern, "transformer_blocks.1.attn.to_k")


def test_peft_takes_only_the_parts_that_the_file_has():
    names = [f"transformer_blocks.0.attn.to_{part}" for part in "qkv"]
    state = lora_file(["transformer." + name for name in (names[0], names[2])], shape=(8, 8))
    state |= lora_file(["transformer.single_transformer_blocks.0.proj_out"])
    config = trainer_config("peft", Lora(state), ["double_blocks.0"])
    pattern = targets(config)
    assert [name for name in names if re.fullmatch(pattern, name)] == [names[0], names[2]]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_an_unknown_model_is_named_as_the_file_names_it(trainer):
    state = lora_file([f"diffusion_model.towers.3.layers.{i}.proj" for i in (1, 10)])
    config = trainer_config(trainer, Lora(state), ["towers.3.layers.1"])
    assert "towers" in config and "10" not in config


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_file_that_could_be_for_another_model_says_so(trainer):
    lora = Lora(lora_file([f"lora_unet_double_blocks_{i}_img_attn_proj" for i in range(3)]))
    config = trainer_config(trainer, lora, ["double_blocks.1"])
    first, rest = config.split("\n", 1)
    assert first.startswith("# for Flux; the file could be for Flux.2 or Chroma")
    assert READERS[trainer](config) == READERS[trainer](rest)


@pytest.mark.slow
def test_text_encoders_are_named_as_left_out():
    lora = lora_of("sdxl", text_encoders=True)
    blocks = ["input_blocks.4", "clip_l.encoder.layers.2"]
    config = trainer_config("kohya", lora, blocks)
    assert config.startswith("# blocks of text encoders are chosen elsewhere: clip_l.encoder")
    with pytest.raises(LoraError, match="none of the chosen blocks is one of the diffusion model"):
        trainer_config("kohya", lora, blocks[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "family", "blocks", "message"),
    [
        ("onetrainer", "flux", ["double_blocks.1"], "'onetrainer' is unknown; choose one of ai-"),
        ("kohya", "flux", ["double_blocks.40"], r"has no block double_blocks\.40; it has double"),
        (
            *("diffusion-pipe", "sdxl", ["input_blocks.4"]),
            "no setting that trains single blocks of SDXL; use ai-toolkit or kohya or peft",
        ),
    ],
)
def test_what_cannot_be_written(trainer, family, blocks, message):
    with pytest.raises(LoraError, match=message):
        trainer_config(trainer, lora_of(family), blocks)


@pytest.mark.parametrize(
    ("trainer", "text"),
    [
        ("ai-toolkit", "linear: 12\n  linear_alpha: 12\n"),
        ("kohya", "--network_dim 12 --network_alpha 12 "),
        ("diffusion-pipe", "rank = 12\n"),  # alpha is the rank there
        ("peft", "r=12,\n    lora_alpha=12,\n"),
    ],
)
def test_the_rank_is_that_of_most_modules_and_alpha_follows(trainer, text):
    state = lora_file([f"blocks.{i}.attn.to_q" for i in range(3)], rank=12)
    state |= lora_file(["blocks.0.mlp"], rank=4) | {"blocks.1.norm.w_norm": randn((4,))}
    assert text in trainer_config(trainer, Lora(state), ["blocks.0", "blocks.1"])


@pytest.mark.parametrize(
    ("trainer", "model", "able"),
    [
        ("kohya", "HunyuanImage 2.1", "diffusion-pipe or peft"),
        ("kohya", "MiniMax H3", "ai-toolkit or diffusion-pipe or peft"),
        ("ai-toolkit", "HunyuanVideo", "kohya or diffusion-pipe or peft"),
        ("diffusion-pipe", "HiDream-O1", "ai-toolkit or kohya or peft"),
    ],
)
def test_a_trainer_that_lacks_a_model_names_those_that_have_it(trainer, model, able):
    layers = audit.files(model)["kohya"]
    lora = audit_trainers.file_of(layers, audit.family_of(model))
    blocks = audit_trainers.chosen(layers)
    with pytest.raises(LoraError, match=f"{trainer} has no setting that .*; use {able}$"):
        trainer_config(trainer, lora, blocks)


def test_blocks_beyond_a_trainer_are_named_and_never_dropped_in_silence():
    layers = audit.files("Chroma Radiance")["kohya"]
    lora = audit_trainers.file_of(layers, audit.family_of("Chroma"))
    beyond = "distilled_guidance_layer.layers.1"
    config = trainer_config("kohya", lora, [beyond, "double_blocks.1"])
    assert f"# kohya has no setting that trains these blocks: {beyond}\n" in config
    with pytest.raises(LoraError, match=f"kohya has no setting that trains {beyond} of Chroma"):
        trainer_config("kohya", lora, [beyond])


def test_a_block_is_not_one_of_the_same_name_inside_another():
    layers = audit.files("MiniMax H3")["kohya"]
    lora = audit_trainers.file_of(layers, audit.family_of("MiniMax H3"))
    (text,) = only_if_contains(trainer_config("ai-toolkit", lora, ["blocks.1"]))
    assert text in "transformer.blocks.1.attn.qkv_proj"
    assert text not in "transformer.token_refiner.blocks.1.attn.qkv_proj"
