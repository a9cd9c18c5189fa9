"""Convert: the same update in another spelling, fused or split as that spelling needs."""

from ..reading.lora import Lora, Source
from ..running.layout import Target, lay_out
from ..running.output import Output
from ..running.report import Report
from ..running.stream import Compute
from .edit import Edited, Outcome, run
from .unchanged import unchanged


def convert(
    lora: Source,
    output: Output,
    compute: Compute | None = None,
) -> Edited:
    """Write a LoRA in another spelling or dtype; exact up to the dtype's rounding.

    `lora` is a path, a state dict or a Lora. `output` says where the result goes, and its
    `spelling` and `dtype`. `compute` says where and how to compute. Modules whose name no rule
    knows keep it. Raises FileError for what cannot be read or written, and where a kind that cannot
    be cut would have to be fused or split.

    >>> style, _ = core.samples()
    >>> edited = core.convert(style, core.Output(spelling="kohya"))
    >>> sorted(edited.lora)[0]
    'lora_unet_double_blocks_0_img_attn_proj.alpha'
    """
    compute = compute or Compute()
    source = Lora.of(lora)
    targets = lay_out([source], output.spelling_for(source))
    report = Report("convert", settings=output.recipe())
    dtype = output.dtype_for(source)
    cast = output.dtype != "match"

    def one(target: Target, compute: Compute) -> Outcome:
        return unchanged(target, dtype, compute, cast, with_norm=False)

    return run([source], targets, one, output, report, compute)
