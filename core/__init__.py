"""LoRA Alloy's library: LoRA files in, LoRA files, tables and pictures out."""

from .analysis import analyze_and_display, analyze_lora
from .balance import (
    dyn_weights_margin_sigmoid,
    dyn_weights_powerlaw,
    dyn_weights_proportional,
    dyn_weights_softmax,
    softmax_spectral_weight_fn,
)
from .blend import Blend, blend
from .charts import chart, rank_chart
from .convert import convert
from .edit import Edited
from .errors import Cancelled, LoraError
from .files import StateDict
from .importance import (
    block_importance_from_energy,
    block_importance_from_softmax,
    top_blocks_by_threshold,
)
from .lora import Lora, Reading
from .low_rank import Dense, LowRank
from .notebook import blend_and_convert_loras_streaming
from .output import Output
from .rank_rules import RankRule
from .report import Report
from .resize import resize
from .select import select
from .statistics import tensor_statistic, update_statistic
from .stream import Compute, choose_device
from .top_blocks import choose_blocks, top_blocks
from .trainer_configs import trainer_config
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
    "analyze_and_display",
    "analyze_lora",
    "blend",
    "blend_and_convert_loras_streaming",
    "block_importance_from_energy",
    "block_importance_from_softmax",
    "chart",
    "choose_blocks",
    "choose_device",
    "convert",
    "dyn_weights_margin_sigmoid",
    "dyn_weights_powerlaw",
    "dyn_weights_proportional",
    "dyn_weights_softmax",
    "rank_chart",
    "resize",
    "select",
    "softmax_spectral_weight_fn",
    "tensor_statistic",
    "top_blocks",
    "top_blocks_by_threshold",
    "trainer_config",
    "update_statistic",
    "verify",
]
