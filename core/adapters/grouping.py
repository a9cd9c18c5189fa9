"""Raw keys -> adapters: which tensors of a file belong together, which count and which do not."""

import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from ..errors import FileError
from ..storage.dtypes import TensorInfo
from .adapter import Adapter
from .base_dependent import BOFT, DORA, OFT
from .foreign import reason
from .kind import KINDS, Kind

# Every file of this folder may register a kind.
_PACKAGE = __name__.rpartition(".")[0]
for _file in iter_modules([str(Path(__file__).parent)]):
    import_module(f"{_PACKAGE}.{_file.name}")

DROPPED = "the magnitude of a DoRA, left out as asked"
Groups = tuple[dict[tuple[str, str], Adapter], dict[str, str], dict[str, str]]


def group(info: Mapping[str, TensorInfo], drop_magnitude: bool) -> Groups:
    """Sort the tensors of a file into adapters.

    Returns ({(raw module name, "weight" or "bias"): adapter}, {key of no adapter: reason}, {key
    that does not count: reason}). `drop_magnitude` leaves DoRA's magnitudes out. Raises FileError
    for a module that lacks a factor.
    """
    kind_of = {suffix: kind for kind in KINDS for suffix in kind.suffixes}
    endings = "|".join(map(re.escape, (*kind_of, ".alpha")))
    # The shortest name, and so the longest suffix.
    pattern = re.compile(f"(.+?)({endings})")
    found: dict[tuple[str, str], dict[Kind, dict[str, str]]] = {}
    alphas: dict[str, str] = {}
    rest: dict[str, str] = {}
    shadowed: dict[str, str] = {}
    for key in info:
        match = pattern.fullmatch(key)
        if match is None:
            rest[key] = reason(key)
            continue
        raw, suffix = match.groups()
        kind = kind_of.get(suffix)
        if kind is None:
            alphas[raw] = key
        elif drop_magnitude and kind is DORA:
            shadowed[key] = DROPPED
        elif kind.beside and raw + kind.beside not in info:
            shadowed[key] = f"ComfyUI reads it only beside {raw}{kind.beside}"
        else:
            found.setdefault((raw, kind.parameter), {}).setdefault(kind, {})[suffix] = key
    modules = {}
    for (raw, parameter), kinds in found.items():
        adapters = {kind: _adapter(kind, keys, shadowed) for kind, keys in kinds.items()}
        chosen = _winner(raw, adapters, rest, shadowed)
        if chosen is None:
            continue
        if parameter == "weight" and raw in alphas:
            chosen.keys["alpha"] = alphas.pop(raw)
        if chosen.kind is OFT and len(info[chosen.keys["blocks"]].shape) == 4:
            chosen = replace(chosen, kind=BOFT)
        modules[raw, parameter] = chosen
    rest |= {key: "an alpha without factors" for key in alphas.values()}
    return modules, rest, shadowed


def _adapter(kind: Kind, keys: dict[str, str], shadowed: dict[str, str]) -> Adapter:
    """The adapter of one module's {suffix: key}; keys of another form than the chosen are left."""
    form = kind.form(keys)
    first = next(suffix for suffix in form if suffix in keys)
    reason = f"ComfyUI does not read it beside {keys[first]}"
    shadowed |= {key: reason for suffix, key in keys.items() if suffix not in form}
    roles = {form[suffix]: suffix for suffix in keys if suffix in form}
    return Adapter(kind, {role: keys[suffix] for role, suffix in roles.items()}, roles)


def _winner(
    raw: str, kinds: dict[Kind, Adapter], rest: dict[str, str], shadowed: dict[str, str]
) -> Adapter | None:
    """The adapter that ComfyUI applies of all that a file has for one module, or None."""
    ordered = sorted(kinds, key=lambda kind: kind.precedence)
    alone = [kind for kind in ordered if not kind.modifies]
    if not alone:
        for kind in ordered:
            rest |= {key: f"a {kind.name} without factors" for key in kinds[kind].keys.values()}
        return None
    chosen = kinds[alone[-1]]
    for kind in alone[:-1]:
        reason = f"ComfyUI lets the {chosen.kind.name} of this module replace it"
        shadowed |= {key: reason for key in kinds[kind].keys.values()}
    if role := chosen.kind.missing(chosen.keys):
        have = ", ".join(chosen.keys.values())
        raise FileError(
            f"has {have} but no {role} factor",
            fix="the file is incomplete: download or save it again",
            module=raw,
        )
    for kind in (kind for kind in ordered if kind.modifies):
        modifier, modified = kinds[kind], chosen.modified or chosen.kind
        if modified not in kind.modifies:
            reason = f"ComfyUI does not apply it to a {modified.name}"
            shadowed |= {key: reason for key in modifier.keys.values()}
            continue
        # The modifier and what it modifies are one adapter.
        keys, suffixes = chosen.keys | modifier.keys, chosen.suffixes | modifier.suffixes
        chosen = Adapter(kind, keys, suffixes, modified)
    return chosen
