"""LoRA Alloy's library: LoRA files in, LoRA files, tables and pictures out.

`help` has the arguments, the result, the errors and an example of everything that is listed here.
In the examples `core` is this package: `import core` in a clone, `from lora_alloy import core`
where it is installed.
"""

# ruff: noqa: I001 - in the order of the floors, from the top

# edits: LoRA in, LoRA out
from .edits.edit import Edited
from .edits.blend import blend
from .edits.blend_settings import TRUNCATIONS, Blend
from .edits.resize import resize
from .edits.select import select
from .edits.convert import convert
from .edits.top_blocks import top_blocks
from .edits.save import save
from .edits.verify import verify
from .edits.notebook import blend_and_convert_loras_streaming

# insight: LoRA in, tables and pictures out
from .insight.info import describe, summary
from .insight.analysis import (
    STATISTICS,
    analyze_and_display,
    analyze_lora,
    csv_text,
    sort_table,
)
from .insight.statistics import tensor_statistic, update_statistic
from .insight.importance import (
    ENERGY,
    block_importance_from_energy,
    block_importance_from_softmax,
    explain,
    importance_table,
    top_blocks_by_threshold,
)
from .insight.choice import Choice, choose_blocks
from .insight.charts import CHARTS, chart, rank_chart
from .insight.comparison import SUGGESTIONS, Comparison, block_weights, compare
from .insight.comparison_charts import comparison_chart
from .insight.drawing import save_chart, to_png
from .insight.neighbours import Neighbour, neighbours
from .insight.trainer_configs import TRAINERS, trainer_config

# merging: how strongly each of several LoRAs counts
from .merging.average import average_weights
from .merging.balance import (
    Balance,
    balance,
    dyn_weights_margin_sigmoid,
    dyn_weights_powerlaw,
    dyn_weights_proportional,
    dyn_weights_softmax,
    softmax_spectral_weight_fn,
)
from .merging.even import Even
from .merging.method import METHODS

# running: where and how to compute, what is written, what is reported
from .running.metadata import METADATA_CHOICES, Wishes
from .running.output import DTYPE_CHOICES, SPELLING_CHOICES, Output
from .running.report import Report, markdown_table, megabytes
from .running.stream import Compute, choose_device

# reading: a file as modules
from .reading.lora import Lora, Module, Reading

# naming: what the model is called whose family is not known, which layers
from .naming.family import UNKNOWN
from .naming.selectors import Selector

# algebra: updates as thin factors or as matrices, and the rules for their ranks
from .algebra.low_rank import LowRank
from .algebra.rank_rules import RankRule
from .algebra.update import Dense

# storage: files and state dicts
from .storage.files import StateDict, load

# the ground: quoting, errors, the version, the files that are shipped
from . import quoting
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
from .shipped import samples
from .version import version

__all__ = [
    "CHARTS",
    "DTYPE_CHOICES",
    "ENERGY",
    "METADATA_CHOICES",
    "METHODS",
    "SPELLING_CHOICES",
    "STATISTICS",
    "SUGGESTIONS",
    "TRAINERS",
    "TRUNCATIONS",
    "UNKNOWN",
    "Balance",
    "Blend",
    "Cancelled",
    "Choice",
    "Comparison",
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
    "Neighbour",
    "Occupied",
    "Output",
    "RankRule",
    "Reading",
    "Report",
    "Selector",
    "SettingError",
    "StateDict",
    "Wishes",
    "analyze_and_display",
    "analyze_lora",
    "average_weights",
    "balance",
    "blend",
    "blend_and_convert_loras_streaming",
    "block_importance_from_energy",
    "block_importance_from_softmax",
    "block_weights",
    "chart",
    "choose_blocks",
    "choose_device",
    "compare",
    "comparison_chart",
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
    "neighbours",
    "one_of",
    "quoting",
    "rank_chart",
    "resize",
    "samples",
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
