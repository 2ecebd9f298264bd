"""Several worker processes by Ray: the SDK's stream outlives the death and the drain of the one that relights it."""

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.client_web.serving import Serving

pytestmark = pytest.mark.browser
OPEN = """
async () => {
  const { relight } = await import("/sdk/relight.js");
  window.states = [];
  const camera = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
  window.relit = await relight(camera, { light: "neon", strength: 0.5 });
  window.first = relit.getVideoTracks()[0];
  relit.on("state", (state) => states.push(state));
  window.acks = [];
  relit.on("welcome", (welcome) => acks.push(welcome.session));
}
"""


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Runs a front with two workers."""
    pytest.importorskip("ray", reason="pip install -e '.[cluster]'")
    server = Serving(
        tmp_path_factory.mktemp("workers") / "server.log", "passthrough", RELIGHT_WORKERS="2", OMP_NUM_THREADS="1"
    )
    server.start()
    yield server
    server.stop()


def busy(server: Serving) -> dict[str, Any]:
    """Waits for the worker that has the participant; returns it."""
    deadline = time.monotonic() + 30
    while not (found := [each for each in server.ask("api/workers") if each["sessions"]]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found[0]


def wait_live(page: Page) -> None:
    """Waits until the relit picture is shown."""
    deadline = time.monotonic() + 40
    while page.evaluate("relit.state") != "live":
        assert time.monotonic() < deadline, page.evaluate("[relit.state, states]")
        page.wait_for_timeout(50)


def test_stream_outlives_its_worker(page: Page, workers: Serving) -> None:
    """After kill -9 the same track goes on, relit by the other worker; a drain is not even seen."""
    workers.ready_workers(2)
    page.goto(f"{workers.url}sdk/package.json")
    page.evaluate(OPEN)
    wait_live(page)
    lost = busy(workers)
    page.evaluate("states.length = 0")
    os.kill(int(lost["place"]), signal.SIGKILL)
    page.wait_for_timeout(500)  # the picture of before is held no longer than that
    wait_live(page)
    assert page.evaluate("first === relit.getVideoTracks()[0] && first.readyState === 'live'")
    left = [each["worker"] for each in workers.ready_workers(2)]
    assert lost["worker"] not in left  # another took its place
    metrics = urllib.request.urlopen(f"{workers.url}metrics").read().decode()
    assert "relight_workers_lost_total 1.0" in metrics

    page.evaluate("states.length = 0")
    now = busy(workers)
    workers.ask(f"api/workers/{now['worker']}/drain?replace=false", "POST")
    assert [each["worker"] for each in workers.ask("api/workers")] == [each for each in left if each != now["worker"]]
    page.wait_for_timeout(500)
    assert page.evaluate("states") == []  # "live" all the time
    assert page.evaluate("relit.state") == "live"
    page.evaluate("relit.stop()")
