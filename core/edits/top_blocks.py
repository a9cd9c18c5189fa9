"""Top blocks: keep (or remove) the few blocks in which most of a LoRA sits."""

from collections.abc import Collection
from typing import Protocol

from ..errors import EmptyRest, MismatchError, SettingError, one_of
from ..naming.blocks import locate
from ..naming.selectors import Selector
from ..reading.lora import Lora, Source
from ..running.layout import lay_out
from ..running.output import Output
from ..running.stream import Compute
from .edit import Edited, layers_of
from .select import divide, names_of

KEEP, REMOVE = "keep", "remove"


class Chosen(Protocol):
    """Which blocks were chosen, of those that were measured: `choose_blocks` makes one."""

    @property
    def blocks(self) -> Collection[str]: ...

    @property
    def measured(self) -> Collection[str]: ...


def top_blocks(
    lora: Source,
    choice: Chosen,
    mode: str = KEEP,
    always: str = "",
    other_layers: str = KEEP,
    output: Output = Output(),  # noqa: B008 - frozen
    rest: Output | None = None,
    compute: Compute | None = None,
) -> tuple[Edited, Edited | None]:
    """(the LoRA with only, or without, the chosen blocks; everything else where `rest` says how).

    `lora` is a path, a state dict or a Lora, `choice` what `choose_blocks` gave for it. `mode` is
    keep or remove: what happens to the chosen blocks. What `always` selects stays in any case;
    `other_layers`, keep or remove, says what happens to modules and tensors outside any block.
    Blocks that could not be measured stay. `output` says where the first part goes, `compute` tells
    progress and is asked for `cancelled`. Everything that stays does so to the bit.

    Raises MismatchError for blocks that this LoRA lacks, EmptyRest or another SettingError where
    either side would be empty or a word is unknown, FileError for what cannot be read or written.

    >>> _, character = core.samples()
    >>> choice = core.choose_blocks(character, 0.8, "energy")
    >>> kept, others = core.top_blocks(character, choice, rest=core.Output())
    >>> len(kept.report.modules), len(others.report.modules)
    (22, 6)
    """
    compute = compute or Compute()
    for name, value in (("mode", mode), ("other_layers", other_layers)):
        one_of(name, value, (KEEP, REMOVE))
    if Selector.parse(always).excludes:
        raise SettingError(
            f"always {always!r}: it lists what stays, an exclusion has no meaning there",
            fix="leave the patterns with a minus out",
        )
    source = Lora.of(lora)
    targets = lay_out([source], output.spelling_for(source))
    names = names_of(source, targets)
    places = {target.canonical: locate(target.canonical) for target in targets}
    prefixes = {place.block: place.prefix or "" for place in places.values() if place.block}
    if missing := [block for block in choice.blocks if block not in prefixes]:
        raise MismatchError(
            f"has no block {missing[0]}: the analysis is of another LoRA",
            fix="leave it out to have this one analysed",
            file=source.name,
        )
    measured, chosen = set(choice.measured), set(choice.blocks)
    blocks = {
        block for block in prefixes if block not in measured or (block in chosen) == (mode == KEEP)
    }
    outside = [name for name in names if name not in places or not places[name].block]
    staying = {name for name, place in places.items() if place.block in blocks}
    staying |= set(outside) if other_layers == KEEP else set()
    known = layers_of([source], targets, source.other)
    staying |= known.selected(always) if always else set()
    if not staying:
        raise SettingError(
            "nothing is left of it",
            fix="keep other layers, or let fewer blocks go",
            file=source.name,
        )
    if rest is not None and len(staying) == len(names):
        raise EmptyRest(
            f"all {len(prefixes)} blocks stay, so there is no rest to write",
            fix="change the threshold",
            file=source.name,
        )
    words = [prefix for block, prefix in prefixes.items() if block in blocks]
    words += [*(outside if other_layers == KEEP else []), *([always] if always else [])]
    text = ", ".join(words)
    return divide(source, targets, staying, text, output, rest, compute, known.notes)
