"""A real Chromium without a window, driven over its DevTools protocol."""

import base64
import contextlib
import itertools
import json
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.request

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECONDS = 60  # that anything may take on a busy machine
KEYS = {
    " ": ("Space", 32),
    "Enter": ("Enter", 13),
    "ArrowLeft": ("ArrowLeft", 37),
    "ArrowUp": ("ArrowUp", 38),
    "ArrowRight": ("ArrowRight", 39),
    "ArrowDown": ("ArrowDown", 40),
}


def missing():
    """Why there is no browser here; "" if there is one."""
    try:
        import websocket  # noqa: F401
    except ImportError:
        return "websocket-client is not installed: pip install -e .[dev]"
    if not any(map(shutil.which, NAMES)):
        return f"no Chromium on the PATH ({', '.join(NAMES)}): apt install chromium"
    return ""


class Tab:
    """One page."""

    def __init__(self, socket, downloads):
        self.socket, self.downloads = socket, downloads
        self.numbers = itertools.count(1)
        self.errors = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def call(self, method, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            reply = json.loads(self.socket.recv())
            self._note(reply)
            if reply.get("id") == number:
                assert "error" not in reply, (method, reply["error"])
                return reply["result"]

    def _note(self, reply):
        if reply.get("method") == "Runtime.exceptionThrown":
            details = reply["params"]["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif reply.get("method") == "Log.entryAdded":
            entry = reply["params"]["entry"]
            if entry["level"] == "error":
                self.errors.append(f"{entry['text']} ({entry.get('url', '')[:200]})")

    def run(self, script):
        """The value of an expression, promises awaited."""
        result = self.call(
            "Runtime.evaluate",
            expression=script,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in result, (script, result["exceptionDetails"])
        return result["result"].get("value")

    def until(self, script, seconds=SECONDS):
        """Waits until an expression is true, and gives its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"never became true: {script}; errors {self.errors}"
            time.sleep(0.02)
        return value

    def open(self, address):
        """Goes there, and waits until the page of this address has run its scripts."""
        self.run("window.wasLeft = true")
        self.call("Page.navigate", url=address)
        self.until("!window.wasLeft && document.readyState === 'complete'")

    def reload(self):
        self.run("window.wasLeft = true")
        self.call("Page.reload")
        self.until("!window.wasLeft && document.readyState === 'complete'")

    def press(self, key):
        """A key of the keyboard, as a person presses it."""
        plain = f"Digit{key}" if key.isdigit() else f"Key{key.upper()}"
        code, number = KEYS.get(key, (plain, ord(key[0].upper())))
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector):
        """The middle of an element, by mouse, once it can be clicked."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.until(f"!!{element} && !{element}.disabled && {element}.getClientRects().length > 0")
        x, y = self.run(
            f"(() => {{const e = {element}; e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def downloaded(self):
        """The only file that was downloaded, when it is whole."""
        deadline = time.monotonic() + SECONDS
        while True:
            there = list(self.downloads.iterdir())
            if len(there) == 1 and there[0].suffix == ".json":
                return there[0]
            assert time.monotonic() < deadline, there
            time.sleep(0.02)

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def look(self, *, width, height, dark=False):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])


@contextlib.contextmanager
def chromium():
    """A tab of a new browser, which forgets everything at the end."""
    import websocket

    found = next(filter(None, map(shutil.which, NAMES)))
    # ignore_cleanup_errors: helpers of the browser may write for a moment after it has ended
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = pathlib.Path(folder)
        (root / "downloads").mkdir()
        command = [
            found,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--mute-audio",
            "--autoplay-policy=no-user-gesture-required",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--hide-scrollbars",
            "--remote-debugging-port=0",
            "--remote-allow-origins=*",
            f"--user-data-dir={root / 'profile'}",
            "about:blank",
        ]
        with (root / "log").open("wb") as log:
            browser = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            port = _port(root, browser)
            pages = [
                page
                for page in _json(f"http://127.0.0.1:{port}/json/list")
                if page["type"] == "page"
            ]
            socket = websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=SECONDS)
            try:
                yield Tab(socket, root / "downloads")
            finally:
                socket.close()
        finally:
            browser.terminate()
            try:
                browser.wait(10)
            except subprocess.TimeoutExpired:
                browser.kill()
                browser.wait()


def _port(root, browser):
    file = root / "profile" / "DevToolsActivePort"
    deadline = time.monotonic() + SECONDS
    while not (file.exists() and file.read_text().strip()):
        ended = browser.poll() is not None or time.monotonic() > deadline
        assert not ended, (root / "log").read_text()
        time.sleep(0.02)
    return int(file.read_text().split()[0])


def _json(address):
    with urllib.request.urlopen(address, timeout=SECONDS) as reply:
        return json.load(reply)
