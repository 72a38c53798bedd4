"""Chromium or Chrome without a window, driven over a pipe by the DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(not BROWSER, reason="needs Chromium or Chrome: apt install chromium")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
READ, WRITE = 3, 4  # file descriptors of the browser's end of the two pipes
PATIENCE = 300  # s for everything that a test module does in a browser
KEYS = {"Tab": 9, "Enter": 13, "Space": 32}
TEXTS = {"Enter": "\r", "Space": " "}


class Tab:
    """A tab that shows a page."""

    def __init__(self, commands: BinaryIO, answers: BinaryIO) -> None:
        self._commands, self._answers = commands, answers
        self._session: str | None = None
        self._sent = 0
        self.events: list[dict[str, Any]] = []  # received so far
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Run a method of the protocol, and return its result."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while (answer := self._receive()).get("id") != self._sent:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def open(self, path: Path, width: int = 1280, *, dark: bool = False) -> None:
        """Open a file in a window of this width in pixels, and wait until it is loaded."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def run(self, script: str) -> Any:
        """Evaluate JavaScript, and return its value; a promise is awaited."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        name = {"key": TEXTS.get(key, key), "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": TEXTS[key]} if key in TEXTS else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **name, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **name)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write a PNG of the window, or of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def named(self, method: str) -> list[Any]:
        """Parameters of the events with this name since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def _receive(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, f"the browser has ended, or did not answer in {PATIENCE} s"
            message += byte
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextmanager
def open_tab(folder: Path) -> Iterator[Tab]:
    """Start a browser without name resolution, whose files are in `folder`."""
    assert BROWSER
    (their_read, our_write), (our_read, their_write) = os.pipe(), os.pipe()
    pipes = f"{READ}<&{their_read} {WRITE}>&{their_write}"
    command = ["bash", "-c", f'exec "$@" {pipes}', "bash", BROWSER, *OPTIONS, f"--user-data-dir={folder / 'profile'}"]
    with (
        subprocess.Popen(command, pass_fds=(their_read, their_write), stderr=subprocess.DEVNULL) as process,
        os.fdopen(our_write, "wb") as commands,
        os.fdopen(our_read, "rb") as answers,
    ):
        os.close(their_read)
        os.close(their_write)
        limit = threading.Timer(PATIENCE, process.kill)
        limit.start()
        try:
            yield Tab(commands, answers)
        finally:
            limit.cancel()
            process.kill()
