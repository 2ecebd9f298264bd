"""The participant is seen as a portrait: uploaded, snapped or sampled, lit as asked, at a delay that was predicted."""

import json
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, Request, Response, Route

from engine.bench.sample_clip import PERIOD_S, sample_frames
from tests.client_web.picture import Picture
from tests.client_web.serving import Serving
from tests.client_web.y4m import write_y4m

pytestmark = pytest.mark.browser

PORTRAIT = Path(__file__).resolve().parents[2] / "client_web" / "sample" / "portrait.jpg"
WALL = cv2.imencode(".jpg", np.full((240, 320, 3), 128, np.uint8))[1].tobytes()
SLOW_FPS = 5
AVATAR_PX = 512  # of the CPU preview
WIDTH = "document.querySelector('#remote').videoWidth"
# The choice is stored once, not at every reload; what the page sends and opens is kept for the tests.
BEFORE = """
localStorage["relight.choices.1"] ??= JSON.stringify({ avatarEngine: "avatar" });
window.sockets = [];
window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    window.sockets.push(this);
  }
};
const own = window.fetch;
window.fetch = (url, options) => {
  if (String(url).endsWith("api/portrait")) window.sent = options.body.get("file");
  return own(url, options);
};
"""
READ_SENT = """
async ([width, height]) => {
  const picture = await createImageBitmap(window.sent);
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(picture, 0, 0, width, height);
  return [picture.width, picture.height, [...context.getImageData(0, 0, width, height).data]];
}
"""


@pytest.fixture
def live(page: Page, untouched: Serving) -> Picture:
    """Opens the page, live on the camera, with the preview as its avatar."""
    page.add_init_script(BEFORE)
    shown = Picture(page)
    page.goto(untouched.url)
    shown.wait_live("camera")
    return shown


def become(page: Page, who: str) -> None:
    """Chooses "Me" or "Avatar"."""
    page.click(f"#who label:has-text('{who}')")


def wait_for_width(shown: Picture, px: int) -> None:
    """Waits until the returned picture is that wide: an avatar is square, the camera is not."""
    assert shown.settle(lambda: shown.page.evaluate(WIDTH), lambda width: width == px, 60) == px


def likeness(shown: Picture, rgb: NDArray[np.uint8]) -> float:
    """Correlation of the returned picture with `rgb`, both small and grey."""
    small = cv2.resize(rgb, (64, 64), interpolation=cv2.INTER_AREA).mean(axis=2)
    return float(np.corrcoef(shown.read(width=64, height=64).mean(axis=2).ravel(), small.ravel())[0, 1])


def head_of(rgb: NDArray[np.uint8], face: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The square of head and shoulders that an avatar shows of a portrait; `face` is x, y, w, h."""
    x, y, w, h = face
    side = 2.6 * h
    left, top = max(0, round(x + w / 2 - side / 2)), max(0, round(y + h / 2 - 0.4 * side))
    return rgb[top : top + round(side), left : left + round(side)]


def sent_picture(page: Page, width: int, height: int) -> tuple[tuple[int, int], NDArray[np.uint8]]:
    """Size (width, height) of the picture last uploaded, and itself as RGB [height,width,3]."""
    own_width, own_height, data = page.evaluate(READ_SENT, [width, height])
    return (own_width, own_height), np.array(data, np.uint8).reshape(height, width, 4)[:, :, :3]


def is_portrait(response: Response) -> bool:
    """Tells whether a response is the answer to an upload of a portrait."""
    return response.url.endswith("/api/portrait")


def test_upload(live: Picture, portrait: NDArray[np.uint8], tmp_path: Path) -> None:
    """An uploaded portrait is seen, lit as asked and not flipped by the mirror, until "Me" is chosen again."""
    page = live.page
    become(page, "Avatar")
    assert live.settle(lambda: float("choose a portrait" in (page.text_content("#badge") or "")), bool, 5) == 1
    assert page.evaluate(WIDTH) == 640  # there is no portrait to show yet
    # The path is given, because the driver takes ten seconds for the bytes of a large picture.
    assert cv2.imwrite(str(tmp_path / "large.jpg"), cv2.resize(portrait, (2400, 2400))[:, :, ::-1])
    with page.expect_response(is_portrait) as answered:
        page.set_input_files("#portrait-file", tmp_path / "large.jpg")
    assert sent_picture(page, 8, 8)[0] == (1536, 1536)
    head = head_of(portrait, np.array(answered.value.json()["face"]) * portrait.shape[0] / 1536)
    wait_for_width(live, AVATAR_PX)
    assert live.settle(lambda: float(page.text_content("#badge-name") == "CPU preview"), bool, 60) == 1
    assert page.text_content("#portrait-state") == "Face found"
    assert live.settle(lambda: likeness(live, head), lambda value: value > 0.7) > 0.7

    def lean() -> float:
        linear = (live.read(width=128, height=128) / 255.0) ** 2.2
        left, right = linear[40:64, 48:64].mean(), linear[40:64, 64:80].mean()  # the cheeks
        return float((left - right) / (left + right))

    live.choose("split-left")
    assert live.settle(lean, lambda value: value > 0.15) > 0.15
    live.choose("split-right")
    assert live.settle(lean, lambda value: value < -0.15) < -0.15
    live.choose("split-left")
    page.click("#split")
    assert page.text_content("#side-before") == "Portrait"
    still = cv2.resize(head, (128, 128), interpolation=cv2.INTER_AREA) / 255.0

    def unlike(columns: slice) -> float:
        """Mean difference of the returned picture from the portrait itself, between brow and chin."""
        return float(np.abs(live.read(width=128, height=128) / 255.0 - still)[32:72, columns].mean())

    # The portrait as it is, and beside it the avatar's dark cheek.
    assert live.settle(lambda: unlike(slice(40, 62)), lambda error: error < 0.06) < 0.06
    assert live.settle(lambda: unlike(slice(66, 84)), lambda error: error > 0.12) > 0.12
    if folder := os.environ.get("RELIGHT_TEST_PICTURES"):
        page.screenshot(path=f"{folder}/compare.png")
    page.click("#split")
    live.choose("soft-front")
    page.click("#mirror")  # mirrors how the portrait moves, not the portrait
    page.wait_for_timeout(700)
    # Some pose of the nodding head tells left from right; of a mirrored portrait none would be nearer to the original.
    more = live.settle(lambda: likeness(live, head) - likeness(live, head[:, ::-1]), lambda value: value > 0.2)
    assert more > 0.2
    become(page, "Me")
    wait_for_width(live, 640)
    assert page.is_hidden("#badge")
    assert page.is_hidden("#avatar-card")


def test_snap(live: Picture) -> None:
    """After a countdown the camera's own picture, never mirrored, can be kept; Escape cancels it."""
    page = live.page
    uploads: list[Request] = []
    page.on("request", lambda request: uploads.append(request) if request.url.endswith("/api/portrait") else None)
    become(page, "Avatar")
    page.click("#snap-portrait")
    page.wait_for_selector("#count:has-text('3')")
    assert page.is_visible(".local-only")
    opacity = "Number(getComputedStyle(document.querySelector('#remote')).opacity)"
    assert live.settle(lambda: page.evaluate(opacity), lambda value: value == 0, 3) == 0
    page.keyboard.press("Escape")
    assert page.is_hidden("#countdown")
    page.click("#snap-portrait")
    page.wait_for_selector("#shot", timeout=8000)
    assert page.evaluate("document.activeElement.id") == "keep-shot"
    assert not uploads
    camera = live.read("#local", 64, 48).astype(float)
    with page.expect_response(is_portrait) as answered:
        page.keyboard.press("Enter")
    assert answered.value.ok
    size, small = sent_picture(page, 64, 48)
    assert size == (640, 480)
    snapped = small.astype(float)
    assert np.abs(snapped - camera).mean() < 0.6 * np.abs(snapped[:, ::-1] - camera).mean()
    assert page.text_content("#portrait-name") == "Snapshot"
    wait_for_width(live, AVATAR_PX)


def test_refused(live: Picture) -> None:
    """A file that cannot be a portrait is refused in words on the card, and the portrait before it stays."""
    page = live.page
    become(page, "Avatar")
    page.click("#sample-portrait")
    page.wait_for_selector("#portrait-state[data-state=ready]", timeout=20000)
    page.set_input_files("#portrait-file", {"name": "wall.jpg", "mimeType": "image/jpeg", "buffer": WALL})
    page.wait_for_selector("#portrait-error:has-text('No face')", timeout=20000)
    assert page.text_content("#portrait-name") == "Sample portrait"
    assert page.is_visible("#portrait-state[data-state=ready]")
    page.set_input_files("#portrait-file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"not a face"})
    page.wait_for_selector("#portrait-error:has-text('“notes.txt” is not a picture')")
    assert not page.query_selector(".toast")
    page.click("#remove-portrait")
    assert page.is_hidden("#portrait-error")
    assert page.is_visible("#upload-portrait")


@pytest.mark.parametrize(("code", "first"), [(1000, "portrait"), (4999, "resume")])
def test_reconnect(live: Picture, code: int, first: str) -> None:
    """A new session gets portrait and engine before the camera, so the face is never shown in between.

    Where the server still has the lost session, the portrait comes from there.
    """
    page = live.page
    become(page, "Avatar")
    page.click("#sample-portrait")
    wait_for_width(live, AVATAR_PX)
    said: list[str] = []

    def frame(text: str | bytes) -> None:
        message = json.loads(text)
        said.append(str(message.get("engine", message["type"])))

    page.on("websocket", lambda socket: socket.on("framesent", frame))
    page.on("request", lambda request: said.append("portrait") if request.url.endswith("/api/portrait") else None)
    page.evaluate(f"window.sockets.at(-1).close({code})")
    assert live.settle(lambda: float("offer" in said), bool, 20) == 1
    order = [said.index(what) for what in (first, "avatar", "offer")]
    assert order == sorted(order)
    assert said.count("portrait") == (1 if first == "portrait" else 0)
    page.wait_for_selector('#stage[data-link="live"]', timeout=20000)
    wait_for_width(live, AVATAR_PX)


def test_a_portrait_that_is_not_taken(live: Picture) -> None:
    """A new session that does not take the portrait gets no camera picture in its place either."""
    page = live.page
    become(page, "Avatar")
    page.click("#sample-portrait")
    wait_for_width(live, AVATAR_PX)
    refused, offers = [], []
    busy = {"code": "busy", "message": "other uploads are being read", "hint": "try again"}

    def refuse(route: Route) -> None:
        refused.append(route)
        route.fulfill(status=503, json=busy)

    page.route("**/api/portrait", refuse)
    page.on(
        "websocket",
        lambda socket: socket.on("framesent", lambda text: '"offer"' in str(text) and offers.append(text)),
    )
    page.evaluate("window.sockets.at(-1).close(1000)")  # for good: the server keeps nothing
    # A session is tried four times: the fifth attempt is another session's.
    assert live.settle(lambda: float(len(refused)), lambda count: count > 4) > 4
    assert not offers
    page.unroute("**/api/portrait")
    page.wait_for_selector('#stage[data-link="live"]', timeout=60000)
    wait_for_width(live, AVATAR_PX)


def test_reload(live: Picture) -> None:
    """A portrait of one's own does not outlive the tab's page; that it was the sample is remembered."""
    page = live.page
    become(page, "Avatar")
    page.click("#sample-portrait")
    page.wait_for_selector("#portrait-state[data-state=ready]", timeout=20000)
    page.reload()
    page.wait_for_selector("#portrait-state[data-state=ready]", timeout=20000)
    page.set_input_files("#portrait-file", PORTRAIT)
    page.wait_for_selector("#portrait-name:has-text('portrait.jpg')", timeout=20000)
    assert "data:" not in page.evaluate("JSON.stringify(localStorage)")
    page.reload()
    page.wait_for_selector('#stage[data-link="live"]', timeout=20000)
    assert page.is_checked("#who input[value=avatar]")
    assert page.is_hidden("#portrait")
    assert page.is_visible("#upload-portrait")


def predict(route: Route) -> None:
    """Replaces the predictions of the server's answer, which depend on how busy this machine is."""
    response = route.fetch()
    body = response.json()
    for index, quality in enumerate(body["qualities"]):
        quality["predicted"] = {"delay_s": 0.31 * (index + 1), "fps": 25.0 - 3 * index, "keeps_up": index < 4}
    body["staggered"], body["least_steps"] = True, 1
    route.fulfill(response=response, json=body)


@pytest.fixture
def slow_page(launch: Callable[..., Browser], tmp_path: Path) -> Page:
    """Opens a phone's page at a camera of five frames a second, so that a busy machine's networks keep up."""
    clip = tmp_path / "slow.y4m"
    write_y4m(clip, islice(sample_frames((480, 640), SLOW_FPS), round(PERIOD_S * SLOW_FPS)), SLOW_FPS)
    browser = launch("--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={clip}")
    page = browser.new_page(viewport={"width": 360, "height": 740})
    page.add_init_script("localStorage['relight.choices.1'] ??= JSON.stringify({ quality: 'instant' })")
    return page


def test_quality(slow_page: Page, untouched: Serving) -> None:
    """LCVD is the avatar where it runs; a preset shows its delay before it is chosen, and then the measured one."""
    pytest.importorskip("torch", reason="LCVD runs on torch")
    page = slow_page
    told: list[dict[str, object]] = []

    def frame(text: str | bytes) -> None:
        message = json.loads(text)
        if message["type"] == "set_avatar":
            told.append(message)

    page.on("websocket", lambda socket: socket.on("framesent", frame))
    page.route("**/api/avatar?fps=*", predict)
    shown = Picture(page)
    page.goto(untouched.url)
    shown.wait_live("camera")
    become(page, "Avatar")
    page.click("#sample-portrait")
    assert shown.settle(lambda: float(page.text_content("#badge-name") == "LCVD"), bool, 90) == 1

    def text() -> str:
        return page.text_content("#quality-text") or ""

    assert shown.settle(lambda: float("predicted" in text()), bool, 30) == 1
    delays = page.locator("#quality-stops small").all_text_contents()
    assert delays == ["0.3 s", "0.6 s", "0.9 s", "1.2 s", "1.6 s", "1.9 s"]
    assert page.text_content("#quality-value") == "Instant"
    page.hover('[data-stop="5"] small')
    assert page.text_content("#quality-value") == "Studio"
    assert text() == "predicted 1.86 s · 10 fps · does not keep up"
    page.hover('[data-stop="1"] small')
    assert text() == "predicted 0.62 s · 22 fps"
    page.mouse.move(0, 0)
    assert page.text_content("#quality-value") == "Instant"
    assert [message["quality"] for message in told] == ["instant"]
    page.focus("#quality")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):  # passed over, only the last is asked for
        page.keyboard.press(key)
    spoken = page.get_attribute("#quality", "aria-valuetext")
    assert spoken == "Quick, predicted 0.62 s, 22 frames per second"
    assert shown.settle(lambda: float("measured" in text()), bool, 60) == 1
    assert "predicted" in text()
    assert [(message["quality"], message["mode"]) for message in told[1:]] == [("quick", "window")]
    page.click("#staggered")
    assert shown.settle(lambda: float(len(told)), lambda count: count == 3, 5) == 3
    assert told[-1]["mode"] == "staggered"
    # On a phone with everything open: nothing overflows, everything is large enough for a finger and has a name.
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    poor = page.evaluate(
        """[...document.querySelectorAll("button, input[type=range], .segments label")]
             .filter((each) => each.offsetParent)
             .filter((each) => each.getBoundingClientRect().height < 44 || !(each.ariaLabel || each.textContent.trim()
                               || each.labels?.length || each.ariaLabelledByElements?.length))
             .map((each) => each.id || each.className || each.textContent)"""
    )
    assert poor == []


PRESET = {"steps": 1, "omega": 1.0, "stride": 4, "predicted": {"delay_s": 0.4, "fps": 15.0, "keeps_up": True}}
OPTIONS = {
    "qualities": [{"name": "instant", "title": "Instant", **PRESET}, {"name": "quick", "title": "Quick", **PRESET}],
    "default": "instant",
    "backend": "eager",
}


@pytest.mark.parametrize("trained", [True, False, None])
def test_staggered_switch(page: Page, untouched: Serving, trained: bool | None) -> None:
    """The switch is shown, and a remembered staggered mode sent, only where the server says the weights know it.

    Of fewer steps than it says the weights are made for the page warns.
    """
    pytest.importorskip("torch", reason="LCVD runs on torch")
    modes: list[str] = []

    def answer(route: Route) -> None:
        route.fulfill(json=OPTIONS if trained is None else {**OPTIONS, "staggered": trained, "least_steps": 25})

    def frame(text: str | bytes) -> None:
        message = json.loads(text)
        if message["type"] == "set_avatar":
            modes.append(message["mode"])

    choices = {"who": "avatar", "portrait": "sample", "quality": "instant", "staggered": True}
    page.add_init_script(f"localStorage['relight.choices.1'] ??= {json.dumps(json.dumps(choices))}")
    page.on("websocket", lambda socket: socket.on("framesent", frame))
    page.route("**/api/avatar?fps=*", answer)
    page.goto(untouched.url)
    page.wait_for_selector('#stage[data-link="live"]', timeout=60000)
    page.wait_for_selector("#quality-stops small", timeout=30000)
    mode = "staggered" if trained else "window"
    assert Picture(page).settle(lambda: float(modes[-1:] == [mode]), bool, 10) == 1
    assert page.is_visible("#staggered") is bool(trained)
    assert page.is_visible("#quality")
    assert page.get_attribute("#staggered", "aria-checked") == str(bool(trained)).lower()
    assert ("made for 25 steps" in page.inner_text("#quality-text")) is (trained is not None)
    if not trained:
        assert "staggered" not in modes
        return
    page.click("#staggered")
    assert Picture(page).settle(lambda: float(modes[-1] == "window"), bool, 10) == 1
    assert page.is_visible("#staggered")
