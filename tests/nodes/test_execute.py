"""The nodes' `execute` called as ComfyUI calls it, under inference mode, without a server."""

from __future__ import annotations

import asyncio
import importlib
import json
import mmap
import sys
import time
from math import prod
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from .running import EXACT, KOHYA, defaults, dense, lora, run


@pytest.fixture
def bridge(pack: Any) -> Any:
    return importlib.import_module(f"{pack.__name__}.comfy_bridge")


def test_load_reads_the_file_with_its_metadata(nodes: dict[str, Any], folders: Path) -> None:
    save_file(lora(), folders / "loras/one.safetensors", {"ss_output_name": "one"})
    node = nodes["LoraAlloyLoad"]
    loaded, info, *_ = run(node, lora_name="one.safetensors")
    assert isinstance(loaded, dict) and loaded.metadata == {"ss_output_name": "one"}
    assert all(torch.equal(loaded[key], tensor) for key, tensor in lora().items())
    assert "* ranks: 4 (3)" in info and "one.safetensors" in info

    before = node.fingerprint_inputs("one.safetensors")
    assert before == node.fingerprint_inputs("one.safetensors")
    save_file(lora(rank=2), folders / "loras/one.safetensors")
    assert before != node.fingerprint_inputs("one.safetensors")
    (folders / "loras/one.safetensors").unlink()
    assert node.fingerprint_inputs("one.safetensors") == "missing"
    with pytest.raises(ValueError, match="not in the lora folders any more"):
        run(node, lora_name="one.safetensors")


def test_load_reads_as_it_is_asked_to(nodes: dict[str, Any], folders: Path) -> None:
    """What travels is what was asked for: every node that follows reads it without being told."""
    name = KOHYA.format(0)
    dora = lora() | {f"{name}.dora_scale": torch.ones(64, 1)}
    save_file(dora, folders / "loras/dora.safetensors")
    node, resize = nodes["LoraAlloyLoad"], nodes["LoraAlloyRankResize"]
    loaded, info, *_ = run(node, lora_name="dora.safetensors")
    assert loaded.keys() == dora.keys() and "DoRA" in info
    with pytest.raises(ValueError, match="drop_magnitude") as caught:
        run(resize, lora=loaded, rule={"rule": "fixed rank", "rank": 1})
    assert "--" not in str(caught.value)
    loaded, info, *_ = run(node, lora_name="dora.safetensors", drop_magnitude=True)
    assert loaded.name == "dora.safetensors" and "read without the magnitudes" in info
    assert loaded.keys() == lora().keys()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in lora().items())

    up, down = torch.ones(6, 2), torch.ones(2, 5)
    key = "transformer.blocks.0.attn.to_q.lora_{}.weight"
    settings = {"transformer": {"r": 2, "lora_alpha": 1}}
    save_file(
        {key.format("B"): up, key.format("A"): down},
        folders / "loras/peft.safetensors",
        {"lora_adapter_metadata": json.dumps(settings["transformer"])},
    )
    loaded, info, *_ = run(node, lora_name="peft.safetensors")
    assert "scale_from_metadata" in info and "--" not in info
    loaded, info, *_ = run(node, lora_name="peft.safetensors", scale_from_metadata=True)
    assert torch.allclose(loaded[key.format("B")] @ loaded[key.format("A")], up @ down / 2)
    _, again = run(resize, lora=loaded, rule={"rule": "fixed rank", "rank": 2})[:2]
    assert "scale_from_metadata" not in again


def test_blend_adds_with_alpha_and_sign(nodes: dict[str, Any]) -> None:
    first, second = lora(1), lora(2)
    second = {k: t * 0.5 if k.endswith("alpha") else t for k, t in second.items()}
    kept = {key: tensor.clone() for key, tensor in (first | second).items()}
    blended, report = run(
        nodes["LoraAlloyBlend"], lora_1=first, lora_2=second, weight_2=-2.0, target_rank=EXACT
    )
    for block in range(3):
        exact = dense(first, block) - 2.0 * dense(second, block)
        assert torch.allclose(dense(blended, block), exact, atol=1e-5)
    assert report.startswith("## Blend\n")
    assert all(torch.equal(kept[key], tensor) for key, tensor in (first | second).items())
    owners = [tensor.untyped_storage().data_ptr() for tensor in blended.values()]
    assert len(set(owners)) == len(owners)
    assert all(t.is_contiguous() and t.device.type == "cpu" for t in blended.values())


def test_a_method_has_its_parameters(nodes: dict[str, Any]) -> None:
    """Magnitude, on the dense matrices: the sum of the largest quarter of each."""
    loras = [lora(seed) for seed in range(1, 4)]
    blended, _ = run(
        nodes["LoraAlloyBlend"], lora_1=loras[0], lora_2=loras[1],
        more_loras={"lora_3": loras[2]}, weight_2=-0.5, target_rank=EXACT,
        method={"method": "magnitude", "density": 0.25},
    )  # fmt: skip
    for block in range(3):
        exact = torch.zeros(64, 16, dtype=torch.float64)
        for weight, tensors in zip((1.0, -0.5, 1.0), loras, strict=True):
            update = weight * dense(tensors, block)
            exact += update * (update.abs() >= update.abs().flatten().topk(256).values[-1])
        made = blended[KOHYA.format(block) + ".diff"].double()
        assert torch.allclose(made, exact, atol=1e-5)


@pytest.mark.parametrize("whole_file", [False, True])
def test_even_keeps_the_weaker_lora_audible(nodes: dict[str, Any], whole_file: bool) -> None:
    """Of two LoRAs, one a hundred times as strong, both count the same."""
    first, second = lora(1), lora(2)
    second = {k: t * 0.01 if k.endswith("alpha") else t for k, t in second.items()}
    balance = {"balance": "even-file" if whole_file else "even", "strength": 1.0}
    blended, _ = run(
        nodes["LoraAlloyBlend"], lora_1=first, lora_2=second, target_rank=EXACT, balance=balance
    )
    one, two = dense(first, 0).flatten(), dense(second, 0).flatten()
    basis = torch.stack([one / one.norm(), two / two.norm()], 1)
    parts = torch.linalg.lstsq(basis, dense(blended, 0).flatten()[:, None]).solution
    assert float(parts.min() / parts.max()) > (0.5 if whole_file else 0.999)


def test_blend_hands_metadata_on_and_does_not_need_it(nodes: dict[str, Any]) -> None:
    core = importlib.import_module("alloy_pack.core")
    named = core.StateDict(lora(1), {"modelspec.author": "kept"}, "a.safetensors")
    blended, _ = run(nodes["LoraAlloyBlend"], lora_1=named, lora_2=lora(2))
    assert blended.metadata["modelspec.author"] == "kept"
    recipe = json.loads(blended.metadata["lora_alloy"])
    assert [entry["name"] for entry in recipe["inputs"]] == ["a.safetensors", "the LoRA at lora_2"]
    assert blended.name == "blend of a.safetensors and the LoRA at lora_2"


@pytest.mark.parametrize(
    "balance",
    [
        {"balance": "softmax", "temperature": 1.0, "floor": 0.0},
        {"balance": "proportional", "target_strength": 1.0, "floor": 0.02},
        {"balance": "power law", "target_strength": 1.0, "power": 0.5, "floor": 0.02},
        {"balance": "sigmoid", "target_strength": 1.0, "temperature": 1.0, "bias": 0.0,
         "floor": 0.02},
    ],
    ids=lambda balance: balance["balance"],
)  # fmt: skip
def test_every_balance_is_a_rule_of_the_library(nodes: dict[str, Any], balance: dict) -> None:
    core = importlib.import_module("alloy_pack.core")
    first, second = lora(1), lora(2)
    blended, _ = run(
        nodes["LoraAlloyBlend"], lora_1=first, lora_2=second, target_rank=EXACT, balance=balance
    )
    rules = {
        "softmax": core.softmax_spectral_weight_fn(1.0, 0.0),
        "proportional": core.dyn_weights_proportional(1.0, 0.02),
        "power law": core.dyn_weights_powerlaw(1.0, 0.5, 0.02),
        "sigmoid": core.dyn_weights_margin_sigmoid(1.0, 1.0, 0.0, 0.02),
    }
    norms = [float(torch.linalg.matrix_norm(dense(x, 0), 2)) for x in (first, second)]
    w1, w2 = rules[balance["balance"]]("", *norms)
    exact = w1 * dense(first, 0) + w2 * dense(second, 0)
    assert torch.allclose(dense(blended, 0), exact, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_any_dtype_comes_in(nodes: dict[str, Any], dtype: torch.dtype) -> None:
    source = {k: t if k.endswith("alpha") else t.to(dtype) for k, t in lora(1).items()}
    blended, _ = run(nodes["LoraAlloyBlend"], lora_1=source, weight_1=0.5, output_dtype="fp32")
    assert torch.allclose(dense(blended, 0), 0.5 * dense(source, 0), atol=1e-2)


def read_only(path: Path) -> dict[str, Any]:
    """The tensors of a file as views of a map that must not be written: that ends the process."""
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = 8 + int.from_bytes(mapped[:8], "little")
    found = {}
    for key, entry in json.loads(mapped[8:start]).items():
        first = start + entry["data_offsets"][0]
        values = numpy.frombuffer(mapped, "<f4", prod(entry["shape"]), first)
        found[key] = torch.from_numpy(values).reshape(entry["shape"])
    return found


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("made", ["mapped", "inferred"])
def test_inputs_may_be_read_only_and_stay_as_they_are(
    nodes: dict[str, Any], folders: Path, made: str
) -> None:
    save_file(lora(1), folders / "loras/map.safetensors")
    with torch.inference_mode():
        source = lora(1) if made == "inferred" else read_only(folders / "loras/map.safetensors")
    half = {"rule": "fixed rank", "rank": 2}
    for name, given in (
        ("LoraAlloyBlend", {"lora_1": source, "lora_2": source, "weight_2": -0.5}),
        ("LoraAlloyRankResize", {"lora": source, "rule": half}),
        ("LoraAlloyLayerAnalysis", {"lora": source, "statistics": "full"}),
        ("LoraAlloyTopBlocks", {"lora": source}),
        ("LoraAlloyCompare", {"lora_1": source, "lora_2": source}),
        ("LoraAlloySave", {"lora": source, "dtype": "fp16"}),
    ):
        run(nodes[name], **given)
        assert all(torch.equal(source[key], tensor) for key, tensor in lora(1).items()), name


def test_what_is_no_lora_is_refused(nodes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lora_1: expected a LoRA, got a str"):
        run(nodes["LoraAlloyBlend"], lora_1="a.safetensors")
    with pytest.raises(ValueError, match="the LoRA at lora: no LoRA tensors in it"):
        run(nodes["LoraAlloySave"], lora={})


def test_resize_reports_and_draws(nodes: dict[str, Any], folders: Path) -> None:
    smaller, report, chart = run(
        nodes["LoraAlloyRankResize"], lora=lora(), rule={"rule": "fixed rank", "rank": 2}
    )
    assert smaller[KOHYA.format(0) + ".lora_up.weight"].shape == (64, 2)
    assert "| 4           | 2    |" in report
    assert chart.dtype == torch.float32 and chart.shape[0] == 1 and chart.shape[3] == 3
    assert 0 <= float(chart.min()) < float(chart.max()) <= 1


def test_the_result_is_shown_on_the_node(nodes: dict[str, Any], folders: Path) -> None:
    for name, given, lines in (
        ("LoraAlloyBlend", {"lora_1": lora()}, ["3 modules, rank 4", "3.9 kB", "relative error 0"]),
        (
            "LoraAlloyRankResize",
            {"lora": lora(), "rule": {"rule": "fixed rank", "rank": 2}},
            ["3 modules, rank 2", "1.9 kB", "relative error 0."],
        ),
        ("LoraAlloySave", {"lora": lora()}, ["saved as alloy_00001_.safetensors", ""]),
    ):
        with torch.inference_mode():
            output = nodes[name].execute(**(defaults(nodes[name]) | given))
        (shown,) = output.ui["lora_alloy"]
        for line, start in zip(shown["lines"], lines, strict=True):
            assert line.startswith(start)
        assert json.loads(json.dumps(output.ui))


def test_save_numbers_and_casts(nodes: dict[str, Any], folders: Path) -> None:
    node, source = nodes["LoraAlloySave"], lora()
    paths = [Path(run(node, lora=source, dtype=dtype)[0]) for dtype in ("match", "bf16")]
    assert [path.name for path in paths] == ["alloy_00001_.safetensors", "alloy_00002_.safetensors"]
    exact, half = map(load_file, paths)
    assert all(torch.equal(exact[key], source[key]) for key in source)
    assert half[KOHYA.format(0) + ".lora_up.weight"].dtype == torch.bfloat16
    assert half[KOHYA.format(0) + ".alpha"].dtype == torch.float32
    assert not list(folders.glob("output/**/*.part"))


def test_saves_at_once_take_different_numbers(
    nodes: dict[str, Any], folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another server takes the number when this one is about to give its file the name.
    sink = nodes["LoraAlloySave"].execute.__globals__["save"].__globals__["FileSink"]
    atomic, taken = sink.__init__.__globals__["AtomicFile"], []
    complete = atomic.complete

    def late(self: Any) -> None:
        complete(self)
        if not taken:
            self.path.write_bytes(b"another's")
            taken.append(self.path)

    monkeypatch.setattr(atomic, "complete", late)
    path = Path(run(nodes["LoraAlloySave"], lora=lora())[0])
    assert taken[0].read_bytes() == b"another's"
    assert path.name == "alloy_00002_.safetensors" and load_file(path)
    assert not list(folders.glob("output/**/*.part"))


OUTSIDE = ["../x", "/tmp/x", "", " ", ".", "a/..", "a/../../x", "link/x", "a/../link/x", "loop/x"]
OF_A_SYSTEM = [
    "C:\\x",
    "C:x",
    "loras/x:stream",
    "NUL",
    "loras/con.x",
    "Aux/x",
    "com1",
    "x\0y",
    "x\ny",
]
UNUSABLE = ["n" * 300, "n" * 300 + "/x", "n/" * 3000 + "x", "\ud800"]


@pytest.mark.parametrize("prefix", [*OUTSIDE, *OF_A_SYSTEM, *UNUSABLE], ids=lambda p: ascii(p)[:20])
def test_save_stays_in_the_output_folder(nodes: dict[str, Any], folders: Path, prefix: str) -> None:
    (folders / "output" / "link").symlink_to(folders / "temp")
    (folders / "output" / "loop").symlink_to("loop")
    before = sorted(folders.rglob("*"))
    with pytest.raises(ValueError, match=r"filename prefix .*such as loras/alloy|choose a"):
        run(nodes["LoraAlloySave"], lora=lora(), filename_prefix=prefix)
    assert str(nodes["LoraAlloySave"].validate_inputs(prefix or " ")).startswith("filename prefix ")
    assert sorted(folders.rglob("*")) == before


LOOK_ALIKES = [
    "\uff0e\uff0e\u2215x",
    "\uff0e\uff0e/x",
    "\u2024\u2024/x",
    "C\uff1a\uff3cx",
    "x\u202ey",
]


@pytest.mark.parametrize(
    "prefix", [*LOOK_ALIKES, "a/../x", "nulls", "x.con", "%year%", "-x", "~/x"]
)
def test_save_takes_any_other_name(nodes: dict[str, Any], folders: Path, prefix: str) -> None:
    path = Path(run(nodes["LoraAlloySave"], lora=lora(), filename_prefix=prefix)[0])
    assert path.resolve().is_relative_to((folders / "output").resolve()) and path.is_file()
    written = [file for file in folders.rglob("*") if file.is_file()]
    assert [file.resolve() for file in written] == [path.resolve()]


def test_tokens_of_a_name_are_those_of_comfyui(
    nodes: dict[str, Any], folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = {
        "1": {"class_type": "KSampler", "inputs": {"seed": 7, "model": ["2", 0]}},
        "2": {"class_type": "X", "inputs": {"name": "a/b:c"}, "_meta": {"title": "My node"}},
    }
    hidden = SimpleNamespace(unique_id="9", prompt=prompt, extra_pnginfo=None)
    monkeypatch.setattr(nodes["LoraAlloySave"], "hidden", hidden)
    now = time.struct_time((2026, 3, 5, 7, 8, 9, 0, 0, 0))
    monkeypatch.setattr(time, "localtime", lambda: now)
    for prefix, name in (
        ("%date:yyyy-MM-dd%", "2026-03-05"),
        ("%date:yy/M/d%/%date:hh-mm-ss%", "26/3/5/07-08-09"),
        ("%year%%month%%day%-%hour%", "20260305-07"),
        ("%KSampler.seed% %My node.name%", "7 a_b_c"),
        ("%KSampler.model%%none.x%%width%", "%KSampler.model%%none.x%0"),
    ):
        assert nodes["LoraAlloySave"].validate_inputs(prefix) is True
        path = run(nodes["LoraAlloySave"], lora=lora(), filename_prefix=prefix)[0]
        assert path == str(folders / f"output/{name}_00001_.safetensors")


def test_a_saved_file_is_a_stack(nodes: dict[str, Any], folders: Path) -> None:
    """Other packs' nodes find it by this name, as ours do."""
    _, stack = run(nodes["LoraAlloySave"], lora=lora(), filename_prefix="loras/sub/x")
    assert stack == [("sub/x_00001_.safetensors", 1.0, 1.0)]
    blended, _ = run(nodes["LoraAlloyBlend"], lora_stack=stack, target_rank=EXACT)
    assert torch.equal(dense(blended, 0), dense(lora(), 0))
    _, stack = run(nodes["LoraAlloySave"], lora=lora(), filename_prefix="x")
    assert "begin filename_prefix with loras/" in stack.message


def test_what_can_be_known_is_said_before_the_run(nodes: dict[str, Any], folders: Path) -> None:
    for name, texts in (
        ("LoraAlloyBlend", ("", "double_blocks.9-0")),
        ("LoraAlloyRankResize", ("double_blocks.9-0",)),
        ("LoraAlloyTopBlocks", ("-",)),
        ("LoraAlloyCompare", ("a.5-1",)),
        ("LoraAlloySave", ("x", "no colon")),
        ("LoraAlloySave", ("../x", "")),
        ("LoraAlloyLoad", ("gone.safetensors",)),
    ):
        answer = nodes[name].validate_inputs(*texts)
        assert isinstance(answer, str) and ";" in answer, name
        harmless = ["x" if name == "LoraAlloySave" else "", *[""] * (len(texts) - 1)]
        if name != "LoraAlloyLoad":
            assert nodes[name].validate_inputs(*harmless) is True, name
            assert nodes[name].validate_inputs(*[None] * len(texts)) is True, name  # wires
    save_file(lora(), folders / "loras/here.safetensors")
    assert nodes["LoraAlloyLoad"].validate_inputs("here.safetensors") is True
    (folders / "loras/here.safetensors").write_bytes(b"no file")
    assert "not a readable" in nodes["LoraAlloyLoad"].validate_inputs("here.safetensors")


def test_errors_are_called_after_the_product(pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ComfyUI sends of a failed node: its exception's type, and each input as text."""
    # ComfyUI's own `nodes`, which would be ours here; all of this needs none of it.
    monkeypatch.setitem(sys.modules, "nodes", ModuleType("nodes"))
    import execution

    core = importlib.import_module("alloy_pack.core")
    asyncio.run(pack.comfy_entrypoint())
    for kind in (core.LoraError, core.SettingError, core.EmptyRest, core.FileError):
        assert execution.full_type_name(kind) == "LoRA Alloy"
    sent = execution.format_value(core.StateDict(lora(), name="style.safetensors"))
    assert sent == "<LoRA style.safetensors: 9 tensors>"


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "a/../../x.safetensors", "{}/x.safetensors", "x.safetensors\0",
             "..\\x.safetensors", "C:x.safetensors", "\uff0e\uff0e/x.safetensors", "", ".",
             "\ud800", "n" * 300],
    ids=lambda name: ascii(name)[:20],
)  # fmt: skip
def test_load_stays_in_the_lora_folders(nodes: dict[str, Any], folders: Path, name: str) -> None:
    save_file(lora(), folders / "x.safetensors")
    node, name = nodes["LoraAlloyLoad"], name.format(folders)
    assert node.fingerprint_inputs(name) == "missing"
    with pytest.raises(ValueError, match="not in the lora folders"):
        run(node, lora_name=name)


def test_an_interrupted_save_leaves_nothing(nodes: dict[str, Any], folders: Path) -> None:
    import comfy.model_management as memory

    memory.interrupt_current_processing(True)
    with pytest.raises(memory.InterruptProcessingException):
        run(nodes["LoraAlloySave"], lora=lora())
    memory.interrupt_current_processing(False)
    assert not list(folders.glob("output/**/*.*"))


class FakeMemory:
    """ComfyUI's memory management on a machine with a GPU that is full."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []

    def get_all_torch_devices(self) -> list[torch.device]:
        return [torch.device("cuda:0"), torch.device("cuda:1")]

    def get_torch_device(self) -> torch.device:
        return torch.device("cuda:0")

    def supports_fp64(self, device: torch.device) -> bool:
        return device.type != "mps"

    def free_memory(self, size: int, device: torch.device) -> None:
        self.asked.append((size, str(device)))

    def throw_exception_if_processing_interrupted(self) -> None:
        pass


@pytest.fixture
def full_gpu(bridge: Any, monkeypatch: pytest.MonkeyPatch) -> FakeMemory:
    memory = FakeMemory()
    monkeypatch.setattr(bridge, "memory", memory)
    return memory


def test_a_module_too_large_for_the_gpu_is_computed_on_the_cpu_and_the_report_says_so(
    nodes: dict[str, Any], pack: Any, full_gpu: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pack.__name__.rpartition(".")[0]
    module_type = importlib.import_module(f"{package}.core.reading.lora").Module
    real, asked = module_type.update, []

    def update(self: Any, device: torch.device, dtype: torch.dtype, **how: Any) -> Any:
        asked.append((self.canonical, device.type))
        if device.type == "cuda" and len(asked) == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(self, torch.device("cpu"), dtype, **how)

    monkeypatch.setattr(module_type, "update", update)
    blended, report = run(nodes["LoraAlloyBlend"], lora_1=lora(), weight_1=2.0, target_rank=EXACT)
    assert [device for _, device in asked] == ["cuda", "cuda", "cpu", "cuda"]
    assert asked[1][0] == asked[2][0]
    assert f"* the memory of cuda:0 ran out; computed on the CPU: {asked[1][0]}\n" in report
    assert torch.allclose(dense(blended, 0), 2.0 * dense(lora(), 0), atol=1e-5)
    ((size, device),) = full_gpu.asked
    assert device == "cuda:0" and (256 << 20) < size < (258 << 20)


def test_devices_are_those_that_comfyui_has(bridge: Any, full_gpu: FakeMemory) -> None:
    assert bridge.device_options() == ["auto", "cpu", "cuda:0", "cuda:1"]
    assert bridge.torch_device("auto") == torch.device("cuda:0")
    assert bridge.torch_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="'cuda:7' is not on this machine; choose one of auto"):
        bridge.torch_device("cuda:7")
    full_gpu.get_torch_device = lambda: torch.device("mps")  # type: ignore[method-assign]
    assert bridge.torch_device("auto") == torch.device("cpu")


def test_interrupts_pass_through(bridge: Any) -> None:
    import comfy.model_management as memory

    memory.interrupt_current_processing(True)
    with pytest.raises(memory.InterruptProcessingException):
        bridge.compute(lambda compute: compute.cancelled(), "cpu", torch.float32, [])
    memory.interrupt_current_processing(False)


def test_save_says_what_the_widgets_say(
    nodes: dict[str, Any], folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, node = importlib.import_module("alloy_pack.core"), nodes["LoraAlloySave"]
    told = {"modelspec.trigger_phrase": "old", "ss_output_name": "x", "ss_tag_frequency": "{}"}
    source = core.StateDict(lora(), told, "a.safetensors")
    hidden = SimpleNamespace(unique_id=None, prompt={"1": {}}, extra_pnginfo=None)
    monkeypatch.setattr(node, "hidden", hidden)

    def saved(**given: Any) -> dict[str, str]:
        return dict(core.load(run(node, lora=source, **given)[0]).metadata)

    first = saved()
    assert first["ss_output_name"] == "alloy_00001_" and first["prompt"] == '{"1": {}}'
    assert first["modelspec.trigger_phrase"] == "old"
    words = {"title": "T", "trigger_words": "a, b", "metadata": "x: y\nss_tag_frequency:"}
    second = saved(**words)
    assert (second["modelspec.title"], second["modelspec.trigger_phrase"]) == ("T", "a, b")
    assert second["x"] == "y" and "ss_tag_frequency" not in second
    minimal = saved(keep_metadata="minimal")
    assert minimal.keys() == {"modelspec.trigger_phrase", "ss_output_name"}
    assert saved(keep_metadata="none") == {}
    assert saved(keep_metadata="none", title="T") == {"modelspec.title": "T"}
