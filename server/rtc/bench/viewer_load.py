"""Measures the cost of viewers: the server's CPU time with a participant alone, and with each viewer more.

The real server runs in a process of its own; participant and viewers are aiortc's, in this one. The first viewer starts
an encoder of its own codec; each further one should cost packets alone.
"""

import asyncio
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import psutil
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from numpy.typing import NDArray

from engine.bench.throughput import BUDGET_FPS, commit, machine
from engine.errors import EngineError
from server.rtc.bench.loopback import WARM_S, serving
from server.rtc.bench.loopback_client import CONNECT_LIMIT_S, Client
from server.rtc.codecs import tune

SETTLE_S = 2.0  # after a viewer joined: its key frame, and the bit rate


@dataclass(frozen=True, slots=True)
class Load:
    """The server's load with a number of viewers."""

    viewers: int
    cpu_cores: float
    fps: float  # of each viewer, in the mean; with none, of the participant
    cpu_ms_a_picture: float  # cpu_cores / fps: a busy machine shows fewer pictures, at about the same cost


@dataclass(frozen=True, slots=True)
class ViewerBench:
    """The measurement, as `relight bench viewers` writes it."""

    engine: str
    codec: str
    width: int
    height: int
    seconds: float  # of each load
    loads: list[Load]
    commit: str = field(default_factory=commit)
    machine: dict[str, Any] = field(default_factory=machine)

    @property
    def viewer_ms(self) -> float | None:
        """CPU time a picture for each viewer beyond the first, in ms; None where there was one at most."""
        shared = [load for load in self.loads if load.viewers]
        if len(shared) < 2:
            return None
        first, last = shared[0], shared[-1]
        return (last.cpu_ms_a_picture - first.cpu_ms_a_picture) / (last.viewers - first.viewers)

    def as_json(self) -> dict[str, Any]:
        """Returns what the JSON line holds."""
        each = self.viewer_ms
        return {**asdict(self), "mode": "viewers", "viewer_ms": None if each is None else round(each, 3)}


class _Player:
    """One viewer by WHEP, which counts pictures."""

    def __init__(self) -> None:
        self.pictures = 0
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._tasks: list[asyncio.Task[None]] = []
        self._pc.on("track", lambda track: self._tasks.append(asyncio.create_task(self._count(track))))

    async def start(self, url: str, codec: str) -> None:
        """Connects and waits for a picture. Raises EngineError."""
        video = self._pc.addTransceiver("video", "recvonly")
        known = RTCRtpSender.getCapabilities("video").codecs
        wanted = (f"video/{codec}".lower(), "video/rtx")
        video.setCodecPreferences([c for c in known if c.mimeType.lower() in wanted])
        await self._pc.setLocalDescription(await self._pc.createOffer())
        answer = await asyncio.to_thread(_post, url, self._pc.localDescription.sdp)
        await self._pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                while not self.pictures:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise EngineError("no picture came to a viewer", "look at the server's log") from None

    async def close(self) -> None:
        await self._pc.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _count(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                await track.recv()
                self.pictures += 1
        except MediaStreamError:
            return


def bench_viewers(
    engine: str, light: str, loop: list[NDArray[np.uint8]], seconds: float, viewers: int, codec: str = "vp8"
) -> ViewerBench:
    """Measures the server for `seconds` with 0, 1, … `viewers` viewers of one participant. Raises EngineError."""
    tune()
    with serving(engine, 1, {"RELIGHT_MAX_VIEWERS": str(viewers)}) as (url, pid):
        loads = asyncio.run(_measure(url, pid, light, loop, seconds, viewers, codec))
    height, width = loop[0].shape[:2]
    return ViewerBench(engine, codec, width, height, seconds, loads)


async def _measure(
    url: str, pid: int, light: str, loop: list[NDArray[np.uint8]], seconds: float, viewers: int, codec: str
) -> list[Load]:
    server, client = psutil.Process(pid), Client(url, loop, codec, BUDGET_FPS)
    players: list[_Player] = []
    loads: list[Load] = []
    try:
        await client.start(light)
        await asyncio.sleep(WARM_S)
        view = await client.session()
        while True:
            client.counts.pictures = 0
            for player in players:
                player.pictures = 0
            cpu, start = _cpu_s(server), time.perf_counter()
            await asyncio.sleep(seconds)
            wall, cpu = time.perf_counter() - start, _cpu_s(server) - cpu
            client.check()
            shown = [player.pictures for player in players] or [client.counts.pictures]
            mean = max(1.0, sum(shown) / len(shown))
            load = Load(len(players), round(cpu / wall, 4), round(mean / wall, 2), round(1e3 * cpu / mean, 3))
            loads.append(load)
            if len(players) == viewers:
                return loads
            players.append(_Player())
            await players[-1].start(f"{url}/whep/{view}", codec)
            await asyncio.sleep(SETTLE_S)
    finally:
        await asyncio.gather(*(player.close() for player in players), client.close(), return_exceptions=True)


def _post(url: str, sdp: str) -> str:
    """Returns the answer to an offer. Raises EngineError with the server's own words."""
    request = urllib.request.Request(url, sdp.encode(), {"Content-Type": "application/sdp"})
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_LIMIT_S) as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        raise EngineError(f"a viewer was refused: {error.read().decode(errors='replace')[:300]}") from None


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
