"""A private server with its own certificate, in the browser: the printed link, the page, and a viewer by its link."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.client_web.picture import Picture
from tests.client_web.serving import Serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Path]]:
    """Starts a server with `--private --tls self-signed`; gives it and the file of its output."""
    folder = tmp_path_factory.mktemp("private")
    log = folder / "server.log"
    server = Serving(
        log, "ratio", RELIGHT_PRIVATE="1", RELIGHT_TLS="self-signed", RELIGHT_STATE_DIR=str(folder / "state")
    )
    server.start()
    yield server, log
    server.stop()


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Callable[[], BrowserContext]]:
    """Makes browsers of people who went past the warning of the certificate."""
    contexts: list[BrowserContext] = []

    def come() -> BrowserContext:
        context = browser.new_context(ignore_https_errors=True, permissions=["camera"])
        contexts.append(context)
        return context

    yield come
    for context in contexts:
        context.close()


def printed_link(log: Path) -> str:
    """The link for one use in the server's output, which comes just after the server is ready."""
    for _ in range(100):
        if found := re.search(r"(https://localhost:\d+/#join=\S+)", log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_the_printed_link_opens_the_page_once_and_the_share_link_shows_the_picture(
    private: tuple[Serving, Path], visitor: Callable[[], BrowserContext]
) -> None:
    """Page and socket are encrypted; a stranger, and a second use of the link, hear why they stay outside."""
    server, log = private
    link = printed_link(log)
    owner = visitor().new_page()
    owner.goto(link)
    picture = Picture(owner)
    picture.wait_live()
    assert "#" not in owner.url
    owner.click("#share")
    picture.settle(lambda: float("#token=" in owner.input_value("#share-address")), bool, 10)
    shared = owner.input_value("#share-address")
    assert shared.startswith(f"{server.url}view/")
    assert "until" in owner.inner_text("#share-reach")
    assert owner.evaluate("document.querySelector('#share-qr').decode().then(() => true)")
    viewer = visitor().new_page()
    viewer.goto(shared)
    viewer.wait_for_selector("body[data-state=live]", timeout=40_000)
    shown = Picture(viewer)
    assert shown.settle(lambda: viewer.evaluate("document.querySelector('#picture').videoWidth"), bool) > 0
    stranger = visitor().new_page()
    stranger.goto(shared.split("#")[0])
    stranger.get_by_text("This link needs a token").first.wait_for(timeout=60_000)
    late = visitor().new_page()
    late.goto(link, wait_until="commit")  # what it waits for next is shown for 8 s
    late.locator(".toast[data-code=unauthorized]").wait_for(timeout=60_000)  # the connection without a token
    assert "used already" in late.inner_text(".toast[data-code=link_refused]")
    owner.reload()  # the tab keeps its token
    picture.wait_live()
