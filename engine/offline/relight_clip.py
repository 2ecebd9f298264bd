"""A clip becomes a relit clip: the same Engine and stream as live, without a clock, in bounded memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.errors import ClipError
from engine.fit import Rgb, letterbox
from engine.frames import Frame
from engine.offline.clip_writer import ClipWriter
from engine.offline.finished_clip import FinishedClip
from engine.offline.output_file import check_output
from engine.offline.video_file import ClipReader
from engine.protocols import Avatar, Engine, Stream, StreamConfig
from lcvd.types import Lighting


def relight_clip(
    engine: Engine,
    lighting: Lighting,
    source: Path,
    target: Path,
    compare: bool = False,
    on_frame: Callable[[int], None] = lambda done: None,
    avatar: Avatar | None = None,
) -> FinishedClip:
    """Relight `source` into `target`.

    `avatar` is what an engine that animates a portrait shows. `compare` writes the original to the left of the result.
    Raises ClipError for a file that cannot be read or written; a target that was not finished is removed, an existing
    file is only replaced by a finished one.
    """
    if engine.traits.shows_avatar and avatar is None:
        raise ClipError(f"engine {engine.name} animates a portrait", "name one: relight video --reference PORTRAIT")
    check_output(target, source)
    with ClipReader(source) as reader:
        height, width = engine.traits.output_size or (reader.info.height, reader.info.width)
        with ClipWriter(target, reader, width * (2 if compare else 1), height) as writer:
            stream = engine.open(StreamConfig(lighting, avatar=avatar, slow_work="wait"))
            try:
                run = _Run(stream, writer, (height, width), compare, engine.traits.shows_avatar, on_frame)
                for item in reader.items():
                    run.take(item) if isinstance(item, Frame) else writer.write_sound(item)
                run.finish()
            finally:
                stream.close()
        return FinishedClip(
            run.written,
            run.faces,
            width * (2 if compare else 1),
            height,
            float(reader.info.fps),
            reader.info.sounds,
            (*reader.notes(), *writer.notes()),
        )


class _Run:
    """Counts the frames on their way through a stream, and keeps the originals of those it still holds."""

    def __init__(
        self,
        stream: Stream,
        writer: ClipWriter,
        size: tuple[int, int],
        compare: bool,
        shows_avatar: bool,
        on_frame: Callable[[int], None],
    ) -> None:
        self._stream, self._writer, self._size = stream, writer, size
        self._compare, self._shows_avatar, self._on_frame = compare, shows_avatar, on_frame
        self._last_rgb = np.zeros((*size, 3), np.uint8)  # of the result
        self._originals: dict[int, Frame] = {}  # at most one window
        self.written = self.faces = 0

    def take(self, frame: Frame) -> None:
        """Relight one frame and write what is ready."""
        self._originals[frame.index] = frame
        work = self._stream.prepare(frame)
        if work is None:
            return
        self.faces += sum(face is not None for face in work.faces)
        for relit in self._stream.render(work):
            self._last_rgb = relit.rgb
            self._write(self._originals.pop(relit.index), relit.rgb)

    def finish(self) -> None:
        """Write what a window engine still holds at the end: untouched, or the avatar's last picture in its place."""
        for original in self._originals.values():
            self._write(original, self._last_rgb if self._shows_avatar else original.rgb)

    def _write(self, original: Frame, rgb: Rgb) -> None:
        picture = letterbox(rgb, self._size)
        if self._compare:
            picture = np.hstack([letterbox(original.rgb, self._size), picture])
        self._writer.write(picture, original.t_s)
        self.written += 1
        self._on_frame(self.written)
