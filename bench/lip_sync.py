"""Measure lips against voice in a real Chromium: flashes and beeps through a real server and the SDK, both sound ways.

    .venv/bin/python -m bench.lip_sync                               # both ways, all delays, switching: 3.5 minutes
    .venv/bin/python -m bench.lip_sync --ways server --delays 0.5 --each 600 --switching 0    # ten minutes: drift
    .venv/bin/python -m bench.lip_sync --ways server --viewer        # what a WHEP viewer gets, in a page of its own

The source is a canvas that flashes and an oscillator that beeps every 0.7 s over a low hum; the server holds pictures
back as long as it is told (tests/client_web/delayed_server.py). The same instrument reads the source and what the SDK
gives out; by how much the source's own beep is off its flash is taken off, event by event. Sound is dated by its
samples and pictures by their timestamps (tests/client_web/lip_sync.py), so that a late reader does not count. Pictures
and beeps are numbered, so that one of another moment is never taken for this one's.

Positive: the sound is late. `alone` are flashes without a beep within a third of a second, as where a change of delay
left it out; `holes` are silences of the hum over 20 ms, `clicks` steps in the sound that no beep explains. The machine
has to be quiet: the `source` column tells how much later than its flash the source's own beep was (5th to 95th
percentile), which is the machine and not the SDK. The last line of stdout is one JSON document; exit 1 where an offset
passes --max-p95-ms or --max-ms or a hole is there.
"""

import argparse
import itertools
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from tests.client_web.conftest import FLAGS, chromium_path
from tests.client_web.lip_sync import Heard, clicks, flashes, offsets, own_offsets, steady
from tests.client_web.serving import LateServing

INSTRUMENT = Path(__file__).resolve().parent.parent / "tests" / "client_web" / "flash_and_beep.js"
LONGEST_S = 4.0  # of the late server: its delay is that of set_strength(1)
PERIOD_S = 0.7
HOLE_MS = 20.0
SWITCH_S = 3.5  # how long each delay lasts while switching: five flashes
OPEN = """
async ([way, strength, period_s]) => {
  const { relight } = await import("/sdk/relight.js");
  const camera = harness.source(period_s, 15, true);
  window.seen = harness.listen(camera.stream, undefined, true);
  window.relit = await relight(camera.stream, { sound: way, strength, light: "soft-front" });
  window.shown = harness.listen(relit, () => relit.delay, true);
  window.delays = [];
  setInterval(() => delays.push([performance.now(), relit.delay]), 100);
}
"""
VIEW = """
async (name) => {
  const { WhepPlayer } = await import("/sdk/whep.js");
  const player = Object.assign(new Audio(), { muted: true }); // a received sound runs only while it is played
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error("the viewer gets no picture")), 20000));
  const live = new Promise((resolve) => new WhepPlayer(`${location.origin}/whep/${name}`, {}, {
    stream: (stream) => {
      window.shown = harness.listen(stream, undefined, true);
      player.srcObject = stream;
      player.play();
    },
    state: (state) => state === "live" && resolve(null),
  }));
  await Promise.race([live, late]);
}
"""
Span = tuple[str, float, float]  # name, from, to: page time, ms


def add_instrument(page: Page) -> None:
    """Gives a page what flashes, beeps and listens: `harness`."""
    page.evaluate(f"async () => {{ window.harness = await (async () => {{ {INSTRUMENT.read_text()} }})(); }}")


def viewed(viewer: Page, page: Page) -> Heard:
    """Returns what a viewer got, in the time of `page`."""
    heard = steady(viewer.evaluate("shown"))
    ahead_ms = viewer.evaluate("performance.timeOrigin") - page.evaluate("performance.timeOrigin")
    heard["beeps"] = [time + ahead_ms for time in heard["beeps"]]
    for name in ("white", "holes", "steps"):
        heard[name] = [(time + ahead_ms, *told) for time, *told in heard[name]]
    return heard


def run(
    page: Page, way: str, delays: list[float], each_s: float, switching_s: float, viewer: Page | None
) -> tuple[Heard, dict[str, Heard], list[Span]]:
    """Returns what the source gave, what the SDK gave out, and a viewer's page where there is one, and the spans of
    time by name.
    """
    page.evaluate(OPEN, [way, delays[0] / LONGEST_S, PERIOD_S])
    deadline = time.monotonic() + 30
    while page.evaluate("relit.state") != "live":
        if time.monotonic() > deadline:
            raise SystemExit(f"bench.lip_sync: no relit picture came in 30 s, in the {way} way")
        page.wait_for_timeout(50)
    if viewer is not None:
        viewer.evaluate(VIEW, page.evaluate("relit.view"))
    spans: list[Span] = []

    def hold(name: str, delay_s: float, seconds: float) -> None:
        begin = page.evaluate(
            "(strength) => { relit.setStrength(strength); return performance.now(); }", delay_s / LONGEST_S
        )
        time.sleep(seconds)
        spans.append((name, begin, page.evaluate("performance.now()")))

    for delay_s in delays:
        hold(f"{delay_s:g} s", delay_s, each_s)
    turns = itertools.cycle(delays)
    for _ in range(round(switching_s / SWITCH_S)):
        hold("switching", next(turns), SWITCH_S)
    page.wait_for_timeout(500)  # the beep of the last flash
    outputs = {way: steady(page.evaluate("shown"))}
    if viewer is not None:
        outputs["viewer"] = viewed(viewer, page)
    return steady(page.evaluate("seen")), outputs, spans


def table(source: Heard, output: Heard, spans: list[Span]) -> list[dict[str, Any]]:
    """Returns a row for each name of a span of two `steady` recordings; by minute too, where one lasts two minutes."""
    measured, own = offsets(source, output), own_offsets(source)
    edges = np.percentile(own, [5, 95]) if own else (0.0, 0.0)
    rows = []
    for name in dict.fromkeys(name for name, _, _ in spans):
        of_name = [(begin, end) for each, begin, end in spans if each == name]

        def within(time_ms: float, of_name: list[tuple[float, float]] = of_name) -> bool:
            return any(begin <= time_ms < end for begin, end in of_name)

        off = [(at, late) for at, late in measured if within(at)]
        late_ms = np.array([late for _, late in off])
        holes = [size for at, size in output["holes"] if within(at) and size > HOLE_MS]
        row: dict[str, Any] = {
            "name": name,
            "beeps": len(off),
            "alone": sum(within(at) for at, *_ in flashes(output)) - len(off),
            "median_ms": float(np.median(late_ms)) if len(off) else None,
            "p95_ms": float(np.percentile(abs(late_ms), 95)) if len(off) else None,
            "max_ms": float(abs(late_ms).max()) if len(off) else None,
            "holes": len(holes),
            "longest_hole_ms": max(holes, default=0.0),
            "clicks": sum(within(at) for at, _ in clicks(output)),
            "source_ms": [float(edge) for edge in edges],
            "offsets_ms": [round(float(late), 1) for late in late_ms],
        }
        begin, end = of_name[0]
        if end - begin >= 120_000:
            minutes = [[late for at, late in off if i * 60_000 <= at - begin < (i + 1) * 60_000] for i in range(99)]
            row["minutes_ms"] = [float(np.median(minute)) for minute in minutes if minute]
            row["drift_ms_per_minute"] = float(np.polyfit([at / 60_000 for at, _ in off], late_ms, 1)[0])
        rows.append(row)
    return rows


def shown(way: str, row: dict[str, Any]) -> str:
    """Returns a row as a line of the table."""
    values = (
        "       -        -        -"
        if row["median_ms"] is None
        else (f"{row['median_ms']:8.1f} {row['p95_ms']:8.1f} {row['max_ms']:8.1f}")
    )
    line = (
        f"{way:7} {row['name']:10} {row['beeps']:5} {row['alone']:5} {values} {row['holes']:5} {row['clicks']:6}"
        f"   {row['source_ms'][0]:.0f}…{row['source_ms'][1]:.0f}"
    )
    if "minutes_ms" in row:
        medians = ", ".join(f"{value:.1f}" for value in row["minutes_ms"])
        line += f"\n{'':18} by minute: {medians} ms; {row['drift_ms_per_minute']:+.2f} ms a minute"
    return line


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line; ends with a message where a value cannot be used."""
    parser = argparse.ArgumentParser(
        prog="bench.lip_sync", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", default="page,server", help="of the sound: page, server or both")
    parser.add_argument("--delays", default="0.05,0.5,1,3,0.05", help="of the engine, seconds, one after the other")
    parser.add_argument("--each", type=float, default=10.0, help="seconds of each delay")
    parser.add_argument(
        "--switching", type=float, default=42.0, help=f"seconds of a change every {SWITCH_S} s; 0: none"
    )
    parser.add_argument("--viewer", action="store_true", help="a WHEP viewer beside; its sound is the server's alone")
    parser.add_argument("--max-p95-ms", type=float, default=20.0)
    parser.add_argument("--max-ms", type=float, default=45.0)
    parser.add_argument("--raw", type=Path, help="file for all that was seen and heard, JSON")
    options = parser.parse_args(arguments)
    options.ways = options.ways.split(",")
    if options.viewer and options.ways != ["server"]:
        parser.error("--viewer: a viewer hears what goes through the server; add --ways server")
    if wrong := [way for way in options.ways if way not in ("page", "server")]:
        parser.error(f"--ways {wrong[0]!r}: it is page, server, or page,server")
    try:
        options.delays = [float(delay) for delay in options.delays.split(",")]
    except ValueError:
        parser.error(f"--delays {options.delays!r}: give seconds with commas between them, as 0.05,0.5,1,3")
    if not all(0.0 <= delay <= LONGEST_S for delay in options.delays):
        parser.error(f"--delays {options.delays}: each is from 0 to {LONGEST_S:g} s")
    if not options.each >= 2 * PERIOD_S or not 0 <= options.switching < float("inf"):
        parser.error(f"--each {options.each} --switching {options.switching}: at least {2 * PERIOD_S} and 0 s")
    return options


def main() -> int:
    """Prints the table and the JSON document; returns 1 where a limit was passed."""
    options = options_of()
    path = chromium_path()
    if path is None:
        raise SystemExit("bench.lip_sync: no Chromium: install it (`make browser`)")
    rows: dict[str, list[dict[str, Any]]] = {}
    raw = {}
    print("way     delay      beeps alone   median    |p95|    |max| holes clicks   source")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = LateServing(Path(folder) / "server.log", "ratio")
        server.start()
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        version = browser.version
        try:
            for way in options.ways:
                page = browser.new_page()
                viewer = browser.new_page() if options.viewer else None
                for each in filter(None, (page, viewer)):
                    each.goto(f"{server.url}sdk/package.json")
                    add_instrument(each)
                source, outputs, spans = run(page, way, options.delays, options.each, options.switching, viewer)
                raw[way] = {"source": source, **outputs, "spans": spans, "delays": page.evaluate("delays")}
                for each in filter(None, (page, viewer)):
                    each.close()
                for name, output in outputs.items():
                    rows[name] = table(source, output, spans)
                    print("\n".join(shown(name, row) for row in rows[name]), flush=True)
        finally:
            browser.close()
            server.stop()
    if options.raw:
        options.raw.write_text(json.dumps(raw))
    every = [row for of_way in rows.values() for row in of_way]
    passed = all(
        row["p95_ms"] is not None
        and row["p95_ms"] <= options.max_p95_ms
        and row["max_ms"] <= options.max_ms
        and not row["holes"]
        for row in every
    )
    print(json.dumps({"ways": rows, "passed": passed, "chromium": version, "machine": platform.platform()}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
