"""LoRA Alloy: surgery on LoRA files. `import lora_alloy` is the library, all that `core` offers.

For ComfyUI it is the front door of the nodes.
"""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core import *  # noqa: F403

WEB_DIRECTORY = "./web"


def __getattr__(name: str) -> Any:
    """What `core` offers, imported when it is asked for: ComfyUI needs none of it here."""
    if __package__ and not name.startswith("_") and name != "core":
        from . import core

        if name == "__all__" or name in core.__all__:
            return getattr(core, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


async def comfy_entrypoint() -> Any:
    """Called by ComfyUI; the nodes are imported only then: `import lora_alloy` needs none of it."""
    try:
        from .nodes import comfy_entrypoint as entrypoint
    except Exception:
        # ComfyUI reports an error in here as one line, without saying where it came from.
        logging.getLogger("lora-alloy").exception("LoRA Alloy's nodes could not be loaded")
        raise
    return await entrypoint()
