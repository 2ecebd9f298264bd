"""Runs a Chromium that has our extension, serves it pages, and speaks for its popup."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, Playwright

from server.http.origin import EXTENSION_ORIGIN

LOAD = "--disable-features=DisableLoadExtensionCommandLineSwitch,WebRtcHideLocalIpsWithMdns"


@contextmanager
def serve_pages(pages: dict[str, tuple[str, dict[str, str]]]) -> Iterator[int]:
    """Serves {path: (HTML, headers)} on a free port of the loopback; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text, headers = pages.get(self.path.split("?")[0], ("", {}))
            self.send_response(200 if text else 404)
            for name, value in {"content-type": "text/html", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class Extension:
    """A browser profile with the extension, and its popup as a page of its own."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        if not context.service_workers:
            context.wait_for_event("serviceworker")
        self.popup = context.new_page()
        self.popup.goto(f"{EXTENSION_ORIGIN}/popup/popup.html")
        self._wait_for("document.querySelector('#server').value")

    def _wait_for(self, condition: str, timeout_s: float = 15) -> None:
        # Not wait_for_function: it evaluates text inside the page, which an extension's content policy forbids.
        for _ in range(round(timeout_s / 0.05)):
            if self.popup.evaluate(condition):
                return
            self.popup.wait_for_timeout(50)
        raise TimeoutError(f"the popup did not come to {condition}")

    def set(self, **settings: Any) -> None:
        """Changes settings as the popup does, by its own line to the worker."""
        self.popup.evaluate(
            "(settings) => { window.line ??= chrome.runtime.connect({ name: 'popup' });"
            " line.postMessage({ op: 'set', settings }); }",
            settings,
        )

    def connect(self, address: str, token: str = "") -> None:
        """Types the server's address and token, and waits for its answer."""
        self.popup.evaluate("document.querySelector('#connection').open = true")
        self.popup.fill("#token", token)
        self.popup.fill("#server", address)
        self.popup.press("#server", "Enter")
        self._wait_for("document.querySelector('#server-state').textContent !== 'Connecting…'")

    def choose(self, light: str) -> None:
        """Clicks a light of the popup's gallery."""
        self.popup.click(f'[data-light="{light}"]')

    def open(self, url: str) -> Page:
        """Opens a page; its uncaught errors fail `close`."""
        page = self.context.new_page()
        page.goto(url)
        return page


@contextmanager
def launch_extension(
    playwright: Playwright, chromium: str, folder: Path, profile: Path, flags: list[str]
) -> Iterator[Extension]:
    """Starts Chromium with the extension of `folder` loaded unpacked, and an empty profile."""
    context = playwright.chromium.launch_persistent_context(
        profile,
        executable_path=chromium,
        headless=False,
        args=["--headless=new", f"--load-extension={folder}", f"--disable-extensions-except={folder}", *flags, LOAD],
    )
    try:
        yield Extension(context)
    finally:
        context.close()
