"""A small participant for tests: a WebSocket, an aiortc connection that sends a moving picture, and what came back."""

import asyncio
import contextlib
import fractions
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import av
import numpy as np
import uvicorn
import websockets
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from fastapi import FastAPI

from server.http.app import create_app, uvicorn_config
from server.settings import Settings

Picture = Callable[[int], np.ndarray]
PATIENCE_S = 40.0  # a wait this long means the test failed; machines may be very busy


def moving_square(size: tuple[int, int] = (120, 160)) -> Picture:
    """Returns index -> RGB [H,W,3]: a bright square that walks over a gradient."""
    height, width = size

    def picture(index: int) -> np.ndarray:
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[..., 0] = np.linspace(20, 200, width, dtype=np.uint8)
        x = (index * 3) % max(1, width - 40)
        rgb[height // 3 : height // 3 + 30, x : x + 30] = (240, 230, 220)
        return rgb

    return picture


class CameraTrack(MediaStreamTrack):
    """Gives pictures at `fps`, made by `picture(index)`."""

    kind = "video"

    def __init__(self, picture: Picture, fps: float = 20.0) -> None:
        super().__init__()
        self.picture = picture
        self.fps = fps
        self.index = 0

    async def recv(self) -> av.VideoFrame:
        await asyncio.sleep(1 / self.fps)
        if self.readyState != "live":
            raise MediaStreamError
        frame = av.VideoFrame.from_ndarray(self.picture(self.index), format="rgb24")
        frame.pts, frame.time_base = int(self.index * 90_000 / self.fps), fractions.Fraction(1, 90_000)
        self.index += 1
        return frame


class Participant:
    """One tab. `async with Participant(url) as tab: await tab.offer(); await tab.pictures(5)`."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url
        self.headers = headers
        self.inbox: list[dict[str, Any]] = []
        self.received: list[np.ndarray] = []
        self.sounds = 0
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task] = []
        self.pc: RTCPeerConnection | None = None

    async def __aenter__(self) -> "Participant":
        self.socket = await websockets.connect(self.url, additional_headers=self.headers, proxy=None)
        self._tasks.append(asyncio.create_task(self._read()))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Closes the tab."""
        if self.pc is not None:
            await self.pc.close()
        await self.socket.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in self.socket:
                self.inbox.append(json.loads(text))
                self._changed.set()
        self.inbox.append({"type": "closed", "code": self.socket.close_code, "reason": self.socket.close_reason})
        self._changed.set()

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def wait(self, timeout_s: float = PATIENCE_S, **wanted: Any) -> dict[str, Any]:
        """Returns the first message, also one already here, whose fields are those given."""

        def hit() -> dict[str, Any] | None:
            return next((m for m in self.inbox if all(m.get(k) == v for k, v in wanted.items())), None)

        return await self.until(hit, timeout_s, f"a message with {wanted}")

    async def ask(self, **message: Any) -> dict[str, Any]:
        """Sends, and waits for the answer with the same id."""
        message.setdefault("id", f"q{len(self.inbox)}-{id(message) % 10_000}")
        await self.send(**message)
        return await self.wait(id=message["id"])

    async def until(self, look: Callable[[], Any], timeout_s: float = PATIENCE_S, what: str = "it") -> Any:
        """Returns what `look()` gives once it is truthy."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (found := look()):
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), 0.1)
                return found
        except TimeoutError:
            tail = [{k: str(v)[:120] for k, v in m.items()} for m in self.inbox[-6:]]
            raise AssertionError(f"waited {timeout_s} s for {what}; last messages: {tail}") from None

    async def offer(
        self,
        camera: MediaStreamTrack | None = None,
        sound: MediaStreamTrack | None = None,
        codec: str | None = None,
        rewrite: Callable[[str], str] = lambda sdp: sdp,
    ) -> dict[str, Any]:
        """Connects with a camera; returns the answer (or error) message. `rewrite` changes the offer's SDP."""
        if self.pc is not None:
            await self.pc.close()
        self.pc = pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        pc.addTrack(camera or CameraTrack(moving_square()))
        if sound is not None:
            pc.addTrack(sound)
        if codec is not None:
            transceiver = pc.getTransceivers()[0]
            known = transceiver.sender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([c for c in known if c.mimeType == f"video/{codec}"])
        pc.on("track", lambda track: self._tasks.append(asyncio.ensure_future(self._watch(track))))
        await pc.setLocalDescription(await pc.createOffer())
        reply = await self.ask(type="offer", sdp=rewrite(pc.localDescription.sdp))
        if reply["type"] == "answer":
            await pc.setRemoteDescription(RTCSessionDescription(reply["sdp"], "answer"))
        return reply

    async def _watch(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if track.kind == "video":
                    self.received.append(frame.to_ndarray(format="rgb24"))
                    del self.received[:-50]
                else:
                    self.sounds += 1
                self._changed.set()

    async def pictures(self, count: int, timeout_s: float = PATIENCE_S) -> list[np.ndarray]:
        """Waits for `count` pictures from now on; returns them."""
        seen: list[np.ndarray] = []
        self.received.clear()

        def enough() -> bool:
            seen.extend(self.received)
            self.received.clear()
            return len(seen) >= count

        await self.until(enough, timeout_s, f"{count} pictures")
        return seen


class Running:
    """A server in this process, on a free port."""

    def __init__(self, app: FastAPI, server: uvicorn.Server) -> None:
        self.app = app
        self.uvicorn = server
        self.server = app.state.server
        self.port: int = server.servers[0].sockets[0].getsockname()[1]
        self.http = f"http://127.0.0.1:{self.port}"
        self.ws = f"ws://127.0.0.1:{self.port}/ws"


@contextlib.asynccontextmanager
async def running(
    make: Any = None, uvicorn_options: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """Runs the real application under the real uvicorn, by default with the passthrough engine."""
    chosen = Settings(**{"engine": "passthrough", "port": 0, "max_sessions": 4, "step_down": False, **settings})
    app = create_app(chosen, make)
    server = uvicorn.Server(uvicorn_config(chosen, app, **(uvicorn_options or {})))
    task = asyncio.create_task(server._serve())  # `serve` would take the test runner's signals
    while not server.started:
        await asyncio.sleep(0.02)
        if task.done():
            task.result()
    try:
        yield Running(app, server)
    finally:
        server.should_exit = True
        await task
