"""Measures how fast LCVD is here: stage times, share of the chip's rate, and a grid of windows and delays.

Speed does not depend on the weights, so random ones of the published size will do. No tracking network, no file and no
network is needed: a made-up face nods before a random portrait. Stages are timed alone; a grid point's windows are
timed through the very stream that runs live; its delay is read off a live stream fed at the camera's rate.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from engine.bench.flops import CHIPS_TFLOPS, ModelScale, StageFlops, stage_flops
from engine.bench.throughput import commit, machine, rss_mb
from engine.diffusion.engine import DiffusionEngine, DiffusionOptions
from engine.diffusion.latency import predicted
from engine.diffusion.sampler import SamplerPlan
from engine.diffusion.window import WINDOW
from engine.frames import Frame, Work
from engine.live.controls import Controls, EnginePair, Placeholder
from engine.live.device import DeviceThread
from engine.live.stream import LiveStream
from engine.protocols import Avatar, Backend, DenoiseRequest, StreamConfig
from engine.synthetic_face import SyntheticFace, full_mask
from lcvd.lighting.presets import preset
from lcvd.model import LcvdModel

REPEATS = 5
WINDOWS = 3  # timed for each grid point, after one that is not
CAMERA = (480, 640)
MATMUL = {"cuda": 8192, "cpu": 1536}  # side of the square product the chip's rate is measured with
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One combination of what a participant may choose."""

    steps: int
    branches: int  # 2 with guidance
    stride: int


@dataclass(frozen=True, slots=True)
class GridRow:
    """One point, measured. `measured_*` None where it was not run live."""

    backend: str
    precision: str
    steps: int
    branches: int
    stride: int
    window_ms: float  # the device half of one window, median
    windows_per_s: float
    fps: float  # frames the device makes in a second
    output_fps: float  # of a camera at `camera_fps`
    predicted_delay_s: float
    keeps_up: bool
    measured_delay_s: float | None = None  # p50: a frame's arrival to its avatar leaving
    measured_p95_s: float | None = None
    measured_fps: float | None = None


@dataclass(frozen=True, slots=True)
class BackendTimes:
    """One backend alone. Times in ms, medians."""

    backend: str
    precision: str
    warmup_s: float
    encode_ms: float  # a portrait
    features_ms: float  # a frame's hint
    forward_ms: tuple[float, float]  # of the denoiser: one branch, both
    decode_ms: float  # a frame
    tflops: float  # rate of the denoiser with both branches
    share: float  # of the chip's measured rate
    memory_mb: float  # at the peak; CPU: resident


@dataclass(frozen=True, slots=True)
class LcvdBench:
    """Everything `relight bench lcvd` found out."""

    weights: str
    scale: ModelScale
    size: int
    device: str
    chip_tflops: float
    chip_dtype: str
    camera_fps: float
    gflop: dict[str, float]  # of one call of each stage
    floor: list[dict[str, Any]]  # window times by arithmetic alone, at chips that are not here
    backends: list[BackendTimes]
    grid: list[GridRow]
    left_out: list[str]  # what could not be measured, and why
    commit: str = field(default_factory=commit)
    machine: dict[str, str] = field(default_factory=machine)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def chip_rate(device: torch.device, dtype: torch.dtype, clock: Clock = time.perf_counter) -> float:
    """Measured rate in TFLOP/s: the best of a few square matrix products of `dtype` on random data."""
    side = MATMUL.get(device.type, 1536)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = min(_timed(lambda: a @ b, device, clock) for _ in range(2 * REPEATS))
    return 2.0 * side**3 / best / 1e12


def floor_table(flops: StageFlops, stride: int = 10) -> list[dict[str, Any]]:
    """Window times and rates at known chips if nothing but arithmetic took time: what no program can beat."""
    rows = []
    for chip, tflops in CHIPS_TFLOPS.items():
        for share in (1.0, 0.5):
            row: dict[str, Any] = {"chip": chip, "share": share, "stride": stride}
            for steps in (1, 2, 4, 8, 25):
                seconds = flops.window(steps, 2, stride) / (tflops * 1e12 * share)
                row[f"{steps}_steps_ms"] = round(seconds * 1e3, 1)
                row[f"{steps}_steps_fps"] = round(stride / seconds, 1)
            rows.append(row)
    return rows


def time_backend(
    backend: Backend, model: LcvdModel, precision: str, size: int, chip: float, flops: StageFlops
) -> BackendTimes:
    """Warm `backend` up, then time each stage alone."""
    device, clock, side = model.device, time.perf_counter, size // 8
    started = clock()
    backend.warmup(size, WINDOW, (1, 2), (1,))
    _wait(device)
    warmup_s = clock() - started
    rng = np.random.default_rng(0)
    portrait = rng.integers(0, 256, (size, size, 3), np.uint8)
    hints = rng.integers(0, 256, (WINDOW, size, size, 3), np.uint8)
    mask = np.ones((size, size), np.float32)
    noise = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        reference = backend.encode(portrait, mask, noise)
        features = backend.features(hints)
        x = torch.randn(WINDOW, 4, side, side, device=device)

        def median(call: Callable[[], object]) -> float:
            call()
            return float(np.median([_timed(call, device, clock) for _ in range(REPEATS)]))

        encode = median(lambda: backend.encode(portrait, mask, noise))
        hint = median(lambda: backend.features(hints[:8])) / 8
        one, two = (
            median(lambda b=b: backend.denoise([DenoiseRequest(x, 1.0, reference, features, b)]))  # type: ignore[misc]
            for b in (1, 2)
        )
        decode = median(lambda: backend.decode(x[:8])) / 8
    rate = flops.forward[1] / two / 1e12
    return BackendTimes(
        backend=backend.name,
        precision=precision,
        warmup_s=round(warmup_s, 2),
        encode_ms=round(encode * 1e3, 3),
        features_ms=round(hint * 1e3, 3),
        forward_ms=(round(one * 1e3, 3), round(two * 1e3, 3)),
        decode_ms=round(decode * 1e3, 3),
        tflops=round(rate, 3),
        share=round(rate / chip, 3),
        memory_mb=round(_memory_mb(device), 1),
    )


def make_engine_of(backend: Backend, size: int) -> DiffusionEngine:
    """The live engine around a backend, without tracking networks."""
    return DiffusionEngine(lambda: backend, DiffusionOptions(size), lambda: SyntheticFace(nods=True), lambda: full_mask)


def time_windows(engine: DiffusionEngine, point: GridPoint, size: int) -> float:
    """Seconds the device half takes for one window, median of `WINDOWS`."""
    stream = engine.open(StreamConfig(preset("rembrandt-left").lighting, avatar=_avatar(point, size)))
    picture = _camera_picture()
    taken: list[float] = []
    index = 0
    try:
        while len(taken) <= WINDOWS:
            work: Work | None = stream.prepare(Frame(index, index / 25.0, picture))
            index += 1
            if work is not None:
                started = time.perf_counter()
                stream.render(work)  # pictures come back to the host: the device has finished
                taken.append(time.perf_counter() - started)
    finally:
        stream.close()
    return float(np.median(taken[1:]))


def run_live(
    engine: DiffusionEngine, point: GridPoint, size: int, camera_fps: float, seconds: float
) -> tuple[float, float, float]:
    """A live stream for `seconds` at the camera's rate: (delay p50, p95 in s, frames a second that left relit)."""
    host = DeviceThread(engine)
    woken = threading.Event()
    avatar = _avatar(point, size)
    lighting = preset("rembrandt-left").lighting
    controls = Controls(EnginePair(host), lighting, avatar=avatar, placeholder=Placeholder(avatar.portrait_rgb))
    live = LiveStream(controls, woken.set, time.monotonic)
    picture = _camera_picture()
    delays: list[tuple[float, float]] = []
    stop = threading.Event()

    def feed() -> None:
        start, number = time.monotonic(), 0
        while not stop.wait(max(0.0, start + number / camera_fps - time.monotonic())):
            live.submit(picture, number / camera_fps)
            number += 1

    camera = threading.Thread(target=feed, name="relight-bench-camera", daemon=True)
    try:
        host.wait_ready()
        camera.start()
        begin = time.monotonic()
        while (now := time.monotonic()) < begin + seconds:
            frame, wait_s = live.next_output(now)
            if frame is None:
                woken.wait(min(wait_s, 0.05))
                woken.clear()
            elif frame.relit:
                delays.append((now, now - frame.arrived_s))
    finally:
        stop.set()
        if camera.ident is not None:
            camera.join()
        live.close()
        host.close()
    settled = [delay for at, delay in delays if at > begin + seconds / 2]
    if not settled:
        return float("nan"), float("nan"), 0.0
    p50, p95 = np.percentile(settled, (50, 95))
    return float(p50), float(p95), len(settled) / (seconds / 2)


def grid_row(
    backend: str, precision: str, point: GridPoint, window_s: float, camera_fps: float, live: Any = None
) -> GridRow:
    """Return what was measured of `point`, beside what was predicted."""
    told = predicted(camera_fps, point.stride, window_s)
    return GridRow(
        backend=backend,
        precision=precision,
        steps=point.steps,
        branches=point.branches,
        stride=point.stride,
        window_ms=round(window_s * 1e3, 2),
        windows_per_s=round(1 / window_s, 3),
        fps=round(point.stride / window_s, 2),
        output_fps=round(told.fps, 2),
        predicted_delay_s=round(told.delay_s, 3),
        keeps_up=told.keeps_up,
        measured_delay_s=None if live is None else round(live[0], 3),
        measured_p95_s=None if live is None else round(live[1], 3),
        measured_fps=None if live is None else round(live[2], 2),
    )


def flops_of(model_scale: ModelScale, size: int) -> tuple[StageFlops, dict[str, float]]:
    """Counted operations, and the same in GFLOP by name."""
    flops = stage_flops(size, WINDOW, model_scale)
    named = {
        "forward_1": flops.forward[0],
        "forward_2": flops.forward[1],
        "decode": flops.decode,
        "encode": flops.encode,
        "features": flops.features,
        "clip": flops.clip,
    }
    return flops, {name: round(value / 1e9, 3) for name, value in named.items()}


def _avatar(point: GridPoint, size: int) -> Avatar:
    portrait = np.random.default_rng(1).integers(0, 256, (size, size, 3), np.uint8)
    omega = SamplerPlan().omega if point.branches == 2 else 1.0
    return Avatar(portrait, steps=point.steps, omega=omega, stride=point.stride)


def _camera_picture() -> np.ndarray:
    return np.full((*CAMERA, 3), 96, np.uint8)


def _timed(call: Callable[[], object], device: torch.device, clock: Clock) -> float:
    _wait(device)
    started = clock()
    call()
    _wait(device)
    return clock() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory_mb(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else rss_mb()
