"""The tracks of a clip that are used: the picture its maker marked as default, and every sound."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.stream import Stream

from engine.errors import ClipError
from lcvd.video.tracks import is_cover, picture_track

COVER = "cover picture"
_KINDS = {"audio": "undecodable sound track", "video": "further video track"}


class Tracks(NamedTuple):
    """Holds the tracks that are used, and names the others."""

    video: av.VideoStream
    sounds: tuple[av.AudioStream, ...]
    left_out: str  # "1 cover picture, 2 subtitle tracks"; "" where every track is used


def choose_tracks(container: InputContainer, path: Path) -> Tracks:
    """Return the tracks of `container` to be used. Raises ClipError where it shows no moving picture."""
    video = picture_track(container.streams.video)
    if video is None:
        if all(is_cover(track) for track in container.streams.video):
            covers = ", only a cover picture" if container.streams.video else ""
            raise ClipError(f"{path}: has no video stream{covers}", "give a file with a picture")
        raise ClipError(f"{path}: its video codec is unknown here", "convert it to H.264 first")
    sounds = tuple(stream for stream in container.streams.audio if stream.codec_context is not None)
    used = {stream.index for stream in (video, *sounds)}
    others = Counter(_kind(stream) for stream in container.streams if stream.index not in used)
    left_out = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(others.items()))
    return Tracks(video, sounds, left_out)


def _kind(stream: Stream) -> str:
    return COVER if is_cover(stream) else _KINDS.get(stream.type, f"{stream.type} track")
