"""A clip becomes a relit clip: the same Engine and `push` as live, without a clock, in bounded memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.clip import ClipReader, ClipWriter
from engine.errors import ClipError
from engine.frames import Frame
from engine.protocols import Engine, StreamConfig
from lcvd.types import Lighting


def relight_clip(
    engine: Engine,
    lighting: Lighting,
    source: Path,
    target: Path,
    compare: bool = False,
    on_frame: Callable[[int], None] = lambda done: None,
) -> int:
    """Relight `source` into `target`; returns the number of frames written, which is the number read.

    `compare` writes the original to the left of the result. Raises ClipError for a file that cannot be read or
    written; a target that was not finished is removed, an existing file is only replaced by a finished one.
    """
    if getattr(engine, "output_size", None) is not None:
        raise ClipError(
            f"engine {engine.name} animates a portrait", "use relight video --engine lcvd, which takes a reference"
        )
    # Written beside the target and moved at the end: a crash half-way leaves the old file.
    part = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        with ClipReader(source) as reader:
            written = _relight(engine, lighting, reader, part, compare, on_frame)
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
) -> int:
    width = reader.info.width * (2 if compare else 1)
    stream = engine.open(StreamConfig(lighting=lighting))
    originals: dict[int, Frame] = {}  # only the frames an engine still holds back: at most one window
    index, written = 0, 0
    try:
        with ClipWriter(part, reader, width, reader.info.height) as writer:
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
                        picture = np.hstack([original.rgb, relit.rgb]) if compare else relit.rgb
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
