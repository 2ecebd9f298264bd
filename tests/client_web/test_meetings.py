"""In meetings that nobody here wrote the far side sees the relit picture, through reloads and a restarted server."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from tests.client_web.extension import Extension
from tests.client_web.meetings import janus_room, missing_janus, missing_peerjs, peerjs_call
from tests.client_web.picture import Picture
from tests.client_web.serving import Serving

pytestmark = pytest.mark.browser

LEFT, RIGHT = "rembrandt-left", "rembrandt-right"  # of the picture: which side of the face is the brighter one


@pytest.fixture(scope="module")
def lit(extension: Extension, serving: Serving) -> Extension:
    """Connects the extension with the server that relights."""
    extension.connect(serving.url)
    assert extension.popup.text_content("#server-state") == urlsplit(serving.url).netloc
    return extension


@pytest.fixture
def far(browser: Browser) -> Iterator[Page]:
    """Opens the far side, in a browser that has no extension."""
    page = browser.new_page()
    yield page
    page.close()


def follows_the_key(shown: Picture, extension: Extension) -> None:
    """The brighter side of the face at the far side is the one that the popup's light is on."""
    for light, sign in ((LEFT, 1), (RIGHT, -1), (LEFT, 1)):
        extension.choose(light)
        assert shown.settle(lambda sign=sign: sign * shown.lean(), lambda lean: lean > 0.06, 80) > 0.06, light


def participants(page: Page, serving: Serving) -> float:
    """How many connections the server relights now."""
    text = page.request.get(f"{serving.url}metrics").text()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("relight_sessions "))


@pytest.mark.skipif(bool(missing_peerjs()), reason=missing_peerjs())
def test_a_peerjs_call(lit: Extension, far: Page, serving: Serving) -> None:
    """Relit at the far side and after a reload; once the page stops its tracks, the server's place is free."""
    with peerjs_call() as (address, port):
        page = lit.open(address)
        far.goto(address)
        far.evaluate("(port) => join('far', port)", port)
        for name in ("near", "again"):
            page.evaluate("([name, port]) => join(name, port)", [name, port])
            page.evaluate("start('Relight (')")
            far.evaluate("document.querySelector('#remote').srcObject = null")  # not the picture of the last call
            page.evaluate("ring('far')")
            far.wait_for_function("document.querySelector('#remote').videoWidth === 640", timeout=30000)
            follows_the_key(Picture(far), lit)
            if name == "near":
                page.reload()
        lit.popup.wait_for_selector('#status[data-tone="live"]')
        page.evaluate("stream.getTracks().forEach((track) => track.stop())")
        lit.popup.wait_for_selector('#stage[data-link=""]', state="attached")
        shown = Picture(far)
        assert shown.settle(lambda: participants(far, serving), lambda count: count == 0, 10) == 0
        page.close()


@pytest.mark.skipif(bool(missing_janus()), reason=missing_janus())
def test_the_videoroom_of_janus(lit: Extension, far: Page) -> None:
    """The page has no choice of a camera, so the site is switched on; the far side sees the picture relit."""
    with janus_room() as address:
        lit.set(sites=[address.removesuffix("/videoroomtest.html")])
        page = lit.context.new_page()
        for who, name in ((page, "near"), (far, "far")):
            who.goto(address)
            who.click("#start")
            who.fill("#username", name)
            who.click("#register")
        far.wait_for_function(
            "[...document.querySelectorAll('#videoremote1 video')].some(({ videoWidth }) => videoWidth)", timeout=30000
        )
        far.evaluate("document.querySelector('#videoremote1 video').id = 'remote'")
        follows_the_key(Picture(far), lit)
        lit.set(sites=[])
        page.close()
