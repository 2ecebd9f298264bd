"""The page works: its sources, its memory, its controls by pointer and by keyboard, on a desktop and on a phone."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.client_web.picture import Picture
from tests.client_web.serving import Serving

pytestmark = pytest.mark.browser


@pytest.fixture
def live(page: Page, untouched: Serving) -> Picture:
    """Opens the page, live on the camera of a server that changes nothing."""
    shown = Picture(page)
    page.goto(untouched.url)
    shown.wait_live("camera")
    return shown


def messages(page: Page, kind: str) -> list[dict[str, object]]:
    """Returns a list that fills with the messages of this type that the page sends from now on."""
    sent: list[dict[str, object]] = []

    def note(text: str | bytes) -> None:
        message = json.loads(text)
        if message["type"] == kind:
            sent.append(message)

    page.on("websocket", lambda socket: socket.on("framesent", note))
    return sent


def drop(page: Page, name: str, data: bytes) -> None:
    """Drops a file on the page."""
    page.evaluate(
        """([name, bytes]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], name));
          const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
          for (const type of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(type, options));
        }""",
        [name, list(data)],
    )


def test_sources(page: Page, untouched: Serving) -> None:
    """Camera, sample and camera again share one connection; off ends it, and on begins another."""
    offers = messages(page, "offer")
    shown = Picture(page)
    page.goto(untouched.url)
    shown.wait_live("camera")
    camera = shown.read()
    page.select_option("#camera", "sample")
    shown.wait_live("sample")
    # The camera's portrait is framed otherwise than the sample: the relit picture must follow.
    assert shown.settle(lambda: float(np.abs(shown.read().astype(int) - camera).mean()), lambda d: d > 20) > 20
    assert len(offers) == 1
    page.click("#camera-toggle")
    shown.wait_live("camera")
    assert len(offers) == 1
    page.click("#camera-toggle")
    page.wait_for_selector('#stage[data-source="off"][data-link="resting"]')
    page.click("#use-camera")
    shown.wait_live("camera")
    assert len(offers) == 2


def test_background_auto(page: Page, untouched: Serving) -> None:
    """The background "auto" can be chosen again after another one, in the same connection."""
    told, offers = messages(page, "set_background"), messages(page, "offer")
    shown = Picture(page)
    page.goto(untouched.url)
    shown.wait_live("camera")
    page.click("#background label:has-text('Keep')")
    shown.settle(lambda: float(told[-1]["mode"] == "keep" if told else 0), lambda there: there == 1)
    page.click("#background label:has-text('Auto')")
    shown.settle(lambda: float(told[-1]["mode"] == "auto"), lambda there: there == 1)
    assert [message["mode"] for message in told[-2:]] == ["keep", "auto"]
    assert len(offers) == 1


def test_reload_remembers(live: Picture) -> None:
    """A reload brings back the light, its adjustments, the background, the view and the theme."""
    page = live.page
    page.click('[data-light="golden-hour"]')
    page.focus("#warmth")
    page.keyboard.press("ArrowLeft")
    page.click("#background label:has-text('Keep')")
    page.keyboard.press("s")
    page.click("#theme")
    theme = page.get_attribute("html", "data-theme")
    told = messages(page, "set_light")
    page.reload()
    live.wait_live("camera")
    assert page.get_attribute('[data-light="golden-hour"]', "aria-checked") == "true"
    assert told[-1]["preset"] == "golden-hour"
    assert told[-1]["adjust"] == {"temperature_k": 6450}
    assert page.is_checked("#background input[value=keep]")
    assert page.is_visible("#split-handle")
    assert page.get_attribute("html", "data-theme") == theme


def test_second_tab(live: Picture, context: BrowserContext, untouched: Serving) -> None:
    """Two tabs are live side by side."""
    other = context.new_page()
    other.goto(untouched.url)
    Picture(other).wait_live("camera")
    before = live.read("#remote")
    assert live.settle(lambda: float(np.abs(live.read().astype(int) - before).mean()), lambda d: d > 1) > 1
    assert live.page.get_attribute("#stage", "data-link") == "live"
    other.close()


def test_camera_refused(launch: Callable[..., Browser], untouched: Serving) -> None:
    """Without permission the sample portrait flows, and the page says why and what to do."""
    browser = launch("--use-fake-ui-for-media-stream=deny")
    page = browser.new_page()
    page.goto(untouched.url)
    shown = Picture(page)
    shown.wait_live("sample")
    assert page.text_content("#note-title") == "Camera access is blocked"
    assert "Allow the camera" in (page.text_content("#note-text") or "")
    assert page.is_visible("#use-camera")
    first = shown.read()
    assert first.std() > 20
    assert shown.settle(lambda: float(np.abs(shown.read().astype(int) - first).mean()), lambda d: d > 1) > 1
    browser.close()


def test_insecure_origin(page: Page, untouched: Serving) -> None:
    """On an address where browsers hide their cameras the sample flows, and the page says so."""
    page.add_init_script("Object.defineProperty(Navigator.prototype, 'mediaDevices', { value: undefined })")
    page.goto(untouched.url)
    Picture(page).wait_live("sample")
    assert page.text_content("#note-title") == "This address cannot use the camera"
    assert "https://" in (page.text_content("#note-text") or "")
    assert page.is_hidden("#use-camera")


def test_camera_switch(launch: Callable[..., Browser], untouched: Serving) -> None:
    """With two cameras, the other one takes over the same connection."""
    browser = launch("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream=device-count=2")
    page = browser.new_page()
    offers = messages(page, "offer")
    page.goto(untouched.url)
    shown = Picture(page)
    shown.wait_live("camera")
    first, second = page.evaluate("[...document.querySelectorAll('#camera option')].map((o) => o.value)")[:2]
    assert page.input_value("#camera") == first
    page.select_option("#camera", second)
    device = "document.querySelector('#local').srcObject.getVideoTracks()[0].getSettings().deviceId"
    assert shown.settle(lambda: float(page.evaluate(device) == second), bool) == 1
    before = shown.read()
    assert shown.settle(lambda: float(np.abs(shown.read().astype(int) - before).mean()), lambda d: d > 0.5) > 0.5
    assert len(offers) == 1
    browser.close()


def test_gallery_keys(live: Picture) -> None:
    """The gallery has one tab stop; arrow keys move and choose; digits choose from anywhere."""
    page = live.page
    page.keyboard.press("1")
    assert page.get_attribute('[data-light="original"]', "aria-checked") == "true"
    page.focus('[data-light="original"]')
    page.keyboard.press("ArrowRight")
    focused = page.evaluate("document.activeElement.dataset.light")
    assert focused == "soft-front"
    assert page.get_attribute('[data-light="soft-front"]', "aria-checked") == "true"
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement === document.querySelector('.tile:last-of-type')")
    assert page.locator('.tile[tabindex="0"]').count() == 1
    page.keyboard.press("3")
    assert page.get_attribute(".tile:nth-of-type(3)", "aria-checked") == "true"


def test_peek(live: Picture) -> None:
    """The space bar shows the untouched picture for as long as it is held."""
    page = live.page
    page.evaluate("document.activeElement.blur()")
    page.keyboard.down(" ")
    opacity = "Number(getComputedStyle(document.querySelector('#remote')).opacity)"
    assert live.settle(lambda: page.evaluate(opacity), lambda value: value == 0) == 0
    page.keyboard.up(" ")
    assert live.settle(lambda: page.evaluate(opacity), lambda value: value == 1) == 1


def test_set_light_is_throttled(page: Page, untouched: Serving) -> None:
    """A wild drag sends at most about twenty lights a second, and always the last one."""
    lights = messages(page, "set_light")
    page.goto(untouched.url)
    Picture(page).wait_live("camera")
    lights.clear()
    spent_ms = page.evaluate(
        """async () => {
          const slider = document.querySelector("#intensity");
          const began = performance.now();
          for (let i = 0; i <= 120; i += 1) {
            slider.value = String(i / 100);
            slider.dispatchEvent(new Event("input", { bubbles: true }));
            await new Promise((next) => setTimeout(next, 5));
          }
          return performance.now() - began;
        }"""
    )
    page.wait_for_timeout(300)
    assert 2 <= len(lights) <= spent_ms / 50 + 3
    assert lights[-1]["adjust"] == {"intensity": 1.2}


def test_dropped_lights(live: Picture, tmp_path: Path) -> None:
    """A dropped HDRI and a dropped photo become lights of the gallery; a text file is refused in words."""
    page = live.page
    panorama = np.full((32, 64, 3), 0.1, np.float32)
    panorama[8:14, 10:16] = (4, 8, 20)  # BGR: a warm lamp
    path = tmp_path / "sunset.hdr"
    assert cv2.imwrite(str(path), panorama)
    drop(page, "sunset.hdr", path.read_bytes())
    page.wait_for_selector('.tile[aria-label="sunset"][aria-checked="true"]', timeout=15000)

    portrait = Path(__file__).resolve().parents[2] / "client_web" / "sample" / "portrait.jpg"
    drop(page, "eileen.jpg", portrait.read_bytes())
    page.wait_for_selector('.tile[aria-label="eileen"][aria-checked="true"]', timeout=30000)
    assert not page.query_selector(".toast")

    drop(page, "notes.txt", b"not a light")
    page.wait_for_selector(".toast:has-text('notes.txt is not a picture')")
    drop(page, "broken.hdr", b"not a light")
    page.wait_for_selector(".toast[data-code]:not([data-code=not_a_picture]) p", timeout=15000)

    page.reload()
    live.wait_live("camera")
    page.focus('.tile[aria-label="eileen"]')
    page.keyboard.press("Delete")
    assert page.locator('.tile[aria-label="eileen"]').count() == 0
    assert page.locator('.tile[aria-label="sunset"]').count() == 1


def test_phone(browser: Browser, untouched: Serving) -> None:
    """On a phone nothing overflows sideways, and what is touched is at least 44 px high."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page = context.new_page()
    page.goto(untouched.url)
    Picture(page).wait_live("camera")
    page.click("#background label:has-text('Dim')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        """[...document.querySelectorAll("button, select, input[type=range], .segments label, .tile, #ball-pad")]
             .filter((each) => each.offsetParent && each.getBoundingClientRect().height < 44)
             .map((each) => each.id || each.className || each.textContent)"""
    )
    assert small == []
    context.close()


def test_names(live: Picture) -> None:
    """Everything that can have the focus has a name for those who cannot see it."""
    nameless = live.page.evaluate(
        """[...document.querySelectorAll("button, input:not([hidden]), select, [tabindex]")]
             .filter((each) => !(each.ariaLabel || each.textContent.trim() || each.labels?.length))
             .map((each) => each.outerHTML)"""
    )
    assert nameless == []
