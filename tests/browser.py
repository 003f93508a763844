"""A real browser without a window: Chromium, told what to do over its own pipe, with nothing installed for it.

Messages are JSON objects that end with a zero byte (the Chrome DevTools Protocol, --remote-debugging-pipe).
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page. `with Browser(folder) as page:` starts Chromium, with its profile and downloads below `folder`."""

    def __init__(self, folder: Path):
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True)
        # descriptors above those that the shell below gives the browser, 3 and 4
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
        for end in (theirs_in, theirs_out):
            os.close(end)
        self._out, self._in, self._read = ours_out, ours_in, b""
        flags = [
            "--headless=new", "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}",
            "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--window-size=1300,950",
            "--disable-background-networking", "--disable-component-update", "--mute-audio",
        ]  # fmt: skip
        start = f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]}'
        self._process = subprocess.Popen(
            ["bash", "-c", start, CHROMIUM, *flags, "about:blank"], pass_fds=ends, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
        for end in ends:
            os.close(end)
        self._number, self._session = 0, None
        self.errors: list[str] = []  # what the page's scripts threw
        (page,) = (t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = session["sessionId"]
        for domain in ("Page", "Runtime", "DOM"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command, and what it gives."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"])[:500])
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _receive(self, patience: float = 60.0) -> dict[str, Any]:
        while b"\0" not in self._read:
            if not select.select([self._in], [], [], patience)[0]:
                raise TimeoutError("the browser says nothing")
            got = os.read(self._in, 1 << 20)
            if not got:
                raise ConnectionError("the browser has gone")
            self._read += got
        one, _, self._read = self._read.partition(b"\0")
        return json.loads(one)

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", expression))
        return found["result"].get("value")

    def wait(self, expression: str, patience: float = 60.0) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + patience
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"this never came true: {expression}")
            time.sleep(0.05)
        return value

    def click(self, selector: str, index: int = 0) -> None:
        """Press the mouse in the middle of an element, as a hand would."""
        place = self.evaluate(
            f"(() => {{ const e = document.querySelectorAll({json.dumps(selector)})[{index}]; "
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getBoundingClientRect(); "
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Type into a field, over what it held."""
        self.click(selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        self.call("Input.insertText", text=text)

    def choose_file(self, selector: str, path: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def picture(self, path: Path) -> Path:
        """A screenshot."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
        return path

    def downloaded(self, suffix: str, patience: float = 60.0) -> Path:
        """The next file with that suffix that is there as a whole."""
        end = time.monotonic() + patience
        while not (found := list(self.downloads.glob(f"*{suffix}"))):
            if time.monotonic() > end:
                raise TimeoutError(f"no {suffix} came")
            time.sleep(0.05)
        return found[0]
