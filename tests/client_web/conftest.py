"""These fixtures start a real Chromium with a face before its camera, and a real server to light it.

Without Chromium these tests fail rather than skip. RELIGHT_ALLOW_NO_BROWSER=1
skips them where there can be no browser.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from engine.bench.sample_clip import PERIOD_S, sample_frames
from server.cli.extension import write_extension
from tests.client_web.extension import Extension, launch_extension
from tests.client_web.picture import Picture
from tests.client_web.serving import Serving
from tests.client_web.y4m import write_y4m

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--use-fake-device-for-media-stream",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FPS = 15  # a small machine runs browser, server and tests at once; the frame rate is the bench's subject
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def chromium_path() -> str | None:
    """Returns the path of the browser; None where there is none."""
    return next((found for name in CHROMIUMS if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Finds the browser and returns its path."""
    if found := chromium_path():
        return found
    if os.environ.get("RELIGHT_ALLOW_NO_BROWSER") == "1":
        pytest.skip("no Chromium, and RELIGHT_ALLOW_NO_BROWSER=1")
    pytest.fail("no Chromium: install it (`make browser`), or set RELIGHT_ALLOW_NO_BROWSER=1")


@pytest.fixture(scope="session")
def camera_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes the sample portrait, gently moving, 640×480, as y4m: Chromium's fake camera plays it in a loop."""
    path = tmp_path_factory.mktemp("camera") / "portrait.y4m"
    write_y4m(path, islice(sample_frames((480, 640), FPS), round(PERIOD_S * FPS)), FPS)
    return path


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Starts the server of the tests that look at the light."""
    server = Serving(tmp_path_factory.mktemp("server") / "server.log", "ratio")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Starts a server that sends pictures back as they are, which is enough for the tests that look at the page.

    It has the CPU's avatar and, with torch, a tiny and quick LCVD that draws noise.
    """
    folder = tmp_path_factory.mktemp("untouched")
    environment = {"RELIGHT_LCVD_SIZE": "64", "RELIGHT_LCVD_BACKEND": "eager", "OMP_NUM_THREADS": "1"}
    try:
        from lcvd.weights.tiny import write_tiny
    except ImportError:
        pass
    else:
        write_tiny(folder / "tiny")
        environment["RELIGHT_LCVD_WEIGHTS"] = str(folder / "tiny")
    server = Serving(folder / "server.log", "passthrough", **environment)
    server.start()
    yield server
    server.stop()


# The browsers live for one module: the synchronous Playwright keeps an event loop running in this thread while it
# is open, and the asynchronous tests of other folders need the thread for their own.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as opened:
        yield opened


@pytest.fixture(scope="module")
def launch(playwright: Playwright, chromium: str) -> Iterator[Callable[..., Browser]]:
    """Returns launch(*flags) -> Browser; the browsers are closed after the module."""
    browsers: list[Browser] = []

    def start(*flags: str) -> Browser:
        browsers.append(playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, *flags]))
        return browsers[-1]

    yield start
    for browser in browsers:
        browser.close()


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser], camera_clip: Path) -> Browser:
    """Starts Chromium with a camera that shows the portrait and is allowed."""
    return launch("--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={camera_clip}")


@pytest.fixture(scope="session")
def extension_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes the extension as `relight extension` does."""
    folder = tmp_path_factory.mktemp("built") / "extension"
    write_extension(folder)
    return folder


@pytest.fixture(scope="module")
def extension(
    playwright: Playwright,
    chromium: str,
    extension_folder: Path,
    camera_clip: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Extension]:
    """Starts Chromium with the extension, and with a camera that shows the portrait and is allowed."""
    flags = [*FLAGS, "--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={camera_clip}"]
    profile = tmp_path_factory.mktemp("profile")
    with launch_extension(playwright, chromium, extension_folder, profile, flags) as opened:
        yield opened


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Opens a fresh profile, which remembers nothing."""
    opened = browser.new_context(viewport={"width": 1280, "height": 800})
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """Opens an empty page; uncaught errors and violations of the content policy fail the test."""
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None)
    yield opened
    assert not complaints


@pytest.fixture
def picture(page: Page, serving: Serving) -> Picture:
    """Opens the page, live on the camera."""
    shown = Picture(page)
    page.goto(serving.url)
    shown.wait_live("camera")
    return shown
