"""A CodecTimer hears how long each picture takes to encode or to decode."""

from collections.abc import Callable
from typing import Literal

# ("encode" or "decode", "vp8" or "h264", seconds of one picture). Called on the event loop.
CodecTimer = Callable[[Literal["encode", "decode"], str, float], None]


def untimed(direction: Literal["encode", "decode"], codec: str, seconds: float) -> None:
    """A CodecTimer that forgets what it hears."""


def codec_of(mime: str) -> str:
    """Returns the codec of a mime type: h264 of video/H264."""
    return mime.lower().removeprefix("video/")
