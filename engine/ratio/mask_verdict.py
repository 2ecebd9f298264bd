"""A second network's mask becomes a verdict on the fast one's: which regions are the person's and which are not.

The second network errs too: uniform clothes and dark hair read as background. So a region that looks like what both
networks call the person is not taken away, and one that looks like what both call the background is not added. A
further person whom no tracker follows is lit or left, whole: as the fast mask holds more or less of them than half.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.types import FloatArray

SURE, UNSURE = 0.1, 0.35  # nearer to 0 or 1 than the first is an opinion, and than the second none against one
WRONG, SLIGHT = 0.15, 0.02  # the fast mask errs by at least this inside a region, and at its rim
NARROW = 2  # cells: a region that a disc of this radius does not fit into is the contour's, which is the fast mask's
WHOLE = 0.5  # share that the fast mask holds of a further person from which all of them is lit
TINY = 0.002  # of the cells: a smaller piece is nobody
REACH_FW = 0.7  # around a further face that is followed, nothing is taken away either
CHEST_FW = 0.5, 0.75  # of the face: the chest, never taken away, begins so far below the chin; half its width
LEVELS = 24  # of the root of each channel in histograms of colour: black hair before dark green are apart
LIKE = 0.15  # mean log odds of a region's colours that speak against the second network; a new colour has 0
FEW = 3e-4  # of the cells: a colour so rare says nothing


def opinion_of(person: FloatArray, mask: FloatArray, faces: Sequence[FloatArray]) -> FloatArray | None:
    """Return the mask [h,w] that the second network would have, or None where one of the two sees too little.

    `person` [h,w] is its own in [0,1], `mask` [h,w] the fast one. `faces` are the points [V,2] of each followed face,
    in cells; the main one first.
    """
    opinion = person.copy()
    count, labels, stats, _ = cv2.connectedComponentsWithStats((person > 0.5).astype(np.uint8), connectivity=4)
    followed = {0}
    for number, points in enumerate(faces):
        at = np.clip(points.astype(int), 0, [person.shape[1] - 1, person.shape[0] - 1])
        label = int(np.median(labels[at[:, 1], at[:, 0]]))
        if number == 0 and (label == 0 or np.median(mask[at[:, 1], at[:, 0]]) < WHOLE):
            return None  # one of them does not see the person whom the tracker follows
        followed.add(label)
        kept = _chest(points, len(mask)) if number == 0 else _around(points)
        opinion[kept] = np.maximum(opinion[kept], mask[kept])
    for label in set(range(count)) - followed:
        piece = labels == label
        if stats[label, cv2.CC_STAT_AREA] < TINY * person.size:
            opinion[_grown(piece)] = mask[_grown(piece)]
        elif mask[piece].mean() < WHOLE:
            opinion[_grown(piece)] = 0
    return opinion


def disagreement(opinion: FloatArray, mask: FloatArray, picture: FloatArray) -> NDArray[np.int8]:
    """Return [h,w]: 1 where `mask` misses what `opinion` sees, −1 where it adds, over whole regions, else 0.

    `picture` [h,w,3] in [0,1] is what both have seen.
    """
    missed, added = _region(1 - opinion, 1 - mask), _region(opinion, mask)
    if not (missed.any() or added.any()):
        return np.zeros(mask.shape, np.int8)
    odds = _odds(picture, (opinion > 1 - SURE) & (mask > 1 - SURE), (opinion < SURE) & (mask < SURE))
    return _likely(missed, -odds).astype(np.int8) - _likely(added, odds).astype(np.int8)


def softened(verdict: NDArray[np.int8], mask: FloatArray) -> FloatArray:
    """Return `verdict` [h,w] with soft edges where it meets what `mask` [h,w] is right about, [h,w] in [−1,1]."""
    hard = verdict.astype(np.float32)
    for sign, right in ((-1, mask < SLIGHT), (1, mask > 1 - SLIGHT)):
        near = cv2.dilate((verdict == sign).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        hard[near & right & (verdict == 0)] = sign  # where nothing changes by it, so that the edge lies outside
    return np.asarray(cv2.blur(hard, (3, 3), borderType=cv2.BORDER_REPLICATE), np.float32)


def _region(low: FloatArray, high: FloatArray) -> NDArray[np.bool_]:
    """Return where `low` is next to 0 and `high` is not, without what is narrow."""
    wrong = ((low < SURE) & (high > WRONG)).astype(np.uint8)
    core = cv2.morphologyEx(wrong, cv2.MORPH_OPEN, _disc(NARROW))
    return (cv2.dilate(core, _disc(2 * NARROW)) > 0) & (low < UNSURE) & (high > SLIGHT)


def _likely(region: NDArray[np.bool_], odds: FloatArray) -> NDArray[np.bool_]:
    """Return those connected pieces of `region` whose `odds` (log, [h,w]) do not speak against them."""
    count, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    cells = np.bincount(labels.ravel(), minlength=count)
    mean = np.bincount(labels.ravel(), odds.ravel(), count) / np.maximum(cells, 1)
    good = mean < LIKE
    good[0] = False
    return good[labels]


def _odds(picture: FloatArray, person: NDArray[np.bool_], background: NDArray[np.bool_]) -> FloatArray:
    """Return the log odds [h,w] of each cell's colour among the cells of `person` and of `background`; 0: neither."""
    bins = np.minimum((np.sqrt(picture) * LEVELS).astype(np.int32), LEVELS - 1) @ np.array([LEVELS * LEVELS, LEVELS, 1])
    shares = []
    for where in (person, background):
        counts = np.bincount(bins[where], minlength=LEVELS**3).reshape(LEVELS, LEVELS, LEVELS).astype(np.float32)
        padded = np.pad(counts, 1)
        for axis in range(3):  # colours next to each other count as one
            before, at, after = (np.take(padded, range(k, k + padded.shape[axis] - 2), axis) for k in range(3))
            padded = before + at + after
        shares.append((padded.ravel() / max(float(padded.sum()), 1.0))[bins])
    return np.log((shares[0] + FEW) / (shares[1] + FEW)).astype(np.float32)


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _grown(piece: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cv2.dilate(piece.astype(np.uint8), _disc(NARROW)) > 0


def _chest(points: FloatArray, rows: int) -> tuple[slice, slice]:
    """Return the rows and columns below the face of `points` [V,2], in a mask of `rows`."""
    low, high = points.min(0), points.max(0)
    below, half = np.array(CHEST_FW) * (high[0] - low[0])
    below = min(below, (rows - high[1]) / 2)  # a body reaches the picture's lower edge, also in a close-up
    middle = (low[0] + high[0]) / 2
    return _cells(high[1] + below, np.inf, middle - half, middle + half)


def _around(points: FloatArray) -> tuple[slice, slice]:
    """Return the rows and columns around the face of `points` [V,2]."""
    low, high = points.min(0), points.max(0)
    reach = REACH_FW * (high[0] - low[0])
    return _cells(low[1] - reach, high[1] + reach, low[0] - reach, high[0] + reach)


def _cells(top: float, bottom: float, left: float, right: float) -> tuple[slice, slice]:
    top, bottom, left, right = (int(np.clip(v, 0, 1 << 16)) for v in (top, bottom, left, right))
    return slice(top, bottom), slice(left, right)
