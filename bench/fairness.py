"""Measure what a greedy participant costs modest ones: their glass to glass alone, and beside a third, in turns.

    .venv/bin/python bench/fairness.py --rounds 3 --seconds 10

Two modest participants send 640x480 at 30 pictures a second. The third does as they do, or is greedy: 1920x1080 at 60,
whatever the server asks for, and another light as often as the server lets it. Its pictures are encoded beforehand, and
it runs in a process of its own, as does the server, which is new for each measurement. All share this machine's cores,
so that what the third takes for sending counts too: `third_cores` and `server_cores` tell what each took.
`--tree PATH` measures the server of another checkout. The last line of stdout is one JSON document.
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
from typing import Any, NamedTuple

import av
import websockets
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.bench.sample_clip import sample_frames
from engine.bench.throughput import spread
from engine.cpu_time import process_cpu_s
from server.rtc.bench.loopback import GRACE_S, WARM_S, serving
from server.rtc.bench.loopback_client import Client
from server.rtc.codecs import tune
from server.rtc.pictures.frames import TIME_BASE, VIDEO_CLOCK_HZ

ROOT = Path(__file__).resolve().parent.parent
MODEST_SIZE, MODEST_FPS = (480, 640), 30
LOOP_S = 1  # of the third's pictures, the first a key frame
LIGHTS = ("rembrandt-left", "neon")


class Third(NamedTuple):
    """What the third participant sends."""

    size: tuple[int, int]  # height, width
    fps: int
    bitrate: int
    messages_per_s: int  # the server closes the socket of who sends more than 60 for long


THIRDS = {"modest": Third(MODEST_SIZE, MODEST_FPS, 1_500_000, 1), "greedy": Third((1080, 1920), 60, 8_000_000, 59)}


class PacketTrack(MediaStreamTrack):
    """Gives pictures that are encoded already, over and over, and listens to nobody."""

    kind = "video"

    def __init__(self, packets: list[bytes], fps: int) -> None:
        super().__init__()
        self._fps = fps
        self._packets = cycle(packets)
        self._number = 0
        self._start_s = 0.0

    async def recv(self) -> av.Packet:
        now_s = time.perf_counter()
        self._start_s = self._start_s or now_s
        await asyncio.sleep(max(0.0, self._start_s + self._number / self._fps - now_s))
        if self.readyState != "live":
            raise MediaStreamError
        packet = av.Packet(next(self._packets))
        packet.pts = packet.dts = self._number * VIDEO_CLOCK_HZ // self._fps
        packet.time_base = TIME_BASE
        self._number += 1
        return packet


def encoded(third: Third) -> list[bytes]:
    """Returns the pictures of a third participant, VP8."""
    codec: Any = av.CodecContext.create("libvpx", "w")
    codec.height, codec.width = third.size
    codec.pix_fmt, codec.bit_rate, codec.time_base = "yuv420p", third.bitrate, fractions.Fraction(1, third.fps)
    codec.options = {"cpu-used": "-12", "deadline": "realtime", "lag-in-frames": "0"}
    packets: list[bytes] = []
    for index, rgb in enumerate(islice(sample_frames(third.size, third.fps), LOOP_S * third.fps)):
        picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        picture.pts = index
        packets += [bytes(packet) for packet in codec.encode(picture)]
    return packets


async def be_third(url: str, third: Third) -> None:
    """Connects, says `ready` and goes on until the process is ended."""
    packets = encoded(third)
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTransceiver(PacketTrack(packets, third.fps), "sendrecv")
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
            await asyncio.sleep(1 / third.messages_per_s)
        await reading


async def _ignore(socket: Any) -> None:
    async for _ in socket:
        pass


@contextmanager
def joined(url: str, kind: str) -> Iterator[int | None]:
    """Runs the third participant while the block runs and yields its process; kind "alone": there is none."""
    if kind == "alone":
        yield None
        return
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--be-third", kind, url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("bench/fairness.py: the third participant could not connect")
        yield process.pid
        if process.poll() is not None:
            raise SystemExit("bench/fairness.py: the third participant was gone before the end")
    finally:
        process.kill()
        process.wait()


async def modest(url: str, pids: dict[str, int], count: int, seconds: float) -> list[dict[str, float]]:
    """Returns what each of `count` modest participants got: fps and delays, and the cores that `pids` took."""
    loop = list(islice(sample_frames(MODEST_SIZE, MODEST_FPS), 240))
    clients = [Client(url, loop, "vp8", MODEST_FPS) for _ in range(count)]
    try:
        for client in clients:
            await client.start(LIGHTS[0])
        await asyncio.sleep(WARM_S)
        start_s, before = time.perf_counter(), {name: process_cpu_s(pid) for name, pid in pids.items()}
        await asyncio.sleep(seconds)
        end_s = time.perf_counter()
        cores = {name: (process_cpu_s(pid) - before[name]) / (end_s - start_s) for name, pid in pids.items()}
        await asyncio.sleep(GRACE_S)
        return [_got(client, start_s, end_s) | cores for client in clients]
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


def measure(kind: str, count: int, seconds: float, engine: str) -> dict[str, float]:
    """Returns the medians of the modest participants, alone or beside a third."""
    with (
        serving(engine, count + 1, {"PYTHONPATH": os.getcwd(), "RELIGHT_STEP_DOWN": "true"}) as (url, pid),
        joined(url, kind) as third,
    ):
        pids = {"server_cores": pid} | ({"third_cores": third} if third is not None else {})
        got = asyncio.run(modest(url, pids, count, seconds))
    return {name: round(statistics.median(each[name] for each in got), 2) for name in got[0]} | {
        "load": round(os.getloadavg()[0], 2)
    }


def main() -> None:
    """Runs the rounds and prints the medians of each arrangement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement")
    parser.add_argument("--modest", type=int, default=2, help="participants who are measured")
    parser.add_argument("--engine", default="ratio")
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout whose server is measured")
    parser.add_argument("--be-third", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be_third:
        kind, url = options.be_third
        asyncio.run(be_third(url, THIRDS[kind]))
        return
    if options.rounds < 1 or options.seconds < 1 or options.modest < 1:
        parser.error("--rounds, --seconds and --modest are at least 1")
    os.chdir(options.tree)  # what `python -m` looks through first
    tune()
    results: dict[str, list[dict[str, float]]] = {"alone": [], **{kind: [] for kind in THIRDS}}
    for number in range(options.rounds):
        for name in sorted(results, reverse=bool(number % 2)):  # the order turns, as the machine drifts
            found = measure(name, options.modest, options.seconds, options.engine)
            results[name].append(found)
            print(name, json.dumps(found), file=sys.stderr, flush=True)
    rows = {
        name: {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}
        for name, rounds in results.items()
    }
    for name, row in rows.items():
        print(f"{name:7}" + "".join(f"{key:>13} {value:6.1f}" for key, value in row.items()))
    change = {
        kind: round(100 * (rows["greedy"]["p95_ms"] / rows[kind]["p95_ms"] - 1), 1) for kind in ("alone", "modest")
    }
    print(
        json.dumps({"machine": platform.machine(), "cores": os.cpu_count(), "greedy_p95_percent_over": change, **rows})
    )


if __name__ == "__main__":
    main()
