"""A driver clip + a reference portrait + a light → the portrait, moved like the driver and lit as asked, by LCVD.

Offline and in three passes, each in bounded memory: every driver frame becomes a hint on disk (track → motion → hint),
the model turns hints into latents window by window (`lcvd.sampling.pipeline`), frames are decoded and written beside
the driver's sound. An interrupted run goes on from its `state` folder. Motion: LCVD supplement §8 (`lcvd.motion`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import PortraitError
from engine.frames import Frame
from engine.offline.clip_writer import ClipWriter
from engine.offline.finished_clip import FinishedClip
from engine.offline.options import PortraitOptions, check_options
from engine.offline.output_file import check_output
from engine.offline.video_file import ClipReader
from engine.reference import Reference, make_reference, mixed_lighting, square_around
from lcvd.face.raster import rasterize
from lcvd.face.raster_pytorch3d import make_rasterizer
from lcvd.hints import render_hints
from lcvd.matting.portrait import make_matte
from lcvd.motion import CodeMotion, FaceMotion, Mode, Rest
from lcvd.protocols import Rasterizer, Tracker
from lcvd.tracking.crop import Roi, crop
from lcvd.tracking.deca import DecaTracker, face_from_code, make_tracker
from lcvd.types import Face, Lighting

Rgb = NDArray[np.uint8]
OnProgress = Callable[[str, int, int | None], None]  # pass, done, of how many (None: not known)
STATE_FILES = ("hints.u8", "latents_0.f32", "latents_1.f32", "progress.part", "progress.safetensors")


def discard_state(state: Path) -> None:
    """Remove what `animate_clip` keeps in `state`, and the folder where nothing else is in it."""
    if not state.is_dir():
        return
    for name in STATE_FILES:
        (state / name).unlink(missing_ok=True)
    if not any(state.iterdir()):
        state.rmdir()


def has_progress(state: Path) -> bool:
    """True where a run that starts with `state` would go on and not begin."""
    return (state / "progress.safetensors").exists()


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
) -> FinishedClip:
    """Write the relit portrait to `target` [S,S] at the driver's times, with its sound.

    `compare` writes reference | hint | result | driver. `state` keeps what an interrupted run needs; the caller
    calls `discard_state`. Strength goes from the reference's own light (0) to `lighting` (1), as live
    (`engine.reference.mixed_lighting`). Raises PortraitError, ClipError, LcvdError.
    """
    check_options(options)
    check_output(target, driver)
    from lcvd.networks.schedule import few_step_sigmas
    from lcvd.sampling.pipeline import load_lcvd, relight_frames
    from lcvd.weights.load import find_weights

    if reference_rgb is not None and options.motion == "driver":
        raise PortraitError(
            'motion="driver" would put the driver\'s face shape on the reference',
            "use relative, first or scale with a reference; driver is for a clip that relights itself",
        )
    find_weights(weights)  # what is missing is told before anything is read
    tracker, tracker_note = make_tracker(options.deca_dir, device=options.device)
    matte, matte_note = make_matte(options.u2net, device=options.device)
    on_note(tracker_note)
    on_note(matte_note)
    rasterizer: Rasterizer = rasterize
    if isinstance(tracker, DecaTracker):  # MediaPipe's mesh is ours alone: no published renderer to agree with
        rasterizer, rasterizer_note = make_rasterizer(options.device)
        on_note(rasterizer_note)
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PortraitError(f"state folder {state}: cannot be made ({error.strerror})", "name another folder") from None
    try:
        with ClipReader(driver) as reader:
            # The file's header is written now: what it cannot carry is told before the work and not after.
            width = options.size * (4 if compare else 1)
            ClipWriter(target, reader, width, options.size).discard()
            first, driver_square = _first_face(reader, tracker)
            if reference_rgb is None:
                options = replace(options, motion="driver")
                reference = make_reference(first, options.size, tracker, matte, driver_square, rasterizer)
            else:
                reference = make_reference(reference_rgb, options.size, tracker, matte, rasterizer=rasterizer)
            light = mixed_lighting(reference.lighting, lighting, lighting.strength)
            # Before the hints: damaged weights are told at once, not after the whole clip was tracked.
            model = load_lcvd(weights, device=options.device, dtype=options.dtype)
            student = model.student
            if student is not None:
                on_note(
                    f"weights: a student, {student.steps} steps of its own levels; ω {student.omega:g} is folded in"
                )
            hints, faces = _hints(
                driver, driver_square, reference, light, options, tracker, rasterizer, state, on_progress
            )
            frames = relight_frames(
                model,
                reference.rgb,
                reference.hint,
                hints,
                reference.mask,
                steps=options.steps,
                omega=1.0 if student else options.omega,
                sampler=student.sampler if student else options.sampler,
                sigmas=few_step_sigmas(student.sampler, student.steps).tolist() if student else None,
                seed=options.seed,
                batched=options.batched,
                released_reference=options.released_reference,
                state_dir=state,
                on_progress=lambda done, total: on_progress("denoise", done, total),
            )
            with ClipWriter(target, reader, width, options.size) as writer:
                written = _write(reader, writer, frames, hints, reference, driver_square, compare, on_progress)
            notes = (*reader.notes(), *writer.notes())
            return FinishedClip(written, faces, width, options.size, float(reader.info.fps), reader.info.sounds, notes)
    finally:
        tracker.close()


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
    rasterizer: Rasterizer,
    state: Path,
    on_progress: OnProgress,
) -> tuple[NDArray[np.uint8], int]:
    """[T,S,S,3] memory-mapped: one hint a driver frame, and the frames with a face. Without one the last hint stays."""
    size = options.size
    pose = _poser(reference, options, tracker)
    tracker.reset()
    path, count, faces, face = state / "hints.u8", 0, 0, reference.face
    with ClipReader(driver) as reader, path.open("wb") as file:
        for frame in reader.frames():
            seen = tracker.track(crop(frame.rgb, square, size), frame.t_s)
            faces += seen is not None
            if seen is not None and not seen.held:
                face = pose(seen)
            file.write(render_hints(face, lighting, (size, size), rasterizer).rgb.tobytes())
            count += 1
            on_progress("hints", count, reader.info.frames)
    return np.memmap(path, np.uint8, "r", shape=(count, size, size, 3)), faces


def _poser(reference: Reference, options: PortraitOptions, tracker: Tracker) -> Callable[[Face], Face]:
    """Driver's face → the face whose hint is drawn."""
    if options.motion == "driver":
        return lambda seen: seen
    mode: Mode = "scale" if options.motion == "scale" else "relative"
    rest: Rest = "first" if options.motion == "first" else "learned"
    if not isinstance(tracker, DecaTracker):
        return FaceMotion(reference.face, mode, rest=rest)
    tracker.reset()
    tracker.track(reference.rgb, 0.0)
    assert tracker.code is not None, "the reference's face was found before"
    motion, flame = CodeMotion(tracker.code, mode, rest=rest), tracker.flame

    def pose(seen: Face) -> Face:
        assert tracker.code is not None
        return face_from_code(flame, motion(tracker.code, seen.t_s), seen.t_s, seen.score)

    return pose


def _write(
    reader: ClipReader,
    writer: ClipWriter,
    frames: Iterator[Rgb],
    hints: NDArray[np.uint8],
    reference: Reference,
    square: Roi,
    compare: bool,
    on_progress: OnProgress,
) -> int:
    size = reference.rgb.shape[0]
    written = 0
    for item in reader.items():
        if not isinstance(item, Frame):
            writer.write_sound(item)
            continue
        picture = next(frames)
        if compare:
            picture = np.hstack([reference.rgb, hints[written], picture, crop(item.rgb, square, size)])
        writer.write(picture, item.t_s)
        written += 1
        on_progress("decode", written, len(hints))
    return written
