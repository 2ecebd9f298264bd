"""This module turns a raw clip into one sample: crops, hints, masks, tracker parameters and an image quality score.

The crop, the tracker, the hints, the light and the mask are the same as at inference (engine.reference; lcvd). DECA
gives a light a frame, as in the paper. With MediaPipe's mesh one light holds for the clip, the median of three
estimates: a room's light does not change within 2.5 s, while single estimates spread by 6 % and cost 0.15 s each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import LightError
from lcvd.face.raster import rasterize
from lcvd.hints import render_hints
from lcvd.lighting.estimate import estimate_lighting
from lcvd.lighting.lighting import sh_projection
from lcvd.lighting.sh import sh_from_deca
from lcvd.matting.portrait import make_matte, portrait_mask
from lcvd.protocols import Matte, Rasterizer, Tracker
from lcvd.tracking.crop import Roi, crop
from lcvd.tracking.deca import DecaTracker, make_tracker
from lcvd.types import Face, FloatArray, Lighting
from training.data.processed_clip import ProcessedClip
from training.prepare.framing import face_in_square, square_around
from training.prepare.image_quality import FaceStats, ImageQuality, make_image_quality
from training.prepare.segments import RawClip
from training.prepare.settings import PrepareSettings

LIGHT_FRAMES = 3  # of a clip, from which its light is estimated
MIN_PORTRAIT, MAX_PORTRAIT = 0.05, 0.98  # share of the crop that is portrait


@dataclass(frozen=True, slots=True)
class Tools:
    """Holds the networks of one worker."""

    tracker: Tracker
    tracker_name: str
    matte: Matte
    image_quality: ImageQuality
    rasterizer: Rasterizer
    notes: tuple[str, ...]  # for people: which networks were chosen and why


def make_tools(settings: PrepareSettings) -> Tools:
    """Loads the networks. Raises ModelUnavailable."""
    tracker, tracker_note = make_tracker(settings.deca)
    rasterizer: Rasterizer = rasterize
    if isinstance(tracker, DecaTracker):
        from lcvd.face.raster_pytorch3d import make_rasterizer

        rasterizer, _ = make_rasterizer("cpu")
    elif settings.models is not None:
        from lcvd.tracking.mesh import MeshTracker

        tracker = MeshTracker(directory=settings.models)
    matte, matte_note = make_matte(settings.u2net)
    image_quality = make_image_quality(settings.quality, settings.weights, settings.frames)
    name = "deca" if isinstance(tracker, DecaTracker) else "mediapipe-mesh"
    return Tools(
        tracker, name, matte, image_quality, rasterizer, (tracker_note, matte_note, f"Quality: {image_quality.name}.")
    )


def process_clip(raw: RawClip, name: str, tools: Tools, settings: PrepareSettings) -> ProcessedClip | str:
    """Returns the sample of `raw`, or the reason why it is refused."""
    height, width = raw.frames[0].rgb.shape[:2]
    square = square_around(raw.faces, (height, width))
    if square is None:
        return "the head moves out of the square"
    size = settings.size
    frames = np.stack([crop(frame.rgb, square, size) for frame in raw.frames])
    faces = [face_in_square(face, square, size) for face in raw.faces]
    score = tools.image_quality(
        [_face_stats(*row, square) for row in zip(frames, faces, (frame.rgb for frame in raw.frames), strict=True)]
    )
    least = tools.image_quality.threshold if settings.threshold is None else settings.threshold
    if not score.value >= least:
        parts = ", ".join(f"{key} {value:.2f}" for key, value in score.parts.items())
        return f"{tools.image_quality.name} quality {score.value:.2f} is below {least:.2f} ({parts})"
    try:
        lights = _lights(frames, faces, raw)
    except LightError as error:
        return f"its light cannot be estimated: {error.message}"
    hints = np.stack(
        [
            render_hints(face, Lighting("own", (0, 0, 0), sh=sh), (size, size), tools.rasterizer).rgb
            for face, sh in zip(faces, lights, strict=True)
        ]
    )
    masks = np.stack([np.rint(255 * portrait_mask(frame, tools.matte)).astype(np.uint8) for frame in frames])
    share = float(masks.mean() / 255)
    if not MIN_PORTRAIT <= share <= MAX_PORTRAIT:
        return f"the portrait mask covers {share:.0%} of the crop"
    notes = {
        "first_frame": raw.frames[0].number,
        "times_s": [round(frame.t_s, 4) for frame in raw.frames],
        "rate": settings.rate,
        "crop_px": [round(v, 3) for v in (square.x_px, square.y_px, square.size_px)],
        "frame_size_px": [width, height],
        "quality": {"score": tools.image_quality.name, "value": score.value, **score.parts},
        "tracker": tools.tracker_name,
        "portrait_share": round(share, 4),
    }
    return ProcessedClip(name, frames, hints, masks, tracker_parameters(faces, lights, raw), notes)


def tracker_parameters(faces: Sequence[Face], lights: Sequence[FloatArray], raw: RawClip) -> dict[str, NDArray[Any]]:
    """Returns the arrays of the sample's npz, in pixels of the crop.

    vertices_px [F,V,3], rotation [F,3,3], translation_px [F,3], scale_px_per_cm [F], identity [V,3] of the last frame,
    score [F], sh [F,9,3]; with DECA also deca_shape, deca_expression, deca_pose, deca_camera … [F,n]. A Face's
    expression is Rᵀ(vertices − translation)/scale − identity (lcvd.types.Face).
    """
    arrays: dict[str, NDArray[Any]] = {
        "vertices_px": _stack(faces, lambda face: face.vertices_px),
        "rotation": _stack(faces, lambda face: face.rotation),
        "translation_px": _stack(faces, lambda face: face.translation_px),
        "scale_px_per_cm": _stack(faces, lambda face: face.scale_px_per_cm),
        "identity": faces[-1].identity.astype(np.float32),
        "score": _stack(faces, lambda face: face.score),
        "sh": np.stack(lights).astype(np.float32),
    }
    for part in fields(raw.codes[0]) if raw.codes else ():
        if part.name != "crop":
            arrays[f"deca_{part.name}"] = np.stack([getattr(code, part.name) for code in raw.codes])
    return arrays


def _stack(faces: Sequence[Face], read: Callable[[Face], Any]) -> FloatArray:
    return np.stack([np.asarray(read(face), np.float32) for face in faces])


def _lights(frames: NDArray[np.uint8], faces: Sequence[Face], raw: RawClip) -> list[FloatArray]:
    """Returns SH radiance [9,3] for each frame."""
    if raw.codes:
        return [sh_from_deca(code.light) for code in raw.codes]
    chosen = np.unique(np.linspace(0, len(faces) - 1, LIGHT_FRAMES).round().astype(int))
    estimates = [sh_projection(estimate_lighting(frames[i], faces[i])) for i in chosen]
    return [np.median(estimates, axis=0).astype(np.float32)] * len(faces)


def _face_stats(small: NDArray[np.uint8], face: Face, rgb: NDArray[np.uint8], square: Roi) -> FaceStats:
    size = small.shape[0]
    low, high = (np.clip(f(face.vertices_px[:, :2], 0), 0, size).astype(int) for f in (np.min, np.max))
    left, top = (max(0, int(v - square.size_px / 2)) for v in (square.x_px, square.y_px))
    side = max(1, int(square.size_px))
    box = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    return FaceStats(small, box, rgb[top : top + side, left : left + side], (left, top))
