"""This module reads a video file or a folder of numbered pictures as upright RGB frames, one in memory at a time.

It is the second reader beside `engine.offline.video_file` (training may not import the engine; a test compares the
two); both show a frame as `lcvd.video` does. It also seeks to a part of a long video, cuts a data set's own box, reads
picture folders, and decodes with one thread, so that damaged files give the same frames on every run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.video.display_geometry import MAX_SIDE_PX
from lcvd.video.picture import PictureConverter
from lcvd.video.timestamps import RisingStamps
from lcvd.video.tracks import picture_track
from training.errors import FootageError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MIN_SIDE_PX = 32
JUMP_S = 1.0  # stamps that fall by more begin anew, as where recordings were joined
FOLDER_FPS = 25.0  # of pictures without a rate


@dataclass(frozen=True, slots=True)
class Box:
    """Describes a part of the picture, in pixels of a picture of `width`×`height`.

    With width 0 pixels are square; with height 0 they are the video's own pixels.
    """

    left: float
    top: float
    right: float
    bottom: float
    width: float
    height: float
    unless_square: bool = False  # ignore the box for a square video, which is already cut

    def inside(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Returns (left, top, right, bottom) clipped to a frame of width×height.

        Raises FootageError where too little of the box lies inside.
        """
        if self.unless_square and width == height:
            return 0, 0, width, height
        y = height / self.height if self.height else 1.0
        x = width / self.width if self.width else y
        left, right = (round(min(max(v * x, 0), width)) for v in (self.left, self.right))
        top, bottom = (round(min(max(v * y, 0), height)) for v in (self.top, self.bottom))
        if right - left < MIN_SIDE_PX or bottom - top < MIN_SIDE_PX:
            raise FootageError(
                f"its box is {right - left}×{bottom - top} px of a {width}×{height} frame",
                "compare the annotation with the video",
            )
        return left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Source:
    """Names one stretch of footage to prepare."""

    name: str  # unique; begins the keys of its samples
    path: Path  # a video file, or a folder of pictures
    layout: str = "videos"
    start_s: float = 0.0
    end_s: float | None = None
    box: Box | None = None  # only this part is used
    fps: float = FOLDER_FPS  # of a folder of pictures


class Footage(NamedTuple):
    """Holds one frame of footage."""

    number: int  # counted from the start of the source
    t_s: float
    rgb: NDArray[np.uint8]  # [H,W,3]
    gap: bool  # frames are missing before this one


def read_footage(source: Source) -> Iterator[Footage]:
    """Yields the frames of `source` within its times and its box. Raises FootageError, also after some frames."""
    frames = _pictures(source) if source.path.is_dir() else _video(source)
    size: tuple[int, ...] | None = None
    area: tuple[int, int, int, int] | None = None
    index, before_s, step_s = 0, -np.inf, np.inf
    for rgb, t_s in _readable(frames):
        if rgb.shape[:2] != size:
            if size is not None:
                raise FootageError(
                    f"its pictures change size from {size[1]}×{size[0]} to {rgb.shape[1]}×{rgb.shape[0]} px",
                    "split it where the size changes",
                )
            size = rgb.shape[:2]
            if not MIN_SIDE_PX <= min(size) <= max(size) <= MAX_SIDE_PX:
                raise FootageError(f"{size[1]}×{size[0]} px", f"sides of {MIN_SIDE_PX} to {MAX_SIDE_PX} px are read")
            area = None if source.box is None else source.box.inside(size[1], size[0])
        if area is not None:
            left, top, right, bottom = area
            rgb = np.ascontiguousarray(rgb[top:bottom, left:right])
        gap = t_s - before_s > 4.5 * step_s  # variable rates halve and double the step; a longer one is missing footage
        if index:
            step_s = min(step_s, t_s - before_s)
        yield Footage(index, t_s, rgb, gap)
        index, before_s = index + 1, t_s
    if index == 0:
        when = "" if source.end_s is None else f" between {source.start_s:.1f} and {source.end_s:.1f} s"
        raise FootageError(f"it has no readable frame{when}", "it is damaged, or shorter than its list says")


def _readable(frames: Iterator[tuple[NDArray[np.uint8], float]]) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Yields `frames` and turns the system's read errors into FootageError."""
    try:
        yield from frames
    except (av.FFmpegError, OSError) as error:
        raise FootageError(f"it cannot be read ({error.strerror or error})", "fetch it again") from None


def _pictures(source: Source) -> Iterator[tuple[NDArray[np.uint8], float]]:
    paths = sorted(path for path in source.path.iterdir() if path.suffix.lower() in PICTURES)
    for index, path in enumerate(paths):
        bgr = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
        if bgr is None:
            raise FootageError(f"{path.name} is not a picture", "fetch it again")
        yield np.ascontiguousarray(bgr[:, :, ::-1], np.uint8), index / source.fps


def _video(source: Source) -> Iterator[tuple[NDArray[np.uint8], float]]:
    try:
        container = av.open(str(source.path.absolute()))  # ffmpeg takes "call-12:30.mp4" for a protocol
    except (av.FFmpegError, OSError) as error:
        raise FootageError(
            f"not a readable video ({error.strerror or error})", "give a file that ffmpeg can play"
        ) from None
    with container:
        video = picture_track(container.streams.video)
        if video is None:
            raise FootageError("it has no video stream", "give a file with a picture")
        if max(video.codec_context.width, video.codec_context.height) > MAX_SIDE_PX:
            size = f"{video.codec_context.width}×{video.codec_context.height}"
            raise FootageError(f"{size} px", f"sides of at most {MAX_SIDE_PX} px are read")
        video.thread_type, video.codec_context.thread_count = "NONE", 1
        fps = float(video.average_rate or video.guessed_rate or 30)
        begin_s = float(video.start_time * video.time_base) if video.start_time and video.time_base else 0.0
        if source.start_s > 0 and video.time_base:
            container.seek(int((source.start_s + begin_s) / video.time_base), stream=video)
        stamps, converter, last_s = RisingStamps(JUMP_S), PictureConverter(video), 0.0
        try:
            for packet in container.demux(video):
                try:
                    decoded = packet.decode()
                except av.InvalidDataError:
                    continue  # the next frame has a gap in time
                for frame in decoded:
                    last_s = stamps(None if frame.time is None else float(frame.time) - begin_s, 1 / fps)
                    if last_s < source.start_s - 0.5 / fps:
                        continue
                    if source.end_s is not None and last_s > source.end_s:
                        return
                    yield converter(frame), last_s
        except av.FFmpegError as error:
            raise FootageError(
                f"it breaks off after {max(last_s, 0):.1f} s ({error.strerror or error})", "fetch it again"
            ) from None
