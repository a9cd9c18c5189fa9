"""LoRA Alloy's library: LoRA files in, LoRA files, tables and pictures out."""

from .algebra.low_rank import LowRank
from .algebra.rank_rules import RankRule
from .algebra.update import Dense
from .edits.blend import blend
from .edits.blend_settings import METHODS, Blend
from .edits.convert import convert
from .edits.edit import Edited
from .edits.notebook import blend_and_convert_loras_streaming
from .edits.resize import resize
from .edits.save import save
from .edits.select import select
from .edits.top_blocks import top_blocks
from .edits.verify import verify
from .errors import (
    Cancelled,
    EmptyRest,
    FileError,
    LoraError,
    MismatchError,
    Occupied,
    SettingError,
    one_of,
)
from .insight.analysis import (
    STATISTICS,
    analyze_and_display,
    analyze_lora,
    csv_text,
    sort_table,
)
from .insight.charts import CHARTS, chart, rank_chart
from .insight.choice import Choice, choose_blocks
from .insight.drawing import save_chart, to_png
from .insight.importance import (
    ENERGY,
    block_importance_from_energy,
    block_importance_from_softmax,
    explain,
    importance_table,
    top_blocks_by_threshold,
)
from .insight.info import describe, summary
from .insight.statistics import tensor_statistic, update_statistic
from .insight.trainer_configs import TRAINERS, trainer_config
from .merging.balance import (
    BALANCES,
    Balance,
    balance,
    dyn_weights_margin_sigmoid,
    dyn_weights_powerlaw,
    dyn_weights_proportional,
    dyn_weights_softmax,
    softmax_spectral_weight_fn,
)
from .merging.even import Even
from .naming.family import UNKNOWN
from .naming.spelling import SPELLINGS
from .reading.lora import Lora, Module, Reading
from .running.output import DTYPE_CHOICES, OUTPUT_DTYPES, SPELLING_CHOICES, Output
from .running.report import Report, markdown_table, megabytes
from .running.stream import Compute, choose_device
from .storage.files import StateDict, load
from .version import version

__all__ = [
    "BALANCES",
    "CHARTS",
    "DTYPE_CHOICES",
    "ENERGY",
    "METHODS",
    "OUTPUT_DTYPES",
    "SPELLINGS",
    "SPELLING_CHOICES",
    "STATISTICS",
    "TRAINERS",
    "UNKNOWN",
    "Balance",
    "Blend",
    "Cancelled",
    "Choice",
    "Compute",
    "Dense",
    "Edited",
    "EmptyRest",
    "Even",
    "FileError",
    "Lora",
    "LoraError",
    "LowRank",
    "MismatchError",
    "Module",
    "Occupied",
    "Output",
    "RankRule",
    "Reading",
    "Report",
    "SettingError",
    "StateDict",
    "analyze_and_display",
    "analyze_lora",
    "balance",
    "blend",
    "blend_and_convert_loras_streaming",
    "block_importance_from_energy",
    "block_importance_from_softmax",
    "chart",
    "choose_blocks",
    "choose_device",
    "convert",
    "csv_text",
    "describe",
    "dyn_weights_margin_sigmoid",
    "dyn_weights_powerlaw",
    "dyn_weights_proportional",
    "dyn_weights_softmax",
    "explain",
    "importance_table",
    "load",
    "markdown_table",
    "megabytes",
    "one_of",
    "rank_chart",
    "resize",
    "save",
    "save_chart",
    "select",
    "softmax_spectral_weight_fn",
    "sort_table",
    "summary",
    "tensor_statistic",
    "to_png",
    "top_blocks",
    "top_blocks_by_threshold",
    "trainer_config",
    "update_statistic",
    "verify",
    "version",
]
