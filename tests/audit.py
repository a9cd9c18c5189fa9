"""Every model of ComfyUI and diffusers held against the tables: python -m tests.audit [MODEL ...]

Prints models by checks, "wrong of all", with the first few faults of each; exits 1 where there are
any. The key maps are those of `tests/data/key_maps`; `test_audit.py` in tests/core/naming runs the
same.

* native: ComfyUI's own names lead to their weights;
* names: every other name that ComfyUI's loader has means the same rows to the table;
* order: of two names of a weight, the one that its loader takes is known;
* written: what is written in a spelling is read there as the same rows, or known not to be;
* diffusers: diffusers' model has the names that are written for it, and the table has its;
* whole, partial, single: whose a file is, of all layers, of some, of one;
* text encoders: every name of a weight leads to it, and what is written is read as it;
* places: a block and a kind of layer for every layer that has one;
* trainers: a setting for some blocks selects the layers of these blocks, by the trainer's rules.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from core.insight.trainers import TRAINED, Trained
from core.naming.blocks import locate
from core.naming.catalogue import FAMILIES
from core.naming.family import UNKNOWN, Family, flatten
from core.naming.precedence import precedence
from core.naming.recognition import recognise
from core.naming.spelling import (
    DIFFUSERS as TO_DIFFUSERS,
)
from core.naming.spelling import (
    GENERIC,
    KOHYA,
    ModuleName,
    resolve,
    spell,
    standard_spelling,
)
from tests.audit_trainers import faults_of
from tests.key_maps import (
    DIFFUSERS,
    DIFFUSION_MODELS,
    TEXT_ENCODERS,
    Entry,
    apart,
    load,
    models,
    rows,
)

BY_NAME = {family.name: family for family in FAMILIES}
# The family of a model that is not called like it.
FAMILY_OF = {
    **dict.fromkeys(("SD1.5", "SD2"), "SD1.5"),
    **dict.fromkeys(("SDXL", "SSD-1B", "Segmind Vega"), "SDXL"),
    **dict.fromkeys(("KOALA 700M", "KOALA 1B"), "KOALA"),
    **dict.fromkeys(("SD3 medium", "SD3.5 medium", "SD3.5 large"), "SD3"),
    **dict.fromkeys(("Stable Cascade C", "Stable Cascade C lite"), "Stable Cascade"),
    "Stable Cascade B": "Stable Cascade",
    **dict.fromkeys(("PixArt Alpha", "PixArt Sigma"), "PixArt"),
    "HunyuanDiT 1.1": "HunyuanDiT",
    **dict.fromkeys(("Flux schnell", "LongCat-Image"), "Flux"),
    **dict.fromkeys(("Flux.2 dev", "Flux.2 klein 9B", "Flux.2 klein 4B"), "Flux.2"),
    **dict.fromkeys(("LTX-Video 2B", "LTX-Video 13B", "LTX-2", "LTX-2.3"), "LTX-Video"),
    **dict.fromkeys(("HunyuanImage 2.1", "HunyuanImage 2.1 refiner"), "HunyuanImage"),
    **dict.fromkeys(("Cosmos 1 7B", "Cosmos 1 14B"), "Cosmos 1"),
    **dict.fromkeys(
        ("Cosmos Predict2 2B", "Cosmos Predict2 14B", "Anima"), "Cosmos Predict2 / Anima"
    ),
    "Z-Image Omni": "Z-Image",
    "Z-Image pixels": "Z-Image",
    "Chroma Radiance": "Chroma",
    "Hunyuan3D 2 mini": "Hunyuan3D 2",
    "Qwen-Image Layered": "Qwen-Image",
    **{f"Kandinsky 5 {size}": "Kandinsky 5" for size in ("lite", "pro", "image")},
    **{f"CogVideoX {size}": "CogVideoX" for size in ("2B", "5B", "1.5")},
    **{model: "Wan" for model in models(DIFFUSION_MODELS) if model.startswith("Wan ")},
    "WanDancer": "Wan",
    "Stable Audio 3": "Stable Audio",
}
SPELLINGS = (KOHYA, TO_DIFFUSERS, GENERIC)
Fault = str
Faults = tuple[int, list[Fault]]  # how much was looked at, and what is wrong


def family_of(model: str) -> Family:
    return BY_NAME.get(FAMILY_OF.get(model, model), UNKNOWN)


@cache
def layers(model: str) -> tuple[Entry, ...]:
    """ComfyUI's names of what is more than a parameter by itself."""
    return tuple(entry for entry in load(DIFFUSION_MODELS, model) if not entry.lone)


def is_native(entry: Entry) -> bool:
    return entry.raw in (f"diffusion_model.{entry.weight}", f"lora_unet_{flatten(entry.weight)}")


def is_matrix(entry: Entry) -> bool:
    return len(entry.shape) > 1


def rows_of(name: ModuleName, entry: Entry, family: Family) -> tuple[int, int]:
    """(start, length) of the rows that a name means, given the whole weight's shape."""
    total = entry.whole[0] if entry.whole else 1
    if name.whole or len(name.parts) == 1:
        return 0, total
    if name.native and (heights := family.heights(name.native, total)):
        return sum(heights[: name.first]), sum(heights[name.first : name.last])
    # Parts lie in row order, all but the last as tall as the weight is wide.
    inner = entry.whole[1]
    end = total if name.last == len(name.parts) else name.last * inner
    return name.first * inner, end - name.first * inner


# -- names ----------------------------------------------------------------------------------------


def native(model: str) -> Faults:
    family, faults, seen = family_of(model), [], 0
    for entry in load(DIFFUSION_MODELS, model):
        if is_native(entry) or entry.lone:
            seen += 1
            name = resolve(entry.raw, family, entry.shape)
            if name.native is None or name.weight != entry.weight or not name.whole:
                faults.append(f"{entry.raw} is {name.canonical}")
            elif family.rows[name.native].lone != entry.lone:
                faults.append(f"{entry.raw} is a layer or not")
    return seen, faults


def names(model: str) -> Faults:
    family, faults, seen = family_of(model), [], 0
    for entry in layers(model):
        if is_native(entry) or known_fault(model, entry):
            continue
        seen += 1
        name = resolve(entry.raw, family, entry.shape)
        place = (entry.weight, *rows_of(name, entry, family))
        if name.native is None or place != entry.place or name.swapped != entry.swapped:
            faults.append(f"{entry.raw} is {place}, not {entry.place}")
    return seen, faults


def known_fault(model: str, entry: Entry) -> bool:
    """Names that ComfyUI's own loader cuts or aims wrongly."""
    return any(re.search(pattern, entry.raw) for pattern in COMFYUIS_FAULTS.get(model, ()))


# In comfy/utils.py: `z_image_to_diffusers` cuts q, k and v as if all were as tall as the model is
# wide; `flux_to_diffusers` gives the gated MLPs of Flux.2 and Ovis the size that Flux.1's has.
GROUPED = (r"attention[._]to_[qkv]$",)
COMFYUIS_FAULTS = {
    "Lumina 2": GROUPED,
    "NewBie": GROUPED,
    "Ovis-Image": (r"proj_mlp$",),
    **{f"Flux.2 {size}": (r"proj_mlp$",) for size in ("dev", "klein 9B", "klein 4B")},
}


# What diffusers calls otherwise than in the other models of the family, or has in other parts of
# the pipeline: names for it are read, and written as the other models have them.
ELSEWHERE_IN_DIFFUSERS = {
    "LongCat-Image": "^time_text_embed",
    "LTX-2.3": "caption_projection",
    "Wan Animate 2": "",
}


def order(model: str) -> Faults:
    family, faults, seen = family_of(model), [], 0
    last: dict[tuple, tuple[int, int]] = {}
    for entry in layers(model):
        if known_fault(model, entry) or resolve(entry.raw, family).native is None:
            continue
        seen += 1
        own = precedence(entry.raw, family)
        if own[0] < 0:
            faults.append(f"{entry.raw} is read")
        elif "class_embedding" in entry.raw or (
            family.name == "Flux.2" and ("mlp" in entry.weight or "linear" in entry.weight)
        ):
            continue  # Two names for one layer: ComfyUI's order is not the table's, or random.
        elif own <= last.get((*entry.place, entry.swapped), (-1, 0)):
            faults.append(f"{entry.raw} comes later")
        last[(*entry.place, entry.swapped)] = own
    return seen, faults


def written(model: str) -> Faults:
    family, faults, seen = family_of(model), [], 0
    read = {entry.raw: entry for entry in layers(model) if not known_fault(model, entry)}
    for entry in read.values():
        name = resolve(entry.raw, family, entry.shape)
        for spelling in SPELLINGS:
            raw = spell(name.part, standard_spelling(spelling, family), family)
            if raw is None or name.native is None:
                continue
            seen += 1
            if raw not in read:
                if precedence(raw, family)[0] >= 0 and not known_fault(
                    model, entry._replace(raw=raw)
                ):
                    faults.append(f"{raw} is not read")
                elif spelling != TO_DIFFUSERS:
                    faults.append(f"{raw} ({spelling}) is not read")
            elif read[raw].place != entry.place:
                faults.append(f"{raw} is {read[raw].place}, not {entry.place}")
    return seen, faults


@cache
def names_in_diffusers(family: str) -> frozenset[str]:
    """What diffusers' models of a family call their layers, with # for numbers."""
    theirs = (model for model in models(DIFFUSERS) if family_of(model).name == family)
    return frozenset(apart(entry.raw)[0] for model in theirs for entry in load(DIFFUSERS, model))


def strangers(model: str) -> Faults:
    """What is written for diffusers of a model that it lacks: only names of its relatives."""
    family, faults, seen = family_of(model), [], 0
    style = standard_spelling(TO_DIFFUSERS, family)
    for entry in layers(model):
        name = resolve(entry.raw, family, entry.shape)
        if is_native(entry) and is_matrix(entry) and name.native:
            raw = spell(name.part, style, family)
            seen += 1
            if raw and apart(raw.removeprefix(style.prefix))[0] not in names_in_diffusers(
                family.name
            ):
                faults.append(f"no model of diffusers has {raw}")
    return seen, faults


def diffusers(model: str) -> Faults:
    family, faults, seen = family_of(model), [], 0
    if model not in models(DIFFUSERS):
        return strangers(model) if family.diffusers_models else (0, [])
    theirs = {
        entry.raw: entry for entry in load(DIFFUSERS, model) if is_matrix(entry) and not entry.lone
    }
    style = standard_spelling(TO_DIFFUSERS, family)
    ours = {entry.weight: entry for entry in load(DIFFUSION_MODELS, model)}
    for raw, entry in theirs.items():
        seen += 1
        name = resolve(style.prefix + raw, family, entry.shape)
        if name.native and family.rows[name.native].foreign:
            continue
        mine = ours.get(name.weight)
        if name.native is None or mine is None:
            faults.append(f"diffusers' {raw} is not known")
        elif name.whole and (entry.shape != mine.whole or mine.lone):
            if sorted(entry.shape) != sorted(mine.whole):
                faults.append(f"diffusers' {raw} {entry.shape} is {name.weight} {mine.whole}")
        elif not name.whole and entry.shape[1:] != mine.whole[1:]:
            faults.append(f"diffusers' {raw} {entry.shape} is {name.weight} {mine.whole}")
    made_of = rows(model)
    for raw, entry in theirs.items():
        name = resolve(style.prefix + raw, family, entry.shape)
        known = made_of.get(apart(raw)[0])
        if known and name.weight in ours:
            seen += 1
            own = (*rows_of(name, ours[name.weight], family), name.swapped)
            if own not in known:
                faults.append(f"diffusers' {raw} has rows {known}, not {own}")
    dots = {flatten(raw): raw for raw in theirs}
    for weight, entry in ours.items():
        if not is_matrix(entry) or entry.lone:
            continue
        name = resolve(f"diffusion_model.{weight}", family, entry.whole)
        if name.native is None:
            continue
        count = len(name.parts)
        for first, last in [(0, count), *((i, i + 1) for i in range(count) if count > 1)]:
            raw = spell(name.part._replace(first=first, last=last), style, family)
            if raw is None:
                continue
            seen += 1
            path = raw.removeprefix(style.prefix).replace(".processor.to_out", ".to_out.0")
            path = path.replace(".processor.", ".")
            if path not in theirs and not re.search(ELSEWHERE_IN_DIFFUSERS.get(model, "$-"), path):
                faults.append(f"diffusers has no {raw}" + (" with dots" if path in dots else ""))
    return seen, faults


# -- text encoders --------------------------------------------------------------------------------

# The family whose encoders they are, where it is not called like the key map; and what is left out:
# encoders whose layers no LoRA has, and one that its family has under another name.
FAMILY_OF_ENCODERS = {
    "SD2": "SD1.5", "Cosmos": "Cosmos 1", "Anima": "Cosmos Predict2 / Anima", "LTX-2": "LTX-Video",
    "HunyuanImage 2.1": "HunyuanImage", "Stable Audio 3": "Stable Audio",
    "Flux.2 klein 4B": "Flux.2", "Flux.2 klein 9B": "Flux.2",
}  # fmt: skip
NO_LORAS_OF_ENCODERS = ("Lens", "LongCat-Image", "PixelDiT", "Stable Audio 3", "Stable Cascade")
ENCODER_LAYERS = re.compile(
    r"(?:q|k|v|o|out|gate|up|down)_proj$|mlp\.fc\d$|SelfAttention\.\w$|text_projection$"
)


def encoders(model: str) -> Faults:
    """Every name of a weight leads to it, in ComfyUI's order; what is written is read as it."""
    family, faults, seen = BY_NAME[FAMILY_OF_ENCODERS.get(model, model)], [], 0
    read = {entry.raw: entry.weight for entry in load(TEXT_ENCODERS, model)}
    owners: dict[str, str] = {}
    last: dict[str, tuple[int, int]] = {}
    for entry in load(TEXT_ENCODERS, model):
        if entry.lone or "jina" in entry.weight or not ENCODER_LAYERS.search(entry.weight):
            continue
        if entry.raw.startswith("lora_prior_te_"):
            continue  # Nothing tells these of Stable Cascade from those of a diffusion model.
        seen += 1
        name = resolve(entry.raw, family, entry.shape)
        if owners.setdefault(name.canonical, entry.weight) != entry.weight:
            faults.append(f"{entry.raw} is {name.canonical}: {owners[name.canonical]}")
        own = precedence(entry.raw, family)
        if name.native is None or own[0] < 0 or own <= last.get(name.canonical, (-1, 0)):
            faults.append(f"{entry.raw}: {own} after {last.get(name.canonical)}")
        last[name.canonical] = own
        for spelling in SPELLINGS:
            raw = spell(name, standard_spelling(spelling, family), family)
            theirs = spelling == TO_DIFFUSERS and raw and precedence(raw, family)[0] < 0
            if raw is not None and read.get(raw) != entry.weight and not theirs:
                faults.append(f"{raw} is {read.get(raw)}, not {entry.weight}")
    if len(set(owners.values())) != len(owners):
        faults.append(f"{len(set(owners.values()))} weights are {len(owners)}")
    return seen, faults


# -- shapes ---------------------------------------------------------------------------------------


def shapes_of(family: Family) -> str:
    """What a family says of the shapes of its layers: a line for each width of its models."""
    widths: dict[int, set[tuple[int, ...]]] = defaultdict(set)
    for model in models(DIFFUSION_MODELS):
        if family_of(model) is not family:
            continue
        found = [entry for entry in layers(model) if is_matrix(entry) and is_native(entry)]
        width = Counter(entry.shape[1] for entry in found).most_common(1)[0][0]
        for entry in found:
            widths[width].add(entry.shape[:2])
            name = resolve(entry.raw, family, entry.shape)
            for part in range(len(name.parts) if len(name.parts) > 1 else 0):
                piece = name._replace(first=part, last=part + 1)
                widths[width].add((rows_of(piece, entry, family)[1], entry.shape[1]))
    lines = (" ".join("x".join(map(str, s)) for s in sorted(widths[w])) for w in sorted(widths))
    return "\n".join(lines)


# -- whose file -----------------------------------------------------------------------------------

Shapes = dict[str, tuple[int, ...]]
PARTIAL: dict[str, Callable[[str], bool]] = {
    "blocks": lambda weight: locate(weight).block is not None,
    "first 8 blocks": lambda weight: (
        locate(weight).block is not None
        and int((re.findall(r"\d+", str(locate(weight).block)) or ["0"])[-1]) < 8
    ),
    "attention": lambda weight: "attention" in locate(weight).layer_type,
    "mlp": lambda weight: locate(weight).layer_type == "mlp",
    "attention of 4 blocks": lambda weight: (
        "attention" in locate(weight).layer_type and bool(re.search(r"\.[0-3](\.|$)", weight))
    ),
}


@cache
def files(model: str) -> dict[str, dict[str, tuple[str, tuple[int, ...]]]]:
    """Spelling -> raw name -> (weight, shape): every layer that a LoRA can have."""
    result: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = defaultdict(dict)
    for entry in layers(model):
        if not is_matrix(entry):
            continue
        for spelling, prefix in (("kohya", "lora_unet_"), ("generic", "diffusion_model.")):
            if entry.raw.startswith(prefix) and is_native(entry):
                result[spelling][entry.raw] = (entry.weight, entry.shape)
    if model in models(DIFFUSERS):
        family = family_of(model)
        prefix = family.prefix if family is not UNKNOWN else "transformer."
        for entry in load(DIFFUSERS, model):
            if is_matrix(entry) and not entry.lone:
                raw = prefix + entry.raw
                weight = resolve(raw, family, entry.shape).weight
                result["diffusers"][raw] = (weight, entry.shape)
    return dict(result)


# Diffusers calls every layer of the two alike, and they are of one shape.
ALIKE = {"Cosmos 1 14B": "Cosmos Predict2 / Anima", "Cosmos Predict2 14B": "Cosmos 1"}


def judged(model: str, shapes: Shapes, whole: bool) -> Fault | None:
    """What is wrong with what a file is taken for."""
    family, found = family_of(model), recognise(shapes)
    if family is UNKNOWN:
        return f"no table, {found}" if found.confidence == "certain" else None
    tied = {found.family.name, *found.others}
    if tied == {family.name, ALIKE.get(model)}:
        return None
    if found.family is family:
        return None if not whole or found.confidence == "certain" else str(found)
    if not whole and (family.name in found.others or found.family is UNKNOWN):
        return None
    return str(found)


def whole(model: str) -> Faults:
    faults = []
    for spelling, file in files(model).items():
        if fault := judged(model, {raw: shape for raw, (_, shape) in file.items()}, True):
            faults.append(f"{spelling}: {fault}")
    return len(files(model)), faults


def partial(model: str) -> Faults:
    faults, seen = [], 0
    for spelling, file in files(model).items():
        for part, wanted in PARTIAL.items():
            shapes = {raw: shape for raw, (weight, shape) in file.items() if wanted(weight)}
            if shapes:
                seen += 1
                if fault := judged(model, shapes, False):
                    faults.append(f"{spelling}, {part}: {fault}")
        kinds: dict[str, Shapes] = defaultdict(dict)
        for raw, (weight, shape) in file.items():
            kinds[re.sub(r"\d+", "#", weight)][raw] = shape
        for kind, shapes in kinds.items():
            seen += 1
            if fault := judged(model, shapes, False):
                faults.append(f"{spelling}, only {kind}: {fault}")
    return seen, faults


def single(model: str) -> Faults:
    faults, seen = [], 0
    for spelling, file in files(model).items():
        met = set()
        for raw, (weight, shape) in file.items():
            kind = re.sub(r"\d+", "#", weight)
            if kind not in met:
                met.add(kind)
                seen += 1
                if fault := judged(model, {raw: shape}, False):
                    faults.append(f"{spelling}, {raw}: {fault}")
    return seen, faults


# -- places ---------------------------------------------------------------------------------------

# Layers that run once: the ends of a network, embeddings, what looks at other inputs.
NUMBERED = re.compile(r"(?:^|\.)\w*(?:blocks?|layers?|refiner)(?<!adain_layers)\.\d+\.")


def places(model: str) -> Faults:
    faults, seen = [], 0
    for entry in layers(model):
        if not is_matrix(entry) or not entry.raw.startswith("diffusion_model."):
            continue
        if is_native(entry) and NUMBERED.search(entry.weight):
            seen += 1
            place = locate(entry.weight)
            if place.block is None or place.layer_type == "other":
                faults.append(f"{entry.weight} is {place.layer_type} of {place.block}")
    return seen, faults


# -- trainers --------------------------------------------------------------------------------------


def trainers(model: str) -> Faults:
    family, faults = family_of(model), []
    native = files(model).get("kohya", {})
    theirs = {
        raw.removeprefix(family.prefix).replace(".processor.to_out", ".to_out.0"): entry
        for raw, entry in files(model).get("diffusers", {}).items()
    }
    for trainer in TRAINED:
        if TRAINED[trainer].get(family.name, Trained()).diffusers and not theirs:
            continue
        faults += faults_of(trainer, native, theirs, family)
    return len(TRAINED), faults


CHECKS: dict[str, Callable[[str], Faults]] = {
    check.__name__: check
    for check in (
        native,
        names,
        order,
        written,
        diffusers,
        whole,
        partial,
        single,
        places,
        trainers,
    )
}


# -- the table ------------------------------------------------------------------------------------


def shown(faults: Iterable[Fault], count: int = 4) -> Iterator[str]:
    """The first fault of each sort."""
    met: dict[str, str] = {}
    for fault in faults:
        met.setdefault(re.sub(r"\d+", "#", fault), fault)
    yield from list(met.values())[:count]
    if len(met) > count:
        yield f"... and {len(met) - count} more sorts"


def main(wanted: list[str]) -> int:
    print(f"{'':26}" + "".join(f"{name:>13}" for name in CHECKS))
    wrong = 0
    for model in [] if wanted else models(TEXT_ENCODERS):
        if model not in NO_LORAS_OF_ENCODERS:
            seen, found = encoders(model)
            wrong += len(found)
            print(f"{'text encoders of ' + model:40}{len(found)} of {seen}")
            for fault in shown(found):
                print(f"    {fault}")
    for model in wanted or models(DIFFUSION_MODELS):
        results = {name: check(model) for name, check in CHECKS.items()}
        cells = (f"{len(faults)} of {seen}" for seen, faults in results.values())
        print(f"{model:26}" + "".join(f"{cell:>13}" for cell in cells), flush=True)
        for name, (_, faults) in results.items():
            wrong += len(faults)
            for fault in shown(faults):
                print(f"    {name}: {fault}")
    print(f"{wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
