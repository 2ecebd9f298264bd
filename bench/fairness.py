"""Measure what a greedy participant costs modest ones: their glass to glass alone, and beside it, in turns.

    .venv/bin/python bench/fairness.py --rounds 3 --seconds 10

Two modest participants send 640x480 at 30 pictures a second; the greedy one sends 1920x1080 at 60, encoded beforehand
and whatever the server asks for, and changes its light as often as the server lets it. It runs in a process of its own,
as does the server, which is new for each measurement; all share this machine's cores, so what the greedy one's own
sending takes counts too. `--tree PATH` measures the server of another checkout. The last line of stdout is one JSON document.
"""

import argparse
import asyncio
import fractions
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
import websockets
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.bench.sample_clip import sample_frames
from engine.bench.throughput import spread
from server.rtc.bench.loopback import GRACE_S, WARM_S, serving
from server.rtc.bench.loopback_client import Client
from server.rtc.codecs import tune
from server.rtc.frames import TIME_BASE, VIDEO_CLOCK_HZ

ROOT = Path(__file__).resolve().parent.parent
MODEST_SIZE, MODEST_FPS = (480, 640), 30
GREEDY_SIZE, GREEDY_FPS, GREEDY_BITRATE = (1080, 1920), 60, 8_000_000
GREEDY_LOOP = 60  # pictures, the first a key frame
MESSAGES_PER_S = 59  # the server closes the socket of who sends more for long
LIGHTS = ("rembrandt-left", "neon")


class PacketTrack(MediaStreamTrack):
    """Gives pictures that are encoded already, over and over, and listens to nobody."""

    kind = "video"

    def __init__(self, packets: list[bytes]) -> None:
        super().__init__()
        self._packets = cycle(packets)
        self._number = 0
        self._start_s = 0.0

    async def recv(self) -> av.Packet:
        now_s = time.perf_counter()
        self._start_s = self._start_s or now_s
        await asyncio.sleep(max(0.0, self._start_s + self._number / GREEDY_FPS - now_s))
        if self.readyState != "live":
            raise MediaStreamError
        packet = av.Packet(next(self._packets))
        packet.pts = packet.dts = self._number * VIDEO_CLOCK_HZ // GREEDY_FPS
        packet.time_base = TIME_BASE
        self._number += 1
        return packet


def encoded() -> list[bytes]:
    """Returns the greedy one's pictures, VP8."""
    codec: Any = av.CodecContext.create("libvpx", "w")
    codec.height, codec.width = GREEDY_SIZE
    codec.pix_fmt, codec.bit_rate, codec.time_base = "yuv420p", GREEDY_BITRATE, fractions.Fraction(1, GREEDY_FPS)
    codec.options = {"cpu-used": "-12", "deadline": "realtime", "lag-in-frames": "0"}
    packets: list[bytes] = []
    for index, rgb in enumerate(islice(sample_frames(GREEDY_SIZE, GREEDY_FPS), GREEDY_LOOP)):
        picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        picture.pts = index
        packets += [bytes(packet) for packet in codec.encode(picture)]
    return packets


async def be_greedy(url: str) -> None:
    """Connects, says `ready` and goes on until the process is ended."""
    packets = encoded()
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTransceiver(PacketTrack(packets), "sendrecv")
    video = [
        codec for codec in pc.getTransceivers()[0].sender.getCapabilities("video").codecs if "VP8" in codec.mimeType
    ]
    pc.getTransceivers()[0].setCodecPreferences(video)
    await pc.setLocalDescription(await pc.createOffer())
    async with websockets.connect(url.replace("http", "ws", 1) + "/ws", origin=None, proxy=None) as socket:
        await socket.send(json.dumps({"type": "offer", "id": 1, "sdp": pc.localDescription.sdp}))
        while (message := json.loads(await socket.recv())).get("id") != 1:
            pass
        await pc.setRemoteDescription(RTCSessionDescription(message["sdp"], "answer"))
        for receiver in pc.getReceivers():
            receiver._enabled = False  # what comes back is not looked at: only the server's work counts
        reading = asyncio.create_task(_ignore(socket))
        while pc.connectionState != "connected":
            await asyncio.sleep(0.05)
        print("ready", flush=True)
        for light in cycle(LIGHTS):
            await socket.send(json.dumps({"type": "set_light", "preset": light}))
            await asyncio.sleep(1 / MESSAGES_PER_S)
        await reading


async def _ignore(socket: Any) -> None:
    async for _ in socket:
        pass


@contextmanager
def greedy(url: str) -> Iterator[None]:
    """Runs the greedy participant while the block runs."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--be-greedy", url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("bench/fairness.py: the greedy participant could not connect")
        yield
        if process.poll() is not None:
            raise SystemExit("bench/fairness.py: the greedy participant was gone before the end")
    finally:
        process.kill()
        process.wait()


async def modest(url: str, count: int, seconds: float) -> list[dict[str, float]]:
    """Returns what each of `count` modest participants got, while one has connected them: fps and delays."""
    loop = list(islice(sample_frames(MODEST_SIZE, MODEST_FPS), 240))
    clients = [Client(url, loop, "vp8", MODEST_FPS) for _ in range(count)]
    try:
        for client in clients:
            await client.start(LIGHTS[0])
        await asyncio.sleep(WARM_S)
        start_s = time.perf_counter()
        await asyncio.sleep(seconds)
        end_s = time.perf_counter()
        await asyncio.sleep(GRACE_S)
        return [_got(client, start_s, end_s) for client in clients]
    finally:
        await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)


def _got(client: Client, start_s: float, end_s: float) -> dict[str, float]:
    client.check()
    counts = client.counts
    numbers = [number for number, drawn_s in counts.drawn.items() if start_s <= drawn_s < end_s]
    delays = [counts.arrived[number] - counts.drawn[number] for number in numbers if number in counts.arrived]
    if not delays:
        raise SystemExit("bench/fairness.py: no picture came back in time, or none could be read")
    found = spread(delays)
    return {
        "fps": len(delays) / (end_s - start_s),
        "p50_ms": found["p50"],
        "p95_ms": found["p95"],
        "height": counts.stats.get("height", 0),
    }


def measure(beside: bool, count: int, seconds: float, engine: str) -> dict[str, float]:
    """Returns the medians of the modest participants, alone or beside the greedy one."""
    with serving(engine, count + 1, {"PYTHONPATH": os.getcwd()}) as (url, _):
        if not beside:
            got = asyncio.run(modest(url, count, seconds))
        else:
            with greedy(url):
                got = asyncio.run(modest(url, count, seconds))
    return {name: round(statistics.median(each[name] for each in got), 2) for name in got[0]} | {
        "load": round(os.getloadavg()[0], 2)
    }


def main() -> None:
    """Runs the rounds and prints the medians of both arrangements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement")
    parser.add_argument("--modest", type=int, default=2, help="participants who are measured")
    parser.add_argument("--engine", default="ratio")
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout whose server is measured")
    parser.add_argument("--be-greedy", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be_greedy:
        asyncio.run(be_greedy(options.be_greedy))
        return
    if options.rounds < 1 or options.seconds < 1 or options.modest < 1:
        parser.error("--rounds, --seconds and --modest are at least 1")
    os.chdir(options.tree)  # what `python -m` looks through first
    tune()
    results: dict[str, list[dict[str, float]]] = {"alone": [], "beside": []}
    for number in range(options.rounds):
        for name in sorted(results, reverse=bool(number % 2)):  # the order turns, as the machine drifts
            found = measure(name == "beside", options.modest, options.seconds, options.engine)
            results[name].append(found)
            print(name, json.dumps(found), file=sys.stderr, flush=True)
    rows = {
        name: {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}
        for name, rounds in results.items()
    }
    for name, row in rows.items():
        print(f"{name:7}" + "".join(f"{key:>8} {value:7.1f}" for key, value in row.items()))
    change = round(100 * (rows["beside"]["p95_ms"] / rows["alone"]["p95_ms"] - 1), 1)
    print(json.dumps({"machine": platform.machine(), "cores": os.cpu_count(), "p95_change_percent": change, **rows}))


if __name__ == "__main__":
    main()
