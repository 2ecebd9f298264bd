"""The page comes back by itself, as it was."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.client_web.picture import Picture
from tests.client_web.serving import Serving
from tests.client_web.test_page import messages

pytestmark = pytest.mark.browser
KEEP_SOCKETS = """
window.sockets = [];
window.WebSocket = class extends WebSocket {
  constructor(...how) {
    super(...how);
    window.sockets.push(this);
  }
};
"""


def acks(page: Page, kind: str) -> list[dict[str, Any]]:
    """Returns a list that fills with the acks of messages of this type that the page gets from now on."""
    heard: list[dict[str, Any]] = []

    def note(text: str | bytes) -> None:
        message = json.loads(text)
        if (message["type"], message.get("of")) == ("ack", kind):
            heard.append(message)

    page.on("websocket", lambda socket: socket.on("framereceived", note))
    return heard


def test_server_restart(page: Page, tmp_path: Path) -> None:
    """While the server is gone the local picture stays in sight; when it is back, so are light and view."""
    server = Serving(tmp_path / "server.log", "passthrough")
    server.start()
    page.add_init_script(KEEP_SOCKETS)
    try:
        page.goto(server.url)
        shown = Picture(page)
        shown.wait_live("camera")
        page.click('[data-light="neon"]')
        page.keyboard.press("s")
        server.stop()
        page.wait_for_selector('#stage[data-link="reconnecting"]', timeout=15000)
        assert page.text_content("#status-text") == "Reconnecting…"
        assert not page.evaluate("document.querySelector('#local').paused")
        assert shown.read("#local").std() > 20
        lights, views = messages(page, "set_light"), messages(page, "set_view")
        server.start()
        shown.wait_live("camera")
        assert lights[-1]["preset"] == "neon"
        assert views[-1]["split"] == 0.5
        assert page.text_content("#status-text") == "Live"
        resumed = acks(page, "resume")
        page.evaluate("window.sockets.at(-1).close(4999)")  # lost on the way: the server still has everything
        page.wait_for_selector('#stage[data-link="reconnecting"]', timeout=15000)
        shown.wait_live("camera")
        assert [ack["resumed"] for ack in resumed] == [True]
        assert resumed[0]["lighting"]["name"] == "neon"
    finally:
        server.stop()
