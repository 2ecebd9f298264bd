"""Runs the avatar's kernels once on a made-up portrait, so that nobody's first frame waits for the compiler."""

import numpy as np

from engine.avatar.engine import SIZE, AvatarEngine
from engine.frames import Frame
from engine.protocols import Avatar, StreamConfig
from engine.ratio.warmup import LIGHT
from engine.synthetic_face import StillFace


def warm_up(engine: AvatarEngine) -> None:
    """Compile (or load from the cache on disk) and touch the networks."""
    rgb = np.random.default_rng(0).integers(60, 200, (SIZE, SIZE, 3), np.uint8)
    engine.touch(rgb)
    made_up = AvatarEngine(StillFace, lambda: lambda _: np.ones((9, 16), np.float32))
    stream = made_up.open(StreamConfig(LIGHT, avatar=Avatar(rgb)))
    for index in range(3):
        stream.push(Frame(index, index / 10, rgb))
    stream.close()
