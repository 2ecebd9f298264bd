"""Runs every kernel once on a made-up face, so that nobody's first frame waits for the compiler (13 s cold)."""

import numpy as np

from engine.frames import Frame
from engine.protocols import StreamConfig
from engine.ratio import RatioEngine, RatioStream
from lcvd.centred_face import centred_face
from lcvd.types import DirectionalLight, Face, Lighting

LIGHT = Lighting("warm-up", (0.3, 0.3, 0.3), (DirectionalLight((-0.6, 0.4, 0.69), (1, 1, 1), 0.2, 0.7),), specular=0.3)


class _OneFace:
    """A Tracker that always sees the neutral face in the middle."""

    def track(self, rgb: np.ndarray, t_s: float) -> Face:
        return centred_face(rgb.shape[:2], t_s)

    def reset(self) -> None: ...

    def close(self) -> None: ...


def warm_up(engine: RatioEngine) -> None:
    """Compile (or load from the cache on disk) and touch the networks."""
    rgb = np.random.default_rng(0).integers(60, 200, (240, 320, 3), np.uint8)
    stream = engine.open(StreamConfig(lighting=LIGHT))
    stream.push(Frame(0, 0.0, rgb))  # the networks
    painted = RatioStream(StreamConfig(lighting=LIGHT), _OneFace(), lambda _: np.ones((9, 16), np.float32))
    for index in range(3):
        painted.push(Frame(index, index / 10, rgb))
    for opened in (stream, painted):
        opened.close()
