"""Who comes when all places are taken sees the place in line over the own picture, and is relit when it is free."""

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.client_web.picture import Picture
from tests.client_web.serving import ROOT, Serving

pytestmark = pytest.mark.browser
PORTRAIT = ROOT / "client_web" / "sample" / "portrait.jpg"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Starts a server with one place."""
    server = Serving(tmp_path_factory.mktemp("small") / "server.log", "passthrough", places=1)
    server.start()
    yield server
    server.stop()


def text(page: Page, wanted: str, timeout_s: float = 30) -> None:
    """Waits until the line over the picture matches."""
    deadline = time.monotonic() + timeout_s
    while not re.fullmatch(wanted, shown := page.text_content("#coach-text") or ""):
        assert time.monotonic() < deadline, f"{shown!r} is not {wanted!r}"
        page.wait_for_timeout(50)


def test_the_page_tells_the_place_in_line(context: BrowserContext, page: Page, small: Serving) -> None:
    """One calm line, read out politely, while the own picture goes on; gone once relit. The next moves up."""
    page.goto(small.url)
    Picture(page).wait_live("camera")
    second, third = context.new_page(), context.new_page()
    for waiting, line in ((second, "You are next in line"), (third, "You are 2nd in line")):
        waiting.goto(small.url)
        text(waiting, line)
        assert waiting.text_content("#status-text") == "In line"
        assert waiting.get_attribute("#coach", "aria-live") == "polite"
        assert waiting.is_visible("#coach")
        waiting.wait_for_selector('#stage[data-source="camera"]')
        assert Picture(waiting).read("#local").std() > 20
        assert not waiting.query_selector_all(".toast")
    page.wait_for_timeout(5000)  # a shorter stay is not counted
    page.close()
    Picture(second).wait_live("camera")
    text(second, "(?!You are).*")
    text(third, "You are next in line, less than a minute")
    second.close()
    Picture(third).wait_live("camera")
    third.close()


@pytest.mark.parametrize(
    ("place", "estimate_s", "line"),
    [
        (1, "null", "You are next in line"),
        (2, "250", "You are 2nd in line, about 4 minutes"),
        (3, "70", "You are 3rd in line, about a minute"),
        (11, "20", "You are 11th in line, less than a minute"),
        (22, "3600", "You are 22nd in line, about 60 minutes"),
    ],
)
def test_the_line_is_worded(page: Page, small: Serving, place: int, estimate_s: str, line: str) -> None:
    """Ordinals as they are spoken, minutes as far as they are known."""
    page.goto(f"{small.url}sdk/package.json")
    told = page.evaluate(
        f"import('/waiting.js').then((m) => m.waitingText({{place: {place}, of: 30, estimate_s: {estimate_s}}}))"
    )
    assert told == line


def test_an_avatar_waits_as_a_portrait(context: BrowserContext, page: Page, small: Serving) -> None:
    """The event tells the place, the camera is not shown, and `null` ends the wait."""
    holder = context.new_page()
    holder.goto(small.url)
    Picture(holder).wait_live("camera")
    page.goto(f"{small.url}sdk/package.json")
    page.evaluate(
        """async (jpeg) => {
          const { relight } = await import("/sdk/relight.js");
          const camera = await navigator.mediaDevices.getUserMedia({ video: true });
          window.heard = [];
          const portrait = new Blob([Uint8Array.from(jpeg)], { type: "image/jpeg" });
          window.relit = await relight(camera, { avatar: portrait });
          relit.on("waiting", (waiting) => heard.push(waiting));
          window.states = [relit.state];
          relit.on("state", (state) => states.push(state));
        }""",
        list(PORTRAIT.read_bytes()),
    )

    def until(condition: str) -> None:
        deadline = time.monotonic() + 30
        while not page.evaluate(condition):
            assert time.monotonic() < deadline, page.evaluate("[heard, states, relit.state]")
            page.wait_for_timeout(50)

    until("heard.length === 1 && relit.state === 'portrait'")
    assert page.evaluate("heard") == [{"place": 1, "of": 1, "estimate_s": page.evaluate("heard[0].estimate_s")}]
    holder.close()
    until("relit.state === 'live'")
    assert page.evaluate("heard.at(-1)") is None
    assert "camera" not in page.evaluate("states")


def test_who_waits_outlives_a_lost_socket(context: BrowserContext, page: Page, small: Serving) -> None:
    """The page comes back by itself, to the same place in line, before those who came later."""
    holder = context.new_page()
    holder.goto(small.url)
    Picture(holder).wait_live("camera")
    page.add_init_script(
        "window.sockets = []; window.WebSocket = class extends WebSocket {"
        " constructor(...how) { super(...how); sockets.push(this); } };"
    )
    page.goto(small.url)
    text(page, "You are next in line.*")
    later = context.new_page()
    later.goto(small.url)
    text(later, "You are 2nd in line.*")
    page.evaluate("sockets.at(-1).close(4999)")
    page.wait_for_selector('#stage[data-link="reconnecting"]')
    page.wait_for_selector('#stage[data-link="waiting"]')
    text(page, "You are next in line.*")
    text(later, "You are 2nd in line.*")
    later.close()
    holder.close()
    Picture(page).wait_live("camera")
