"""MaskCorrection mends the person's mask where a second, slower network disagrees with it over a whole region.

The fast network draws the contour, and now and then takes a flag, a bright wall or half of a passer-by for the person,
or misses a helmet. The second network's looks are a second or more apart and come late, so a look is not used as a
mask: it says which cells of the picture are not what the fast network takes them for, and what colour they had. Where
two looks agree, the mask is drawn to the second network's over half a second, and there only while the cell keeps that
colour: a hand before the flag is the person's at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from engine.ratio.mask_verdict import UNSURE, disagreement, opinion_of, softened
from engine.ratio.slow_matte import Answer, SlowMatte
from lcvd.types import Face, FloatArray

SOON_S = 0.7  # from one look to the next while there is something to confirm, or the picture changed
STILL_S = 10.0  # the same where nothing changed
AVERAGE_S, BURST = 3.0, 3.0  # one look in so many seconds on average; so many at a stretch
EASE_S = 0.5  # a correction comes and goes over this time
SAME, OTHER = 0.06, 0.12  # difference of colour up to which a cell is the same, and from which it is another
FOLLOW = 0.05  # a frame: how fast the colour of a cell that is the same follows the picture's
AGREED, LONGEST = 2, 4.0  # from so many looks in a row on that change nothing, looks are up to so many times rarer
WOKEN_AREA, WOKEN_WALL = 0.15, 0.25  # and come as before once so much of the mask, or of the wall's colours, is new
WALL, LEVELS, SPARSE = 0.1, 4, 4  # the wall is below this of the mask; levels a channel; one cell in so many counts
CHANGED_SHARE = 0.02  # of the cells: so many of other colours make a changed picture
OPEN_SHARE = 0.002  # of the cells: so many to confirm are worth a look


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    answer: Answer
    mask: FloatArray  # [h,w] the fast mask
    small: FloatArray  # [h,w,3] the picture
    faces: tuple[FloatArray, ...]  # of each face its points [V,2], in cells; the followed one first


class MaskCorrection:
    """Corrects the masks of one stream. One thread at a time may use it.

    `wait` makes every look count from the next frame on, so that a clip comes out the same each time.
    """

    def __init__(self, matte: SlowMatte, wait: bool = False) -> None:
        self._matte, self._wait = matte, wait
        self._look: _Look | None = None
        self._unavailable = False
        self._tokens, self._t_s = BURST, 0.0
        self.reset()

    def reset(self) -> None:
        """Forget every correction; the next frame is looked at, unless the looks are spent."""
        self.close()
        self._looked_s = -np.inf
        self._start((0, 0))

    def close(self) -> None:
        """Give up the look that is under way."""
        if self._look is not None:
            self._look.answer.cancel()
            self._look = None

    def _start(self, shape: tuple[int, ...]) -> None:
        self._held = np.zeros(shape, np.int8)  # what looks agree on: 1 the person's, −1 not, 0 no correction
        self._said: NDArray[np.int8] | None = None  # what the last look says
        self._colour = np.zeros((*shape, 3), np.float32)  # of each cell when it was judged
        self._wanted = np.zeros(shape, np.float32)  # `held`, soft at its edges
        self._shown = np.zeros(shape, np.float32)  # follows it
        self._seen: FloatArray | None = None  # [h,w,3] the picture of the last look
        self._area = 0.0  # of the mask then, cells
        self._wall = np.zeros(LEVELS**3)  # the shares of its colours then
        self._agreed = 0  # looks in a row that changed nothing
        self._open = False  # the last look says other than is held
        self._active = False  # something is shown, or to be

    def apply(
        self, mask: FloatArray, small: FloatArray, rgb: NDArray[np.uint8], faces: Sequence[Face], t_s: float
    ) -> FloatArray:
        """Return the corrected mask [h,w] of the frame `rgb` [H,W,3] at `t_s`.

        `mask` [h,w] is the fast one and `small` [h,w,3] the picture in [0,1], of one size; `faces` are all that are
        followed, the main one first.
        """
        if self._unavailable:
            return mask
        if self._held.shape != mask.shape or t_s < self._t_s:
            self.reset()
            self._start(mask.shape)
        step_s, self._t_s = max(t_s - self._t_s, 0.0), t_s
        if self._agreed > AGREED and self._is_woken(mask, small):
            self._agreed = 0
        rarer = min(2.0 ** max(self._agreed - AGREED, 0), LONGEST)
        self._tokens = min(self._tokens + step_s / (AVERAGE_S * rarer), BURST)
        self._take()
        out = mask
        if self._active:
            out = np.empty_like(mask)
            step = np.float32(step_s / EASE_S)
            self._active = _ease(mask, small, self._wanted, self._colour, self._shown, step, out)
        if self._is_due(small):
            scale = np.array([mask.shape[1] / rgb.shape[1], mask.shape[0] / rgb.shape[0]], np.float32)
            points = tuple(face.vertices_px[:, :2] * scale for face in faces)
            self._look = _Look(self._matte.ask(rgb), mask, small, points)
            self._tokens -= 1
            self._looked_s, self._seen = t_s, small
            self._area, self._wall = float(mask.sum()), _wall(small, mask)
            if self._wait:
                self._take()
        return out

    def _is_due(self, small: FloatArray) -> bool:
        since_s = self._t_s - self._looked_s
        if self._look is not None or self._tokens < 1 or since_s < SOON_S:
            return False
        if self._seen is None or self._open or since_s >= STILL_S:
            return True
        # One look is kept for confirming what this one may find.
        return self._tokens >= 2 and bool(_changed(small, self._seen) > CHANGED_SHARE * small[..., 0].size)

    def _is_woken(self, mask: FloatArray, small: FloatArray) -> bool:
        """Return True where the wall, or what is taken for the person, is not what the last look saw.

        The wall is known by its colours and not by their places, so that a camera that sways wakes nobody.
        """
        apart = abs(float(mask.sum()) - self._area)
        return apart > WOKEN_AREA * self._area or bool(np.abs(_wall(small, mask) - self._wall).sum() > 2 * WOKEN_WALL)

    def _take(self) -> None:
        """Take the answer to the look that is under way into account, if there is one."""
        look = self._look
        if look is None or not (self._wait or look.answer.done()):
            return
        self._look = None
        answer = look.answer.result()
        if answer is None:
            self._unavailable = True
            return
        size = look.mask.shape[1], look.mask.shape[0]
        person = cv2.resize(answer, size, interpolation=cv2.INTER_AREA)
        opinion = opinion_of(person, look.mask, look.faces)  # type: ignore[arg-type]
        if opinion is not None:
            self._judge(opinion, look)

    def _judge(self, opinion: FloatArray, look: _Look) -> None:
        said = disagreement(opinion, look.mask, look.small)
        # What is held needs less to stay than it needed to come.
        against = np.where(self._held > 0, 1 - opinion, opinion)
        said = np.where((said == 0) & (self._held != 0) & (against < UNSURE), self._held, said)
        agreed = said == self._said if self._said is not None else np.ones_like(said, np.bool_)
        # A cell of another colour is covered by something; what it is behind that is not contradicted.
        covered = (self._held != 0) & (np.abs(look.small - self._colour).max(-1) > OTHER) & (said != self._held)
        held = np.where(agreed & ~covered, said, self._held)
        changed = bool((held != self._held).mean() > OPEN_SHARE)
        self._held = held
        self._colour[~covered] = look.small[~covered]
        self._open = bool(((said != self._held) & ~covered).mean() > OPEN_SHARE)
        self._agreed = 0 if self._open or changed else self._agreed + 1
        self._said = said
        self._wanted = softened(self._held, look.mask)
        self._active = self._active or bool(self._held.any())


def _wall(small: FloatArray, mask: FloatArray) -> NDArray[np.float64]:
    """Return the share of each colour in what `mask` [h,w] leaves of the picture `small` [h,w,3]."""
    colours = small[::SPARSE, ::SPARSE][mask[::SPARSE, ::SPARSE] < WALL]
    bins = (colours * np.float32(LEVELS - 0.01)).astype(np.intp) @ np.array([LEVELS * LEVELS, LEVELS, 1])
    return np.bincount(bins, minlength=LEVELS**3) / max(len(bins), 1)


def compile_correction() -> None:
    """Compile the kernels, or load them from the cache on disk."""
    field, picture = np.zeros((2, 2), np.float32), np.zeros((2, 2, 3), np.float32)
    _changed(picture, picture)
    _ease(field, picture, field, picture.copy(), field.copy(), np.float32(1), np.empty_like(field))


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _changed(picture, before):  # type: ignore[no-untyped-def]
    """Count the cells of `picture` [h,w,3] that have another colour than in `before`."""
    count = 0
    for i in range(picture.shape[0]):
        for j in range(picture.shape[1]):
            apart = np.float32(0.0)
            for c in range(3):
                apart = max(apart, abs(picture[i, j, c] - before[i, j, c]))
            if apart > np.float32(SAME):
                count += 1
    return count


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _ease(mask, small, wanted, colour, shown, step, out):  # type: ignore[no-untyped-def]
    """Move `shown` toward `wanted` by at most `step` and correct `mask` by it; False where nothing is left to show."""
    zero, one, active = np.float32(0.0), np.float32(1.0), False
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            now = shown[i, j] + min(max(wanted[i, j] - shown[i, j], -step), step)
            shown[i, j] = now
            if now == zero and wanted[i, j] == zero:
                out[i, j] = mask[i, j]
                continue
            active = True
            apart = zero
            for c in range(3):
                apart = max(apart, abs(small[i, j, c] - colour[i, j, c]))
            same = min(max((np.float32(OTHER) - apart) * np.float32(1 / (OTHER - SAME)), zero), one)
            for c in range(3):
                colour[i, j, c] += same * np.float32(FOLLOW) * (small[i, j, c] - colour[i, j, c])
            target = one if now > zero else zero
            out[i, j] = mask[i, j] + same * abs(now) * (target - mask[i, j])
    return active
