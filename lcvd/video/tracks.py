"""The picture of a file: its default video track, as players choose it, and no cover picture."""

from collections.abc import Sequence

import av
from av.stream import Disposition, Stream


def is_cover(track: Stream) -> bool:
    """Return True for a still that belongs to a sound file, or a strip of thumbnails."""
    return bool(track.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def picture_track(tracks: Sequence[av.VideoStream]) -> av.VideoStream | None:
    """Return the track marked as default, else the first one; None where none is moving and of a known codec."""
    playable = [track for track in tracks if track.codec_context is not None and not is_cover(track)]
    default = (track for track in playable if track.disposition & Disposition.default)
    return next(default, playable[0] if playable else None)
