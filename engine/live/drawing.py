"""What an engine made → the pictures that may go out: beside the untouched one, with the hint, and never the camera
where an avatar is shown. On the thread that rendered; holds no lock."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.frames import Frame, Work
from engine.live.output import OutputFrame
from engine.live.overlay import View, compose
from engine.stats import Stats

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """How results are to be shown at this moment."""

    view: View
    hidden: bool  # an avatar is shown
    portrait: NDArray[np.uint8] | None  # [h,w,3]: the avatar's "before", of its size
    fresh_from: int  # results of earlier frames are stale

    def draw(self, work: Work, frames: list[Frame], name: str, stats: Stats) -> list[OutputFrame]:
        """The pictures that engine `name` made of `work`."""
        outputs = []
        for i, (given, made) in enumerate(zip(work.frames, frames, strict=True)):
            if given.index < self.fresh_from:
                continue
            if self.hidden and np.may_share_memory(given.rgb, made.rgb):
                stats.count("withheld")  # an engine that lets the camera pass is no avatar
                continue
            rgb = self._composed(given, made, work, i, stats)
            outputs.append(OutputFrame(given.index, given.t_s, rgb, given.arrived_s, True, name))
        return outputs

    def _composed(self, given: Frame, made: Frame, work: Work, i: int, stats: Stats) -> NDArray[np.uint8]:
        before = given.rgb
        if self.hidden:
            before = made.rgb if self.portrait is None else self.portrait
        try:
            return compose(before, made.rgb, work.faces[i], work.lightings[i], self.view)
        except Exception as error:  # the worker door: an inset must not cost the picture
            if stats.count("undrawn") == 1:  # one traceback a participant: it may be every frame
                log.error("the view cannot be drawn", exc_info=error)
            return made.rgb
