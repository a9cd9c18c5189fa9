"""LoRA Alloy: surgery on LoRA files. ComfyUI's front door; the library is in `core`."""

import logging
from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """Called by ComfyUI; the nodes are imported only then: `import lora_alloy` needs none of it."""
    try:
        from .nodes import comfy_entrypoint as entrypoint
    except Exception:
        # ComfyUI reports an error in here as one line, without saying where it came from.
        logging.getLogger("lora-alloy").exception("LoRA Alloy's nodes could not be loaded")
        raise
    return await entrypoint()
