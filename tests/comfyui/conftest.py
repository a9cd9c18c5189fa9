"""The running ComfyUI and its page, one of each for all tests in this folder.

Where there is none, the tests are skipped, all for the same one reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.comfyui import models, stand_ins
from tests.comfyui.browser import NoBrowser, Page, find_browser
from tests.comfyui.harness import NoComfyUI, Server, find_comfyui

PACK = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A server, a page and models: none of this belongs to the fast subset."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slow")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here. Skipped from one place, pytest reports it in one line."""
    try:
        find_comfyui()
        if "page" in getattr(item, "fixturenames", ()):
            find_browser()
    except (NoComfyUI, NoBrowser) as missing:
        pytest.skip(str(missing))
    if find_spec("websocket") is None:
        pytest.skip("no websocket-client: pip install websocket-client")


@pytest.fixture(scope="session")
def comfyui() -> Iterator[Server]:
    """A ComfyUI with this pack, linked in as lora-alloy, and the tiny models.

    The examples' models must be there before the page opens: it looks for missing ones elsewhere.
    """
    server = Server(packs={"lora-alloy": PACK})
    models.write(server.folder)
    stand_ins.write_stand_ins(server.folder)
    with server:
        yield server


@pytest.fixture(scope="session")
def page(comfyui: Server) -> Iterator[Page]:
    """The page of that ComfyUI."""
    with Page(comfyui.url) as page:
        yield page
