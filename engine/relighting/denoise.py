"""Where a light lifts what was dark, the camera's noise is lifted as well: it is smoothed there, lightly.

A guided filter in its fast form (He and Sun, "Fast Guided Filter", arXiv 1505.00996): each pixel moves toward the local
mean of the coarse picture, by a share that falls where the coarse picture varies more than noise does. So edges stay,
flat skin gets calm, and as the filter is linear in the pixels it neither bands nor flickers.
"""

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from engine.relighting.grid import WorkingGrid
from lcvd.lighting.colour import LUMA_B, LUMA_G, LUMA_R
from lcvd.types import Face, FloatArray

# Gains of squares: below the first nothing is smoothed, from the second on as much as there is noise.
FROM, FULL = 1.4, 2.4
MOST = 0.75  # largest share of the way to the mean
EDGE = 2.5  # the coarse picture counts as flat while it varies by less than this many deviations of the noise
# Noise in code values of 255: below the first none is seen, from the second on all is smoothed.
SEEN, STRONG = 1.0, 3.0
# Not empty: numba takes the layout of an empty array for another type, and would compile the pass over pixels once more
# for it, in the middle of a call.
NOTHING = np.zeros((4, 2, 2), np.float32)
MEMORY_S, EVERY_S = 1.0, 0.15
UNKNOWN = 3.0  # code values, until dark pixels were seen
DARK, BRIGHT = 10, 140  # code values between which noise is measured: what a light may lift
SAMPLES = 48  # a side of the face's box


class NoiseLevel:
    """Follows the noise of one stream's darker pixels, as a standard deviation in code values of 255."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was measured."""
        self.sigma = UNKNOWN
        self._t_s: float | None = None

    def update(self, rgb: NDArray[np.uint8], face: Face) -> float:
        """Take in the face's part of a frame `rgb` [H,W,3] and return the noise."""
        if self._t_s is not None and 0 <= face.t_s - self._t_s < EVERY_S:
            return self.sigma
        low, high = face.vertices_px[:, :2].min(0), face.vertices_px[:, :2].max(0)
        found = np.empty(SAMPLES * SAMPLES, np.float32)
        count = _differences(rgb, int(low[0]), int(low[1]), int(high[0]), int(high[1]), found)
        if count < SAMPLES:
            return self.sigma
        # The difference to the mean of four neighbours spreads by √(1 + 1/4) of the noise.
        sigma = 1.4826 / 1.118 * float(np.median(found[:count]))
        keep = 0.0 if self._t_s is None else float(np.exp(-max(face.t_s - self._t_s, 0.0) / MEMORY_S))
        self.sigma = keep * self.sigma + (1 - keep) * sigma
        self._t_s = face.t_s
        return self.sigma


def smoothing(small: FloatArray, mask: FloatArray, gain: FloatArray, grid: WorkingGrid, noise: float) -> FloatArray:
    """Return [4,rows,cols] on `grid`: the share of the way to the local mean, and that mean's RGB code values in 0…1.

    `small` [h,w,3] is the whole frame's coarse picture, `mask` [rows,cols] the person, `gain` [rows,cols] the gain of
    squares, `noise` the frame's in code values of 255. NOTHING where no cell is lifted or no noise is seen.
    """
    strength = MOST * min(max((noise - SEEN) / (STRONG - SEEN), 0.0), 1.0)
    if strength <= 0 or float(gain.max()) <= FROM:
        return NOTHING
    mean = grid.sample(small)
    moments = np.empty((*gain.shape, 2), np.float32)
    _moments(mean, moments)
    moments = cv2.blur(moments, (3, 3), borderType=cv2.BORDER_REPLICATE)
    out = np.empty((4, *gain.shape), np.float32)
    edge = np.square(EDGE * noise / 255)
    _shares(mean, moments, mask, gain, np.float32(strength), np.float32(edge), out)
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _differences(rgb, left, top, right, bottom, out):  # type: ignore[no-untyped-def]
    """Write how far dark pixels are from the mean of their four neighbours, green; return how many there are."""
    count = 0
    for a in range(SAMPLES):
        i = top + (bottom - top) * a // SAMPLES
        if i < 1 or i >= rgb.shape[0] - 1:
            continue
        for b in range(SAMPLES):
            j = left + (right - left) * b // SAMPLES
            if j < 1 or j >= rgb.shape[1] - 1 or rgb[i, j, 1] < DARK or rgb[i, j, 1] > BRIGHT:
                continue
            around = np.float32(rgb[i - 1, j, 1]) + np.float32(rgb[i + 1, j, 1]) + np.float32(rgb[i, j - 1, 1])
            out[count] = abs(np.float32(rgb[i, j, 1]) - np.float32(0.25) * (around + np.float32(rgb[i, j + 1, 1])))
            count += 1
    return count


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _moments(mean, out):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            luma = (
                np.float32(LUMA_R) * mean[i, j, 0] + np.float32(LUMA_G) * mean[i, j, 1]
                + np.float32(LUMA_B) * mean[i, j, 2]
            )  # fmt: skip
            out[i, j, 0], out[i, j, 1] = luma, luma * luma


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _shares(mean, moments, mask, gain, strength, edge, out):  # type: ignore[no-untyped-def]
    one, zero = np.float32(1.0), np.float32(0.0)
    for i in range(gain.shape[0]):
        for j in range(gain.shape[1]):
            lift = min(max((gain[i, j] - np.float32(FROM)) * np.float32(1 / (FULL - FROM)), zero), one)
            varies = max(moments[i, j, 1] - moments[i, j, 0] * moments[i, j, 0], zero)
            inside = min(max(np.float32(2.0) * mask[i, j] - one, zero), one)  # the wall is not lifted
            out[0, i, j] = strength * inside * lift * edge / (varies + edge)
            out[1, i, j], out[2, i, j], out[3, i, j] = mean[i, j, 0], mean[i, j, 1], mean[i, j, 2]


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def smoothed_columns(smooth, low, rows):  # type: ignore[no-untyped-def]
    """Return [rows,2]: the pixel columns of a field's rows that are smoothed, first and one past the last.

    `smooth` may be NOTHING; `low` [W] is the cell left of each column.
    """
    out = np.zeros((rows, 2), np.int64)
    out[:, 0] = low.shape[0]
    cols = smooth.shape[1]
    for i in range(smooth.shape[0]):
        first, last = cols, -1
        for k in range(cols):
            if smooth[i, k, 0] > 0:
                first, last = min(first, k), k
        if last >= 0:
            out[i, 0] = np.searchsorted(low, max(first - 1, 0))
            out[i, 1] = np.searchsorted(low, last + 1)
    return out


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def smooth_run(upper, lower, down, start, first, stop, line):  # type: ignore[no-untyped-def]
    """Move pixels toward the local mean, rows 13…15 of `line`, from column `first` to `stop`; it begins at `start`.

    `upper` and `lower` [4,W] are the share of the way and the mean in the two rows of the field around this one.
    """
    for c in range(4):
        a, b, mean = upper[c][first:stop], lower[c][first:stop], line[16 + c][first - start : stop - start]
        for j in range(mean.shape[0]):
            mean[j] = a[j] + down * (b[j] - a[j])
    share = line[16][first - start : stop - start]
    for c in range(3):
        mean, pixel = line[17 + c][first - start : stop - start], line[13 + c][first - start : stop - start]
        for j in range(mean.shape[0]):
            pixel[j] += share[j] * (mean[j] - pixel[j])
