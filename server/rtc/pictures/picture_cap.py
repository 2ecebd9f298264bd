"""The size and rate up to which a participant's pictures are handled; others are made smaller or left out, evenly.

Both happen on the decoder's thread, before the engine sees a picture. Times are the source's own.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

HEAVY_PIXELS, HEAVY_FPS = 640 * 480, 15.0
EARLY = 0.25  # of a period: a picture that comes so much too soon is jitter, not a higher rate


class PictureCap(NamedTuple):
    """A size, counted in pixels so that a picture may lie or stand, and pictures a second."""

    width: int
    height: int
    fps: float
    intake_px_s: float = math.inf  # pixels a second that are decoded (`server.rtc.intake`)

    @property
    def pixels(self) -> int:
        """The pixels of the size."""
        return self.width * self.height

    @property
    def size(self) -> str:
        """The size as people write it."""
        return f"{self.width}x{self.height}"

    def for_heavy(self) -> "PictureCap":
        """Returns the cap of a source that is heard in bursts: others wait for each of its pictures, one by one."""
        scale: float = min(1.0, (HEAVY_PIXELS / self.pixels) ** 0.5)
        width, height = round(self.width * scale), round(self.height * scale)
        return self._replace(width=width, height=height, fps=min(self.fps, HEAVY_FPS))

    def fitted(self, width: int, height: int) -> tuple[int, int]:
        """Returns the size [px] at which a picture is handled: its own, or a smaller one of like shape, sides even."""
        if width * height <= self.pixels:
            return width, height
        scale: float = (self.pixels / (width * height)) ** 0.5
        return max(2, int(width * scale) & ~1), max(2, int(height * scale) & ~1)


CapSource = Callable[[], PictureCap | None]  # what counts now; None: every picture as it is


def uncapped() -> PictureCap | None:
    """A CapSource that asks for nothing."""
    return None


class Thinner:
    """Leaves out pictures above a rate, evenly."""

    def __init__(self) -> None:
        self._due_s = float("-inf")

    def admits(self, t_s: float, fps: float) -> bool:
        """Returns True for a picture of this presentation time (s) that is to be handled at `fps`."""
        period_s = 1 / fps
        early_s = self._due_s - t_s
        if EARLY * period_s < early_s <= period_s * 1.01:  # more is another clock: a source that begins anew
            return False
        self._due_s = (self._due_s if abs(early_s) < period_s else t_s) + period_s
        return True
