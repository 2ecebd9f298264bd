"""The parts of a call: microphone, recording, snapshot, picture-in-picture and the viewer's page."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page

from tests.client_web.picture import Picture, leaning
from tests.client_web.serving import Serving

pytestmark = pytest.mark.browser

FLOOR_DB = -60
# The loudest sample of 1.5 s of what the viewer's page is given.
LOUDEST = """
async () => {
  const [track] = document.querySelector("#picture").srcObject.getAudioTracks();
  const reader = new MediaStreamTrackProcessor({ track: track.clone() }).readable.getReader();
  let loudest = 0;
  const until = performance.now() + 1500;
  while (performance.now() < until) {
    const { value: data, done } = await reader.read();
    if (done) break;
    const samples = new Float32Array(data.numberOfFrames);
    data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
    data.close();
    for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
  }
  reader.cancel();
  return loudest;
}
"""


def level(page: Page) -> float:
    """Returns the level that the meter tells screen readers, dBFS: the peak of the last 1.5 s."""
    return float(page.get_attribute("#sound-meter", "aria-valuenow") or "nan")


def toast(page: Page, code: str) -> str:
    """Waits for a toast of this code; returns its text."""
    return page.wait_for_selector(f'.toast[data-code="{code}"]', timeout=10_000).inner_text()


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


def test_share_with_sound(picture: Picture, context: BrowserContext) -> None:
    """A viewer hears the participant who shares with sound, after a click where the browser wants one."""
    page = picture.page
    page.keyboard.press("l")
    link = page.input_value("#share-address")
    assert page.text_content("#sound-way") == "Your microphone stays on this machine."
    page.click("#share-sound")
    picture.settle(
        lambda: level(page), lambda db: db > -12, 10
    )  # the microphone was opened, since nobody would hear else
    assert "sent to the server" in (page.text_content("#sound-way") or "")
    page.keyboard.press("Escape")
    picture.wait_live("camera")
    assert page.input_value("#share-address") == link
    other = context.new_page()
    # To the browser every call of this driver is a gesture, so its refusal is played.
    other.add_init_script(
        """const play = HTMLMediaElement.prototype.play;
           HTMLMediaElement.prototype.play = function () {
             return this.muted ? play.call(this) : Promise.reject(new DOMException("", "NotAllowedError"));
           };"""
    )
    other.goto(link)
    other.wait_for_selector('body[data-state="live"]')
    other.wait_for_selector("#unmute", state="visible")
    assert other.evaluate("document.querySelector('#picture').muted")
    other.click("#unmute")
    assert other.is_hidden("#unmute")
    volume = "document.querySelector('#picture').muted ? 0 : document.querySelector('#picture').volume"
    assert picture.settle(lambda: other.evaluate(volume), lambda value: value == 1, 5) == 1
    assert picture.settle(lambda: other.evaluate(LOUDEST), lambda peak: peak > 0.1, 10) > 0.1
    page.keyboard.press("u")
    # A decoder fades out over what it lost; a beep a second would be far louder.
    assert picture.settle(lambda: other.evaluate(LOUDEST), lambda peak: peak < 0.02, 10) < 0.02
    other.close()


def test_snapshot_and_floating(picture: Picture, tmp_path: Path) -> None:
    """The snapshot is the relit picture; picture-in-picture begins and ends by its key."""
    page = picture.page
    picture.choose("split-left")
    picture.settle(picture.lean, lambda lean: lean > 0.2)
    with page.expect_download() as download:
        page.keyboard.press("c")
    download.value.save_as(tmp_path / "snapshot.png")
    saved = cv2.imread(str(tmp_path / "snapshot.png"))[..., ::-1]
    height, width, _ = saved.shape
    assert f"{width}×{height}" in toast(page, "snapshot")
    assert width * 3 == height * 4  # of 640×480, or of less where the browser's encoder has no time
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
    picture.settle(lambda: float(link in codes_of(page)), bool, 10)  # the code is decoded before it is painted
    assert link in codes_of(page)

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


def codes_of(page: Page) -> set[str]:
    """Returns what OpenCV reads in the QR code at several sizes; at each it misses one in a hundred flawless codes."""
    shot = cv2.imdecode(np.frombuffer(page.locator("#share-qr").screenshot(), np.uint8), cv2.IMREAD_COLOR)
    reader = cv2.QRCodeDetector()
    return {reader.detectAndDecode(cv2.resize(shot, None, fx=scale, fy=scale))[0] for scale in (1.5, 2, 3, 4)}


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
