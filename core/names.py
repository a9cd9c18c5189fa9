"""Key spellings <-> canonical modules.

A module's raw name in a file is `<prefix><path>`: `lora_unet_double_blocks_0_img_attn_proj`,
`transformer.transformer_blocks.0.attn.to_out.0`. Its canonical name is the path of the weight in
ComfyUI's model, `double_blocks.0.img_attn.proj`; a part of a fused weight adds the part's name,
`double_blocks.0.img_attn.qkv.q`. Text encoders keep ComfyUI's name of the encoder in front,
`clip_l.transformer.text_model.encoder.layers.0.mlp.fc1`.

Two spellings name one module exactly when their canonical names are equal. The renaming tables are
in `families`; this file reads and writes names with them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .families import FAMILIES, PART_NAMES, TEXT_ENCODERS, Family, fill, flatten

DIFFUSION_PREFIXES = (
    "lora_unet__",
    "lora_unet_",
    "lora_transformer_",
    "lora_prior_unet_",
    "lycoris_",
    "model.diffusion_model.",
    "diffusion_model.",
    "base_model.model.",
    "transformer.",
    "unet.",
)
TEXT_PREFIX = re.compile(
    r"(?:lora_te(?P<kohya>\d?)_|text_encoder(?:_(?P<diffusers>\d))?\.|text_encoders\.)"
)
TEXT_ENCODER_NAME = re.compile(r"(?P<name>[A-Za-z0-9_]+)\.transformer\.(?P<body>.+)")
CLIP_NAMES = {1: "clip_l", 2: "clip_g"}


class ModuleName(NamedTuple):
    """What a raw module name means.

    `weight` is the canonical path of the whole weight; the module covers its parts
    [first, last) out of `parts` (1 for a weight that is not fused). `swapped` says that the
    halves of the rows stand in the other order in this spelling. `native` is the family's template
    with `numbers` for its `#`, None where no table knows the name.
    """

    weight: str
    first: int = 0
    last: int = 1
    parts: int = 1
    swapped: bool = False
    native: str | None = None
    numbers: tuple[str, ...] = ()
    encoder: str | None = None

    @property
    def whole(self) -> bool:
        return self.last - self.first == self.parts

    @property
    def canonical(self) -> str:
        if self.whole:
            return self.weight
        return f"{self.weight}.{''.join(PART_NAMES[self.first : self.last])}"

    @property
    def part(self) -> "ModuleName":
        """The same name without the spelling's row order: equal for all spellings."""
        return self._replace(swapped=False)


@dataclass(frozen=True)
class Spelling:
    """How a file names its modules and factors.

    `prefix` goes before diffusion model names; `flat` writes underscores for dots; `diffusers`
    takes diffusers' names (which split fused projections) instead of the model's own.
    `up` and `down` are the suffixes of the factors; `alpha` says whether `.alpha` is written.
    """

    name: str
    prefix: str
    flat: bool
    diffusers: bool
    up: str
    down: str
    alpha: bool


KOHYA, DIFFUSERS, GENERIC = "kohya", "diffusers", "generic"
SPELLINGS = (KOHYA, DIFFUSERS, GENERIC)


def standard_spelling(name: str, family: Family | None) -> Spelling:
    """What kohya's trainer, diffusers, or "generic" trainers (ai-toolkit, ...) write."""
    if name == KOHYA:
        diffusers = family is not None and not family.kohya_is_native
        factors = ".lora_up.weight", ".lora_down.weight"
        return Spelling(name, "lora_unet_", True, diffusers, *factors, True)
    factors = ".lora_B.weight", ".lora_A.weight"
    if name == DIFFUSERS:
        prefix = family.prefix if family else "transformer."
        return Spelling(name, prefix, False, True, *factors, False)
    return Spelling(name, "diffusion_model.", False, False, *factors, False)


def spelling_name(prefix: str) -> str:
    """What to call the spelling of a file whose names start with this prefix."""
    names = {"lora_unet_": KOHYA, "diffusion_model.": GENERIC} | dict.fromkeys(
        ("transformer.", "unet."), DIFFUSERS
    )
    return names.get(prefix) or (f"prefix {prefix}" if prefix else "bare names")


def split_prefix(raw: str) -> tuple[str, str]:
    """(prefix, path) of a raw module name; prefixes can be stacked (`unet.base_model.model.`)."""
    path = raw
    while prefix := next((p for p in DIFFUSION_PREFIXES if path.startswith(p)), ""):
        path = path[len(prefix) :]
    if path == raw and (match := TEXT_PREFIX.match(raw)):
        path = raw[match.end() :]
    return raw[: len(raw) - len(path)], path


def resolve(raw: str, family: Family | None) -> ModuleName:
    """The meaning of a raw module name in a file of this family.

    A name that no table knows keeps its own path; numbers become path segments, so that
    `lora_unet_foo_0_bar` and `diffusion_model.foo.0.bar` are one module in an unknown model too.
    """
    prefix, path = split_prefix(raw)
    if match := TEXT_PREFIX.fullmatch(prefix):
        return _resolve_text_encoder(path, int(match["kohya"] or match["diffusers"] or 1))
    found = family.find(flatten(path)) if family else None
    if found is None:
        return ModuleName(_dotted(path))
    entry, numbers = found
    weight = fill(entry.row.native, numbers)
    parts = max(len(entry.row.diffusers), 1)
    return ModuleName(
        weight, entry.first, entry.last, parts, entry.swapped, entry.row.native, tuple(numbers)
    )


def _resolve_text_encoder(path: str, number: int) -> ModuleName:
    named = TEXT_ENCODER_NAME.fullmatch(path)
    encoder = named["name"] if named else None
    path = named["body"] if named else path
    for kind, table in TEXT_ENCODERS.items():
        if found := table.find(flatten(path)):
            entry, numbers = found
            encoder = encoder or ("t5xxl" if kind == "t5" else CLIP_NAMES.get(number, "clip_h"))
            weight = f"{encoder}.transformer.{fill(entry.row.native, numbers)}"
            return ModuleName(
                weight, native=entry.row.native, numbers=tuple(numbers), encoder=encoder
            )
    encoder = encoder or f"text_encoder_{number}"
    return ModuleName(f"{encoder}.transformer.{_dotted(path)}", encoder=encoder)


def _dotted(path: str) -> str:
    return re.sub(r"_(\d+)(?=_|$)", r".\1", path).replace("._", ".") if "." not in path else path


def spell(name: ModuleName, spelling: Spelling, family: Family | None) -> str | None:
    """The raw name of a module in a spelling; None where no rule knows it.

    A name of a fused range has no spelling where that spelling splits or fuses it differently.
    """
    if name.native is None:
        return None
    if name.encoder:
        return _spell_text_encoder(name, spelling)
    assert family is not None
    row = family.rows[name.native]
    if spelling.diffusers and row.diffusers:
        if name.last - name.first > 1:
            return None
        path = fill(row.diffusers[name.first], list(name.numbers))
    elif name.whole:
        path = name.weight
    else:
        return None
    if spelling.flat:
        # kohya never had diffusers' attention processors in its names.
        path = flatten(path).replace("_processor_", "_")
        path += "_0" if path.endswith("_to_out") else ""
    return spelling.prefix + path


def _spell_text_encoder(name: ModuleName, spelling: Spelling) -> str | None:
    body = name.weight.removeprefix(f"{name.encoder}.transformer.")
    number = {"clip_l": 1, "clip_g": 2, "t5xxl": 3}.get(name.encoder or "")
    if spelling.flat and number:
        return f"lora_te{number}_{flatten(body)}"
    if spelling.diffusers and number:
        return f"text_encoder{'' if number == 1 else f'_{number}'}.{body}"
    return f"text_encoders.{name.weight}"


@dataclass(frozen=True)
class Recognition:
    """The family that a file's names point to, and how sure that is.

    `confidence` is "certain" (only this family has these names), "likely" (others have them too,
    the number of blocks decides), "possible" (a tie) or "unknown".
    """

    family: Family | None
    confidence: str
    known: int
    total: int

    def __str__(self) -> str:
        if self.family is None:
            return "unknown model family"
        return f"{self.family.name} ({self.confidence}, {self.known} of {self.total} names known)"


def recognise(raw_names: Iterable[str], prefer: Family | None = None) -> Recognition:
    """Which family a file's raw module names belong to.

    Families are ranked by how many names their table knows, then by how well the number of blocks
    fits; `prefer` (the family of the file this one is combined with) wins any tie.
    """
    split = [split_prefix(raw) for raw in raw_names]
    flats = [flatten(path) for prefix, path in split if not TEXT_PREFIX.fullmatch(prefix)]
    scored = []
    for family in FAMILIES:
        found = [hit for flat in flats if (hit := family.find(flat))]
        depth = _depth(fill(match.row.native, numbers) for match, numbers in found)
        exact = sum(depth.get(name) == count for name, count in family.blocks.items())
        beyond = any(depth.get(name, 0) > count for name, count in family.blocks.items())
        scored.append((len(found), exact - 2 * beyond, family == prefer, family))
    scored.sort(key=lambda score: score[:3], reverse=True)
    known, fit, preferred, family = scored[0]
    if known == 0:
        return Recognition(None, "unknown", 0, len(flats))
    rivals = [s for s in scored[1:] if s[0] == known and s[3].table != family.table]
    if prefer is not None and any(s[3] == prefer and s[0] == known for s in rivals):
        return Recognition(prefer, "likely", known, len(flats))
    if not rivals:
        confidence = "certain"
    elif all(s[1] < fit for s in rivals):
        confidence = "likely"
    else:
        confidence = "likely" if preferred else "possible"
    return Recognition(family, confidence, known, len(flats))


def _depth(weights: Iterable[str]) -> dict[str, int]:
    """Outer container -> number of blocks seen (largest index + 1)."""
    depth: dict[str, int] = {}
    for weight in weights:
        container, _, rest = weight.partition(".")
        index = rest.split(".")[0]
        if index.isdigit():
            depth[container] = max(depth.get(container, 0), int(index) + 1)
    return depth
