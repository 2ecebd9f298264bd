"""Programs of others that publish and view, as small as can be: aiortc by WHIP and WHEP, FFmpeg's own WHIP muxer."""

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from tests.server.client import PATIENCE_S

SDP = {"content-type": "application/sdp"}


class Resource:
    """A connection made by WHIP or WHEP. `async with Resource(...)`; `response` is the answer to its POST."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        self.headers = {"authorization": f"Bearer {token}"} if token else {}
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pictures: list[np.ndarray] = []
        self.sounds: list[np.ndarray] = []
        self.shown = 0
        self.response: httpx.Response = None  # type: ignore[assignment]
        self.http = httpx.AsyncClient(trust_env=False, headers=self.headers)
        self._tasks: list[asyncio.Task] = []
        self.pc.on("track", lambda track: self._tasks.append(asyncio.ensure_future(self._watch(track))))

    async def __aenter__(self) -> "Resource":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.pc.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.http.aclose()

    @property
    def location(self) -> str:
        return str(self.response.url.join(self.response.headers["location"]))

    async def connect(self) -> httpx.Response:
        """Offers what the connection has; takes the answer where there is one."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        self.response = await self.http.post(self.url, content=self.pc.localDescription.sdp, headers=SDP)
        if self.response.status_code == 201:
            await self.pc.setRemoteDescription(RTCSessionDescription(self.response.text, "answer"))
        return self.response

    async def until(self, look: Any, what: str, timeout_s: float = PATIENCE_S) -> Any:
        """Returns what `look()` gives once it is truthy."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not (found := look()):
                    await asyncio.sleep(0.05)
                return found
        raise AssertionError(f"waited {timeout_s} s for {what}")

    async def more_pictures(self, count: int) -> list[np.ndarray]:
        """Returns `count` pictures from now on."""
        self.pictures.clear()
        await self.until(lambda: len(self.pictures) >= count, f"{count} pictures")
        return list(self.pictures)

    async def _watch(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame: Any = await track.recv()
                if track.kind == "video":
                    self.shown += 1
                    self.pictures.append(frame.to_ndarray(format="rgb24"))
                    del self.pictures[:-60]
                else:
                    self.sounds.append(frame.to_ndarray())
                    del self.sounds[:-250]


def publisher(url: str, camera: MediaStreamTrack, sound: MediaStreamTrack | None = None, token: str = "") -> Resource:
    """A connection that sends `camera` and takes nothing back."""
    made = Resource(url, token)
    for track in (camera, sound):
        if track is not None:
            made.pc.addTransceiver(track, "sendonly")
    return made


def viewer(url: str, codec: str = "", sound: bool = True, token: str = "") -> Resource:
    """A connection that receives, in `codec` (VP8, H264) where one is named."""
    made = Resource(url, token)
    video = made.pc.addTransceiver("video", "recvonly")
    if codec:
        known = video.receiver.getCapabilities("video").codecs
        video.setCodecPreferences([c for c in known if c.mimeType in (f"video/{codec}", "video/rtx")])
    if sound:
        made.pc.addTransceiver("audio", "recvonly")
    return made


@contextlib.asynccontextmanager
async def ffmpeg_publisher(url: str, clip: Path, *options: str):
    """Runs FFmpeg's WHIP muxer on a clip, in a process of its own: it holds the GIL while it connects."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("ffmpeg_publish.py")),
        url,
        str(clip),
        *options,
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.stdin.close()  # it ends by itself, and says DELETE
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()
