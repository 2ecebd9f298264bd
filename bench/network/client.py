"""The participant of `bench.network`: a Chromium in this process's network namespace, until a line comes on stdin.

    python -m bench.network.client URL

Prints `live` once the first relit picture is there, and at the end one JSON document: `pictures` (wall clock in ms, age
in ms or null, the SDK's state, width, height), `states`, `troubles` and `numbers` (getStats, twice a second).
"""

import json
import select
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.client_web.conftest import FLAGS, chromium_path

OPEN = """
async () => {
  const { relight } = await import("/sdk/relight.js");
  window.pictures = []; window.states = []; window.troubles = []; window.counted = [];
  const camera = await harness.source();
  window.relit = await relight(camera.stream, { light: "soft-front", strength: 0.5 });
  relit.on("state", (state) => states.push([harness.wall_ms(), state]));
  relit.on("trouble", (trouble) => troubles.push([harness.wall_ms(), trouble.code, trouble.message]));
  harness.watch(relit, camera.drawn, () => relit.state, pictures);
  setInterval(async () => counted.push(...(await harness.numbers())), 500);
}
"""


def main() -> None:
    url = sys.argv[1]
    chromium = chromium_path()
    flags = [*FLAGS, f"--unsafely-treat-insecure-origin-as-secure={url.rstrip('/')}"]
    instrument = Path(__file__).with_name("page.js").read_text()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.goto(f"{url}sdk/package.json")
        page.evaluate(f"async () => {{ window.harness = await (async () => {{ {instrument} }})(); }}")
        page.evaluate(OPEN)
        deadline_s = time.monotonic() + 40
        while page.evaluate("relit.state") != "live":
            if time.monotonic() > deadline_s:
                raise SystemExit(f"no relit picture came in 40 s: {page.evaluate('[states, troubles]')}")
            page.wait_for_timeout(100)
        print("live", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            page.wait_for_timeout(100)
        print(json.dumps(page.evaluate("({ pictures, states, troubles, numbers: counted })")), flush=True)
        browser.close()


if __name__ == "__main__":
    main()
