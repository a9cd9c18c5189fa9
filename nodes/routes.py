"""What the page's script asks the server: what is in a LoRA file, and what a text means for it.

    GET  /lora-alloy/lora?name=...      what `core.contents` says of a file, or {"error": sentence}
    GET  /lora-alloy/preview?name=...   the picture beside it
    POST /lora-alloy/meaning            {"loras": [names], "block_weights": text} or "layers": text

A name is one that ComfyUI's list of LoRAs has, and nothing else is read; only headers are, and no
answer has a path of this machine in it.
"""

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core import Lora, LoraError, Reading, contents, layer_weights, selected_layers
from . import comfy_bridge

PREVIEWS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
# Names of files that are opened, and texts that are read, at a time.
MOST_LORAS, LONGEST = 50, 100_000
READINGS = ("drop_magnitude", "scale_from_metadata")


def register() -> None:
    """Add the routes to ComfyUI's server, where there is one."""
    server = comfy_bridge.server()
    if server is None:
        return
    from aiohttp import web

    @server.routes.get("/lora-alloy/lora")
    async def lora(request: Any) -> Any:
        reading = Reading(*(request.query.get(key) == "true" for key in READINGS))
        name = request.query.get("name", "")
        return web.json_response(await asyncio.to_thread(lora_answer, name, reading))

    @server.routes.get("/lora-alloy/preview")
    async def preview(request: Any) -> Any:
        path = preview_of(request.query.get("name", ""))
        if path is None:
            return web.Response(status=404)
        kind = {"Content-Type": PREVIEWS[path.suffix.lower()], "X-Content-Type-Options": "nosniff"}
        return web.FileResponse(path, headers=kind)

    @server.routes.post("/lora-alloy/meaning")
    async def meaning(request: Any) -> Any:
        try:
            asked = await request.json()
        except ValueError:
            return web.Response(status=400)
        return web.json_response(await asyncio.to_thread(meaning_answer, asked))


def lora_answer(name: str, reading: Reading = Reading()) -> dict[str, Any]:  # noqa: B008 - frozen
    """What a page shows of the file."""
    try:
        return contents(opened(name, reading)) | {
            "name": name,
            "preview": preview_of(name) is not None,
        }
    except LoraError as error:
        return {"error": _without_paths(error, name)}


def meaning_answer(asked: Any) -> dict[str, Any]:
    """What a text means for some files: {"weights": ...} or {"selected": ...}, or what is wrong."""
    names = asked.get("loras") if isinstance(asked, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return {"error": "loras must be a list of names"}
    weights, layers = asked.get("block_weights"), asked.get("layers")
    text = layers if weights is None else weights
    if not isinstance(text, str) or len(text) > LONGEST or len(names) > MOST_LORAS:
        return {"error": "give one text, block_weights or layers, for up to 50 LoRAs"}
    try:
        loras = [opened(name) for name in names]
        if weights is None:
            selected, notes = selected_layers(loras, text)
            return {"selected": selected, "notes": notes}
        found, notes = layer_weights(loras, text)
        return {"weights": found, "notes": notes}
    except LoraError as error:
        return {"error": _without_paths(error, *names)}


def opened(name: str, reading: Reading = Reading()) -> Lora:  # noqa: B008 - frozen
    """The file's header, read once as long as the file stays as it is.

    Raises FileError for what ComfyUI does not list or what is no LoRA.
    """
    path = comfy_bridge.listed_lora(name)
    return _opened(path, comfy_bridge.lora_fingerprint(name), reading)


@lru_cache(maxsize=32)
def _opened(path: str, fingerprint: str, reading: Reading) -> Lora:
    return Lora(path, reading=reading)


def preview_of(name: str) -> Path | None:
    """The picture beside a listed file, NAME.png or NAME.preview.png and the like, if any."""
    try:
        path = Path(comfy_bridge.listed_lora(name))
    except LoraError:
        return None
    beside = (path.with_suffix(middle + end) for end in PREVIEWS for middle in ("", ".preview"))
    return next((picture for picture in beside if picture.is_file()), None)


def _without_paths(error: LoraError, *names: str) -> str:
    """The sentence, about the file as the list has it."""
    text = str(error)
    for name in names:
        try:
            text = text.replace(comfy_bridge.listed_lora(name), name)
        except LoraError:
            continue
    return text
