"""Measure lips against voice at the far side of a PeerJS call whose near side uses the extension.

    .venv/bin/python -m bench.meeting_sound                      # delays of 0.1, 0.5 and 1.5 s: 1.5 minutes
    .venv/bin/python -m bench.meeting_sound --delays 0.5 --each 120

Chromium's fake camera flashes and its fake microphone beeps, each by a file of its own, at times that are not tied;
the server holds pictures back as long as it is told (tests/client_web/delayed_server.py). The near page reads both
without the extension, and the far one what PeerJS brings: `picture` is the delay of a flash from there to here, and
the offset by how much that of the next beep is longer. Positive: the sound is late. The row of delay 0 is a call of
the plain camera and microphone in the same pages: what the browsers themselves leave. The far side is a browser
without the extension; its own synchroniser works as it does for anybody. Needs `make browser` (Chromium, peerjs). The
last line of stdout is one JSON document; exit 1 where an offset passes --max-p95-ms or --max-ms.
"""

import argparse
import json
import platform
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright

from bench.lip_sync import LONGEST_S, add_instrument
from server.cli.extension import write_extension
from tests.client_web.conftest import FLAGS, chromium_path
from tests.client_web.extension import launch_extension
from tests.client_web.lip_sync import steady
from tests.client_web.meetings import missing_peerjs, peerjs_call
from tests.client_web.serving import LateServing
from tests.client_web.y4m import write_y4m

SDK = Path(__file__).resolve().parent.parent / "client_web" / "sdk"
PERIOD_S = 1.2  # of a flash, and of a beep: longer than twice what is between USUAL_MS and the truth
FPS, RATE = 20, 48_000
FLASH_S, BEEP_S, TONE_HZ, HUM_HZ = 0.15, 0.03, 1000, 250
SETTLE_S = 6.0  # after a change of delay
USUAL_MS = 150.0  # of capture, codecs and players, beside the engine's delay
Row = dict[str, Any]
RAW = """
async () => {
  const devices = await navigator.mediaDevices.enumerateDevices();
  const plain = (kind) => {
    const ofKind = devices.filter((each) => each.kind === kind);
    const { label } = ofKind.find((each) => each.label.startsWith("Relight (")); // as the call's page picks it
    return { deviceId: { exact: ofKind.find((each) => `Relight (${each.label})` === label).deviceId } };
  };
  // As the page asks for the relit ones: with other wishes Chromium plays the microphone's file a second time.
  const raw = await navigator.mediaDevices.getUserMedia({ video: plain("videoinput"), audio: plain("audioinput") });
  window.raw = harness.listen(raw, undefined, true);
  window.rawStream = raw;
}
"""
PLAIN = """
async () => {
  const shown = document.querySelector("#remote");
  const before = shown.srcObject;
  window.answeredAgain = () => shown.srcObject !== before;
}
"""
FAR = """
() => {
  const { srcObject } = document.querySelector("#remote");
  window.far = harness.listen(srcObject, undefined, true);
}
"""


def pictures() -> Iterator[NDArray[np.uint8]]:
    """Gives one period of the camera: grey, with a white beginning and a square that moves."""
    for index in range(round(PERIOD_S * FPS)):
        picture = np.full((240, 320, 3), 255 if index < FLASH_S * FPS else 64, np.uint8)
        picture[200:220, 10 * index : 10 * index + 20] = (112, 128, 144)
        yield picture


def write_sound(path: Path) -> None:
    """Writes one period of the microphone: a hum with a beep at its beginning, 16 bit mono."""
    at_s = np.arange(round(PERIOD_S * RATE)) / RATE
    sound = 0.05 * np.sin(2 * np.pi * HUM_HZ * at_s) + 0.5 * np.sin(2 * np.pi * TONE_HZ * at_s) * (at_s < BEEP_S)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((sound * 32767).astype("<i2").tobytes())


def delays_of(source_ms: list[float], output_ms: list[float], about_ms: float) -> NDArray[np.float64]:
    """Returns (time, delay) of each event of the output: its source is the one that `about_ms` fits best."""
    source, output = np.array(sorted(source_ms)), np.array(sorted(output_ms))
    if not len(source) or not len(output):
        raise SystemExit(f"bench.meeting_sound: {len(source)} events at the source, {len(output)} at the far side")
    apart = output[:, None] - source[None, :]
    best = abs(apart - about_ms).argmin(axis=1)
    return np.column_stack((output, apart[np.arange(len(output)), best]))


def watched(far: Page, delays: list[float], each_s: float, choose: Callable[[float], None]) -> list[float]:
    """Lets each delay of the engine go on for a while; returns when each began, in the far page's time."""
    begins = []
    for delay_s in delays:
        choose(delay_s)
        far.wait_for_timeout(SETTLE_S * 1e3)
        begins.append(far.evaluate("performance.now()"))
        far.wait_for_timeout(each_s * 1e3)
    return begins


def measured(near: Page, far: Page, delays: list[float], begins: list[float], each_s: float) -> list[Row]:
    """Returns a row for each delay of the engine; 0 is the plain call."""
    ahead_ms = near.evaluate("performance.timeOrigin") - far.evaluate("performance.timeOrigin")
    source, output = steady(near.evaluate("raw")), steady(far.evaluate("far"))
    drawn, spoken = [time + ahead_ms for time, _ in source["flashes"]], [time + ahead_ms for time in source["beeps"]]
    rows = []
    for delay_s, begin_ms in zip(delays, begins, strict=True):

        def within(time: float, begin_ms: float = begin_ms) -> bool:
            return begin_ms <= time < begin_ms + each_s * 1e3

        about_ms = delay_s * 1e3 + USUAL_MS
        seen = delays_of(drawn, [time for time, _ in output["flashes"] if within(time)], about_ms)
        heard = delays_of(spoken, [time for time in output["beeps"] if within(time)], about_ms)
        off = np.interp(seen[:, 0], heard[:, 0], heard[:, 1]) - seen[:, 1]
        rows.append(
            {
                "delay_s": delay_s,
                "events": len(off),
                "picture_ms": float(np.median(seen[:, 1])),
                "median_ms": float(np.median(off)),
                "p95_ms": float(np.percentile(abs(off), 95)),
                "max_ms": float(abs(off).max()),
            }
        )
    return rows


def main() -> int:
    """Prints the table and the JSON document; returns 1 where a limit was passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delays", default="0.1,0.5,1.5", help="of the engine, seconds, one after the other")
    parser.add_argument("--each", type=float, default=20.0, help="seconds of each delay")
    parser.add_argument("--max-p95-ms", type=float, default=20.0)
    parser.add_argument("--max-ms", type=float, default=45.0)
    asked = parser.parse_args()
    delays = [float(delay) for delay in asked.delays.split(",")]
    path = chromium_path()
    if path is None or missing_peerjs():
        raise SystemExit(f"bench.meeting_sound: {missing_peerjs() or 'no Chromium: install it (`make browser`)'}")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        write_y4m(folder / "camera.y4m", pictures(), FPS)
        write_sound(folder / "microphone.wav")
        write_extension(folder / "extension")
        server = LateServing(folder / "server.log", "ratio")
        server.start()
        flags = [
            *FLAGS,
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-video-capture={folder / 'camera.y4m'}",
            f"--use-file-for-fake-audio-capture={folder / 'microphone.wav'}",
        ]
        far_browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            with (
                peerjs_call() as (address, port),
                launch_extension(playwright, path, folder / "extension", folder / "profile", flags) as extension,
            ):
                extension.connect(server.url)
                near, far = extension.open(address), far_browser.new_page()
                far.goto(address)
                for page in (near, far):  # the meeting's own server knows nothing of ours
                    page.route("**/sdk/ticker.js", lambda route: route.fulfill(path=SDK / "ticker.js"))
                    add_instrument(page)
                far.evaluate("(port) => join('far', port)", port)
                near.evaluate("(port) => join('near', port)", port)
                near.evaluate("start('Relight (')")
                near.evaluate("ring('far')")
                far.wait_for_function("document.querySelector('#remote').videoWidth", timeout=30000)
                near.evaluate(RAW)
                far.evaluate(FAR)

                def choose(delay_s: float) -> None:
                    extension.set(strength=delay_s / LONGEST_S)

                begins = watched(far, delays, asked.each, choose)
                rows = measured(near, far, delays, begins, asked.each)
                far.evaluate(PLAIN)
                near.evaluate("peer.call('far', rawStream)")
                far.wait_for_function("answeredAgain() && document.querySelector('#remote').videoWidth", timeout=30000)
                far.evaluate(FAR)
                begins = watched(far, [0.0], asked.each, lambda _: None)
                plain = measured(near, far, [0.0], begins, asked.each)
        finally:
            far_browser.close()
            server.stop()
    print("delay events  picture   median    |p95|    |max|")
    for row in [*plain, *rows]:
        figures = " ".join(f"{row[name]:8.1f}" for name in ("picture_ms", "median_ms", "p95_ms", "max_ms"))
        print(f"{row['delay_s']:5g} {row['events']:6} {figures}")
    passed = all(row["p95_ms"] <= asked.max_p95_ms and row["max_ms"] <= asked.max_ms for row in rows)
    print(json.dumps({"rows": rows, "plain": plain, "passed": passed, "machine": platform.platform()}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
