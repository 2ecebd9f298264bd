"""The live engine around a tiny random model, with a nodding driver: what the tests of this folder share."""

from dataclasses import replace

import numpy as np

from engine.backends.eager import EagerBackend
from engine.diffusion.engine import DiffusionEngine, DiffusionOptions, DiffusionStream
from engine.diffusion.latency import CostModel
from engine.diffusion.sampler import SamplerPlan
from engine.frames import Frame, Work
from engine.protocols import Avatar, StreamConfig
from lcvd.types import Lighting
from tests.engine.synthetic_person import LEFT, DrawnMatte, ScriptedTracker, portrait

SIZE, FPS = 64, 25
FAST = SamplerPlan(2, guidance="none")
CAMERA = (48, 64)
FULL = replace(LEFT, strength=1.0)
COST = CostModel((0.05, 0.09), 0.004)  # what these tests pretend was measured: the real one takes time


class TurningTracker(ScriptedTracker):
    """The centred face, nodding with time, so that every frame has another hint; blind at the given times."""

    def track(self, rgb, t_s):
        face = super().track(rgb, t_s)
        if face is None:
            return None
        c, s = np.cos(0.6 * np.sin(3 * t_s)), np.sin(0.6 * np.sin(3 * t_s))
        return replace(face, rotation=np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32))


class CountingBackend(EagerBackend):
    """Counts what is asked of it."""

    def __init__(self, model) -> None:
        super().__init__(model)
        self.encoded, self.denoised, self.decoded, self.hinted = 0, [], [], []
        self.calls, self.latents = [], []  # requests in each call; what was decoded

    def encode(self, rgb, mask, noise):
        self.encoded += 1
        return super().encode(rgb, mask, noise)

    def features(self, hints):
        self.hinted.append(len(hints))
        return super().features(hints)

    def denoise(self, requests):
        self.denoised += [(len(request.x), request.branches) for request in requests]
        self.calls.append(len(requests))
        return super().denoise(requests)

    def decode(self, latents):
        self.decoded.append(len(latents))
        self.latents.append(latents.clone())
        return super().decode(latents)


def engine_of(
    model, plan=FAST, stride=10, blind=(), backend=EagerBackend, batch=1, tracker=TurningTracker
) -> DiffusionEngine:
    engine = DiffusionEngine(
        lambda: backend(model),
        DiffusionOptions(SIZE, stride, plan, batch=batch),
        lambda: tracker(blind),
        DrawnMatte,
        measure=lambda backend, size: COST,
    )
    engine.warmup()
    return engine


def avatar(**kwargs) -> Avatar:
    return Avatar(portrait((96, 96)), **kwargs)


def opened(engine: DiffusionEngine, lighting: Lighting = FULL, **kwargs) -> DiffusionStream:
    return engine.open(StreamConfig(lighting, avatar=avatar(**kwargs)))


def frame(i: int, size: tuple[int, int] = CAMERA) -> Frame:
    return Frame(i, i / FPS, np.full((*size, 3), i % 256, np.uint8), 7.0 + i)


def pushed(stream: DiffusionStream, count: int, lights: dict[int, Lighting] | None = None) -> list[Frame]:
    out = []
    for i in range(count):
        if lights and i in lights:
            stream.set_lighting(lights[i])
        out += stream.push(frame(i))
    stream.close()
    return out


def works_of(stream: DiffusionStream, windows: int) -> list[Work]:
    """The host half of the first `windows` windows."""
    works = (stream.prepare(frame(i)) for i in range(windows * 4))
    return [work for work in works if work]


def together(engine: DiffusionEngine, *works) -> dict[int, list[Frame] | Exception]:
    """What render_together makes of (stream, work) that all wait at once."""
    waiting = list(works)

    def take(free: int):
        taken = waiting[:free]
        del waiting[:free]
        return taken

    return dict(engine.render_together(take))
