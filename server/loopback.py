"""The whole way, measured: drawn → encoded → server → relit → decoded → read, over WebRTC on this machine.

Starts the real server in a process of its own and connects aiortc clients in this one. Each picture carries a
timecode, so delay and losses are read from what came back. The client's codecs are the server's (`server.codecs`).
"""

import asyncio
import fractions
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import psutil
import websockets
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from numpy.typing import NDArray

from engine.bench import BUDGET_FPS, BenchResult, commit, machine, rss_mb, spread
from engine.errors import EngineError
from engine.timecode import VALUE_BITS, read, stamp
from server.codecs import tune
from server.pictures import rgb_array

START_LIMIT_S = 300.0  # a cold start compiles and may fetch models
CONNECT_LIMIT_S = 30.0
WARM_S = 4.0  # after the first picture: the bit rate and the light settle
GRACE_S = 1.5  # for pictures still under way at the end
STOP_LIMIT_S = 8.0
MINUTE_S = 60.0
CLOCK_HZ = 90_000
Series = list[tuple[float, float]]  # (s since the start, glass-to-glass s)


@dataclass(slots=True)
class Tally:
    """What one client saw. Times by `time.perf_counter`."""

    drawn: dict[int, float] = field(default_factory=dict)  # picture number -> when it was drawn
    arrived: dict[int, float] = field(default_factory=dict)  # -> when it was read from what came back
    unreadable: int = 0
    stats: dict[str, Any] = field(default_factory=dict)  # the server's last `stats`
    states: Counter[str] = field(default_factory=Counter)
    first: asyncio.Event = field(default_factory=asyncio.Event)


class StampedTrack(MediaStreamTrack):
    """The camera: pictures of the loop at 30 fps, each with its number inside."""

    kind = "video"

    def __init__(self, loop: list[NDArray[np.uint8]], tally: Tally) -> None:
        super().__init__()
        self._pictures = loop
        self._tally = tally
        self._number = -1
        self._start: float | None = None

    async def recv(self) -> av.VideoFrame:
        now = time.perf_counter()
        if self._start is None:
            self._start = now
        # A camera skips what it cannot deliver; it does not hurry afterwards.
        self._number = max(self._number + 1, int((now - self._start) * BUDGET_FPS))
        await asyncio.sleep(max(0.0, self._start + self._number / BUDGET_FPS - time.perf_counter()))
        if self.readyState != "live":
            raise MediaStreamError
        self._tally.drawn[self._number] = time.perf_counter()
        rgb = self._pictures[self._number % len(self._pictures)].copy()
        stamp(rgb, self._number)
        picture = av.VideoFrame.from_numpy_buffer(rgb, format="rgb24")
        picture.pts = round(self._number * CLOCK_HZ / BUDGET_FPS)
        picture.time_base = fractions.Fraction(1, CLOCK_HZ)
        return picture


class Client:
    """One participant: WebSocket, peer connection, camera and eye."""

    def __init__(self, url: str, loop: list[NDArray[np.uint8]], codec: str) -> None:
        self.tally = Tally()
        self._url = url.replace("http", "ws", 1) + "/ws"
        self._codec = codec
        self._camera = StampedTrack(loop, self.tally)
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._tasks: list[asyncio.Task[None]] = []
        self._answer: asyncio.Future[str] | None = None
        self._socket: Any = None

    async def start(self, light: str) -> None:
        """Connect and wait for the first picture. EngineError where none comes."""
        self._socket = await websockets.connect(self._url, origin=None, max_size=1 << 22)
        self._answer = asyncio.get_running_loop().create_future()
        self._tasks.append(asyncio.create_task(self._listen()))
        await self._send(type="set_light", preset=light)
        transceiver = self._pc.addTransceiver(self._camera, "sendrecv")
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
                await self.tally.first.wait()
            self.check()
        except TimeoutError:
            raise EngineError("no picture came back through WebRTC", "look at the server's log") from None

    def check(self) -> None:
        """Raise what ended one of the client's tasks."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def traffic(self) -> tuple[int, int]:
        """RTP payload bytes sent and received so far."""
        sent = received = 0
        for report in (await self._pc.getStats()).values():
            if report.type == "outbound-rtp":
                sent += report.bytesSent
            elif report.type == "remote-outbound-rtp":
                received += report.bytesSent
        return sent, received

    async def close(self) -> None:
        self._camera.stop()
        await self._pc.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()

    async def _send(self, **message: object) -> None:
        await self._socket.send(json.dumps(message))

    async def _listen(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            kind = message.get("type")
            if kind == "answer" and self._answer is not None and not self._answer.done():
                self._answer.set_result(message["sdp"])
            elif kind == "error" and self._answer is not None and not self._answer.done():
                self._answer.set_exception(EngineError(message["message"], message.get("hint", "")))
            elif kind == "stats":
                self.tally.stats = message
                self.tally.states[message["engine"]["state"]] += 1

    async def _watch(self, track: MediaStreamTrack) -> None:
        try:
            await self._read(track)
        finally:
            self.tally.first.set()  # also where it failed: `start` looks why

    async def _read(self, track: MediaStreamTrack) -> None:
        newest = 0
        while True:
            try:
                picture: Any = await track.recv()
            except MediaStreamError:
                return
            now = time.perf_counter()
            value = read(_array(picture))
            if value is None:
                self.tally.unreadable += 1
                continue
            # 16 bits come round after 36 minutes: the number nearest to the newest one is meant.
            span = 1 << VALUE_BITS
            number = newest + (value - newest + span // 2) % span - span // 2
            newest = max(newest, number)
            self.tally.arrived.setdefault(number, now)
            self.tally.first.set()


def _array(picture: Any) -> NDArray[np.uint8]:
    """What `read` needs of a decoded picture."""
    if picture.format.name == "rgb24":
        return rgb_array(picture)
    return picture.to_ndarray(format="rgb24")


def bench_loopback(
    engine: str, light: str, loop: list[NDArray[np.uint8]], seconds: float, sessions: int, codec: str = "vp8"
) -> tuple[BenchResult, Series]:
    """Measure `sessions` clients of one server for `seconds`; also returns the delays over time.

    Raises EngineError where the server does not start or no picture comes back.
    """
    tune()
    with serving(engine, sessions) as (url, pid):
        return asyncio.run(_measure(url, pid, engine, light, loop, seconds, sessions, codec))


async def _measure(
    url: str,
    pid: int,
    engine: str,
    light: str,
    loop: list[NDArray[np.uint8]],
    seconds: float,
    sessions: int,
    codec: str,
) -> tuple[BenchResult, Series]:
    clients = [Client(url, loop, codec) for _ in range(sessions)]
    server = psutil.Process(pid)
    try:
        for client in clients:
            await client.start(light)
        await asyncio.sleep(WARM_S)
        for client in clients:
            client.tally.states.clear()
            client.tally.unreadable = 0
        traffic = [await client.traffic() for client in clients]
        server_cpu, client_cpu = _cpu_s(server), time.process_time()
        start = time.perf_counter()
        memory: Series = []
        while (left := start + seconds - time.perf_counter()) > 0:
            await asyncio.sleep(min(1.0, left))
            memory.append((time.perf_counter() - start, rss_mb(pid)))
        end = time.perf_counter()
        server_cpu, client_cpu = _cpu_s(server) - server_cpu, time.process_time() - client_cpu
        after = [await client.traffic() for client in clients]
        for client in clients:
            client.check()
        stats = [client.tally.stats for client in clients]
        await asyncio.sleep(GRACE_S)
    finally:
        await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)
    for report in stats:
        if report.get("engine", {}).get("name") != engine:
            reason = report.get("engine", {}).get("message", "")
            raise EngineError(
                f"the server did not use engine {engine}: {reason or 'it fell back'}", "see relight doctor"
            )
    wall = end - start
    series: Series = []
    sent = came = 0
    for client in clients:
        tally = client.tally
        for number, drawn in tally.drawn.items():
            if start <= drawn < end:
                sent += 1
                if (arrived := tally.arrived.get(number)) is not None:
                    came += 1
                    series.append((drawn - start, arrived - drawn))
    series.sort()
    delays = [delay for _, delay in series]
    first = [delay for t, delay in series if t < MINUTE_S]
    last = [delay for t, delay in series if t >= wall - MINUTE_S]
    long = wall >= 2 * MINUTE_S
    height, width = loop[0].shape[:2]
    return (
        BenchResult(
            engine=engine,
            mode="loopback",
            light=light,
            width=width,
            height=height,
            sessions=sessions,
            seconds=round(wall, 2),
            frames=came,
            fps=round(came / wall / sessions, 2),
            drops=sent - came,
            stages=stats[0].get("stages", {}),
            frame_ms={**stats[0].get("latency_ms", {})},
            glass_to_glass_ms=spread(delays),
            cpu_ms_per_frame=round(server_cpu / max(1, came) * 1e3, 2),
            cpu_cores=round(server_cpu / wall, 2),
            rss_mb=memory[-1][1] if memory else 0.0,
            commit=commit(),
            codec=codec,
            engine_states=dict(sum((client.tally.states for client in clients), Counter())),
            unreadable=sum(client.tally.unreadable for client in clients),
            rss_growth_mb=_growth(memory) if long else None,
            first_minute_p95_ms=spread(first)["p95"] if long else None,
            last_minute_p95_ms=spread(last)["p95"] if long else None,
            bytes_sent=sum(b[0] - a[0] for a, b in zip(traffic, after, strict=True)),
            bytes_received=sum(b[1] - a[1] for a, b in zip(traffic, after, strict=True)),
            client_cpu_ms_per_frame=round(client_cpu / max(1, came) * 1e3, 2),
            machine=machine(),
        ),
        series,
    )


@contextmanager
def serving(engine: str, sessions: int = 1) -> Iterator[tuple[str, int]]:
    """The real server in its own process, on a free port: (url, pid). Stopped at the end."""
    command = [sys.executable, "-m", "server.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
    command += ["--engine", engine, "--max-sessions", str(sessions + 1), "--log-level", "warning"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "COLUMNS": "400"}
        )
        try:
            yield _announced(process, log), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _announced(process: "subprocess.Popen[str]", log: Any) -> str:
    """The address the server prints once it is ready."""
    found: list[str] = []
    ready = threading.Event()

    def drain() -> None:
        with suppress(ValueError, OSError):  # closed under us at the end
            for line in process.stdout or ():
                if "http://" in line and not found:
                    found.append("http://" + line.split("http://", 1)[1].split()[0])
                    ready.set()
        ready.set()

    threading.Thread(target=drain, name="relight-bench-server", daemon=True).start()
    if not ready.wait(START_LIMIT_S) or not found:
        log.seek(0)
        tail = log.read()[-2000:]
        raise EngineError(f"the server did not start:\n{tail}", "try `relight serve` alone")
    return found[0].rstrip("/").replace("localhost", "127.0.0.1")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _growth(memory: Series) -> float:
    """Resident MB gained after the first minute, medians of five samples against the noise."""
    before = [mb for t, mb in memory if t >= MINUTE_S][:5]
    after = [mb for _, mb in memory][-5:]
    return round(float(np.median(after) - np.median(before)), 1)
