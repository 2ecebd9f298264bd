"""Measures how fast an engine is and where the milliseconds go: Engine + pictures → BenchResult.

The engine alone: prepare and render pipelined on two threads as they are live (`device.py`), but unthrottled: the next
picture is there as soon as it is wanted. `server/rtc/bench/loopback.py` fills in the same result through WebRTC.
"""

import os
import platform
import subprocess
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from engine.bench.sample_clip import PERIOD_S, load_portrait, sample_frame
from engine.frames import Frame, Work
from engine.live.device import DeviceThread
from engine.offline.video_file import ClipReader
from engine.protocols import Avatar, Engine, Stream, StreamConfig
from engine.stats import Stats, percentiles_ms
from lcvd.types import Lighting

BUDGET_FPS = 30.0
WARM_FRAMES = 45  # the first picture finds the face, the first second compiles and settles
PICTURES_BYTES = 192 << 20  # kept in memory, so that making them is not measured
LONG_RING = 1 << 18

Percentiles = dict[str, float]  # p50, p95, p99 in ms


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Holds what was measured. Fields that a mode cannot measure are None. Times in ms, memory in MB (10^6 bytes)."""

    engine: str
    mode: str  # "engine" or "loopback"
    light: str
    width: int
    height: int
    sessions: int
    seconds: float
    frames: int  # that came out, all sessions together
    fps: float  # per session
    drops: int  # frames that went in and never came out
    stages: dict[str, dict[str, float]]  # name -> {p50_ms, p95_ms, p99_ms}
    frame_ms: Percentiles  # into the engine → out of it; loopback: arrival at the server → handed to the encoder
    glass_to_glass_ms: Percentiles | None  # drawn → decoded, read from the picture
    cpu_ms_per_frame: float  # engine: this process; loopback: the server process
    cpu_cores: float  # of the same process: CPU seconds a second
    rss_mb: float
    commit: str
    codec: str | None = None
    cpu_parts_ms: dict[str, float] | None = None  # CPU a frame by part of the work; loopback alone
    cpu_floor_ms: dict[str, float] | None = None  # the least that some of them could take
    engine_states: dict[str, int] | None = None  # how often `stats` said ok, behind …
    unreadable: int | None = None  # pictures that came back without a timecode to trust
    rss_growth_mb: float | None = None  # after the first minute
    first_minute_p95_ms: float | None = None
    last_minute_p95_ms: float | None = None
    bytes_sent: int | None = None  # by the client
    bytes_received: int | None = None
    client_cpu_ms_per_frame: float | None = None
    machine: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return asdict(self)

    def limit_ms(self) -> float:
        """The time that `--max-p95-ms` is compared with."""
        return (self.glass_to_glass_ms or self.frame_ms)["p95"]


def pictures(clip: Path | None, size: tuple[int, int] | None, fps: float = BUDGET_FPS) -> list[NDArray[np.uint8]]:
    """A loop of pictures that closes without a jump: of `clip`, or the sample portrait; `size` is (height, width).

    ClipError where the clip cannot be read.
    """
    if clip is None:
        height, width = size or (480, 640)
        count = min(round(PERIOD_S * fps), _most(height, width))
        portrait = load_portrait()
        # Fewer pictures than a period: play a piece of it there and back.
        loop = [sample_frame(portrait, (height, width), i / fps) for i in range(count)]
        return loop if count == round(PERIOD_S * fps) else there_and_back(loop)
    loop = []
    with ClipReader(clip) as reader:
        for frame in reader.frames():
            rgb = frame.rgb
            if size is not None and rgb.shape[:2] != size:
                rgb = _cover(rgb, size)
            loop.append(rgb)
            if len(loop) >= _most(*rgb.shape[:2]):
                break
    return there_and_back(loop)


def there_and_back(loop: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """The pictures forward, then backward, ends once."""
    return loop + loop[-2:0:-1]


def bench_engine(
    engine: Engine, lighting: Lighting, loop: list[NDArray[np.uint8]], seconds: float = 10.0, sessions: int = 1
) -> BenchResult:
    """Run `sessions` streams side by side, each as fast as it goes, for `seconds`."""
    stats = Stats(ring=LONG_RING)
    device = DeviceThread(engine)
    try:
        if not device.wait_ready():
            raise device.error or RuntimeError("the engine did not warm up")
        runs = [_Run(device, lighting, stats, loop) for _ in range(sessions)]
        for run in runs:
            run.thread.start()
        for run in runs:
            run.warm.wait()
        stats.clear()
        before = [run.done for run in runs]
        started, cpu = time.perf_counter(), time.process_time()
        time.sleep(seconds)
        frames = sum(run.done for run in runs) - sum(before)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        snapshot = stats.snapshot()
        for run in runs:
            run.stop()
        for run in runs:
            if run.error is not None:
                raise run.error
    finally:
        device.close()
    stages = dict(snapshot.stages)
    whole = stages.pop("frame", {"p50_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0})
    height, width = loop[0].shape[:2]
    return BenchResult(
        engine=engine.name,
        mode="engine",
        light=lighting.name,
        width=width,
        height=height,
        sessions=sessions,
        seconds=round(wall, 2),
        frames=frames,
        fps=round(frames / wall / sessions, 2),
        drops=0,
        stages=stages,
        frame_ms={key.removesuffix("_ms"): value for key, value in whole.items()},
        glass_to_glass_ms=None,
        cpu_ms_per_frame=round(cpu / max(1, frames) * 1e3, 2),
        cpu_cores=round(cpu / wall, 2),
        rss_mb=rss_mb(),
        commit=commit(),
        machine=machine(),
    )


class _Run:
    """One stream and its host thread."""

    def __init__(self, device: DeviceThread, lighting: Lighting, stats: Stats, loop: list[NDArray[np.uint8]]) -> None:
        self.done = 0
        self.warm = threading.Event()
        self.error: Exception | None = None
        self._device, self._stats, self._loop = device, stats, loop
        avatar = Avatar(load_portrait()) if device.traits.shows_avatar else None
        self._stream = device.engine.open(StreamConfig(lighting, stats, avatar, slow_work="beside"))
        self._stopping = False
        self.thread = threading.Thread(target=self._feed, name="relight-bench", daemon=True)

    def begin(self) -> Stream:
        """On the device thread: the stream to render for."""
        return self._stream

    def finish(self, stream: Stream, work: Work, result: list[Frame] | Exception, seconds: float) -> None:
        """On the device thread: what came of it."""
        if isinstance(result, Exception):  # reported by the caller's thread
            self._end(result)
            return
        self._stats.add("render", seconds)
        now = self._stats.clock()
        for frame in result:
            self._stats.add("frame", now - frame.arrived_s)
        self.done += len(result)
        if self.done >= WARM_FRAMES:
            self.warm.set()

    def stop(self) -> None:
        self._end(None)
        self._device.notify()
        self.thread.join()
        self._device.detach(self)
        self._stream.close()

    def _feed(self) -> None:
        index = 0
        try:
            while self._device.wait_free(self, lambda: self._stopping):
                rgb = self._loop[index % len(self._loop)]
                frame = Frame(index, index / BUDGET_FPS, rgb, self._stats.clock())
                with self._stats.stage("prepare"):
                    work = self._stream.prepare(frame)
                if work is not None and self._device.wait_free(self, lambda: self._stopping):
                    self._device.put(self, work)
                index += 1
        except Exception as error:  # the worker boundary: reported by the caller's thread
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        self.error = self.error or error
        self._stopping = True
        self.warm.set()


def spread(samples_s: list[float]) -> Percentiles:
    """p50, p95 and p99 of seconds, in ms."""
    return dict(zip(("p50", "p95", "p99"), percentiles_ms(samples_s), strict=True))


def rss_mb(pid: int | None = None) -> float:
    """Resident memory of a process, this one by default."""
    return round(psutil.Process(pid).memory_info().rss / 1e6, 1)


def commit() -> str:
    """The checkout's commit, with -dirty where files differ; `unknown` outside a checkout."""
    root = Path(__file__).resolve().parent.parent.parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=9", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except OSError:
        return "unknown"
    return described.stdout.strip() or "unknown"


def machine() -> dict[str, str]:
    """The card: where and with what it was measured."""
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "-"

    packages = ("relight-live", "numpy", "numba", "opencv-python-headless", "ai-edge-litert", "aiortc", "av")
    return {
        "cpu": _cpu_name(),
        "cores": f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: of(package) for package in packages},
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _most(height: int, width: int) -> int:
    """Return the number of pictures of this size that are kept."""
    return max(2, PICTURES_BYTES // (height * width * 3))


def _cover(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scaled to cover `size` and cut at the centre."""

    height, width = size
    scale = max(height / rgb.shape[0], width / rgb.shape[1])
    wide, high = max(width, round(rgb.shape[1] * scale)), max(height, round(rgb.shape[0] * scale))
    big = cv2.resize(rgb, (wide, high), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    y, x = (high - height) // 2, (wide - width) // 2
    return np.ascontiguousarray(big[y : y + height, x : x + width], dtype=np.uint8)
