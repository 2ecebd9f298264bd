"""A relit camera in use: one track goes on when server or worker end, and the camera never stands in for an avatar."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.client_web.extension import Extension, serve_pages
from tests.client_web.picture import Picture, psnr
from tests.client_web.serving import Serving
from tests.client_web.test_extension import OPEN

pytestmark = pytest.mark.browser

SHOW = """() => { const video = document.createElement("video"); video.id = "remote"; video.muted = true;
  video.srcObject = stream; document.body.append(video); return video.play(); }"""
COUNT = """() => new Promise((done) => { let frames = 0; const video = document.querySelector("video");
  const next = () => { frames += 1; video.requestVideoFrameCallback(next); };
  video.requestVideoFrameCallback(next); setTimeout(() => done(frames), 1000); })"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serves a page that knows nothing of us."""
    with serve_pages({"/": ("<!doctype html><title>plain</title>", {})}) as port:
        yield f"http://localhost:{port}/"


@pytest.fixture
def server(tmp_path: Path, extension: Extension) -> Iterator[Serving]:
    """Starts a server of this test's own, and connects the extension with it."""
    own = Serving(tmp_path / "server.log", "passthrough", OMP_NUM_THREADS="1")
    own.start()
    extension.connect(own.url)
    yield own
    own.stop()


@pytest.fixture
def page(extension: Extension, address: str) -> Iterator[Page]:
    """Opens a page with a relit camera that is shown."""
    page = extension.open(address)
    page.evaluate(OPEN, {"width": 640, "height": 480})
    page.evaluate(SHOW)
    yield page
    page.close()


def wait_for(extension: Extension, state: str) -> None:
    extension.popup.wait_for_selector(f'#status[data-tone="{state}"]', timeout=30000)


def test_server_and_worker_end_and_come_back(server: Serving, extension: Extension, page: Page, tmp_path: Path) -> None:
    """Without the server the camera goes on, on the same track; the picture is relit again when it is back.

    The same goes for the extension's worker, which the browser may end at any moment.
    """
    wait_for(extension, "live")
    track = page.evaluate("track.id")
    server.stop()
    wait_for(extension, "warn")
    assert page.evaluate(COUNT) > 3
    server.start()
    wait_for(extension, "live")
    cdp = extension.context.new_cdp_session(extension.popup)
    cdp.send("ServiceWorker.enable")

    def opened() -> int:
        return (tmp_path / "server.log").read_text().count("session opened")

    before = opened()
    extension.popup.evaluate("document.querySelector('#status').dataset.tone = ''")
    cdp.send("ServiceWorker.stopAllWorkers")
    assert Picture(page).settle(opened, lambda count: count > before, 20) > before
    wait_for(extension, "live")
    assert page.evaluate("[track.id, track.readyState]") == [track, "live"]
    assert page.evaluate(COUNT) > 3


def test_two_tabs_and_a_second_opening(server: Serving, extension: Extension, address: str, page: Page) -> None:
    """Each tab has a session of its own; a second opening in one tab shares it, and it ends with the last track."""
    other = extension.open(address)
    other.evaluate(OPEN)
    page.evaluate("window.first = track")
    page.evaluate(OPEN, {"width": 640, "height": 480})
    shown = Picture(page)
    metric = f"{server.url}metrics"

    def sessions() -> float:
        lines = other.request.get(metric).text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("relight_sessions "))

    assert shown.settle(sessions, lambda count: count == 2, 20) == 2
    page.evaluate("first.stop()")
    assert page.evaluate("[first.readyState, track.readyState]") == ["ended", "live"]
    other.close()
    assert shown.settle(sessions, lambda count: count == 1, 20) == 1
    page.evaluate("track.stop()")
    assert shown.settle(sessions, lambda count: count == 0, 20) == 0


def test_an_avatars_owner_is_not_shown(server: Serving, extension: Extension, address: str) -> None:
    """From the first picture on, without the server too, others see the portrait that was uploaded in the popup."""
    server.stop()
    sample = Path(__file__).resolve().parents[2] / "client_web" / "sample" / "portrait.jpg"
    extension.popup.check("input[value=avatar]")
    extension.popup.set_input_files("#file", sample)
    extension.popup.wait_for_selector("#portrait", state="visible")
    page = extension.open(address)
    try:
        page.evaluate(OPEN, {"width": 640, "height": 480})
        page.evaluate(SHOW)
        first = Picture(page).read()
        page.wait_for_timeout(1500)
        # The camera's picture moves and is another cut; the still portrait does not.
        assert psnr(first, Picture(page).read()) > 40
        assert extension.popup.text_content("#status-text", timeout=5000).startswith("Still portrait")
    finally:
        extension.popup.click("#remove")
        page.close()
