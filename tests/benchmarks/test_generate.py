"""Generated files: valid safetensors, the update that was asked for, the same bytes each time."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from benchmarks import generate as module
from benchmarks.generate import factors, generate
from benchmarks.modules import Module, select

BLOCK = "double_blocks.0.*_attn.*"
IMG_QKV = "lora_unet_double_blocks_0_img_attn_qkv"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "lora.safetensors"


def update(tensors, name, up, down):
    scale = (
        tensors[name + ".alpha"] / tensors[name + down].shape[0] if up == ".lora_up.weight" else 1
    )
    return scale * tensors[name + up] @ tensors[name + down]


def test_kohya(file):
    assert generate(file, "flux", rank=4, modules=BLOCK) == 4
    tensors = load_file(file)
    assert len(tensors) == 3 * 4
    assert tensors[IMG_QKV + ".lora_up.weight"].shape == (9216, 4)
    assert tensors[IMG_QKV + ".lora_down.weight"].shape == (4, 3072)
    assert tensors[IMG_QKV + ".alpha"] == 2
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["ss_network_dim"] == "4"
        assert opened.metadata()["ss_network_alpha"] == "2.0"


def test_generic_and_diffusers_have_no_alpha(file):
    for spelling, count in (("generic", 4), ("diffusers", 8)):
        assert generate(file, "flux", rank=2, spelling=spelling, modules=BLOCK) == count
        suffixes = {key.split(".lora_")[-1] for key in load_file(file)}
        assert suffixes == {"A.weight", "B.weight"}


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16", "fp8"])
def test_dtypes(file, dtype):
    generate(file, "qwen-image", rank=2, dtype=dtype, modules="transformer_blocks.0.attn.to_q")
    assert {tensor.dtype for tensor in load_file(file).values()} == {module.DTYPES[dtype][0]}
    assert all(tensor.float().any() for tensor in load_file(file).values())


def test_convolutions_keep_their_kernel_on_down(file):
    generate(
        file, "sd1.5", rank=2, modules="input_blocks.1.0.in_layers.2, input_blocks.1.1.proj_in"
    )
    tensors = load_file(file)
    block = "lora_unet_down_blocks_0_"
    assert tensors[block + "resnets_0_conv1.lora_down.weight"].shape == (2, 320, 3, 3)
    assert tensors[block + "resnets_0_conv1.lora_up.weight"].shape == (320, 2, 1, 1)
    assert tensors[block + "attentions_0_proj_in.lora_down.weight"].shape == (2, 320, 1, 1)


def test_same_arguments_same_bytes(tmp_path):
    paths = [tmp_path / str(index) for index in range(3)]
    for path, seed in zip(paths, (5, 5, 6), strict=True):
        generate(path, "flux", rank=8, seed=seed, modules=BLOCK)
    same, again, other = (path.read_bytes() for path in paths)
    assert same == again
    assert same != other


def test_the_number_of_threads_is_left_as_it_was(file, monkeypatch):
    during = []
    original = factors
    monkeypatch.setattr(
        module, "factors", lambda *a: during.append(torch.get_num_threads()) or original(*a)
    )
    before = torch.get_num_threads()
    generate(file, "flux", rank=2, modules=BLOCK)
    assert set(during) == {1}
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_kohya_and_generic_are_the_same_update(tmp_path):
    options = {"rank": 4, "dtype": "fp32", "modules": "double_blocks.0.img_attn.proj"}
    generate(tmp_path / "kohya", "flux", **options, alpha=3)
    generate(tmp_path / "generic", "flux", **options, spelling="generic")
    kohya, generic = load_file(tmp_path / "kohya"), load_file(tmp_path / "generic")
    suffixes = (".lora_up.weight", ".lora_down.weight"), (".lora_B.weight", ".lora_A.weight")
    one = update(kohya, "lora_unet_double_blocks_0_img_attn_proj", *suffixes[0])
    two = update(generic, "diffusion_model.double_blocks.0.img_attn.proj", *suffixes[1])
    assert torch.allclose(one, two, rtol=1e-4, atol=1e-9)


def test_singular_values_fall_off():
    up, down = factors(Module("m", "m", (600, 400)), rank=16, seed=1)
    sigma = torch.linalg.svdvals(up @ down)[:16]
    assert 0.02 < sigma[0] < 3
    assert sigma[-1] / sigma[0] < 0.25
    # No single rank direction of the file is a singular direction: each holds a share of them all.
    shares = up.norm(dim=0) / up.norm()
    assert shares.max() < 0.7


def test_no_two_modules_are_alike():
    same_shape = [m for m in select("flux", "kohya", "attention") if m.shape == (3072, 3072)][:6]
    factored = [factors(m, rank=4, seed=0) for m in same_shape]
    ups = torch.stack([(up / up.norm()).flatten() for up, _ in factored])
    assert (ups @ ups.T - torch.eye(len(ups))).abs().max() < 0.1
    strengths = torch.stack([up.norm() for up, _ in factored])
    assert strengths.max() / strengths.min() > 1.3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rank": 0}, "rank"),
        ({"rank": 4, "dtype": "int8"}, "dtype"),
        ({"rank": 4, "alpha": 0}, "alpha"),
        ({"rank": 4, "alpha": 4, "spelling": "diffusers"}, "no alpha"),
        ({"rank": 4, "modules": "nothing"}, "no modules"),
    ],
)
def test_what_is_refused(file, options, message):
    with pytest.raises(ValueError, match=message):
        generate(file, "flux", **options)
    assert not file.exists()


def test_a_failed_run_leaves_no_file(file, monkeypatch):
    monkeypatch.setattr(module, "factors", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate(file, "flux", rank=4, modules=BLOCK)
    assert not list(file.parent.iterdir())


def test_command_line(file, capsys):
    command = f"flux --rank 2 --spelling generic --modules double_blocks.0.img_attn.proj -o {file}"
    module.main(command.split())
    assert "1 modules" in capsys.readouterr().out
    assert len(load_file(file)) == 2
    with pytest.raises(SystemExit) as stopped:
        module.main(f"flux --rank 0 -o {file}".split())
    assert stopped.value.code == 1
    assert "rank" in capsys.readouterr().err
