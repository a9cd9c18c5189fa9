"""Everything that LoRA Alloy asks of ComfyUI: the only file that knows comfy.* and folder_paths.

Devices and memory, progress and interrupts, the folders of LoRAs and outputs, what a saved file
says about its workflow, and applying a LoRA to loaded models. The nodes themselves only know the
node schema (comfy_api.latest) and the library.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import comfy.lora
import comfy.lora_convert
import comfy.model_management as memory
import comfy.model_patcher
import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.cli_args import args
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..core import (
    BaseModel,
    Compute,
    FileError,
    LazyTensors,
    LoraError,
    SettingError,
    StateDict,
    load,
)

Result = TypeVar("Result")
LoraModel = Mapping[str, Tensor]  # what travels on LORA_MODEL wires

log = logging.getLogger("lora-alloy")
HOST = torch.device("cpu")

# What a file name means beyond a name: control characters; on Windows a drive or stream after a
# colon, and a device in whatever folder and with whatever ending.
OF_A_SYSTEM = re.compile(
    r"[\x00-\x1f:]|(^|[/\\])\s*(con|prn|aux|nul|(com|lpt)[0-9\xb9\xb2\xb3])\s*([./\\]|$)", re.I
)

# What the largest module needs while it is computed: its factors, the concatenation, float64 blocks
# for Gram matrices, the result. Below five times the factors on a CPU, for each of two workers.
WORKING_COPIES = 16
WEIGHTS_AT_ONCE = 8
# What lies beside a quantised weight in a model's state dict.
QUANTISED_BESIDE = (
    ".weight_scale",
    ".scale_weight",
    ".input_scale",
    ".scale_input",
    ".comfy_quant",
)
# cuBLAS and cuSOLVER keep workspaces of their own.
WORKSPACE = 256 << 20


# -- devices ---------------------------------------------------------------------------------


def device_options() -> list[str]:
    """The choices of a compute_device widget on this machine."""
    return ["auto", "cpu", *(str(d) for d in _accelerators())]


def _accelerators() -> list[torch.device]:
    """ComfyUI's devices that can do the job: float64 is needed, which MPS has not got."""
    everything = getattr(memory, "get_all_torch_devices", lambda: [memory.get_torch_device()])
    return [d for d in everything() if d.type != "cpu" and memory.supports_fp64(d)]


def torch_device(name: str) -> torch.device:
    """The device behind a choice. Raises SettingError for one that this machine has not got."""
    if name == "auto":
        device: torch.device = memory.get_torch_device()
        return device if device.type != "cpu" and memory.supports_fp64(device) else HOST
    if name not in device_options():
        raise SettingError(
            f"compute device {name!r} is not on this machine",
            fix=f"choose one of {', '.join(device_options())}",
        )
    return torch.device(name)


def compute(
    function: Callable[[Compute], Result],
    device_name: str,
    dtype: torch.dtype,
    loras: Sequence[LoraModel],
    base: BaseModel | None = None,
) -> tuple[Result, list[str]]:
    """function(Compute) on the chosen device with progress and interrupts, and what to report.

    Memory is asked for before the start, just enough for the largest module: models stay loaded
    where they fit beside it. A module for which the memory runs out all the same is computed on
    the CPU, and the report says so.
    """
    device = torch_device(device_name)
    if device.type != "cpu":
        memory.free_memory(_working_memory(loras, dtype, base), device)
    full: list[str] = []
    result = function(replace(interruptible(device, dtype), fell_back=full.append))
    if not full:
        return result, []
    more = f" and {len(full) - 1} more" if len(full) > 1 else ""
    note = f"the memory of {device} ran out; computed on the CPU: {full[0]}{more}"
    log.warning(note)
    return result, [note]


def interruptible(device: torch.device = HOST, dtype: torch.dtype = torch.float32) -> Compute:
    """Compute settings that stop when the page's user says so, with a progress bar on the node."""
    bar = comfy.utils.ProgressBar(1)

    def progress(done: int, total: int, name: str) -> None:
        bar.update_absolute(done, total)

    def interrupted() -> bool:
        # Raises ComfyUI's own exception, which ends the run the way its page expects.
        memory.throw_exception_if_processing_interrupted()
        return False

    return Compute(device, dtype, progress, interrupted)


def _working_memory(
    loras: Sequence[LoraModel], dtype: torch.dtype, base: BaseModel | None = None
) -> int:
    """Bytes that the largest module of these LoRAs needs on the device, with a weight of the base
    or of two, their difference and its product with a basis."""
    whole = max(map(prod, base.shapes), default=0) if base else 0
    sizes: dict[str, int] = {"": whole * WEIGHTS_AT_ONCE // WORKING_COPIES}
    for lora in loras:
        for key, tensor in lora.items():
            # Tensors of one module share the name before the factor's suffix, near enough.
            module = key.split(".lora")[0].split(".diff")[0]
            sizes[module] = sizes.get(module, 0) + tensor.numel()
    return WORKING_COPIES * max(sizes.values(), default=0) * dtype.itemsize + WORKSPACE


# -- files -----------------------------------------------------------------------------------


def lora_names() -> list[str]:
    """The files in ComfyUI's lora folders."""
    names: list[str] = folder_paths.get_filename_list("loras")
    return names


def lora_path(name: str) -> str | None:
    """The file of that name in the lora folders; None where there is none."""
    try:
        path: str | None = folder_paths.get_full_path("loras", name)
        return path
    except ValueError:  # Windows, where the name is on another drive.
        return None


def listed_lora(name: str) -> str:
    """The path of a LoRA that the page may know of. Raises FileError for any other name."""
    path = lora_path(name) if name in lora_names() else None
    if path is None:
        problem = "not in the lora folders any more"
        raise FileError(problem, fix="press R and choose again", file=name)
    return path


def lora_fingerprint(name: str) -> str:
    """Changes when the file does, also under the same name."""
    path = lora_path(name)
    if path is None:
        return "missing"
    found = Path(path).stat()
    return f"{found.st_mtime_ns} {found.st_size}"


def existing_lora(name: str) -> str:
    """The file of that name in the lora folders. Raises FileError where it is gone."""
    path = lora_path(name)
    if path is None:
        problem = "not in the lora folders any more"
        raise FileError(problem, fix="press R and choose again", file=name)
    return path


def load_lora(name: str) -> StateDict:
    """A file of the lora folders with its metadata, read into memory.

    Raises FileError for a file that is gone or that is not safetensors.
    """
    return load(existing_lora(name), name)


def name_in_lora_folders(path: Path) -> str | None:
    """What loaders call a file; None where it is in none of the lora folders."""
    for folder in map(Path, folder_paths.get_folder_paths("loras")):
        if path.resolve().is_relative_to(folder.resolve()):
            return str(path.resolve().relative_to(folder.resolve()))
    return None


def checked_prefix(prefix: str) -> str:
    """A prefix of files in ComfyUI's output folder.

    Raises SettingError for one that leads out of that folder, or that a file cannot have on every
    system: workflows travel.
    """
    output = folder_paths.get_output_directory()
    # ComfyUI takes `..` out before it follows links: so does this.
    inner = "" if OF_A_SYSTEM.search(prefix) else os.path.normpath(prefix.strip())
    try:
        target = Path(os.path.realpath(os.path.join(output, inner)))
        if Path(os.path.realpath(output)) not in target.parents:
            raise SettingError(
                f"filename prefix {prefix!r} must name a file inside ComfyUI's output folder",
                fix="choose one such as loras/alloy, without colons and names of devices",
            )
        os.stat(target.with_name(target.name + "_00001_.safetensors"))
    except FileNotFoundError:
        pass  # Nothing is there, and the name is one that the system takes.
    except (OSError, UnicodeError) as error:
        problem = f"filename prefix {prefix!r} cannot be used ({error})"
        raise SettingError(problem, fix="choose another") from error
    return inner


def lora_folders(inner: str) -> list[Path]:
    """The lora folders, or a folder inside of them, as far as there are files in them.

    Raises SettingError where there are none.
    """
    found = []
    for base in map(Path, folder_paths.get_folder_paths("loras")):
        path = Path(os.path.normpath(base / inner.strip().lstrip("/\\")))
        if path.is_relative_to(base) and next(path.rglob("*.safetensors"), None):
            found.append(path)
    if not found:
        raise SettingError(
            f"folder {inner!r}: nothing is there in the loras folders",
            fix="name a folder inside them that has .safetensors files, or leave it empty",
        )
    return found


def new_output_path(prefix: str) -> Path:
    """The next free path <prefix>_00001_.safetensors in ComfyUI's output folder.

    The prefix is a checked one. Raises SettingError where the system does not take it.
    """
    output = folder_paths.get_output_directory()
    try:
        folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, output)
    except (OSError, UnicodeError) as error:
        problem = f"filename prefix {prefix!r} cannot be used ({error})"
        raise SettingError(problem, fix="choose another") from error
    path = Path(folder) / f"{name}_{counter:05}_.safetensors"
    while os.path.lexists(
        path
    ):  # ComfyUI's counter overlooks names that differ in the digits' width
        counter += 1
        path = path.with_name(f"{name}_{counter:05}_.safetensors")
    return path


def workflow_metadata(hidden: Any) -> dict[str, str]:
    """The workflow as core's nodes embed it: dropping the file on the page opens it again."""
    if args.disable_metadata or hidden is None:
        return {}
    found = {"prompt": hidden.prompt, **(hidden.extra_pnginfo or {})}
    return {key: json.dumps(value) for key, value in found.items() if value is not None}


# -- the page --------------------------------------------------------------------------------


def server() -> Any:
    """ComfyUI's server; None where the nodes are used without one."""
    module: Any = sys.modules.get("server")
    return getattr(getattr(module, "PromptServer", None), "instance", None)


# -- models ----------------------------------------------------------------------------------


def lora_keys(model: Any, clip: Any) -> dict[str, tuple[str, int]]:
    """Raw LoRA module name -> (the weight it changes, how many numbers of it).

    The number is 0 where the stored weight does not tell, because it is quantised.
    """
    found: dict[str, tuple[str, int]] = {}
    if model is not None:
        key_map = comfy.lora.model_lora_keys_unet(model.model, {})
        found |= _sizes(key_map, model.model.state_dict())
    if clip is not None:
        key_map = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, {})
        found |= _sizes(key_map, clip.cond_stage_model.state_dict())
    return found


def _sizes(key_map: Mapping[str, Any], weights: LoraModel) -> dict[str, tuple[str, int]]:
    found = {}
    for raw, target in key_map.items():
        # A part of a fused weight is (key, (dimension, start, length)), maybe with a function.
        key, part = (target, None) if isinstance(target, str) else (target[0], target[1])
        weight = weights.get(key)
        if weight is None:
            continue
        size = weight.numel() if weight.is_floating_point() else 0
        if part is not None:
            size = size // weight.shape[part[0]] * part[2]
        found[raw] = key, size
    return found


def base_model(model: Any, clip: Any, device_name: str = "cpu") -> BaseModel:
    """A loaded model, and text encoders, as they stand: with the patches that they carry.

    Each weight is asked for by itself, wherever it is at that moment (offloaded, quantised), and
    patched on the chosen device without the rounding that the model's own dtype would add.
    """
    device, like, places = torch_device(device_name), {}, {}
    for front, patcher in (("model.", model), ("text_encoders.", getattr(clip, "patcher", None))):
        for key, weight in patcher.model_state_dict().items() if patcher is not None else ():
            # Scales of quantised weights: ComfyUI multiplies with them.
            if front == "model." and not key.startswith("diffusion_model."):
                continue
            if not key.endswith(QUANTISED_BESIDE):
                like[front + key], places[front + key] = weight, (patcher, key)

    def read(name: str) -> Tensor:
        patcher, key = places[name]
        weight, _, convert = comfy.model_patcher.get_key_weight(patcher.model, key)
        kept = patcher.backup.get(key)
        hooked = patcher.hook_backup.get(key)
        weight = kept.weight if kept is not None else weight
        weight = hooked[0] if hooked is not None else weight
        number = memory.cast_to_device(weight, device, torch.float32, copy=True)
        number = number if convert is None else convert(number, inplace=True)
        patches = patcher.patches.get(key, [])
        found: Tensor = comfy.lora.calculate_weight(patches, number, key) if patches else number
        return found.detach()

    return BaseModel(LazyTensors(f"the {model_name(model, clip)} model", like, read))


def patched_note(socket: str, model: Any, clip: Any = None) -> list[str]:
    """What to say of a model that carries patches."""
    patchers = filter(None, (model, getattr(clip, "patcher", None)))
    count = sum(len(patcher.patches) for patcher in patchers)
    return [f"{socket} carries patches of {count} weights: it counts as it stands"] if count else []


def model_name(model: Any, clip: Any) -> str:
    """What ComfyUI detected, in its words: SDXL, Flux, a text encoder's SDXLClipModel."""
    if model is not None:
        return type(model.model.model_config).__name__
    return type(clip.cond_stage_model).__name__


def as_comfyui_reads_it(lora: LoraModel) -> dict[str, Tensor]:
    """The state dict after ComfyUI's own renaming of a few formats."""
    renamed: dict[str, Tensor] = comfy.lora_convert.convert_lora(dict(lora))
    return renamed


def apply_lora(
    model: Any, clip: Any, lora: LoraModel, strength_model: float, strength_clip: float
) -> tuple[Any, Any]:
    """The same call as core's Load LoRA, so that the same file gives the same picture."""
    patched: tuple[Any, Any] = comfy.sd.load_lora_for_models(
        model, clip, dict(lora), strength_model, strength_clip
    )
    return patched


def blocked(reason: str) -> Any:
    """An output that must not be used: whatever is connected to it fails with this reason."""
    return ExecutionBlocker(reason)


def name_errors(kind: type[LoraError] = LoraError) -> None:
    """Let the page say `LoRA Alloy` before the sentence of an error, where it shows the type."""
    # ComfyUI writes the module and a dot in front, except for Python's own.
    kind.__module__, kind.__qualname__ = "builtins", "LoRA Alloy"
    for one in kind.__subclasses__():
        name_errors(one)
