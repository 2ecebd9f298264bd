"""Measure what participants see when a worker of `relight serve --workers` is killed or drained, again and again.

    .venv/bin/python -m bench.failover --kills 10 --drains 5

One Chromium has all participants: the SDK of each relights a camera (640 px wide, 20 fps) at strength 0.5, the first
as an avatar. Killed (kill -9) or drained is the worker with most participants. Of each event: for every participant
that it met, the time to the next relit picture, or for a drain the longest gap between relit pictures (`from_s`: when
it began, seconds after the drain did; `before`: the longest of the two seconds before it, which is the machine's and
not the drain's); and whether strength, engine and portrait are still what was chosen. The last line of stdout is one
JSON document.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
import urllib.error
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.client_web.conftest import FLAGS, chromium_path
from tests.client_web.serving import Serving

GAP_MS = 300.0  # a pause so long between relit pictures, right after an event, is the event's
SETTLE_S = 6.0  # after everyone is back
BEFORE_MS = 2000.0
OPEN = """
async ([count, width, fps]) => {
  const { relight } = await import("/sdk/relight.js");
  window.everyone = [];
  const camera = await harness.source(width, fps);
  for (let number = 0; number < count; number += 1) {
    const avatar = number ? null : await (await fetch("/sample/portrait.jpg")).blob();
    const options = { light: "neon", strength: 0.5, mirror: true, ...(avatar && { avatar }) };
    const relit = await relight(camera.stream.clone(), options);
    const pictures = [];
    harness.watch(relit, camera.drawn, () => relit.state, pictures);
    everyone.push({ relit, pictures });
  }
}
"""
LIVE = "everyone.every(({ relit }) => relit.state === 'live')"
NOW = "harness.wall_ms()"
RECENT = """
(since) => everyone.map(({ pictures }) =>
  pictures.filter(([at, , state]) => state === "live" && at > since).map(([at]) => at))
"""


def workers(server: Serving, count: int) -> list[dict[str, Any]]:
    """Waits until `count` workers are ready; returns them, the one with most participants first."""
    return sorted(server.ready_workers(count), key=lambda each: -each["sessions"])


def wait_live(page: Page) -> None:
    """Waits until every participant sees relit pictures."""
    deadline_s = time.monotonic() + 60
    while not page.evaluate(LIVE):
        if time.monotonic() > deadline_s:
            states = page.evaluate("everyone.map(({ relit }) => relit.state)")
            raise SystemExit(f"bench.failover: not everyone is live after 60 s: {states}")
        page.wait_for_timeout(50)


def after(times: list[float], event_ms: float) -> float | None:
    """Returns the ms from an event to the first relit picture after the pause that it made; None where it made none."""
    for before, following in pairwise(times):
        if following > event_ms and following - before > GAP_MS:
            return following - event_ms
    return None


def kept(server: Serving) -> int:
    """Returns how many participants have what they chose."""
    count = 0
    for line in server.ask("debug/sessions"):
        if line["connection"] != "connected":
            continue
        try:
            asked = server.ask(f"debug/session/{line['session']}")["requested"]
        except urllib.error.HTTPError:  # a former session of somebody who came back
            continue
        engine = "avatar" if asked["portrait"] else "ratio"
        count += (asked["strength"], asked["mirror"], asked["engine"]) == (0.5, True, engine)
    return count


def killed(page: Page, server: Serving, count: int) -> dict[str, Any]:
    """Kills the fullest worker; returns what its participants saw."""
    worker = workers(server, count)[0]
    event_ms = time.time() * 1e3
    os.kill(int(worker["place"]), signal.SIGKILL)
    page.wait_for_timeout(1000)
    wait_live(page)
    page.wait_for_timeout(1500)
    waits = [after(times, event_ms) for times in page.evaluate(RECENT, event_ms - 1500)]
    return {"met": worker["sessions"], "ms": [round(wait) for wait in waits if wait is not None], "kept": kept(server)}


def drained(page: Page, server: Serving, count: int, replace: bool) -> dict[str, Any]:
    """Drains the fullest worker; returns the longest gap that anybody saw, a successor's warm-up included."""
    worker = workers(server, count)[0]
    event_ms = time.time() * 1e3
    server.ask(f"api/workers/{worker['worker']}/drain?replace={str(replace).lower()}", "POST")
    page.wait_for_timeout(1500)
    gaps, starts, before = [], [], []
    for times in page.evaluate(RECENT, event_ms - BEFORE_MS):
        never = (page.evaluate(NOW) - event_ms, event_ms)
        gap, start = max(((b - a, a) for a, b in pairwise(times) if b > event_ms), default=never)
        gaps.append(round(gap))
        starts.append(round((start - event_ms) / 1e3, 1))
        before.append(round(max((b - a for a, b in pairwise(times) if b <= event_ms), default=BEFORE_MS)))
    return {"met": worker["sessions"], "ms": gaps, "from_s": starts, "before": max(before), "kept": kept(server)}


def main() -> None:
    """Runs the events and prints a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--drains", type=int, default=5)
    parser.add_argument("--retire", action="store_true", help="drain without successors, to workers that are warm")
    parser.add_argument("--width", type=int, default=640, help="of each camera, px; pictures are 4:3")
    parser.add_argument("--fps", type=int, default=20, help="of each camera")
    asked = parser.parse_args()
    if asked.participants < 1 or asked.workers < 2 or asked.kills < 0 or asked.drains < 0:
        parser.error("--participants is at least 1, --workers at least 2, --kills and --drains at least 0")
    if asked.width < 160 or asked.width % 16 or not 1 <= asked.fps <= 60:
        parser.error(f"--width {asked.width} --fps {asked.fps}: a multiple of 16 from 160 on, and 1 to 60")
    log = Path(tempfile.mkdtemp()) / "server.log"
    started = asked.workers + (asked.drains if asked.retire else 0)
    server = Serving(log, "ratio", RELIGHT_WORKERS=str(started), OMP_NUM_THREADS="1")
    server.start()
    chromium = chromium_path()
    instrument = Path(__file__).parent.joinpath("network/page.js").read_text()
    events: list[dict[str, Any]] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page()
            page.goto(f"{server.url}sdk/package.json")
            page.evaluate(f"async () => {{ window.harness = await (async () => {{ {instrument} }})(); }}")
            workers(server, started)
            page.evaluate(OPEN, [asked.participants, asked.width, asked.fps])
            wait_live(page)
            drain = partial(drained, replace=not asked.retire)
            for kind, count, act in (("kill", asked.kills, killed), ("drain", asked.drains, drain)):
                for _ in range(count):
                    page.wait_for_timeout(SETTLE_S * 1e3)
                    workers(server, asked.workers)
                    wait_live(page)
                    event = {"event": kind, **act(page, server, asked.workers), "load": round(os.getloadavg()[0], 1)}
                    events.append(event)
                    print(*event.values(), file=sys.stderr, flush=True)
            browser.close()
    except BaseException:
        print(log.read_text(), file=sys.stderr)
        raise
    finally:
        server.stop()
    for kind, what in (("kill", "ms to the next relit picture"), ("drain", "ms of the longest gap")):
        seen = sorted(ms for event in events if event["event"] == kind for ms in event["ms"])
        if seen:
            lost = sum(asked.participants - event["kept"] for event in events if event["event"] == kind)
            print(f"{kind}: {what}: median {statistics.median(seen):.0f}, max {seen[-1]}; choices lost: {lost}")
    print(json.dumps({"machine": platform.processor() or platform.machine(), "events": events}))


if __name__ == "__main__":
    main()
