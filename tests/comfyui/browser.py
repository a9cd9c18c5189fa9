"""Opens ComfyUI's real page in headless Chromium, to see a workflow as its user does.

    with Page(comfyui.url) as page:
        assert page.load(workflow) == []    # the types of missing nodes
        page.run()
        page.screenshot("workflow.png")
        assert page.errors == []

Playwright drives the Chromium that is installed; it needs no browser of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .client import ComfyUIError

READY_SECONDS = 120.0
RUN_SECONDS = 300.0

_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

# The page restores its last workflow, or opens its default one, a while after it has started. A
# workflow loaded before that would be replaced.
_READY = "window.app?.extensionManager?.workflow?.activeWorkflow"

_LOAD = """async workflow => {
    await window.app.loadGraphData(workflow);
    const graphs = [window.app.graph, ...(window.app.graph.subgraphs?.values() ?? [])];
    const types = graphs.flatMap(graph => graph.nodes.map(node => node.type));
    const known = window.LiteGraph.registered_node_types;
    return [...new Set(types.filter(type => !(type in known)))].sort();
}"""

# "executing: nothing" is the last message of a run, and comes once its history can be read.
_RUN = """async () => {
    const api = window.app.api, run = {};
    window.loraAlloyRun = run;
    for (const kind of ["execution_success", "execution_error", "execution_interrupted"])
        api.addEventListener(kind, ({detail}) => Object.assign(run, {kind, detail}));
    api.addEventListener("executing", ({detail}) => { run.ended ||= run.kind && !detail; });
    const accepted = await window.app.queuePrompt(0), errors = window.app.lastNodeErrors;
    // Older pages answer false to all that they queue, with an empty list of errors.
    if (!accepted && !(errors && Object.keys(errors).length === 0))
        Object.assign(run, {kind: "refused", detail: errors, ended: true});
}"""


class NoBrowser(Exception):
    """There is no Chromium or no Playwright; the message is the one line of a skipped test."""


def find_browser() -> str:
    """Return the path of Chromium, or raise NoBrowser saying what to install or set."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        raise NoBrowser("no Playwright: pip install playwright") from None
    chosen = os.environ.get("CHROMIUM")
    for name in [chosen] if chosen else ["chromium", "chromium-browser", "google-chrome"]:
        if path := shutil.which(name):
            return path
    raise NoBrowser("no Chromium: install it or set CHROMIUM")


class Page:
    """ComfyUI's page at an address. Use it as a context manager.

    errors: what the console reported as an error, and uncaught exceptions, since the last load.
        What the page itself complains of while it starts (files that a new user has not got
        yet) is left out.
    """

    def __init__(self, url: str, *, width: int = 1600, height: int = 1000) -> None:
        self.url = url
        self._without = ""
        self.errors: list[str] = []
        self._size = {"width": width, "height": height}

    def __enter__(self) -> Page:
        from playwright.sync_api import sync_playwright

        chromium = find_browser()
        self._playwright = sync_playwright().start()
        try:
            self._browser = self._playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
            self._open()
        except BaseException:
            self._playwright.stop()
            raise
        return self

    def _open(self) -> None:
        self._page = self._browser.new_page(viewport=self._size)
        if self._without:
            self._page.route(self._without, lambda route: route.abort())
        self._page.on("console", self._hear)
        self._page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._page.goto(self.url)
        self._page.wait_for_function(_READY, timeout=READY_SECONDS * 1000)

    @contextmanager
    def another(self, *, without: str = "") -> Iterator[Page]:
        """The same address again, in a window of its own.

        without: addresses that do not arrive there, as a pattern of Playwright's.
        """
        page = Page(self.url)
        page._size, page._browser, page._without = self._size, self._browser, without
        page._open()
        try:
            yield page
        finally:
            page._page.context.close()

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._playwright.stop()

    def load(self, workflow: Mapping[str, Any]) -> list[str]:
        """Open a workflow in a new tab and return the types of the nodes that are missing."""
        self.errors.clear()
        return self._page.evaluate(_LOAD, workflow)

    def run(self, timeout: float = RUN_SECONDS) -> str:
        """Press Run, wait for the end, and return the prompt id; raise ComfyUIError if it fails."""
        self._page.evaluate(_RUN)
        self._page.wait_for_function("window.loraAlloyRun.ended", timeout=timeout * 1000)
        run = self._page.evaluate("window.loraAlloyRun")
        if run["kind"] != "execution_success":
            detail = run.get("detail") or {}
            raise ComfyUIError(detail.get("exception_message") or f"{run['kind']}: {detail}")
        return run["detail"]["prompt_id"]

    @property
    def view(self) -> Any:
        """Playwright's page: mouse, keyboard, elements."""
        return self._page

    def reload(self) -> None:
        """Press the browser's own button; the page opens its workflow again."""
        self._page.reload()
        self._page.wait_for_function(_READY, timeout=READY_SECONDS * 1000)
        self.errors.clear()

    def setting(self, name: str, value: Any) -> None:
        """Change one of the page's settings, such as Comfy.VueNodes.Enabled."""
        change = "([name, value]) => app.extensionManager.setting.set(name, value)"
        self._page.evaluate(change, [name, value])

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """Return what a piece of JavaScript says in the page."""
        return self._page.evaluate(script, argument)

    def screenshot(self, path: str | Path) -> None:
        """Save a picture of the page once its own pictures have arrived."""
        self._page.wait_for_load_state("networkidle")
        self._page.wait_for_timeout(500)  # the canvas is drawn with the next frames
        self._page.screenshot(path=path)

    def picture(self, path: str | Path, style: str, script: str) -> Any:
        """Save a picture of the page in this style, after this JavaScript; return its answer."""
        tag = self._page.add_style_tag(content=style)
        answer = self._page.evaluate(script)
        self.screenshot(path)
        tag.evaluate("tag => tag.remove()")
        return answer

    def _hear(self, message: Any) -> None:
        # Some pages ask the registry about each node, which their own server forbids offline.
        if message.type == "error" and "api.comfy.org" not in message.text:
            self.errors.append(f"{message.text} ({message.location['url']})")
