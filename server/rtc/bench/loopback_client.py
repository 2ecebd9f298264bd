"""A participant for benches and tests: an aiortc client that numbers the pictures it sends and reads those it gets.

Speaks docs/protocol.md over the WebSocket. Times are `time.perf_counter`; delay is arrived − drawn of one number.
"""

import asyncio
import fractions
import json
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import websockets
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from numpy.typing import NDArray

from engine.bench.throughput import BUDGET_FPS
from engine.bench.timecode import VALUE_BITS, read, stamp
from engine.errors import EngineError
from server.rtc.pictures.frames import VIDEO_CLOCK_HZ, rgb_array

CONNECT_LIMIT_S = 30.0


@dataclass(slots=True)
class Counts:
    """Counts and times of one client's pictures. Times by `time.perf_counter`."""

    drawn: dict[int, float] = field(default_factory=dict)  # picture number -> when it was drawn
    arrived: dict[int, float] = field(default_factory=dict)  # -> when it was read from what came back
    unreadable: int = 0
    stats: dict[str, Any] = field(default_factory=dict)  # the server's last `stats`
    states: Counter[str] = field(default_factory=Counter)
    reports: list[tuple[float, dict[str, Any]]] = field(default_factory=list)  # all `stats`, and when they came
    pictures: int = 0  # that came back, readable or not
    first: asyncio.Event = field(default_factory=asyncio.Event)


class StampedTrack(MediaStreamTrack):
    """The camera: gives the pictures of the loop at `fps`, each with its number inside."""

    kind = "video"

    def __init__(self, loop: list[NDArray[np.uint8]], counts: Counts, fps: float = BUDGET_FPS) -> None:
        super().__init__()
        self._fps = fps
        self._pictures = loop
        self._counts = counts
        self._number = -1
        self._start: float | None = None

    async def recv(self) -> av.VideoFrame:
        now = time.perf_counter()
        if self._start is None:
            self._start = now
        # A camera skips what it cannot deliver; it does not hurry afterwards.
        self._number = max(self._number + 1, int((now - self._start) * self._fps))
        await asyncio.sleep(max(0.0, self._start + self._number / self._fps - time.perf_counter()))
        if self.readyState != "live":
            raise MediaStreamError
        self._counts.drawn[self._number] = time.perf_counter()
        rgb = self._pictures[self._number % len(self._pictures)].copy()
        stamp(rgb, self._number)
        picture = av.VideoFrame.from_numpy_buffer(rgb, format="rgb24")
        picture.pts = round(self._number * VIDEO_CLOCK_HZ / self._fps)
        picture.time_base = fractions.Fraction(1, VIDEO_CLOCK_HZ)
        return picture


class Client:
    """One participant: WebSocket, peer connection, camera, and the reader of what comes back."""

    def __init__(self, url: str, loop: list[NDArray[np.uint8]], codec: str, fps: float = BUDGET_FPS) -> None:
        self.counts = Counts()
        self._http = url
        self._url = url.replace("http", "ws", 1) + "/ws"
        self._welcome: asyncio.Future[str] | None = None
        self._codec = codec
        self._camera = StampedTrack(loop, self.counts, fps)
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._tasks: list[asyncio.Task[None]] = []
        self._answer: asyncio.Future[str] | None = None
        self._socket: Any = None

    async def start(self, light: str, portrait: bytes | None = None, engine: str = "", quality: str = "") -> None:
        """Connects and waits for a picture, with `portrait` (a JPEG) of `engine`. Raises EngineError if none comes."""
        self._socket = await websockets.connect(self._url, origin=None, max_size=1 << 22)
        self._answer = asyncio.get_running_loop().create_future()
        self._welcome = asyncio.get_running_loop().create_future()
        self._tasks.append(asyncio.create_task(self._listen()))
        await self._send(type="set_light", preset=light)
        if portrait is not None:
            await asyncio.to_thread(send_portrait, self._http, await self._welcome, portrait)
            if quality:
                await self._send(type="set_avatar", quality=quality)
            await self._send(type="set_engine", engine=engine)
        transceiver = self._pc.addTransceiver(self._camera, "sendrecv")
        self._add_sound(self._pc)
        wanted = f"video/{self._codec}".lower()
        known = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([c for c in known if c.mimeType.lower() in (wanted, "video/rtx")])
        self._pc.on("track", lambda track: self._tasks.append(asyncio.create_task(self._watch(track))))
        await self._pc.setLocalDescription(await self._pc.createOffer())
        await self._send(type="offer", sdp=self._pc.localDescription.sdp)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                answer = RTCSessionDescription(await self._answer, "answer")
                await self._pc.setRemoteDescription(answer)
                await self.counts.first.wait()
            self.check()
        except TimeoutError:
            raise EngineError("no picture came back through WebRTC", "look at the server's log") from None

    def check(self) -> None:
        """Raises what ended one of the client's tasks."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def session(self) -> str:
        """Returns the session's name, once it was welcomed."""
        assert self._welcome is not None  # by `start`
        return await asyncio.shield(self._welcome)

    async def traffic(self) -> tuple[int, int]:
        """Returns the RTP payload bytes sent and received so far."""
        sent = received = 0
        for report in (await self._pc.getStats()).values():
            if report.type == "outbound-rtp":
                sent += report.bytesSent
            elif report.type == "remote-outbound-rtp":
                received += report.bytesSent
        return sent, received

    def vanish(self) -> None:
        """Tears off the sockets without a word to the server; `close` frees the rest."""
        self._socket.transport.abort()
        for transceiver in self._pc.getTransceivers():
            connection: Any = transceiver.sender.transport.transport._connection
            for protocol in connection._protocols:
                protocol.transport.abort()

    async def close(self) -> None:
        self._camera.stop()
        await self._pc.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()

    def _add_sound(self, pc: RTCPeerConnection) -> None:
        """Adds a microphone before the offer, in clients that have one."""

    async def _send(self, **message: object) -> None:
        await self._socket.send(json.dumps(message))

    async def _listen(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            kind = message.get("type")
            if kind == "answer" and self._answer is not None and not self._answer.done():
                self._answer.set_result(message["sdp"])
            elif kind == "waiting" and self._answer is not None and not self._answer.done():
                self._answer.set_exception(EngineError("all places are taken", "start the server with more of them"))
            elif kind == "error" and self._answer is not None and not self._answer.done():
                self._answer.set_exception(EngineError(message["message"], message.get("hint", "")))
            elif kind == "welcome" and self._welcome is not None and not self._welcome.done():
                self._welcome.set_result(message["session"])
            elif kind == "stats":
                self.counts.reports.append((time.perf_counter(), message))
                self.counts.stats = message
                self.counts.states[message["engine"]["state"]] += 1

    async def _watch(self, track: MediaStreamTrack) -> None:
        try:
            await self._read(track)
        finally:
            self.counts.first.set()  # also where it failed: `start` looks why

    async def _read(self, track: MediaStreamTrack) -> None:
        newest = 0
        while True:
            try:
                picture: Any = await track.recv()
            except MediaStreamError:
                return
            now = time.perf_counter()
            self.counts.pictures += 1
            self.counts.first.set()
            value = read(picture_array(picture))
            if value is None:
                self.counts.unreadable += 1
                continue
            # 16 bits come round after 36 minutes: the number nearest to the newest one is meant.
            span = 1 << VALUE_BITS
            number = newest + (value - newest + span // 2) % span - span // 2
            newest = max(newest, number)
            self.counts.arrived.setdefault(number, now)


def send_portrait(url: str, session: str, jpeg: bytes) -> None:
    """Posts a portrait to /api/portrait. Raises EngineError with the server's answer where it refuses."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="session"\r\n\r\n{session}\r\n--{boundary}\r\n'
    head += 'Content-Disposition: form-data; name="file"; filename="p.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    request = urllib.request.Request(
        f"{url}/api/portrait",
        head.encode() + jpeg + f"\r\n--{boundary}--\r\n".encode(),
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    try:
        urllib.request.urlopen(request, timeout=CONNECT_LIMIT_S).close()
    except urllib.error.HTTPError as error:
        raise EngineError(f"the portrait was refused: {error.read().decode(errors='replace')[:300]}") from None


def picture_array(picture: Any) -> NDArray[np.uint8]:
    """Returns uint8 [H,W,3] of a decoded picture."""
    if picture.format.name == "rgb24":
        return rgb_array(picture)
    return picture.to_ndarray(format="rgb24")
