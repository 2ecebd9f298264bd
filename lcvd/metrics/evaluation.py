"""Runs the metrics over two clips, frame by frame: trackers and matte run once a frame for all of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2

from lcvd.errors import LcvdError
from lcvd.metrics.metric import FramePair, Metric, MetricInfo, Missing, Picture, Request, Score
from lcvd.protocols import Matte, Tracker
from lcvd.types import FloatArray


@dataclass(frozen=True, slots=True)
class Outcome:
    """A metric with its score, or with the reason that it has none."""

    info: MetricInfo
    score: Score | None = None
    missing: Missing | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an evaluation: counts of frames and faces, and an outcome for each metric."""

    frames: int
    result_faces: int  # frames with a face
    driver_faces: int
    outcomes: tuple[Outcome, ...]


def evaluate(
    pairs: Iterable[tuple[Picture, Picture, float]],
    metrics: Sequence[Metric],
    request: Request,
    result_tracker: Tracker,
    driver_tracker: Tracker,
    matte: Matte,
    on_frame: Callable[[int], None] = lambda done: None,
) -> Report:
    """Feed (result, driver, t_s) to every metric that can run. A metric that cannot, or fails to load, is reported."""
    missing: dict[int, Missing] = {}
    frames = result_faces = driver_faces = 0
    for result, driver, t_s in pairs:
        if not frames:
            missing = _start(metrics, request, result, driver)
            aligned = any(m.info.aligned for i, m in enumerate(metrics) if i not in missing)
        pair = FramePair(
            frames,
            result,
            driver,
            result_tracker.track(result, t_s),
            driver_tracker.track(driver, t_s),
            _person(matte, driver) if aligned else None,
        )
        result_faces += pair.result_face is not None
        driver_faces += pair.driver_face is not None
        for i, metric in enumerate(metrics):
            if i not in missing:
                metric.update(pair)
        frames += 1
        on_frame(frames)
    return Report(frames, result_faces, driver_faces, tuple(_outcome(m, missing.get(i)) for i, m in enumerate(metrics)))


def _start(metrics: Sequence[Metric], request: Request, result: Picture, driver: Picture) -> dict[int, Missing]:
    """Load the metrics that can run; return the others' reasons by their index in `metrics`."""
    missing: dict[int, Missing] = {}
    for i, metric in enumerate(metrics):
        reason = _comparable(metric.info, request, result, driver) or metric.available()
        if reason is None:
            try:
                metric.load()
            except LcvdError as error:
                reason = Missing(error.message, error.hint)
        if reason is not None:
            missing[i] = reason
    return missing


def _comparable(info: MetricInfo, request: Request, result: Picture, driver: Picture) -> Missing | None:
    if not info.aligned:
        return None
    if request.person == "other":
        return Missing("it compares pixels, and the driver is another person", "nothing: the paper leaves it out too")
    if result.shape != driver.shape:
        sizes = " and ".join(f"{rgb.shape[1]}x{rgb.shape[0]}" for rgb in (result, driver))
        return Missing(
            f"it compares pixels, and result and driver are {sizes}", "give the driver cropped and scaled as the result"
        )
    return None


def _person(matte: Matte, rgb: Picture) -> FloatArray:
    mask = matte(rgb)
    return cv2.resize(mask, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _outcome(metric: Metric, missing: Missing | None) -> Outcome:
    if missing is None:
        found = metric.result()
        if isinstance(found, Score):
            return Outcome(metric.info, score=found)
        missing = found
    return Outcome(metric.info, missing=missing)
