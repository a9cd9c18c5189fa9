"""LoRA Alloy's library: LoRA files in, LoRA files, tables and pictures out."""

from .balance import (
    dyn_weights_margin_sigmoid,
    dyn_weights_powerlaw,
    dyn_weights_proportional,
    dyn_weights_softmax,
    softmax_spectral_weight_fn,
)
from .blend import Blend, blend
from .convert import convert
from .edit import Edited
from .errors import Cancelled, LoraError
from .files import StateDict
from .lora import Lora, Reading
from .low_rank import Dense, LowRank
from .notebook import blend_and_convert_loras_streaming
from .output import Output
from .rank_rules import RankRule
from .report import Report
from .resize import resize
from .select import select
from .stream import Compute, choose_device
from .verify import verify

__all__ = [
    "Blend",
    "Cancelled",
    "Compute",
    "Dense",
    "Edited",
    "Lora",
    "LoraError",
    "LowRank",
    "Output",
    "RankRule",
    "Reading",
    "Report",
    "StateDict",
    "blend",
    "blend_and_convert_loras_streaming",
    "choose_device",
    "convert",
    "dyn_weights_margin_sigmoid",
    "dyn_weights_powerlaw",
    "dyn_weights_proportional",
    "dyn_weights_softmax",
    "resize",
    "select",
    "softmax_spectral_weight_fn",
    "verify",
]
