"""Key spellings <-> canonical modules.

A module's raw name in a file is `<prefix><path>`: `lora_unet_double_blocks_0_img_attn_proj`,
`transformer.transformer_blocks.0.attn.to_out.0`. Its canonical name is the path of the weight in
ComfyUI's model, `double_blocks.0.img_attn.proj`; a part of a fused weight adds the part's name,
`double_blocks.0.img_attn.qkv.q`. Text encoders keep ComfyUI's name of the encoder in front,
`clip_l.transformer.text_model.encoder.layers.0.mlp.fc1`.

Two spellings name one module exactly when their canonical names are equal. The renaming tables are
in `families/`; this file reads and writes names with them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from .family import Family, Row, fill, flatten, swapped
from .numbers import NUMBER
from .text_encoders import OF_KOHYA, TEXT_ENCODERS, encoder_of, written_as

FLAT_PREFIXES = (
    "lora_unet_",
    "lora_transformer_",
    "lora_prior_unet_",
    "lycoris_",
    "Hunyuan_video_I2V_lora_",
)
DOTTED_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "unet.")
OWN = "diffusion_model."  # ComfyUI's, before the own names of its models' weights
# PEFT's own prefix stands before or after the others, or alone.
PEFT_PREFIX = "base_model.model."
TEXT_PREFIX = re.compile(
    r"(?:lora_te(?P<kohya>[0-9]?)_|text_encoder(?:_(?P<diffusers>[0-9]))?\.|text_encoders\.)"
)
TEXT_ENCODER_NAME = re.compile(r"(?P<name>[A-Za-z0-9_]+)\.transformer\.(?P<body>.+)")
CLIP_NAMES = {1: "clip_l", 2: "clip_g"}
# Models with one encoder have it under the first one's names, whichever it is: SD2, SDXL's refiner.
CLIP_OF_WIDTH = {1024: "clip_h", 1280: "clip_g"}
# The prefixes of text encoders in the order of ComfyUI's key map.
TEXT_ORDER = (
    *("text_encoders.", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_"),
    *("text_encoder.", "text_encoder_2."),
)
ENCODER_NUMBERS = {"clip_l": 1, "clip_h": 1, "clip_g": 2, "t5xxl": 3}


class ModuleName(NamedTuple):
    """What a raw module name means.

    `weight` is the canonical path of the whole weight; the module covers its parts [first, last)
    out of `parts` (names such as q, k, v; a single empty one for a weight that is not fused).
    `swapped` says that the halves of the rows stand in the other order in this spelling. `native`
    is the family's template with `numbers` for its `#`, None where no table knows the name.
    """

    weight: str
    first: int = 0
    last: int = 1
    parts: tuple[str, ...] = ("",)
    swapped: bool = False
    native: str | None = None
    numbers: tuple[str, ...] = ()
    encoder: str | None = None

    @property
    def whole(self) -> bool:
        return self.last - self.first == len(self.parts)

    @property
    def canonical(self) -> str:
        if self.whole:
            return self.weight
        return f"{self.weight}.{''.join(self.parts[self.first : self.last])}"

    @property
    def part(self) -> "ModuleName":
        """The same name without the spelling's row order: equal for all spellings."""
        return self._replace(swapped=False)


@dataclass(frozen=True)
class Spelling:
    """How a file names its modules and factors.

    `prefix` goes before diffusion model names; `flat` writes underscores for dots; `diffusers`
    takes diffusers' names (which split fused projections) instead of the model's own.
    `up` and `down` are the suffixes of the factors, `bias` that of the change of a bias; `alpha`
    says whether `.alpha` is written. `lora_only` says that the reader takes no other kind.
    """

    name: str
    prefix: str
    flat: bool
    diffusers: bool
    up: str
    down: str
    alpha: bool
    bias: str = ".diff_b"
    lora_only: bool = False


KOHYA, DIFFUSERS, GENERIC = "kohya", "diffusers", "generic"
SPELLINGS = (KOHYA, DIFFUSERS, GENERIC)


def standard_spelling(name: str, family: Family) -> Spelling:
    """What kohya's trainer, diffusers, or "generic" trainers (ai-toolkit, ...) write."""
    if name == KOHYA:
        factors = ".lora_up.weight", ".lora_down.weight"
        return Spelling(name, "lora_unet_", True, not family.kohya_is_native, *factors, True)
    factors = ".lora_B.weight", ".lora_A.weight"
    if name == DIFFUSERS:
        if family.processors:
            factors = ".lora.up.weight", ".lora.down.weight"
        return Spelling(
            name, family.prefix, False, True, *factors, False, bias=".lora_B.bias", lora_only=True
        )
    return Spelling(name, "diffusion_model.", False, False, *factors, False)


def suited(spelling: Spelling, raw: str) -> Spelling:
    """The spelling with the suffixes that this one name needs.

    Diffusers finds the first layer of `to_out` only under the suffix that its old names had.
    """
    if raw.endswith(".processor.to_out") and spelling.up == ".lora.up.weight":
        return replace(spelling, up="_lora.up.weight", down="_lora.down.weight")
    return spelling


def spelling_name(prefix: str) -> str:
    """What to call the spelling of a file whose names start with this prefix."""
    if TEXT_PREFIX.fullmatch(prefix):
        kohya_or_diffusers = KOHYA if prefix.startswith("lora_") else DIFFUSERS
        return GENERIC if prefix == "text_encoders." else kohya_or_diffusers
    names = {"lora_unet_": KOHYA, "diffusion_model.": GENERIC} | dict.fromkeys(
        ("transformer.", "unet."), DIFFUSERS
    )
    return names.get(prefix) or (f"prefix {prefix}" if prefix else "bare names")


def split_prefix(raw: str) -> tuple[str, str]:
    """(prefix, path) of a raw module name.

    Only one prefix is taken, PEFT's own aside: what follows can be a part of the model that happens
    to be called `transformer` too.
    """
    for prefix in (PEFT_PREFIX, *DOTTED_PREFIXES, *FLAT_PREFIXES):
        if raw.startswith(prefix):
            rest = raw[len(prefix) :]
            inner = DOTTED_PREFIXES if prefix == PEFT_PREFIX else (PEFT_PREFIX,)
            second = next((p for p in inner if rest.startswith(p)), "")
            prefix += second if not prefix.endswith("_") else ""
            return prefix, raw[len(prefix) :]
    if match := TEXT_PREFIX.match(raw):
        return raw[: match.end()], raw[match.end() :]
    return "", raw


def resolve(raw: str, family: Family, shape: Sequence[int] = ()) -> ModuleName:
    """The meaning of a raw module name in a file of this family, given its update's shape.

    A name that no table knows keeps its own path; numbers become path segments, so that
    `lora_unet_foo_0_bar` and `diffusion_model.foo.0.bar` are one module in an unknown model too.
    """
    prefix, path = split_prefix(raw)
    if match := TEXT_PREFIX.fullmatch(prefix):
        number = int(match["kohya"] or match["diffusers"] or 1)
        return _resolve_text_encoder(path, number, min(shape[:2], default=0), family)
    found = family.find(flatten(path))
    if found is None:
        return ModuleName(_dotted(path))
    entry, numbers = found
    row = entry.row
    return ModuleName(
        fill(row.native, numbers),
        entry.first,
        entry.last,
        row.parts,
        swapped(entry.mark, shape),
        row.native,
        tuple(numbers),
    )


def _resolve_text_encoder(path: str, number: int, width: int, family: Family) -> ModuleName:
    named = TEXT_ENCODER_NAME.fullmatch(path)
    encoder = named["name"] if named else None
    path = named["body"] if named else path.removeprefix("transformer.")
    for kind, table in TEXT_ENCODERS.items():
        if found := table.find(flatten(path)):
            entry, numbers = found
            clip = CLIP_OF_WIDTH.get(width, "clip_l") if number == 1 else CLIP_NAMES.get(number)
            if kind != "clip":
                encoder = encoder_of(kind, encoder, family)
            encoder = encoder or clip or f"text_encoder_{number}"
            native = entry.row.native
            weight = f"{encoder}.transformer.{fill(native, numbers)}"
            return ModuleName(weight, native=native, numbers=tuple(numbers), encoder=encoder)
    own = family.encoders[0] if len(family.encoders) == 1 else f"text_encoder_{number}"
    encoder = encoder or own
    return ModuleName(f"{encoder}.transformer.{_dotted(path)}", encoder=encoder)


def _dotted(path: str) -> str:
    if "." in path:
        return path
    return re.sub(rf"_({NUMBER})(?=_|$)", r".\1", path).replace("._", ".")


def other_names(row: Row, spelling: Spelling) -> tuple[tuple[str, ...], str]:
    """The names that a spelling takes instead of the native one, and their mark.

    Diffusers' own are written for diffusers; a file that has others has those that ComfyUI reads.
    """
    if not spelling.diffusers:
        return (), ""
    if spelling.name == DIFFUSERS:
        return row.diffusers, row.mark
    return row.read, row.read_mark


def spell(name: ModuleName, spelling: Spelling, family: Family) -> str | None:
    """The raw name of a module in a spelling; None where no rule knows it.

    A name of a fused range has no spelling where that spelling splits or fuses it differently.
    """
    if name.native is None:
        return None
    if name.encoder:
        return _spell_text_encoder(name, spelling, family)
    row = family.rows[name.native]
    if row.lone:
        return None if spelling.lora_only else f"diffusion_model.{name.weight}"
    if spelling.name == DIFFUSERS and spelling.diffusers and row.absent:
        return None
    if row.foreign and spelling.name != DIFFUSERS:
        return None
    theirs, _ = other_names(row, spelling)
    if theirs:
        if len(theirs) == len(row.parts) and name.last - name.first == 1:
            path = fill(theirs[name.first], name.numbers)
        elif len(theirs) == 1 and name.whole:
            path = fill(theirs[0], name.numbers)
        else:
            return None
    elif name.whole:
        path = name.weight
    else:
        return None
    if spelling.flat:
        # kohya never had diffusers' attention processors in its names.
        if family.processors:
            path = path.replace(".processor.to_out", ".to_out.0").replace(".processor.", ".")
        path = flatten(path)
    return spelling.prefix + path


def respell(raw: str, spelling: Spelling) -> str | None:
    """The name in a spelling of a module that no table knows, from the one that it has.

    ComfyUI has every weight of every model under its own name and under kohya's form of it, whose
    dots are lost.
    """
    prefix, path = split_prefix(raw)
    if spelling.name not in (KOHYA, GENERIC):
        return None
    if prefix == spelling.prefix:
        return raw
    return spelling.prefix + flatten(path) if (prefix, spelling.flat) == (OWN, True) else None


def text_order(name: ModuleName) -> tuple[str, ...]:
    """The prefixes under which ComfyUI reads this weight of a text encoder, of TEXT_ORDER."""
    if name.native == "text_projection":
        number = {"clip_l": 1, "clip_g": 2}.get(name.encoder or "")
        return ("text_encoders.", *([f"lora_te{number}_"] if number else []))
    if name.native in TEXT_ENCODERS["t5"].rows:
        return TEXT_ORDER[:5]  # none of diffusers
    row = TEXT_ENCODERS["clip"].rows.get(name.native or "")
    return TEXT_ORDER[:1] if row and row.lone else TEXT_ORDER


def kind_of(name: ModuleName) -> str:
    """Which of TEXT_ENCODERS the weight is in."""
    return next(
        (kind for kind, table in TEXT_ENCODERS.items() if name.native in table.rows), "clip"
    )


def _spell_text_encoder(name: ModuleName, spelling: Spelling, family: Family) -> str | None:
    body = name.weight.removeprefix(f"{name.encoder}.transformer.")
    order = text_order(name)
    if spelling.flat and name.native == "text_projection" and len(order) > 1:
        return order[-1] + body
    if len(order) == 1:
        return None if spelling.name == DIFFUSERS else f"text_encoders.{name.weight}"
    kind, number = kind_of(name), ENCODER_NUMBERS.get(name.encoder or "")
    if kind == "bert" and spelling.flat:
        return f"lora_te1_{flatten(body.removeprefix('bert.'))}"
    inside = body.removeprefix("model.")
    if kind == "language model" and spelling.flat and family.lone_encoder and inside != body:
        return f"lora_te_{flatten(inside)}"
    if kind != "clip" and not (spelling.flat and name.encoder == OF_KOHYA):
        return f"text_encoders.{written_as(name.encoder or '', kind, family)}{body}"
    lone = family.lone_encoder
    if family.encoders[:1] == (OF_KOHYA,) == (name.encoder,):
        number = 1  # The T5 is the model's first encoder.
    if spelling.flat and number:
        return f"lora_te{'' if lone else number}_{flatten(body)}"
    if spelling.diffusers and number in CLIP_NAMES:
        return f"text_encoder{'' if lone or number == 1 else f'_{number}'}.{body}"
    return f"text_encoders.{name.weight}"
