"""The ComfyUI nodes, one file each. What they have in common:

rows.py            the rows of LoRA Blend
inputs.py          the sockets and widgets that several nodes share
comfy_bridge.py    the only file that imports comfy.* and folder_paths
routes.py          what the page's script asks the server
fit.py             which parts of a LoRA fit a loaded model
pictures.py        charts as ComfyUI images
tables.py          what the page shows as tables

Node ids, input ids, their types and their order are stored in people's workflows: they never
change (tests/nodes/contract.json pins them). New inputs go to the end.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

from . import routes
from .apply_lora import LoraAlloyApply
from .blend import LoraAlloyBlend
from .blocks import LoraAlloyBlocks
from .comfy_bridge import log, name_errors
from .compare import LoraAlloyCompare
from .convert import LoraAlloyConvert
from .extract import LoraAlloyExtract
from .find import LoraAlloyFind
from .layer_analysis import LoraAlloyLayerAnalysis
from .load_lora import LoraAlloyLoad
from .rank_resize import LoraAlloyRankResize
from .save_lora import LoraAlloySave
from .select import LoraAlloySelect
from .top_blocks import LoraAlloyTopBlocks

NODES: list[type[io.ComfyNode]] = [
    LoraAlloyLoad,
    LoraAlloyBlend,
    LoraAlloyRankResize,
    LoraAlloyLayerAnalysis,
    LoraAlloyTopBlocks,
    LoraAlloyApply,
    LoraAlloySave,
    LoraAlloyCompare,
    LoraAlloyConvert,
    LoraAlloySelect,
    LoraAlloyFind,
    LoraAlloyBlocks,
    LoraAlloyExtract,
]

# Imported with their first use: without this check a missing one would be noticed only then.
IMPORTED_LATE = ("pandas", "matplotlib")


class LoraAlloyExtension(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> LoraAlloyExtension:
    name_errors()
    missing = [name for name in IMPORTED_LATE if find_spec(name) is None]
    if missing:
        requirements = Path(__file__).parents[1] / "requirements.txt"
        log.warning(
            f"LoRA Alloy needs {' and '.join(missing)}: run "
            f'"{sys.executable}" -m pip install -r "{requirements}"'
        )
    routes.register()
    return LoraAlloyExtension()
