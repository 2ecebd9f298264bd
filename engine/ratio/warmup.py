"""Runs every kernel once on a made-up face, so that nobody's first frame waits for the compiler (13 s cold)."""

import numpy as np

from engine.frames import Frame
from engine.protocols import StreamConfig
from engine.ratio.engine import RatioEngine, RatioStream
from engine.synthetic_face import StillFace
from lcvd.types import DirectionalLight, Lighting

LIGHT = Lighting("warm-up", (0.3, 0.3, 0.3), (DirectionalLight((-0.6, 0.4, 0.69), (1, 1, 1), 0.2, 0.7),), specular=0.3)


def warm_up(engine: RatioEngine) -> None:
    """Compile (or load from the cache on disk) and touch the networks."""
    rgb = np.random.default_rng(0).integers(60, 200, (240, 320, 3), np.uint8)
    stream = engine.open(StreamConfig(lighting=LIGHT))
    stream.push(Frame(0, 0.0, rgb))  # the networks
    painted = RatioStream(StreamConfig(lighting=LIGHT), StillFace(), lambda _: np.ones((9, 16), np.float32))
    for index in range(3):
        painted.push(Frame(index, index / 10, rgb))
    for opened in (stream, painted):
        opened.close()
