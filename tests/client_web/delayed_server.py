"""Serves pictures unchanged but late: `python -m tests.client_web.delayed_server PORT`. The delay is 4 s × strength.

`set_strength` so changes the delay at any moment, as a change of engine or of its quality does. A dim light lowers the
brightness, so that a relit picture is told from the camera's.
"""

import sys
from collections import deque

import numpy as np

from engine.frames import Frame, Work
from engine.passthrough import PassthroughEngine, PassthroughStream
from engine.protocols import Engine, EngineTraits, StreamConfig
from lcvd.types import Lighting
from server.http.serve import run

LONGEST_S = 4.0
EARLY_S = 0.01  # a delay of whole pictures may not depend on how evenly the camera draws
DIM = 0.75


class DelayedEngine(PassthroughEngine):
    """Returns dimmed pictures late."""

    name = "ratio"
    traits = EngineTraits("Late picture", tracks_faces=False, stall_s=10.0)

    def open(self, config: StreamConfig) -> "DelayedStream":
        """Open a participant's stream."""
        return DelayedStream(config)


class DelayedStream(PassthroughStream):
    """Holds frames back by their own time."""

    def __init__(self, config: StreamConfig) -> None:
        super().__init__(config)
        self._held: deque[Frame] = deque()
        self._delay_s = LONGEST_S * config.lighting.strength

    def set_lighting(self, lighting: Lighting) -> None:
        super().set_lighting(lighting)
        self._delay_s = LONGEST_S * lighting.strength

    def prepare(self, frame: Frame) -> Work | None:
        """Take a frame, give the newest one that is old enough."""
        super().prepare(frame)
        self._held.append(frame)
        due = None
        while self._held and self._held[0].t_s <= frame.t_s - self._delay_s + EARLY_S:
            due = self._held.popleft()
        return None if due is None else Work((due,), (None,), (self._lighting,))

    def render(self, work: Work) -> list[Frame]:
        """Dim what is due."""
        return [Frame(f.index, f.t_s, (f.rgb * np.float32(DIM)).astype(np.uint8)) for f in work.frames]


def make(name: str) -> Engine:
    """Make the late engine, whatever is asked for."""
    return DelayedEngine()


if __name__ == "__main__":
    sys.exit(run({"port": int(sys.argv[1]), "engine": "ratio", "max_sessions": 6, "step_down": False}, make))
