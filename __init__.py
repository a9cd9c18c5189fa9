"""LoRA Alloy: surgery on LoRA files. ComfyUI's front door; the library is in `core`."""

from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """Called by ComfyUI; the nodes are imported only then: `import lora_alloy` needs none of it."""
    from .nodes import comfy_entrypoint as entrypoint

    return await entrypoint()
