"""The page comes back by itself, as it was."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.client_web.picture import Picture
from tests.client_web.serving import Serving
from tests.client_web.test_page import messages

pytestmark = pytest.mark.browser


def test_server_restart(page: Page, tmp_path: Path) -> None:
    """While the server is gone the local picture stays in sight; when it is back, so are light and view."""
    server = Serving(tmp_path / "server.log", "passthrough")
    server.start()
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
    finally:
        server.stop()
