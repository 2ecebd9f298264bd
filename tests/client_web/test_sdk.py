"""The SDK gives one track that never ends: relit pictures with their sound, else the camera or a portrait."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.client_web.lip_sync import offsets
from tests.client_web.serving import ROOT, Serving

pytestmark = pytest.mark.browser

HARNESS = Path(__file__).with_name("flash_and_beep.js").read_text()
PORTRAIT = ROOT / "client_web" / "sample" / "portrait.jpg"
DIM = 90  # brightness of the harness's camera is near 64; the late server dims it by a quarter
HOLD_MS = 500.0
OPEN = """
async ([sound, strength, options]) => {
  const { relight } = await import("/sdk/relight.js");
  window.camera = harness.source(0.7);
  window.seen = harness.listen(camera.stream);
  window.troubles = [];
  window.states = [];
  window.relit = await relight(camera.stream, { sound, strength, light: "soft-front", ...options });
  relit.on("trouble", (trouble) => troubles.push(trouble));
  relit.on("state", (state) => states.push(state));
  window.shown = harness.listen(relit, () => relit.delay);
  window.first = relit.getTracks().map((track) => track.id);
}
"""


class LateServing(Serving):
    """Runs tests.client_web.delayed_server in place of `relight serve`."""

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.client_web.delayed_server", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        self.wait_ready()

    def kill(self) -> None:
        """Ends the server as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LateServing]:
    """Starts a server whose pictures come back late and dimmed."""
    server = LateServing(tmp_path_factory.mktemp("late") / "server.log", "ratio")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def call(page: Page, late: LateServing) -> Page:
    """Opens an empty page of the server's origin, with the flashing camera and the instrument."""
    page.goto(f"{late.url}sdk/package.json")
    page.evaluate(f"async () => {{ window.harness = await (async () => {{ {HARNESS} }})(); }}")
    return page


def relight(page: Page, sound: str = "page", delay_s: float = 0.05, **options: Any) -> None:
    """Relights the flashing camera through a server that takes `delay_s`."""
    page.evaluate(OPEN, [sound, delay_s / 4, options])


def wait_for(page: Page, condition: str, timeout_s: float = 20) -> None:
    """Waits until an expression is true; not by the driver, whose way our content policy forbids."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, (
            f"never came: {condition}; {page.evaluate('[relit?.state, troubles, states]')}"
        )
        page.wait_for_timeout(50)


def now_ms(page: Page) -> float:
    """Returns the page's clock."""
    return float(page.evaluate("performance.now()"))


def test_server_killed(call: Page, late: LateServing) -> None:
    """The picture goes on within 500 ms on the same track when the server is killed, and is relit again by itself."""
    relight(call)
    wait_for(call, "relit.state === 'live'")
    call.wait_for_timeout(1500)
    killed = now_ms(call)
    late.kill()
    wait_for(call, "relit.state === 'camera'")
    call.wait_for_timeout(1000)
    late.start()
    wait_for(call, "relit.state === 'live'", 40)
    call.wait_for_timeout(500)
    heard = call.evaluate("shown")
    pictures = np.array([picture[:2] for picture in heard["pictures"]])
    times, light = pictures.T
    since = times[times > killed - 100]
    assert np.diff(since).max() < HOLD_MS
    assert {tuple(picture[2:]) for picture in heard["pictures"]} == {(320, 240)}
    assert call.evaluate("relit.getTracks().map((t) => t.id).join() === first.join()")
    assert call.evaluate("relit.getTracks().every((t) => t.readyState === 'live')")
    assert [trouble["code"] for trouble in call.evaluate("troubles")].count("no_server") == 1
    # Relit, camera and relit again are told by their brightness, flashes left out.
    calm = light < 120
    camera = np.median(light[calm & (times > killed + 600) & (times < killed + 1000)])
    for part in (times < killed, times > times[-1] - 400):
        assert np.median(light[calm & part]) < 0.9 * camera
    call.evaluate("relit.stop()")
    assert call.evaluate("relit.getTracks().every((t) => t.readyState === 'ended') && relit.state === 'stopped'")
    assert call.evaluate("camera.stream.getTracks().every((t) => t.readyState === 'live')")


def test_sound_in_step(call: Page) -> None:
    """The microphone is held back as long as the picture takes, and follows a change of the delay."""
    relight(call, "page", 0.3)
    wait_for(call, "relit.state === 'live'")
    call.wait_for_timeout(5000)
    call.evaluate("relit.setStrength(1.0 / 4)")
    call.wait_for_timeout(7000)
    source, output = call.evaluate("[seen, shown]")
    measured = np.array(offsets(source, output))
    late_s = [age / 1000 for _, age in output["flashes"]]
    assert any(0.25 < each < 0.5 for each in late_s)
    assert late_s[-1] > 0.95
    # This machine runs nine things at once; docs/sdk.md has what a quiet one measures.
    assert np.median(np.abs(measured[:, 1])) < 45
