"""With the extension a page has one more camera; everything else is as the browser alone has it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Playwright

from tests.client_web.conftest import FLAGS
from tests.client_web.extension import Extension, launch_extension, serve_pages
from tests.client_web.picture import Picture

pytestmark = pytest.mark.browser

STRICT = "default-src 'none'; script-src 'nonce-a' 'strict-dynamic'; require-trusted-types-for 'script'"
FRAMES = """<!doctype html><iframe id="same" src="/plain"></iframe><iframe id="srcdoc" srcdoc="<p>hi"></iframe>
<iframe id="allowed" allow="camera; microphone" src="http://127.0.0.1:PORT/plain"></iframe>
<iframe id="denied" src="http://127.0.0.1:PORT/plain"></iframe>"""

# The relit camera of this page, and a stream of it.
FIND = """async () => (await navigator.mediaDevices.enumerateDevices())
  .find(({ kind, label }) => kind === "videoinput" && label.startsWith("Relight ("))"""
OPEN = f"""async (video) => {{
  const device = await ({FIND})();
  const named = JSON.parse(JSON.stringify(video ?? {{}}).replaceAll("ID", device.deviceId));
  window.stream = await navigator.mediaDevices.getUserMedia({{ video: {{ deviceId: device.deviceId, ...named }} }});
  window.track = stream.getVideoTracks()[0];
  return track.label;
}}"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Serves pages that know nothing of us; gives the port."""
    pages = {"/plain": ("<!doctype html><title>plain</title>", {})}
    pages["/strict"] = ("<!doctype html><title>strict</title>", {"Content-Security-Policy": STRICT})
    with serve_pages(pages) as port:
        pages["/frames"] = (FRAMES.replace("PORT", str(port)), {})
        yield port


@pytest.fixture
def plain(extension: Extension, port: int) -> Iterator[Page]:
    """Opens a page in the browser with the extension; no uncaught error may be left."""
    errors: list[str] = []
    page = extension.context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://localhost:{port}/plain")
    yield page
    page.close()
    assert not errors


def test_a_page_lists_relit_twins_behind_the_real_devices(plain: Page) -> None:
    """One camera and two microphones more, after the real ones of their kind; each is an InputDeviceInfo."""
    devices = plain.evaluate(
        """async () => (await navigator.mediaDevices.enumerateDevices()).map((device) => ({
          ...device.toJSON(), keys: Object.keys(device).length, type: String(device),
          width: device.kind === "videoinput" ? device.getCapabilities().width.max : 0 }))"""
    )
    cameras = [device for device in devices if device["kind"] == "videoinput"]
    microphones = [device["label"] for device in devices if device["kind"] == "audioinput"]
    assert [camera["label"] for camera in cameras] == [cameras[0]["label"], f"Relight ({cameras[0]['label']})"]
    assert cameras[1] | {"deviceId": "", "groupId": "", "label": ""} == cameras[0] | {
        "deviceId": "",
        "groupId": "",
        "label": "",
    }
    assert microphones[3:] == ["Relight (Fake Audio Input 1)", "Relight (Fake Audio Input 2)"]
    assert not any(label.startswith("Relight") for label in microphones[:3])


@pytest.mark.parametrize(
    "form",
    [
        {"deviceId": "ID"},
        {"deviceId": ["ID"]},
        {"deviceId": {"exact": "ID"}},
        {"deviceId": {"exact": ["gone", "ID"]}},
        {"deviceId": {"ideal": "ID"}},
        {"deviceId": {"ideal": ["ID", "gone"]}},
        {"deviceId": None, "advanced": [{"deviceId": "ID"}]},
    ],
    ids=str,
)
def test_every_way_of_naming_it_opens_it(plain: Page, form: dict) -> None:
    """The spec's forms of deviceId; the track says what was asked and has the relit camera's ids."""
    label = plain.evaluate(OPEN, {key: value for key, value in form.items() if value is not None} or form)
    assert label.startswith("Relight (")
    assert plain.evaluate(f"async () => track.getSettings().deviceId === (await ({FIND})()).deviceId")
    plain.evaluate("track.stop()")


# Each is run with and without the extension; ids differ between profiles and are left out.
BATTERY = """async () => {
  const out = {};
  const media = navigator.mediaDevices;
  const attempt = async (name, call) => {
    try {
      const got = await call();
      if (!(got instanceof MediaStream)) return (out[name] = String(got));
      out[name] = got.getTracks().map((track) => {
        const { width, height } = track.getSettings();
        const now = [String(track), track.kind, track.label, width, height, JSON.stringify(track.getConstraints())];
        track.stop();
        return [...now, track.readyState];
      });
    } catch (error) {
      out[name] = [error.name, error.message, error.constraint ?? null, String(error.constructor.name)];
    }
  };
  await attempt("video", () => media.getUserMedia({ video: true }));
  await attempt("sized", () => media.getUserMedia({ video: { width: 320, height: 240 } }));
  await attempt("both", () => media.getUserMedia({ video: true, audio: { echoCancellation: false } }));
  await attempt("nothing", () => media.getUserMedia());
  await attempt("neither", () => media.getUserMedia({ video: false, audio: false }));
  await attempt("null", () => media.getUserMedia(null));
  await attempt("number", () => media.getUserMedia(3));
  await attempt("wrong type", () => media.getUserMedia({ video: { width: { min: "wide" } } }));
  await attempt("getter", () => media.getUserMedia({ get video() { throw new RangeError("mine"); } }));
  const throwing = { get deviceId() { throw new RangeError("mine"); } };
  await attempt("getter inside", () => media.getUserMedia({ video: throwing }));
  await attempt("unknown id", () => media.getUserMedia({ video: { deviceId: { exact: "nobody" } } }));
  await attempt("unknown ideal", () => media.getUserMedia({ video: { deviceId: "nobody" } }));
  await attempt("too wide", () => media.getUserMedia({ video: { width: { min: 99999 } } }));
  await attempt("stranger", () => media.getUserMedia.call({}, { video: true }));
  await attempt("nobody", () => media.enumerateDevices.call(undefined));
  await attempt("legacy", () => new Promise((on, off) => navigator.getUserMedia({ video: true }, on, off)));
  await attempt("legacy error", () => new Promise((on, off) => navigator.getUserMedia({}, on, off)));
  await attempt("legacy alone", () => navigator.getUserMedia({ video: true }));
  const describe = (prototype, name) => {
    const { value, ...flags } = Object.getOwnPropertyDescriptor(prototype, name);
    const native = /\\{ \\[native code\\] \\}$/.test(value);
    return [flags, value.name, value.length, typeof value, "prototype" in value, native];
  };
  out.methods = ["getUserMedia", "enumerateDevices"].map((name) => describe(MediaDevices.prototype, name));
  out.legacyMethod = describe(Navigator.prototype, "getUserMedia");
  out.own = [Object.getOwnPropertyNames(media), Object.keys(window).filter((key) => /relight|module/i.test(key))];
  out.prototype = Object.getOwnPropertyNames(MediaStreamTrack.prototype).map((name) => [
    name, typeof Object.getOwnPropertyDescriptor(MediaStreamTrack.prototype, name).value]);
  return out;
}"""


def test_a_page_that_does_not_choose_it_sees_no_difference(plain: Page, browser: Browser, port: int) -> None:
    """The same calls, errors, messages and properties as in the browser without the extension."""
    alone = browser.new_page()
    alone.goto(f"http://localhost:{port}/plain")
    without = alone.evaluate(BATTERY)
    alone.close()
    assert without["unknown id"][0] == "OverconstrainedError"  # the battery does reach the browser
    assert plain.evaluate(BATTERY) == without


def test_before_a_page_may_use_the_camera_its_list_stays_blank(
    playwright: Playwright, chromium: str, extension_folder: Path, tmp_path: Path, port: int
) -> None:
    """No label, no id and no twin without permission, and a remembered id meets the browser's own refusal."""
    with launch_extension(playwright, chromium, extension_folder, tmp_path, FLAGS) as extension:
        page = extension.open(f"http://localhost:{port}/plain")
        listed = (
            "async () => (await navigator.mediaDevices.enumerateDevices()).map((each) => each.label + each.deviceId)"
        )
        assert set(page.evaluate(listed)) == {""}
        extension.context.grant_permissions(["camera"], origin=f"http://localhost:{port}")
        page.reload()
        assert page.evaluate(OPEN).startswith("Relight (")
        device = page.evaluate("track.getSettings().deviceId")
        extension.context.clear_permissions()
        page.reload()
        refused = page.evaluate(
            "(exact) => navigator.mediaDevices.getUserMedia({ video: { deviceId: { exact } } }).catch((e) => e.name)",
            device,
        )
        assert refused == "NotAllowedError"


def test_its_tracks_behave_as_a_cameras_do(plain: Page) -> None:
    """Settings, capabilities, constraints, sizes, copies, errors: the real camera's, under the relit one's ids."""
    plain.evaluate(OPEN, {"width": 640, "height": 480})
    found = plain.evaluate(
        """async () => {
          const video = document.createElement("video");
          video.srcObject = stream;
          video.muted = true;
          await video.play();
          const out = { type: String(track), keys: Object.keys(track), asked: track.getConstraints().width };
          out.first = track.getSettings();
          const { deviceId, width } = track.getCapabilities();
          out.capable = deviceId === out.first.deviceId && width.max >= 640;
          await track.applyConstraints({ width: 320, height: 240 });
          out.second = [track.getSettings().width, track.getSettings().height, track.getConstraints().width];
          const tooWide = track.applyConstraints({ width: { min: 99999 } });
          out.refused = await tooWide.catch(({ name, constraint }) => [name, constraint]);
          const copy = track.clone();
          const [other] = stream.clone().getVideoTracks();
          const { label, id } = track;
          out.copies = [copy, other].map((each) => [each.label === label, each.id !== id, each.getSettings().deviceId]);
          track.stop();
          out.states = [track.readyState, copy.readyState, other.readyState];
          out.methods = [MediaStreamTrack.prototype.stop.name, Object.keys(stream).length];
          copy.stop();
          other.stop();
          return out;
        }"""
    )
    assert (found["type"], found["keys"], found["asked"]) == ("[object MediaStreamTrack]", [], 640)
    assert (found["first"]["width"], found["first"]["height"]) == (640, 480)
    assert found["first"]["deviceId"].startswith("relight-")
    assert 1 < found["first"]["frameRate"] <= 30
    assert found["capable"]
    assert found["second"] == [320, 240, 320]
    assert found["refused"] == ["OverconstrainedError", "width"]
    assert found["copies"] == [[True, True, found["first"]["deviceId"]]] * 2
    assert found["states"] == ["ended", "live", "live"]
    assert found["methods"] == ["stop", 0]


def test_a_disabled_track_is_black(plain: Page) -> None:
    """`enabled = false` shows black to whoever receives it, and `true` the picture again."""
    plain.evaluate(OPEN)
    plain.evaluate(
        """() => { const video = document.createElement("video"); video.id = "remote"; video.muted = true;
        video.srcObject = stream; document.body.append(video); return video.play(); }"""
    )
    shown = Picture(plain)
    brightness: Callable[[], float] = lambda: float(np.mean(shown.read()))  # noqa: E731
    assert shown.settle(brightness, lambda value: value > 40, 10) > 40
    plain.evaluate("track.enabled = false")
    assert shown.settle(brightness, lambda value: value < 2, 10) < 2
    plain.evaluate("track.enabled = true")
    assert shown.settle(brightness, lambda value: value > 40, 10) > 40
    plain.evaluate("track.stop()")


def test_frames_have_it_where_they_may_have_a_camera(extension: Extension, port: int) -> None:
    """Same origin, srcdoc, another origin that is allowed, an empty frame as it is made; not one that is denied."""
    page = extension.open(f"http://localhost:{port}/frames")
    labels = {}
    for name in ("same", "srcdoc", "allowed"):
        frame = page.query_selector(f"#{name}").content_frame()
        labels[name] = frame.evaluate(OPEN)
        frame.evaluate("track.stop()")
    assert all(label.startswith("Relight (") for label in labels.values()), labels
    denied = page.query_selector("#denied").content_frame()
    assert denied.evaluate(f"({OPEN})().catch(({{ name }}) => name)") == "NotAllowedError"
    assert page.evaluate(
        """async () => { const frame = document.createElement("iframe"); document.body.append(frame);
        const listed = await frame.contentWindow.navigator.mediaDevices.enumerateDevices();
        return listed.some(({ label }) => label.startsWith("Relight (")); }"""
    )
    page.close()


def test_a_strict_content_policy_is_no_obstacle(extension: Extension, port: int) -> None:
    """A page that allows no script, connection or worker of others still gets the relit camera."""
    page = extension.open(f"http://localhost:{port}/strict")
    assert page.evaluate(OPEN).startswith("Relight (")
    page.evaluate("track.stop()")
    page.close()


def test_turning_the_microphones_off_tells_the_page(extension: Extension, plain: Page) -> None:
    """The page hears `devicechange`, and the relit microphones are gone from its list."""
    count = """async () => (await navigator.mediaDevices.enumerateDevices()).filter(
      ({ kind, label }) => kind === "audioinput" && label.startsWith("Relight")).length"""
    assert plain.evaluate(count) == 2
    plain.evaluate(
        "() => { window.changed = new Promise((done) => navigator.mediaDevices.ondevicechange = () => done(true)); }"
    )
    extension.set(microphone=False)
    try:
        assert plain.evaluate("changed")
        assert plain.evaluate(count) == 0
    finally:
        extension.set(microphone=True)


def test_a_site_may_get_it_unasked(extension: Extension, plain: Page, port: int) -> None:
    """On a site that was switched on, a page that names no camera is given the relit one; one that does is not."""
    extension.set(sites=[f"http://localhost:{port}"])
    try:
        names = plain.evaluate(
            """async () => {
              const labels = [];
              const real = (await navigator.mediaDevices.enumerateDevices()).find(({ kind }) => kind === "videoinput");
              for (const video of [true, { width: 320 }, { deviceId: real.deviceId }]) {
                const stream = await navigator.mediaDevices.getUserMedia({ video });
                labels.push(stream.getTracks()[0].label);
                stream.getTracks()[0].stop();
              }
              return labels;
            }"""
        )
    finally:
        extension.set(sites=[])
    assert [name.startswith("Relight (") for name in names] == [True, True, False]


def test_neither_token_nor_address_reaches_the_page(extension: Extension, port: int) -> None:
    """A page that reads whatever its own scripts and ours make of text finds neither; our requests are among it."""
    extension.connect("http://localhost:9/secret-address/", "secret-token")
    page = extension.context.new_page()
    page.add_init_script(
        """window.heard = [];
        for (const name of ["parse", "stringify"]) {
          const native = JSON[name];
          JSON[name] = (...args) => { const made = native(...args); heard.push(args[0], made); return made; };
        }
        for (const name of ["message", "relight:line", "relight:ready"])
          addEventListener(name, ({ data }) => heard.push(name, data), true);"""
    )
    page.goto(f"http://localhost:{port}/plain")
    page.evaluate(OPEN)
    page.wait_for_timeout(500)
    heard = page.evaluate("() => { track.stop(); return JSON.stringify(heard.flat()); }")
    assert '\\"op\\":\\"open\\"' in heard
    assert "secret" not in heard
    assert page.evaluate("typeof chrome?.storage") == "undefined"
    page.close()


def test_a_page_that_is_written_anew_keeps_it(plain: Page) -> None:
    """document.open() takes every listener off the document; the relit camera is still there, and opens."""
    plain.evaluate("() => { document.open(); document.write('<p>written'); document.close(); }")
    assert plain.evaluate(OPEN).startswith("Relight (")
    plain.evaluate("track.stop()")


def test_two_openings_at_once_share_one_picture(plain: Page) -> None:
    """As frameworks do that mount twice: the first track is stopped as soon as it comes, the second one lives on."""
    states = plain.evaluate(
        f"""async () => {{
          const video = {{ deviceId: {{ exact: (await ({FIND})()).deviceId }} }};
          const open = () => navigator.mediaDevices.getUserMedia({{ video }}).then((stream) => stream.getTracks()[0]);
          const first = open().then((track) => {{ track.stop(); return track; }});
          const second = open();
          const states = [(await first).readyState, (await second).readyState];
          await new Promise((next) => setTimeout(next, 1500));
          states.push((await second).readyState);
          (await second).stop();
          return states;
        }}"""
    )
    assert states == ["ended", "live", "live"]


def test_a_second_opening_has_the_size_it_asked_for(plain: Page) -> None:
    """A small preview beside the large picture, of one camera: each track has its own size."""
    plain.evaluate(OPEN, {"width": 640, "height": 480})
    plain.evaluate("window.large = track")
    plain.evaluate(OPEN, {"width": {"exact": 320}, "height": {"exact": 240}})
    sizes = "[large, track].map((each) => [each.getSettings().width, each.getSettings().height])"
    assert plain.evaluate(sizes) == [[640, 480], [320, 240]]
    plain.evaluate("large.stop() ?? track.stop()")
