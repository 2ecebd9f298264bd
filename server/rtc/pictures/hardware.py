"""Finds an H.264 encoder in this machine's graphics hardware that works for live pictures, and remembers it.

FFmpeg lists an encoder whether or not the hardware and its driver are there, and drivers differ in what they keep of
their promises. So each is tried at the start: what comes out has to be what a browser can decode (constrained
baseline, a key frame when asked for, with its parameter sets), at once (one picture in, one out), and look like what
went in. The first that passes is used; x264 otherwise, also where a stream cannot be opened later: consumer cards
carry a few streams only.
"""

import fractions
import logging
import threading
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from server.rtc.pictures.frames import TIME_BASE

logger = logging.getLogger(__name__)

# FFmpeg's names → options for live pictures: no look-ahead, no B frames, a constant rate, key frames on demand that a
# decoder can start at.
HARDWARE: dict[str, dict[str, str]] = {
    "h264_nvenc": {  # NVIDIA
        "preset": "p3",
        "tune": "ull",
        "rc": "cbr",
        "zerolatency": "1",
        "delay": "0",
        "forced-idr": "1",
        "bf": "0",
        "profile": "baseline",
    },
    "h264_qsv": {  # Intel
        "async_depth": "1",
        "scenario": "videoconference",
        "low_delay_brc": "1",
        "look_ahead": "0",
        "forced_idr": "1",
        "bf": "0",
        "profile": "baseline",
    },
    "h264_amf": {  # AMD
        "usage": "ultralowlatency",
        "rc": "cbr",
        "forced_idr": "1",
        "bf": "0",
        "profile": "constrained_baseline",
    },
    "h264_videotoolbox": {"realtime": "1", "constant_bit_rate": "1", "bf": "0", "profile": "baseline"},  # Apple
    "h264_v4l2m2m": {},  # boards
}
SOFTWARE = "software"
AUTO = "auto"
CHOICES = (AUTO, SOFTWARE, *HARDWARE)

FRAME_RATE = 30
TRIED_SIZE, TRIED_PICTURES, FORCED = (640, 480), 12, 8  # width, height; pictures; the one that has to be a key frame
TRIED_BITRATE = 1_500_000
LEAST_PSNR_DB = 28.0  # of the luma of the last picture: x264 superfast gives 40
BASELINE = 66  # profile_idc (ITU-T H.264, A.2.1)
START_CODE, SPS, PPS, IDR = b"\x00\x00\x01", 7, 8, 5

_lock = threading.Lock()
_chosen: str | None = None  # by `choose`; None: software


class Unfit(Exception):
    """An encoder does not do what live pictures need; the message says what."""


def choose(wanted: str) -> str:
    """Tries encoders, and returns the name of the one that is used from now on; SOFTWARE where none works.

    `wanted` is one of CHOICES. One that was named and does not work is logged as a warning.
    """
    global _chosen
    names = () if wanted == SOFTWARE else tuple(HARDWARE) if wanted == AUTO else (wanted,)
    found = None
    for name in names:
        try:
            check(name)
        except Unfit as unfit:
            logger.log(logging.DEBUG if wanted == AUTO else logging.WARNING, "encoder %s: %s", name, unfit)
        else:
            logger.info("H.264 is encoded by %s", name)
            found = name
            break
    with _lock:
        _chosen = found
    return found or SOFTWARE


def chosen() -> str | None:
    """Returns the hardware's encoder that is in use; None: x264."""
    with _lock:
        return _chosen


def give_up(why: str) -> None:
    """Uses x264 from now on."""
    global _chosen
    with _lock:
        name, _chosen = _chosen, None
    if name is not None:
        logger.error("%s fails, and x264 encodes from now on: %s", name, why)


def open_context(name: str, width: int, height: int, bitrate: int) -> Any:
    """Returns an encoder that is open. Raises Unfit where this machine, or its driver, has none left."""
    try:
        codec = h264_context(name, width, height, bitrate, HARDWARE[name])
        codec.open()
    except av.codec.codec.UnknownCodecError as error:
        raise Unfit("is not in this FFmpeg") from error
    except av.FFmpegError as error:
        raise Unfit(f"cannot be opened: {error.strerror}") from error
    return codec


def h264_context(name: str, width: int, height: int, bitrate: int, options: dict[str, str]) -> Any:
    """Returns FFmpeg's encoder `name` for live pictures, not open yet, with `options` of its own."""
    codec: Any = av.CodecContext.create(name, "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.bit_rate = bitrate
    codec.framerate = fractions.Fraction(FRAME_RATE, 1)
    codec.time_base = TIME_BASE
    codec.gop_size = 3000  # key frames on demand only
    codec.options = {**options, "maxrate": str(bitrate), "bufsize": str(bitrate // 2)}
    return codec


def check(name: str) -> None:
    """Raises Unfit where encoder `name` does not give what a live picture needs."""
    codec = open_context(name, *TRIED_SIZE, TRIED_BITRATE)
    decoder: Any = av.CodecContext.create("h264", "r")
    decoded: list[Any] = []
    picture = _picture(0)
    try:
        for index in range(TRIED_PICTURES):
            picture = _picture(index)
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = index * 90_000 // FRAME_RATE
            key = index in (0, FORCED)
            frame.pict_type = av.video.frame.PictureType.I if key else av.video.frame.PictureType.NONE
            data = b"".join(bytes(packet) for packet in codec.encode(frame))
            if not data:
                raise Unfit(f"holds pictures back: nothing came out for number {index}")
            _check_units(data, key, index)
            decoded += decoder.decode(av.Packet(data))
        decoded += decoder.decode(None)
    except av.FFmpegError as error:
        raise Unfit(f"fails at work: {error.strerror}") from error
    if len(decoded) != TRIED_PICTURES:
        raise Unfit(f"gave {len(decoded)} pictures of {TRIED_PICTURES} to a decoder")
    width, height = TRIED_SIZE
    seen, given = (each[:height, :width].astype(np.float64) for each in (decoded[-1].to_ndarray(), picture))
    psnr_db = 10 * np.log10(255**2 / max(float(np.mean((seen - given) ** 2)), 1e-9))
    if psnr_db < LEAST_PSNR_DB:
        raise Unfit(f"spoils pictures: {psnr_db:.0f} dB")


def _check_units(data: bytes, key: bool, index: int) -> None:
    units = [unit for unit in data.split(START_CODE) if unit]
    kinds = [unit[0] & 0x1F for unit in units]
    if key and not {SPS, PPS, IDR} <= set(kinds):
        raise Unfit(f"gives no key frame with its parameter sets when asked for (number {index})")
    if not key and IDR in kinds:
        raise Unfit(f"gives key frames that nobody asked for (number {index})")
    for unit, kind in zip(units, kinds, strict=True):
        if kind == SPS and unit[1] != BASELINE:
            raise Unfit(f"has profile {unit[1]}, and browsers were promised baseline")


def _picture(index: int) -> NDArray[np.uint8]:
    """Returns a textured picture that moves, as planes of yuv420p [H·3/2,W]."""
    width, height = TRIED_SIZE
    y, x = np.mgrid[:height, :width]
    luma = 128 + 60 * np.sin((x + 5 * index) / 17) + 40 * np.cos((y - 3 * index) / 11)
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = luma.astype(np.uint8)
    return planes
