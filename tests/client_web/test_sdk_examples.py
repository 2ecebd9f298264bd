"""The SDK's examples run as they are, from another origin than the server's and with its token."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from tests.client_web.meetings import (
    JANUS_DEMOS,
    NPM,
    janus_room,
    missing_janus,
    missing_peerjs,
    peerjs_call,
    serve_folder,
)
from tests.client_web.picture import READ, Picture, _rgb
from tests.client_web.serving import ROOT, Serving

pytestmark = pytest.mark.browser

TOKEN = "let-me-in"
LIBRARIES = Path("/usr/share/javascript")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Starts a server that wants a token, and relights."""
    log = tmp_path_factory.mktemp("signed") / "server.log"
    server = Serving(log, "ratio", RELIGHT_TOKEN=f'["{TOKEN}"]')
    server.start()
    yield server
    server.stop()


@pytest.fixture
def examples() -> Iterator[str]:
    """Serves the folder of the examples at an origin of its own."""
    with serve_folder(ROOT / "client_web" / "examples", {}) as port:
        yield f"http://localhost:{port}"


def give(context: BrowserContext, pattern: str, path: Path) -> None:
    """Answers requests to a public address with a file that is installed here: tests reach no other machine."""

    def answer(route: Route) -> None:
        route.fulfill(path=path, content_type="text/javascript", headers={"access-control-allow-origin": "*"})

    context.route(pattern, answer)


def lean(page: Page) -> float:
    """Returns how much brighter the left half of the face is than the right, in the picture at the far side."""
    if not page.evaluate("document.querySelector('#far').videoWidth"):
        return 0.0
    rgb = _rgb(page.evaluate(READ, ["#far", 160, 120]), 160, 120)
    rows = ((rgb / 255.0) ** 2.2)[37:59].mean(axis=(0, 2))
    left, right = rows[63:78].mean(), rows[84:99].mean()
    return float((left - right) / (left + right))


def is_relit(page: Page) -> bool:
    """Waits until the far side sees the key light on the left of the picture."""
    return Picture(page).settle(lambda: lean(page), lambda value: value > 0.12, 40) > 0.12


def test_plain_call(page: Page, signed: Serving, examples: str) -> None:
    """The far end of an RTCPeerConnection sees the participant relit and hears a sound track."""
    page.goto(f"{examples}/call.html?server={signed.url.rstrip('/')}&token={TOKEN}")
    assert is_relit(page)
    assert page.evaluate("document.querySelector('#far').srcObject.getAudioTracks().length") == 1


REFUSED = """
async ([server, token, places]) => {
  const { relight } = await import(`${server}/sdk/relight.js`);
  const pause = (ms) => new Promise((next) => setTimeout(next, ms));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [320, 240];
  const pen = canvas.getContext("2d");
  setInterval(() => pen.fillRect(Math.random() * 300, 0, 9, 9), 66);
  const run = async (token) => {
    const relit = await relight(canvas.captureStream(), { server, token, sound: "none" });
    const run = { relit, pictures: 0, troubles: [], line: [], states: [], track: relit.getVideoTracks()[0] };
    relit.on("trouble", (trouble) => run.troubles.push(trouble));
    relit.on("waiting", (waiting) => run.line.push(waiting));
    relit.on("state", (state) => run.states.push(state));
    const reader = new MediaStreamTrackProcessor({ track: run.track }).readable.getReader();
    (async () => {
      for (let got; !(got = await reader.read()).done; got.value.close()) run.pictures += 1;
    })();
    for (let i = 0; i < 100 && !run.troubles.length && !run.line.length; i += 1) await pause(100);
    const before = run.pictures;
    await pause(1500); // another attempt or two
    const { state } = relit;
    return { ...run, state, pictures: run.pictures - before, alive: run.track.readyState === "live" };
  };
  const wrong = await run("let-me-out");
  wrong.relit.stop();
  // Publishers take every place; none of them ever sends a picture.
  const offer = new RTCPeerConnection();
  offer.addTransceiver("video", { direction: "sendonly" });
  const { sdp } = await offer.createOffer();
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/sdp" };
  const publish = () => fetch(`${server}/whip`, { method: "POST", headers, body: sdp });
  const others = await Promise.all(Array.from({ length: places }, publish));
  const full = await run(token);
  const end = (other) => fetch(new URL(other.headers.get("location"), server), { method: "DELETE", headers });
  await Promise.all(others.map(end));
  for (let i = 0; i < 200 && full.relit.state !== "live"; i += 1) await pause(100);
  full.later = full.relit.state;
  full.same = full.relit.getVideoTracks()[0] === full.track && full.track.readyState === "live";
  full.relit.stop();
  return [wrong, full].map(({ relit, track, ...told }) => told);
}
"""


def test_refused(page: Page, signed: Serving, examples: str) -> None:
    """A wrong token is told once, a full server as a place in line; the camera goes on, and a freed place is taken."""
    page.goto(f"{examples}/")  # any page of that origin
    wrong, full = page.evaluate(REFUSED, [signed.url.rstrip("/"), TOKEN, 6])
    assert [trouble["code"] for trouble in wrong["troubles"]] == ["unauthorized"]
    assert wrong["troubles"][0]["message"]
    assert wrong["troubles"][0]["hint"]
    assert full["troubles"] == []
    assert (full["line"][0]["place"], full["line"][0]["of"]) == (1, 1)
    assert full["line"][-1] is None
    for told in (wrong, full):
        assert told["state"] == "camera"
        assert told["pictures"] > 5
        assert told["alive"]
    assert full["later"] == "live"
    assert full["same"]


@pytest.mark.skipif(bool(missing_peerjs()), reason=missing_peerjs())
def test_peerjs(page: Page, context: BrowserContext, signed: Serving, examples: str) -> None:
    """Both ends of a PeerJS call see each other relit."""
    give(context, "**/peerjs.min.js", NPM / "peerjs" / "dist" / "peerjs.min.js")
    with peerjs_call() as (_, port):
        query = f"server={signed.url.rstrip('/')}&token={TOKEN}&host=localhost&port={port}"
        page.goto(f"{examples}/peerjs.html?{query}&me=ada")
        page.wait_for_timeout(2000)
        other = context.new_page()
        other.goto(f"{examples}/peerjs.html?{query}&me=bob&other=ada")
        assert is_relit(other)
        assert is_relit(page)


@pytest.mark.skipif(bool(missing_janus()), reason=missing_janus())
def test_janus(page: Page, context: BrowserContext, signed: Serving, examples: str) -> None:
    """Janus's VideoRoom receives picture and sound."""
    give(context, "**/janus.js", LIBRARIES / "janus-gateway" / "janus.js")
    give(context, "**/adapter.js", JANUS_DEMOS / "javascript" / "webrtc-adapter" / "adapter.js")
    with janus_room() as room:
        page.goto(room)
        janus = page.evaluate("server")
        page.goto(f"{examples}/janus.html?server={signed.url.rstrip('/')}&token={TOKEN}&janus={janus}")
        heard = page.evaluate(
            """async () => {
              // Janus tells by RTCP what it got of each track.
              const got = {};
              for (let i = 0; i < 150 && Object.keys(got).length < 2; i += 1) {
                await new Promise((next) => setTimeout(next, 200));
                const stats = await window.room?.webrtcStuff.pc?.getStats();
                for (const stat of stats?.values() ?? [])
                  if (stat.type === "remote-inbound-rtp") got[stat.kind] = stat.roundTripTimeMeasurements;
              }
              return Object.keys(got).sort();
            }"""
        )
    assert heard == ["audio", "video"]
