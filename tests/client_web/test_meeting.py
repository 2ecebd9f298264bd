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
# Records a red picture of 320×240 that becomes a blue one of 240×320.
RESIZED = """
async () => {
  const { Recorder } = await import("/recorder.js");
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d", { alpha: false });
  let colour = "red";
  [canvas.width, canvas.height] = [320, 240];
  const draw = () => {
    pen.fillStyle = colour;
    pen.fillRect(0, 0, canvas.width, canvas.height);
  };
  draw();
  const timer = setInterval(draw, 50);
  const [track] = canvas.captureStream().getVideoTracks();
  const saved = new Promise((resolve, reject) => {
    window.recorder = new Recorder({ change() {}, saved: resolve, failed: reject });
  });
  await new Promise((next) => setTimeout(next, 300));
  recorder.start(track, null);
  await new Promise((next) => setTimeout(next, 1000));
  [canvas.width, canvas.height, colour] = [240, 320, "blue"];
  await new Promise((next) => setTimeout(next, 1500));
  recorder.stop();
  await saved;
  clearInterval(timer);
}
"""
HARNESS = Path(__file__).with_name("flash_and_beep.js").read_text()
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
    picture.choose("split-left")
    picture.settle(picture.lean, lambda lean: lean > 0.2)
    page.keyboard.press("u")
    page.keyboard.press("r")
    page.wait_for_selector("#record-chip", state="visible")
    page.wait_for_timeout(2500)
    assert page.text_content("#record-time") in ("0:02", "0:03", "0:04")
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
        assert last > 2
    assert abs(spans["video"][1] - spans["audio"][1]) < 0.5  # one picture of a busy machine and one packet of sound
    with av.open(io.BytesIO(data)) as container:
        assert container.duration  # players know its length
        lean = [leaning(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert max(lean) > 0.3  # the key light stands at the left; on a busy machine the camera steps in now and then


def test_recording_keeps_its_size(page: Page, serving: Serving, tmp_path: Path) -> None:
    """A picture that changes its size and shape meanwhile is recorded whole, in the size of the beginning."""
    page.goto(f"{serving.url}view/nobody?clean")
    with page.expect_download() as download:
        page.evaluate(RESIZED)
    download.value.save_as(tmp_path / "recording")
    with av.open(str(tmp_path / "recording")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert {frame.shape for frame in frames} == {(240, 320, 3)}
    assert frames[0][120, 10].argmax() == 0  # red, all over
    narrow = frames[-1].astype(int)
    assert narrow[120, 160].argmax() == 2  # blue, upright between black bars
    assert narrow[120, 10].max() < 40
    assert narrow[5, 160, 2] > 150


def test_recording_in_step(page: Page, serving: Serving, tmp_path: Path) -> None:
    """In a recording the beeps stand where the flashes do, as far as the source's own did."""
    page.add_init_script(
        f"""const begun = new Promise((resolve) => {{
              window.begin = async () => {{
                const {{ source, listen }} = await (async () => {{ {HARNESS} }})();
                const {{ stream }} = source(0.7);
                window.seen = listen(stream);
                resolve(stream);
              }};
            }});
            MediaDevices.prototype.getUserMedia = async (wanted) => {{
              const tracks = (await begun)[wanted.video ? "getVideoTracks" : "getAudioTracks"]();
              return new MediaStream(tracks.map((track) => track.clone()));
            }};"""
    )
    page.goto(serving.url)
    page.evaluate("begin()")  # counts as a gesture, which sound wants
    page.wait_for_selector('#stage[data-link="live"][data-source="camera"]')
    page.keyboard.press("u")
    page.wait_for_timeout(2000)  # the delay line finds the picture's delay
    page.keyboard.press("r")
    page.wait_for_timeout(5000)
    with page.expect_download() as download:
        page.keyboard.press("r")
    download.value.save_as(tmp_path / "recording")
    flashes, beeps = events(tmp_path / "recording")
    seen = page.evaluate("seen")
    own = np.median(distances([each[0] / 1000 for each in seen["flashes"]], [each / 1000 for each in seen["beeps"]]))
    measured = distances(flashes, beeps) - own
    assert len(measured) >= 4
    # This machine runs nine things at once; a quiet one is near 20 ms.
    assert abs(np.median(measured)) < 0.06


def events(path: Path) -> tuple[list[float], list[float]]:
    """Returns when flashes and beeps begin in a recording, s."""
    flashes, beeps, bright, quiet_s = [], [], False, 1.0
    with av.open(str(path)) as container:
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame):
                lit = frame.to_ndarray(format="gray")[32:48, 32:48].mean() > 140
                if lit and not bright:
                    flashes.append(frame.time)
                bright = lit
            else:
                samples = np.abs(frame.to_ndarray()[0].astype(np.float64))
                loud = np.flatnonzero(samples > (0.1 if samples.max() <= 1 else 3276))
                quiet_s += frame.samples / frame.sample_rate
                if loud.size:
                    if quiet_s > 0.1:
                        beeps.append(frame.time + loud[0] / frame.sample_rate)
                    quiet_s = 0
    return flashes, beeps


def distances(flashes: list[float], beeps: list[float]) -> np.ndarray:
    """Returns by how much each flash's nearest beep is later, s; events are 0.7 s apart, farther ones are no pair."""
    nearest = [min((beep - flash for beep in beeps), key=abs) for flash in flashes]
    return np.array([each for each in nearest if abs(each) < 0.33])


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
