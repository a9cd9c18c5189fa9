"""LoRA Alloy's library: LoRA files in, LoRA files, tables and pictures out.

`help` has the arguments, the result, the errors and an example of everything that is listed here.
In the examples `core` is this package: `import core` in a clone, `from lora_alloy import core`
where it is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# The ground, which everything stands on.
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

# Where everything else is, in the order of the floors: imported when it is asked for (PEP 562), so
# that `import core` and what needs no arithmetic start at once.
HOMES = {
    # from Python: a LoRA whose edits are methods, and PEFT
    "python.lora": "Lora",
    "python.peft": "from_peft to_peft",
    # edits: LoRA in, LoRA out
    "edits.edit": "Edited",
    "edits.blend": "blend",
    "edits.blend_settings": "STRENGTHS TRUNCATIONS Blend",
    "edits.resize": "resize",
    "edits.select": "select",
    "edits.meaning": "layer_weights selected_layers",
    "edits.convert": "convert",
    "edits.extract": "Extracted extract",
    "edits.whole": "WHOLE_METHODS",
    "edits.apply": "apply",
    "edits.top_blocks": "top_blocks",
    "edits.save": "save",
    "edits.verify": "verify",
    "edits.notebook": "blend_and_convert_loras_streaming",
    # insight: LoRA in, tables and pictures out
    "insight.info": "describe overview summary",
    "insight.contents": "contents",
    "insight.analysis": "STATISTICS analyze_and_display analyze_lora csv_text sort_table",
    "insight.statistics": "tensor_statistic update_statistic",
    "insight.importance": (
        "ENERGY block_importance_from_energy block_importance_from_softmax explain "
        "importance_table top_blocks_by_threshold"
    ),
    "insight.choice": "Choice choose_blocks",
    "insight.coverage": "coverage not_covered",
    "insight.charts": "CHARTS chart rank_chart",
    "insight.curve_chart": "curve_chart",
    "insight.comparison": "SUGGESTIONS Comparison block_weights compare",
    "insight.comparison_charts": "comparison_chart",
    "insight.drawing": "save_chart to_png",
    "insight.neighbours": "Neighbour neighbours",
    "insight.trainer_configs": "TRAINERS trainer_config",
    # merging: how strongly each of several LoRAs counts
    "merging.average": "average_weights",
    "merging.balance": (
        "Balance balance dyn_weights_margin_sigmoid dyn_weights_powerlaw "
        "dyn_weights_proportional dyn_weights_softmax softmax_spectral_weight_fn"
    ),
    "merging.even": "Even",
    "merging.merge": "METHODS",
    # running: where and how to compute, what is written, what is reported
    "running.metadata": "METADATA_CHOICES Wishes",
    "running.output": "DTYPE_CHOICES SPELLING_CHOICES Output",
    "running.report": "Report markdown_table megabytes",
    "running.stream": "Compute choose_device",
    # reading: a file as modules
    "reading.lora": "Reading",
    "reading.module": "Module",
    "reading.base_model": "BaseModel",
    # naming: what the model is called whose family is not known, which layers
    "naming.blocks": "network_order",
    "naming.family": "UNKNOWN",
    "naming.selectors": "Selector",
    # algebra: updates as thin factors or as matrices, and the rules for their ranks
    "algebra.low_rank": "LowRank",
    "algebra.rank_rules": "RankRule",
    "algebra.update": "Dense",
    # storage: files and state dicts
    "storage.files": "StateDict load",
    "storage.lazy": "LazyTensors",
}
_HOME_OF = {name: module for module, names in HOMES.items() for name in names.split()}

if TYPE_CHECKING:  # The same for type checkers and editors.
    from .algebra.low_rank import LowRank
    from .algebra.rank_rules import RankRule
    from .algebra.update import Dense
    from .edits.apply import apply
    from .edits.blend import blend
    from .edits.blend_settings import STRENGTHS, TRUNCATIONS, Blend
    from .edits.convert import convert
    from .edits.edit import Edited
    from .edits.extract import Extracted, extract
    from .edits.meaning import layer_weights, selected_layers
    from .edits.notebook import blend_and_convert_loras_streaming
    from .edits.resize import resize
    from .edits.save import save
    from .edits.select import select
    from .edits.top_blocks import top_blocks
    from .edits.verify import verify
    from .edits.whole import WHOLE_METHODS
    from .insight.analysis import (
        STATISTICS,
        analyze_and_display,
        analyze_lora,
        csv_text,
        sort_table,
    )
    from .insight.charts import CHARTS, chart, rank_chart
    from .insight.choice import Choice, choose_blocks
    from .insight.comparison import SUGGESTIONS, Comparison, block_weights, compare
    from .insight.comparison_charts import comparison_chart
    from .insight.contents import contents
    from .insight.coverage import coverage, not_covered
    from .insight.curve_chart import curve_chart
    from .insight.drawing import save_chart, to_png
    from .insight.importance import (
        ENERGY,
        block_importance_from_energy,
        block_importance_from_softmax,
        explain,
        importance_table,
        top_blocks_by_threshold,
    )
    from .insight.info import describe, overview, summary
    from .insight.neighbours import Neighbour, neighbours
    from .insight.statistics import tensor_statistic, update_statistic
    from .insight.trainer_configs import TRAINERS, trainer_config
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
    from .merging.merge import METHODS
    from .naming.blocks import network_order
    from .naming.family import UNKNOWN
    from .naming.selectors import Selector
    from .python.lora import Lora
    from .python.peft import from_peft, to_peft
    from .reading.base_model import BaseModel
    from .reading.lora import Reading
    from .reading.module import Module
    from .running.metadata import METADATA_CHOICES, Wishes
    from .running.output import DTYPE_CHOICES, SPELLING_CHOICES, Output
    from .running.report import Report, markdown_table, megabytes
    from .running.stream import Compute, choose_device
    from .storage.files import StateDict, load
    from .storage.lazy import LazyTensors
else:

    def __getattr__(name: str) -> Any:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "CHARTS",
    "DTYPE_CHOICES",
    "ENERGY",
    "METADATA_CHOICES",
    "METHODS",
    "SPELLING_CHOICES",
    "STATISTICS",
    "STRENGTHS",
    "SUGGESTIONS",
    "TRAINERS",
    "TRUNCATIONS",
    "UNKNOWN",
    "WHOLE_METHODS",
    "Balance",
    "BaseModel",
    "Blend",
    "Cancelled",
    "Choice",
    "Comparison",
    "Compute",
    "Dense",
    "Edited",
    "EmptyRest",
    "Even",
    "Extracted",
    "FileError",
    "LazyTensors",
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
    "apply",
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
    "contents",
    "convert",
    "coverage",
    "csv_text",
    "curve_chart",
    "describe",
    "dyn_weights_margin_sigmoid",
    "dyn_weights_powerlaw",
    "dyn_weights_proportional",
    "dyn_weights_softmax",
    "explain",
    "extract",
    "from_peft",
    "importance_table",
    "layer_weights",
    "load",
    "markdown_table",
    "megabytes",
    "neighbours",
    "network_order",
    "not_covered",
    "one_of",
    "overview",
    "quoting",
    "rank_chart",
    "resize",
    "samples",
    "save",
    "save_chart",
    "select",
    "selected_layers",
    "softmax_spectral_weight_fn",
    "sort_table",
    "summary",
    "tensor_statistic",
    "to_peft",
    "to_png",
    "top_blocks",
    "top_blocks_by_threshold",
    "trainer_config",
    "update_statistic",
    "verify",
    "version",
]
