"""Measures the jumps of the person's brightness from frame to frame, after the motion is taken out.

After the warping error of Lai et al. 2018, "Learning Blind Video Temporal Consistency": the last frame is warped onto
this one by optical flow and compared where the flow can be trusted (forward-backward test of Ruder et al. 2016,
"Artistic Style Transfer for Videos"). Flow comes from the driver (DIS, Kroeger et al. 2016), so that a flickering
result does not disturb its own measurement. The driver's own error on the same pixels is the unit: 1 = as steady as the
driver.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Picture, Request, Score
from lcvd.types import FloatArray

FLOW_SIDE_PX = 512  # flow is found on frames no larger, then scaled up
PERSON = 0.5
FLOOR_LEVELS = 0.1  # rounding and coding alone move a pixel by this much: less is no flicker
MIN_PIXELS = 200


class _Sums(NamedTuple):
    absolute: float = 0.0  # Σ |difference| over pixels and channels, 8-bit levels
    squared: float = 0.0  # Σ ‖difference‖², values in [0,1]
    level: float = 0.0  # Σ value over pixels and channels, 8-bit levels

    def plus(self, difference: NDArray[np.float32], now: NDArray[np.float32]) -> "_Sums":
        return _Sums(
            self.absolute + float(np.abs(difference).sum(dtype=np.float64)),
            self.squared + float(np.square(difference / 255).sum(dtype=np.float64)),
            self.level + float(now.sum(dtype=np.float64)),
        )


class FlowPair(NamedTuple):
    """Backward flow of the current frame, and where it can be trusted."""

    flow: FloatArray  # [H,W,2] px: current pixel (x, y) was at (x, y) + flow in the last frame
    valid: NDArray[np.bool_]  # [H,W]


class DriverFlow:
    """Computes optical flow between consecutive grey pictures of one size."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def between(self, last: NDArray[np.uint8], now: NDArray[np.uint8]) -> FlowPair:
        """Compute the flow that brings `last` [h,w] onto `now` [h,w].

        Trusted where |w_f + w_b|² ≤ 0.01 (|w_f|² + |w_b|²) + 0.5 and the origin is within the frame.
        """
        backward = self._dis.calc(now, last, None)  # type: ignore[call-overload]
        forward = self._dis.calc(last, now, None)  # type: ignore[call-overload]
        there = warp(forward, backward)
        apart = np.square(there + backward).sum(-1)
        size = np.square(there).sum(-1) + np.square(backward).sum(-1)
        height, width = now.shape
        x, y = _grid(height, width)
        x, y = x + backward[..., 0], y + backward[..., 1]
        inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
        return FlowPair(backward, (apart <= 0.01 * size + 0.5) & inside)


def _grid(height: int, width: int) -> tuple[FloatArray, FloatArray]:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return x, y


def warp(image: NDArray, flow: FloatArray) -> NDArray:
    """Sample `image` [H,W,C] bilinearly at (x, y) + flow [H,W,2]; the border repeats."""
    x, y = _grid(*flow.shape[:2])
    warped: NDArray = cv2.remap(
        image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return warped


class Flicker:
    """`flicker`: (E_result / level_result) / (E_driver / level_driver), E the mean |V_t − warp(V_t−1)| on the person.

    Dividing by the mean level keeps a darker picture from scoring better. Details: both E in 8-bit levels, and Lai et
    al.'s mean squared form `e_warp` ([0,1] values, summed over RGB).
    """

    info = MetricInfo(
        name="flicker",
        column="",
        better="lower",
        unit="× the driver's",
        source="after the warping error of Lai et al. 2018; occlusion test of Ruder et al. 2016; flow: cv2 DIS, medium",
        needs="",
        aligned=True,
    )

    def __init__(self, request: Request) -> None:
        self._flow = DriverFlow()
        self._last: tuple[Picture, Picture, NDArray[np.uint8]] | None = None
        self._result, self._driver = _Sums(), _Sums()
        self._pixels, self._frames = 0, 0

    def available(self) -> Missing | None:
        return None

    def load(self) -> None:
        pass

    def update(self, pair: FramePair) -> None:
        grey = _grey(pair.driver)
        if self._last is not None and pair.person is not None:
            result, driver, last_grey = self._last
            flow = _enlarged(self._flow.between(last_grey, grey), pair.driver.shape[:2])
            mask = flow.valid & (pair.person > PERSON)
            pixels = int(mask.sum())
            if pixels >= MIN_PIXELS:
                for name, last, now in (("_result", result, pair.result), ("_driver", driver, pair.driver)):
                    here = now[mask].astype(np.float32)
                    difference = here - warp(last.astype(np.float32), flow.flow)[mask]
                    setattr(self, name, getattr(self, name).plus(difference, here))
                self._pixels += pixels
                self._frames += 1
        self._last = pair.result, pair.driver, grey

    def result(self) -> Score | Missing:
        if not self._frames:
            return Missing("no two frames with a person to compare", "give a clip of at least two frames")
        values = 3 * self._pixels
        result, driver = self._result.absolute / values, self._driver.absolute / values
        level = max(self._result.level, 1e-9) / max(self._driver.level, 1e-9)
        ratio = result / level / max(driver, FLOOR_LEVELS)
        details = {
            "result_levels": result,
            "driver_levels": driver,
            "e_warp": self._result.squared / self._pixels,
            "e_warp_driver": self._driver.squared / self._pixels,
        }
        return Score(ratio, self._frames, details)


def _grey(rgb: Picture) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    scale = FLOW_SIDE_PX / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


def _enlarged(pair: FlowPair, size: tuple[int, ...]) -> FlowPair:
    """Resize the flow to the frame's own `size` (height, width)."""
    height, width = size
    h, w = pair.valid.shape
    if (h, w) == (height, width):
        return pair
    flow = cv2.resize(pair.flow, (width, height), interpolation=cv2.INTER_LINEAR)
    flow = flow * np.array([width / w, height / h])
    valid = cv2.resize(pair.valid.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return FlowPair(flow.astype(np.float32), np.asarray(valid) > 0)
