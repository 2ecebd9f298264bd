"""The parts of a call: microphone, recording, snapshot, picture-in-picture and the viewer's page."""

import io
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page

from tests.client_web.picture import Picture
from tests.client_web.serving import Serving

pytestmark = pytest.mark.browser

FLOOR_DB = -60


def level(page: Page) -> float:
    """Returns the level that the meter tells screen readers, dBFS: the peak of the last 1.5 s."""
    return float(page.get_attribute("#sound-meter", "aria-valuenow") or "nan")


def toast(page: Page, code: str) -> str:
    """Waits for a toast of this code; returns its text."""
    return page.wait_for_selector(f'.toast[data-code="{code}"]', timeout=10_000).inner_text()


def streams(data: bytes) -> dict[str, tuple[float, float]]:
    """Decodes a recording; returns the first and last time of its video and audio, seconds."""
    spans: dict[str, tuple[float, float]] = {}
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode():
            kind = "video" if isinstance(frame, av.VideoFrame) else "audio"
            spans[kind] = (spans.get(kind, (frame.time, 0))[0], frame.time)
    return spans


def test_microphone(picture: Picture) -> None:
    """The meter follows the fake microphone's loud beeps; muting stills it at once, and is seen."""
    page = picture.page
    assert page.get_attribute("#microphone-toggle", "aria-pressed") == "false"
    assert page.input_value("#microphone") == "none"
    assert level(page) == FLOOR_DB
    page.keyboard.press("u")
    assert picture.settle(lambda: level(page), lambda db: db > -12, 10) > -12
    assert page.get_attribute("#microphone-toggle", "aria-pressed") == "true"
    assert page.input_value("#microphone") not in ("none", "")
    assert "dBFS" in (page.get_attribute("#sound-meter", "aria-valuetext") or "")
    page.keyboard.press("u")
    assert level(page) == FLOOR_DB
    assert page.text_content("#muted-chip") == "Muted"
    page.wait_for_timeout(1500)  # a beep each second would be seen
    assert level(page) == FLOOR_DB
    page.click("#microphone-toggle")
    assert picture.settle(lambda: level(page), lambda db: db > -12, 10) > -12
    assert page.text_content("#muted-chip") == ""
    page.select_option("#microphone", "none")
    assert page.get_attribute("#microphone-toggle", "aria-pressed") == "false"
    assert level(page) == FLOOR_DB


def test_no_microphone(page: Page, serving: Serving) -> None:
    """A microphone that is refused, missing or in use is told in words, and the picture goes on."""
    page.add_init_script(
        """const open = MediaDevices.prototype.getUserMedia;
           MediaDevices.prototype.getUserMedia = function (wanted) {
             return wanted.audio ? Promise.reject(new DOMException("", window.problem)) : open.call(this, wanted);
           };"""
    )
    page.goto(serving.url)
    Picture(page).wait_live("camera")
    for problem, title, hint in (
        ("NotAllowedError", "Microphone access is blocked", "Allow the microphone"),
        ("NotFoundError", "No microphone found", "Plug one in"),
        ("NotReadableError", "The microphone is in use", "Close the app"),
    ):
        page.evaluate("(name) => { window.problem = name; }", problem)
        page.click("#microphone-toggle")
        page.wait_for_selector(f".toast:has-text('{title}'):has-text('{hint}')")
        assert page.get_attribute("#microphone-toggle", "aria-pressed") == "false"
    assert page.get_attribute("#stage", "data-link") == "live"


def test_recording(picture: Picture, tmp_path: Path) -> None:
    """A recording has the relit picture and sound from its first to its last moment, and leaving meanwhile asks."""
    page = picture.page
    page.keyboard.press("u")
    page.keyboard.press("r")
    page.wait_for_selector("#record-chip", state="visible")
    page.wait_for_timeout(4000)
    assert page.text_content("#record-time") in ("0:03", "0:04", "0:05")
    assert page.inner_text("#record") == "Stop"
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.close(run_before_unload=True)
    picture.settle(lambda: float(len(asked)), bool, 5)
    assert asked == ["beforeunload"]
    with page.expect_download() as download:
        page.keyboard.press("r")
    assert download.value.suggested_filename.endswith((".mp4", ".webm"))
    download.value.save_as(tmp_path / "recording")
    assert "0:0" in toast(page, "recorded")
    assert page.is_hidden("#record-chip")
    data = (tmp_path / "recording").read_bytes()
    spans = streams(data)
    assert set(spans) == {"video", "audio"}
    for first, last in spans.values():
        assert first < 0.5
        assert last > 3.5
    assert abs(spans["video"][1] - spans["audio"][1]) < 0.5  # one picture of a busy machine and one packet of sound
    with av.open(io.BytesIO(data)) as container:
        assert container.duration  # players know its length
        lean = [leaning(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert lean[-1] > 0.02  # the key light stands at the left


def leaning(rgb: np.ndarray) -> float:
    """Returns how much brighter the left half of the face is than the right, of RGB [H,W,3], as Picture.lean does."""
    small = cv2.resize(rgb, (160, 120), interpolation=cv2.INTER_AREA)
    rows = ((small.astype(np.float64) / 255) ** 2.2)[37:59].mean(axis=(0, 2))
    left, right = rows[63:78].mean(), rows[84:99].mean()
    return float((left - right) / (left + right))


def test_snapshot_and_floating(picture: Picture, tmp_path: Path) -> None:
    """The snapshot is the relit picture; picture-in-picture begins and ends by its key."""
    page = picture.page
    picture.choose("split-left")
    picture.settle(picture.lean, lambda lean: lean > 0.2)
    with page.expect_download() as download:
        page.keyboard.press("c")
    download.value.save_as(tmp_path / "snapshot.png")
    assert "640×480" in toast(page, "snapshot")
    saved = cv2.imread(str(tmp_path / "snapshot.png"))[..., ::-1]
    assert saved.shape == (480, 640, 3)
    assert leaning(saved) > 0.2
    page.keyboard.press("o")
    page.wait_for_selector('#pip[aria-pressed="true"]')
    assert page.evaluate("document.pictureInPictureElement.id") == "remote"
    page.keyboard.press("o")
    page.wait_for_selector('#pip[aria-pressed="false"]')
    page.click("#camera-toggle")
    page.wait_for_selector('#stage[data-link="resting"]')
    page.click("#snapshot")
    assert "no relit picture" in toast(page, "no_picture")


def test_share(picture: Picture, context: BrowserContext) -> None:
    """The QR code is the link; the viewer's page shows the relit picture, survives a reload, and ends with it."""
    page = picture.page
    picture.choose("split-left")
    page.keyboard.press("l")
    assert "Whoever has this link" in page.inner_text("#share-dialog")
    link = page.input_value("#share-address")
    assert "/view/" in link
    assert page.evaluate("document.querySelector('#share-qr').decode().then(() => true)")
    shot = cv2.imdecode(np.frombuffer(page.locator("#share-qr").screenshot(), np.uint8), cv2.IMREAD_COLOR)
    text, _, _ = cv2.QRCodeDetector().detectAndDecode(cv2.resize(shot, None, fx=3, fy=3))
    assert text == link

    other = context.new_page()
    other.goto(f"{link}?fit=cover")
    viewer = Picture(other)
    assert viewer.settle(lambda: lean_of(other), lambda lean: lean > 0.2) > 0.2
    assert other.evaluate("getComputedStyle(document.querySelector('#picture')).objectFit") == "cover"
    assert other.is_hidden("#status")
    page.keyboard.press("Escape")
    picture.choose("split-right")
    assert viewer.settle(lambda: lean_of(other), lambda lean: lean < -0.2) < -0.2

    page.reload()
    picture.wait_live("camera")
    picture.settle(lambda: float(page.input_value("#share-address") == link), bool, 10)
    assert page.input_value("#share-address") == link
    other.wait_for_selector('body[data-state="live"]', timeout=30_000)
    picture.choose("split-left")
    assert viewer.settle(lambda: lean_of(other), lambda lean: lean > 0.2) > 0.2

    page.keyboard.press("l")
    page.click("#new-link")
    other.wait_for_selector("#status:has-text('Nobody is live under this link now.')", timeout=30_000)
    assert page.input_value("#share-address") not in ("", link)
    other.close()


def lean_of(page: Page) -> float:
    """Returns `leaning` of the viewer's page; 0 while it shows nothing."""
    if page.get_attribute("body", "data-state") != "live":
        return 0.0
    return leaning(Picture(page).read("#picture"))


def test_refused_option(page: Page, serving: Serving) -> None:
    """An unknown option of the viewer's page is named, with what is legal; a link of nobody waits and says so."""
    page.goto(f"{serving.url}view/nobody?fit=wide&clean=0")
    assert "fit=wide is not known: use fit=contain or fit=cover." in page.inner_text("#note")
    page.wait_for_selector('body[data-state="waiting"]')
    assert "Nobody is live under this link now." in page.inner_text("#status")
    page.goto(f"{serving.url}view/nobody?clean")
    page.wait_for_selector('body[data-state="waiting"]')
    assert page.is_hidden("#status")


def test_order_of_the_keyboard(picture: Picture) -> None:
    """The call's buttons follow one another by Tab, each with a name and a visible focus; the help lists their keys."""
    page = picture.page
    page.focus("#microphone-toggle")
    seen = []
    for _ in range(6):
        seen.append(page.evaluate("document.activeElement.id"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        page.keyboard.press("Tab")
        assert len(seen) == 1 or outline == "solid"  # the first got its focus by script
    assert seen == ["microphone-toggle", "camera-toggle", "record", "snapshot", "pip", "share"]
    keys = page.locator("#help-dialog kbd").all_text_contents()
    assert {"U", "R", "C", "O", "L"} <= set(keys)
