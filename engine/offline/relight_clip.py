"""A clip becomes a relit clip: the same Engine and `push` as live, without a clock, in bounded memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.errors import ClipError
from engine.fit import letterbox
from engine.frames import Frame
from engine.offline.video_file import ClipReader, ClipWriter
from engine.protocols import Avatar, Engine, StreamConfig
from lcvd.types import Lighting


def relight_clip(
    engine: Engine,
    lighting: Lighting,
    source: Path,
    target: Path,
    compare: bool = False,
    on_frame: Callable[[int], None] = lambda done: None,
    avatar: Avatar | None = None,
) -> int:
    """Relight `source` into `target`; returns the number of frames written, which is the number read.

    `avatar` is what an engine that animates a portrait shows. `compare` writes the original to the left of the result.
    Raises ClipError for a file that cannot be read or written; a target that was not finished is removed, an existing
    file is only replaced by a finished one.
    """
    if engine.traits.shows_avatar and avatar is None:
        raise ClipError(f"engine {engine.name} animates a portrait", "name one: relight video --reference PORTRAIT")
    # Written beside the target and moved at the end: a crash half-way leaves the old file.
    part = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        with ClipReader(source) as reader:
            written = _relight(engine, lighting, reader, part, compare, on_frame, avatar)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return written


def _relight(
    engine: Engine,
    lighting: Lighting,
    reader: ClipReader,
    part: Path,
    compare: bool,
    on_frame: Callable[[int], None],
    avatar: Avatar | None,
) -> int:
    height, width = engine.traits.output_size or (reader.info.height, reader.info.width)
    stream = engine.open(StreamConfig(lighting=lighting, avatar=avatar))
    originals: dict[int, Frame] = {}  # only the frames an engine still holds back: at most one window
    index, written = 0, 0
    try:
        with ClipWriter(part, reader, width * (2 if compare else 1), height) as writer:
            for packet in reader.packets():
                if packet.stream.type == "audio":
                    writer.write_audio(packet)
                    continue
                for rgb, t_s in reader.decode(packet):
                    frame = Frame(index=index, t_s=t_s, rgb=rgb)
                    originals[index] = frame
                    index += 1
                    for relit in stream.push(frame):
                        original = originals.pop(relit.index)
                        picture = (
                            np.hstack([letterbox(original.rgb, (height, width)), relit.rgb]) if compare else relit.rgb
                        )
                        writer.write(picture, relit.t_s)
                        written += 1
                        on_frame(written)
            for original in originals.values():  # what a window engine still held at the end goes out untouched
                picture = np.hstack([original.rgb] * 2) if compare else original.rgb
                writer.write(picture, original.t_s)
                written += 1
    finally:
        stream.close()
    return written
