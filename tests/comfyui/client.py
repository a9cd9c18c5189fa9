"""Talks to a running ComfyUI: queues graphs, waits for them, collects what the server says.

HTTP is the standard library's; the websocket is `websocket-client`'s.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from typing import Any

RUN_SECONDS = 300.0


class ComfyUIError(Exception):
    """ComfyUI refused a graph, failed in one of its nodes, or died."""


def error_of(entry: Mapping[str, Any]) -> str | None:
    """Return the sentence a failed run shows its user, "interrupted", or None for a good run."""
    for name, data in entry["status"]["messages"]:
        if name == "execution_error":
            return data["exception_message"].strip()
        if name == "execution_interrupted":
            return "interrupted"
    return None


class Client:
    """A connection to the ComfyUI at a port of this machine, as one of its pages has."""

    def __init__(self) -> None:
        self.port = 0
        self.events: list[dict[str, Any]] = []  # every websocket message, oldest first
        self._heard = threading.Condition()
        self._client_id = uuid.uuid4().hex
        self._socket: Any = None

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> None:
        """Start listening to the server's events."""
        from websocket import create_connection

        address = f"ws://127.0.0.1:{self.port}/ws?clientId={self._client_id}"
        self._socket = create_connection(address, timeout=None)
        threading.Thread(target=self._hear, daemon=True).start()

    def disconnect(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # -- running graphs ----------------------------------------------------------------------

    def queue(
        self,
        graph: Mapping[str, Any],
        *,
        expect_error: bool = False,
        workflow: Mapping[str, Any] | None = None,
        timeout: float = RUN_SECONDS,
    ) -> dict[str, Any]:
        """Run a graph to its end and return its history entry.

        A failed run raises ComfyUIError with the node's message; with expect_error it is the
        run that must fail, and error_of(entry) is its message. workflow is what the page would
        send along, for nodes that save it.
        """
        entry = self.wait(self.submit(graph, workflow=workflow), timeout=timeout)
        message = error_of(entry)
        if message and not expect_error:
            raise ComfyUIError(message)
        if expect_error and not message:
            raise ComfyUIError("the graph was expected to fail, but it ran")
        return entry

    def submit(self, graph: Mapping[str, Any], *, workflow: Mapping[str, Any] | None = None) -> str:
        """Put a graph in the queue and return its prompt id without waiting."""
        extra = {"extra_pnginfo": {"workflow": workflow}} if workflow is not None else {}
        request = {"prompt": graph, "client_id": self._client_id, "extra_data": extra}
        return self.post("/prompt", request)["prompt_id"]

    def wait(self, prompt_id: str, *, timeout: float = RUN_SECONDS) -> dict[str, Any]:
        """Return the history entry of a submitted graph when it is done, failed or not."""

        # ComfyUI says "executing: nothing" after it has written the history, so this one message
        # means that both the entry and all other events of the run are here.
        def done(event: dict[str, Any]) -> bool:
            data = event.get("data", {})
            return (
                event["type"] == "executing"
                and data.get("node") is None
                and data.get("prompt_id") == prompt_id
            )

        self.wait_for(done, timeout=timeout)
        return self.get(f"/history/{prompt_id}")[prompt_id]

    def interrupt(self) -> None:
        """Stop what is running, as the page's button does."""
        self.post("/interrupt", {})

    def object_info(self) -> dict[str, Any]:
        """Return every node's definition, by node id."""
        return self.get("/object_info")

    # -- events ------------------------------------------------------------------------------

    def wait_for(
        self, wanted: Callable[[dict[str, Any]], bool], *, timeout: float = RUN_SECONDS
    ) -> dict[str, Any]:
        """Return the first event, past or to come, that is wanted."""
        deadline = time.monotonic() + timeout
        seen = 0
        while time.monotonic() < deadline:
            self.check()
            news = self._events_after(seen)
            for event in news:
                if wanted(event):
                    return event
            seen += len(news)
        raise ComfyUIError(f"nothing of the kind was heard from ComfyUI in {timeout:g} s")

    def events_of(self, run: Mapping[str, Any] | str, kind: str | None = None) -> list[dict]:
        """Return the events of a run (its history entry or prompt id), oldest first."""
        prompt_id = run if isinstance(run, str) else run["prompt"][1]
        with self._heard:
            events = list(self.events)
        return [
            event
            for event in events
            if event.get("data", {}).get("prompt_id") == prompt_id and kind in (None, event["type"])
        ]

    def cached(self, entry: Mapping[str, Any]) -> set[str]:
        """Return the ids of the nodes that ComfyUI did not run again."""
        events = self.events_of(entry, "execution_cached")
        return {node for event in events for node in event["data"]["nodes"]}

    def check(self) -> None:
        """Raise ComfyUIError where waiting has become pointless; a Server knows when."""

    def _events_after(self, seen: int) -> list[dict[str, Any]]:
        with self._heard:
            self._heard.wait_for(lambda: len(self.events) > seen, timeout=0.2)
            return self.events[seen:]

    def _hear(self) -> None:
        from websocket import WebSocketException

        connection = self._socket
        while True:
            try:
                message = connection.recv()
            except (WebSocketException, OSError):  # closed, from either side
                return
            if isinstance(message, str) and message:  # the others are preview pictures
                with self._heard:
                    self.events.append(json.loads(message))
                    self._heard.notify_all()

    # -- requests ----------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """Return the JSON behind a path."""
        return json.loads(self.fetch(path))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send JSON to a path and return the JSON that comes back, if any."""
        return json.loads(self.fetch(path, json.dumps(body).encode()) or b"null")

    def fetch(self, path: str, body: bytes | None = None) -> bytes:
        """Return the raw answer; a refused graph raises ComfyUIError with ComfyUI's reasons."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise ComfyUIError(_refusal(path, error.code, error.read())) from None


def _refusal(path: str, code: int, body: bytes) -> str:
    """Put ComfyUI's validation errors, which are a tree, into lines that a person can read."""
    try:
        answer = json.loads(body)
        lines = [f"{answer['error']['message']} {answer['error'].get('details', '')}".strip()]
        for node, problem in answer.get("node_errors", {}).items():
            for error in problem["errors"]:
                reason = f"{error['message']}: {error['details']}"
                lines.append(f"node {node} ({problem['class_type']}): {reason}")
        return "\n".join(lines)
    except (ValueError, KeyError, TypeError):
        return f"{path} answered {code}: {body[:500].decode(errors='replace')}"
