"""The picture that goes out: before/after split, hint inset, and never the camera where an avatar is shown.

Drawn on the server, so that both halves show the same instant, on the thread that rendered; holds no lock. RGB uint8
[H,W,3] in and out; inputs stay as they are.
"""

import logging
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.fit import cover
from engine.frames import Frame, Work
from engine.live.output import OutputFrame
from engine.stats import Stats
from lcvd.types import Face, Lighting

INSET_WIDTH = 0.28  # of the picture
INSET_MARGIN = 0.025
INSET_RADIUS = 0.07  # of the inset's width
INSET_FILL = 0.8  # of the inset's height for a face
HEIGHT_OVER_WIDTH = 1.3  # of a face
CALM = 24  # grey of the inset's ground
BORDER = 90


@dataclass(frozen=True, slots=True)
class View:
    """`split` in [0,1]: original left of that share of the width, relit right of it; None: all relit."""

    hint: bool = False
    split: float | None = None


def compose(
    original: NDArray[np.uint8],
    relit: NDArray[np.uint8],
    face: Face | None,
    lighting: Lighting,
    view: View,
) -> NDArray[np.uint8]:
    """Draws the picture to send; it is `relit` itself when the view asks for nothing more."""
    if view.split is None and not view.hint:
        return relit
    picture = relit.copy()
    if original.shape != relit.shape:  # an avatar has a size of its own
        original = cover(original, (relit.shape[0], relit.shape[1]))
    if view.split is not None:
        _draw_split(picture, original, view.split)
    if view.hint:
        _draw_hint(picture, face, lighting)
    return picture


def _draw_split(picture: NDArray[np.uint8], original: NDArray[np.uint8], split: float) -> None:
    width = picture.shape[1]
    column = round(min(1.0, max(0.0, split)) * width)
    picture[:, :column] = original[:, :column]
    if 0 < column < width:
        half = 1 if width >= 320 else 0
        picture[:, max(0, column - half) : column + 1] = 255


def _draw_hint(picture: NDArray[np.uint8], face: Face | None, lighting: Lighting) -> None:
    height, width = picture.shape[:2]
    w = max(8, round(INSET_WIDTH * width))
    h = max(8, round(w * height / width))
    margin = round(INSET_MARGIN * min(width, height))
    y, x = height - margin - h, width - margin - w
    if y < 0 or x < 0:
        return  # a picture too small for an inset
    place = picture[y : y + h, x : x + w]
    inside, edge = _rounded(h, w)
    inset = _hint(face, lighting, (h, w))
    place[:] = np.where(inside[..., None], inset, place)
    place[edge] = BORDER


def _hint(face: Face | None, lighting: Lighting, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The hint of a face brought to the middle of `size` (height, width); dark without a face."""
    if face is None:
        return np.full((*size, 3), CALM, np.uint8)
    from lcvd.hints import render_hints  # here: numba's load is paid by who looks at hints

    low, high = face.vertices_px[:, :2].min(0), face.vertices_px[:, :2].max(0)
    # The stable width sets the scale, so that the inset does not breathe with the expression.
    scale = INSET_FILL * size[0] / max(1.0, HEIGHT_OVER_WIDTH * face.width_px)
    vertices = face.vertices_px * np.float32(scale)
    vertices[:, :2] += np.array(size[::-1], np.float32) / 2 - np.float32(scale) * (low + high) / 2
    hint = render_hints(replace(face, vertices_px=vertices), lighting, size)
    return np.where(hint.mask[..., None], hint.rgb, np.uint8(CALM))


def _rounded(height: int, width: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Inside and one-pixel border of a rounded rectangle, each [height,width]."""
    radius = round(INSET_RADIUS * width)
    mask = np.zeros((height, width), np.uint8)
    cv2.rectangle(mask, (radius, 0), (width - 1 - radius, height - 1), 1, -1)
    cv2.rectangle(mask, (0, radius), (width - 1, height - 1 - radius), 1, -1)
    for cy in (radius, height - 1 - radius):
        for cx in (radius, width - 1 - radius):
            cv2.circle(mask, (cx, cy), radius, 1, -1)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    return mask > 0, (mask - inner) > 0


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """Holds how results are to be drawn at this moment."""

    view: View
    hidden: bool  # an avatar is shown: the camera is not
    portrait: NDArray[np.uint8] | None  # [h,w,3]: the avatar's "before", of its size
    fresh_from: int  # results of earlier frames are stale

    def draw(self, work: Work, frames: list[Frame], name: str, stats: Stats) -> list[OutputFrame]:
        """Draws what engine `name` made of `work`, without stale pictures and, where it is hidden, the camera's own."""
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
        except Exception as error:  # the worker boundary: an inset must not cost the picture
            if stats.count("undrawn") == 1:  # one traceback a participant: it may be every frame
                log.error("the view cannot be drawn", exc_info=error)
            return made.rgb
