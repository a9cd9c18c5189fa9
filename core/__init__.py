"""LoRA Alloy's library: LoRA files in, LoRA files, tables and pictures out."""

from .algebra.low_rank import Dense, LowRank
from .algebra.rank_rules import RankRule
from .edits.blend import Blend, blend
from .edits.convert import convert
from .edits.edit import Edited
from .edits.notebook import blend_and_convert_loras_streaming
from .edits.resize import resize
from .edits.select import select
from .edits.top_blocks import top_blocks
from .edits.verify import verify
from .errors import Cancelled, LoraError
from .insight.analysis import analyze_and_display, analyze_lora
from .insight.charts import chart, rank_chart
from .insight.choice import choose_blocks
from .insight.importance import (
    block_importance_from_energy,
    block_importance_from_softmax,
    top_blocks_by_threshold,
)
from .insight.statistics import tensor_statistic, update_statistic
from .insight.trainer_configs import trainer_config
from .merging.balance import (
    dyn_weights_margin_sigmoid,
    dyn_weights_powerlaw,
    dyn_weights_proportional,
    dyn_weights_softmax,
    softmax_spectral_weight_fn,
)
from .reading.lora import Lora, Reading
from .running.output import Output
from .running.report import Report
from .running.stream import Compute, choose_device
from .storage.files import StateDict

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
