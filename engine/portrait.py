"""A driver clip + a reference portrait + a light → the portrait, moved like the driver and lit as asked, by LCVD.

Offline and in three passes, each in bounded memory: every driver frame becomes a hint on disk (track → motion →
hint), the model turns hints into latents window by window (`lcvd.pipeline`), frames are decoded and written beside
the driver's sound. An interrupted run goes on from its `state` folder. Motion: LCVD supplement §8 (`lcvd.motion`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.clip import ClipReader, ClipWriter
from engine.errors import PortraitError
from lcvd.hints import render_hints
from lcvd.light_estimate import estimate_lighting
from lcvd.motion import CodeMotion, FaceMotion
from lcvd.portrait_mask import make_matte, portrait_mask
from lcvd.protocols import Matte, Tracker
from lcvd.tracking.crop import Roi, crop
from lcvd.tracking.deca import DecaTracker, face_from_code, make_tracker
from lcvd.types import Face, FloatArray, Lighting

Rgb = NDArray[np.uint8]
MotionName = Literal["relative", "scale", "driver"]
OnProgress = Callable[[str, int, int | None], None]  # pass, done, of how many (None: not known)
FACES_HIGH = 2.6  # side of the square cut around a face, in heights of its mesh: head and shoulders, as LCVD saw them
REFERENCE_TRIES = 4  # a still is tracked a few times, so that the mesh settles


@dataclass(frozen=True, slots=True)
class PortraitOptions:
    """What a run is made with; the defaults are the published ones."""

    size: int = 512  # px, a multiple of 8
    steps: int = 25
    omega: float = 4.5
    sampler: Literal["euler", "ddim"] = "euler"
    seed: int = 0
    motion: MotionName = "relative"  # "driver" takes the driver's face as it is: the same person relit
    dtype: str = "float32"
    device: str = "cpu"
    batched: bool = True  # both guidance branches in one batch
    deca_dir: Path | None = None
    u2net: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The portrait, cut to the model's size, and what is known of it."""

    rgb: Rgb  # [S,S,3]
    face: Face
    lighting: Lighting  # the light it was taken in
    hint: Rgb  # [S,S,3] its own shading under that light
    mask: FloatArray  # [S,S], 1 = portrait


def square_around(face: Face, size: tuple[int, int]) -> Roi:
    """Head and shoulders around `face` in a picture of `size` = (height, width), inside it where it fits."""
    height, width = size
    low, high = face.vertices_px[:, :2].min(0), face.vertices_px[:, :2].max(0)
    side = min(FACES_HIGH * float(high[1] - low[1]), float(min(height, width)))
    x, y = (float(v) for v in (low + high) / 2)
    half = side / 2
    return Roi(min(max(x, half), width - half), min(max(y + 0.1 * side, half), height - half), side)


def make_reference(rgb: Rgb, size: int, tracker: Tracker, matte: Matte, square: Roi | None = None) -> Reference:
    """Find the face in `rgb` [H,W,3], cut `square` (else one around it) and learn its light.

    PortraitError without a face.
    """
    face = _settled(tracker, rgb)
    if face is None:
        raise PortraitError(
            f"no face was found in the reference of {rgb.shape[1]}×{rgb.shape[0]} px",
            "choose a portrait where one face is seen well from the front",
        )
    small = crop(rgb, square or square_around(face, (rgb.shape[0], rgb.shape[1])), size)
    face = _settled(tracker, small)
    if face is None:
        raise PortraitError("the face in the reference is too near its edge", "choose one with space around the head")
    # DECA estimates the light with the shape; for MediaPipe's mesh we estimate it from the skin.
    if isinstance(tracker, DecaTracker):
        lighting = Lighting("reference", (0.0, 0.0, 0.0), sh=tracker.light())
    else:
        lighting = estimate_lighting(small, face)
    hint = render_hints(face, lighting, (size, size)).rgb
    return Reference(small, face, lighting, hint, portrait_mask(small, matte))


def _settled(tracker: Tracker, rgb: Rgb) -> Face | None:
    tracker.reset()
    face = None
    for index in range(REFERENCE_TRIES):
        face = tracker.track(rgb, index / 30)
    return face


def animate_clip(
    weights: Path | str,
    reference_rgb: Rgb | None,  # [H,W,3]; None: the driver's own first face is the portrait
    driver: Path,
    target: Path,
    lighting: Lighting,
    options: PortraitOptions,
    state: Path,
    compare: bool = False,
    on_progress: OnProgress = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,  # which tracker and mask were chosen, and why
) -> int:
    """Write the relit portrait to `target` [S,S] at the driver's times, with its sound; returns the frames written.

    `compare` writes reference | hint | result | driver. `state` keeps what an interrupted run needs; the caller
    removes it. Strength 0 ("original") means the reference's own light. Raises PortraitError, ClipError, LcvdError.
    """
    if options.size % 8 or not 64 <= options.size <= 2048:
        raise PortraitError(f"size={options.size}: must be a multiple of 8 from 64 to 2048", "use 512, as published")
    from lcvd.pipeline import load_lcvd, relight_frames
    from lcvd.weights import find_weights

    find_weights(weights)  # what is missing is told before minutes of work; the networks are read when their turn comes
    tracker, tracker_note = make_tracker(options.deca_dir, device=options.device)
    matte, matte_note = make_matte(options.u2net, device=options.device)
    on_note(tracker_note)
    on_note(matte_note)
    state.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        with ClipReader(driver) as reader:
            first, driver_square = _first_face(reader, tracker)
            if reference_rgb is None:
                options = replace(options, motion="driver")
                reference = make_reference(first, options.size, tracker, matte, driver_square)
            else:
                reference = make_reference(reference_rgb, options.size, tracker, matte)
            light = reference.lighting if lighting.strength == 0 else lighting
            hints = _hints(driver, driver_square, reference, light, options, tracker, state, on_progress)
            model = load_lcvd(weights, device=options.device, dtype=options.dtype)
            frames = relight_frames(
                model,
                reference.rgb,
                reference.hint,
                hints,
                reference.mask,
                steps=options.steps,
                omega=options.omega,
                sampler=options.sampler,
                seed=options.seed,
                batched=options.batched,
                state_dir=state,
                on_progress=lambda done, total: on_progress("denoise", done, total),
            )
            written = _write(reader, part, frames, hints, reference, driver_square, compare, on_progress)
        part.replace(target)
    finally:
        tracker.close()
        part.unlink(missing_ok=True)
    return written


def _first_face(reader: ClipReader, tracker: Tracker) -> tuple[Rgb, Roi]:
    """The first frame with a face, and the square around it that all frames are cut by."""
    with ClipReader(reader.path) as look:
        for frame in look.frames():
            face = tracker.track(frame.rgb, frame.t_s)
            if face is not None:
                tracker.reset()
                return frame.rgb, square_around(face, (frame.rgb.shape[0], frame.rgb.shape[1]))
    raise PortraitError(f"{reader.path}: no face in any frame", "the driver must show a face")


def _hints(
    driver: Path,
    square: Roi,
    reference: Reference,
    lighting: Lighting,
    options: PortraitOptions,
    tracker: Tracker,
    state: Path,
    on_progress: OnProgress,
) -> NDArray[np.uint8]:
    """[T,S,S,3] memory-mapped: one hint a driver frame. Without a face the last one stays."""
    size = options.size
    pose = _poser(reference, options, tracker)
    tracker.reset()
    path, count, face = state / "hints.u8", 0, reference.face
    with ClipReader(driver) as reader, path.open("wb") as file:
        for frame in reader.frames():
            seen = tracker.track(crop(frame.rgb, square, size), frame.t_s)
            if seen is not None and not seen.held:
                face = pose(seen)
            file.write(render_hints(face, lighting, (size, size)).rgb.tobytes())
            count += 1
            on_progress("hints", count, reader.info.frames)
    return np.memmap(path, np.uint8, "r", shape=(count, size, size, 3))


def _poser(reference: Reference, options: PortraitOptions, tracker: Tracker) -> Callable[[Face], Face]:
    """Driver's face → the face whose hint is drawn."""
    if options.motion == "driver":
        return lambda seen: seen
    if not isinstance(tracker, DecaTracker):
        return FaceMotion(reference.face, options.motion)
    tracker.reset()
    tracker.track(reference.rgb, 0.0)
    assert tracker.code is not None, "the reference's face was found before"
    motion, flame = CodeMotion(tracker.code, options.motion), tracker.flame

    def pose(seen: Face) -> Face:
        assert tracker.code is not None
        return face_from_code(flame, motion(tracker.code), seen.t_s, seen.score)

    return pose


def _write(
    reader: ClipReader,
    part: Path,
    frames: Iterator[Rgb],
    hints: NDArray[np.uint8],
    reference: Reference,
    square: Roi,
    compare: bool,
    on_progress: OnProgress,
) -> int:
    size = reference.rgb.shape[0]
    interval_s = 1.0 / float(reader.info.fps)
    written, last_s = 0, -interval_s
    with ClipWriter(part, reader, size * (4 if compare else 1), size) as writer:
        for packet in reader.packets():
            if packet.stream.type == "audio":
                writer.write_audio(packet)
                continue
            for rgb, t_s in reader.decode(packet):
                last_s = t_s if t_s > last_s else last_s + interval_s
                picture = next(frames)
                if compare:
                    picture = np.hstack([reference.rgb, hints[written], picture, crop(rgb, square, size)])
                writer.write(picture, last_s)
                written += 1
                on_progress("decode", written, len(hints))
    return written
