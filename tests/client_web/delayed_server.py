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
USUAL_PERIOD_S = 1 / 15  # between two pictures, until some have come
PERIODS = 15  # whose median is the camera's period
DIM = 0.75


class DelayedEngine(PassthroughEngine):
    """Returns dimmed pictures late."""

    name = "ratio"
    traits = EngineTraits("Late picture", tracks_faces=False, stall_s=10.0)

    def open(self, config: StreamConfig) -> "DelayedStream":
        """Open a participant's stream."""
        return DelayedStream(config)


class DelayedStream(PassthroughStream):
    """Holds back a number of pictures.

    Counted and not timed: of a camera that draws unevenly none is lost, and none twice as late as the one before.
    """

    def __init__(self, config: StreamConfig) -> None:
        super().__init__(config)
        self._held: deque[Frame] = deque()
        self._times: deque[float] = deque(maxlen=PERIODS + 1)
        self._delay_s = LONGEST_S * config.lighting.strength
        self._behind: int | None = None  # pictures that are held; None: to be counted anew

    def set_lighting(self, lighting: Lighting) -> None:
        super().set_lighting(lighting)
        if self._delay_s != LONGEST_S * lighting.strength:
            self._delay_s, self._behind = LONGEST_S * lighting.strength, None

    def prepare(self, frame: Frame) -> Work | None:
        """Take a frame, give the one that is old enough."""
        super().prepare(frame)
        self._held.append(frame)
        self._times.append(frame.t_s)
        if self._behind is None or len(self._times) <= PERIODS:
            period_s = float(np.median(np.diff(self._times))) if len(self._times) > 2 else USUAL_PERIOD_S
            self._behind = int(np.ceil(round(self._delay_s / period_s, 1)))
        due = None
        while len(self._held) > self._behind:
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
