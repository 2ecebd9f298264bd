"""server.camera.page: the control page's own server, as a page, a program and a foreign page meet it."""

import asyncio
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import websockets

from lcvd.lighting.presets import PRESETS
from server.camera.control import CameraControl
from server.camera.page import MAX_PAGES, ControlPage
from server.session.requested import Requested
from server.session.state import Server
from server.settings import Settings


@pytest.fixture
def control() -> CameraControl:
    return CameraControl(Requested("passthrough"))


@pytest.fixture
def page(control: CameraControl) -> Iterator[ControlPage]:
    """The page of a pipeline that stands still."""
    status = {"type": "status", "camera": "live", "fps": 30.0}
    pipeline = SimpleNamespace(status=lambda: status, latest=np.full((480, 640, 3), (200, 50, 50), np.uint8))
    server = Server(Settings(host="127.0.0.1", port=0, engine="passthrough"))
    opened = ControlPage(server, control, pipeline)
    opened.start()
    yield opened
    opened.close()
    server.engines.close()


def test_the_page_and_the_lights_are_served_on_loopback_alone(page: ControlPage) -> None:
    """With the headers of the main page; nothing else of the server's API is here."""
    assert page.url.startswith("http://127.0.0.1:")
    with httpx.Client(base_url=page.url, follow_redirects=True) as client:
        shown = client.get("/")
        assert "Relight camera" in shown.text
        assert "default-src 'self'" in shown.headers["content-security-policy"]
        assert client.get("/camera/main.js").headers["content-type"].startswith("text/javascript")
        assert [light["name"] for light in client.get("/api/lights").json()] == [each.name for each in PRESETS]
        assert client.get("/metrics").status_code == 404


async def opened(page: ControlPage, **options: object) -> websockets.ClientConnection:
    url = page.url.replace("http", "ws") + "control"
    return await asyncio.wait_for(_retrying(url, options), 20)


async def _retrying(url: str, options: dict) -> websockets.ClientConnection:
    while True:
        try:
            return await websockets.connect(url, **options)
        except OSError:
            await asyncio.sleep(0.05)


async def message(socket: websockets.ClientConnection, kind: str) -> dict:
    """The next message of a type; previews are of type `jpeg`."""
    async with asyncio.timeout(20):
        while True:
            data = await socket.recv()
            found = {"type": "jpeg", "data": data} if isinstance(data, bytes) else json.loads(data)
            if found["type"] == kind:
                return found


async def both(socket: websockets.ClientConnection, *kinds: str) -> list[dict]:
    """The next message of each type, in the order of `kinds`: no order is promised between an answer and the state."""
    found: dict[str, dict] = {}
    async with asyncio.timeout(20):
        while len(found) < len(kinds):
            data = await socket.recv()
            if isinstance(data, str) and (each := json.loads(data))["type"] in kinds:
                found.setdefault(each["type"], each)
    return [found[kind] for kind in kinds]


async def test_state_status_and_preview_come_and_choices_go(page: ControlPage, control: CameraControl) -> None:
    """What the terminal changes is told as well."""
    import cv2

    async with await opened(page) as socket:
        assert (await message(socket, "state"))["light"] == "original"
        assert (await message(socket, "status"))["camera"] == "live"
        jpeg = np.frombuffer((await message(socket, "jpeg"))["data"], np.uint8)
        picture = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        assert picture.shape == (360, 480, 3)
        assert np.abs(picture.mean((0, 1)) - (50, 50, 200)).max() < 5
        await socket.send('{"type":"set_light","id":7,"preset":"split-left"}')
        ack, state = await both(socket, "ack", "state")
        assert ack["id"] == 7
        assert state["light"] == "split-left"
        await asyncio.to_thread(control.toggle_mirror)
        assert (await message(socket, "state"))["mirror"] is True
        await socket.send('{"type":"set_strength","value":7}')
        assert "value=7" in (await message(socket, "error"))["message"]
        await socket.send(b"no text")
    assert control.requested.light.base.name == "split-left"


async def test_foreign_pages_and_too_many_are_refused(page: ControlPage, control: CameraControl) -> None:
    """Another site cannot move the light, nor look: the preview never leaves."""
    async with await opened(page, origin="https://evil.example") as socket:
        refused = json.loads(await socket.recv())
        assert refused["code"] == "foreign_origin"
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()
    own = [await opened(page, origin=page.url.rstrip("/")) for _ in range(MAX_PAGES)]
    for socket in own:
        await message(socket, "state")
    async with await opened(page) as socket:
        assert json.loads(await socket.recv())["code"] == "busy"
    for socket in own:
        await socket.close()


def test_closing_ends_the_thread(control: CameraControl) -> None:
    """Also where nobody ever came."""
    server = Server(Settings(host="127.0.0.1", port=0, engine="passthrough"))
    page = ControlPage(server, control, SimpleNamespace(status=dict, latest=None))
    page.start()
    page.close()
    assert "relight-page" not in {thread.name for thread in threading.enumerate()}
