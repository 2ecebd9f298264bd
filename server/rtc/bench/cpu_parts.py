"""Says where a server's CPU time went, a frame of a participant, and what the least would be.

The least: the codec alone on the very pictures and bit rate, one after the other in a warm cache; for what reads and
writes whole pictures, the time of moving as many bytes.
"""

import time
import urllib.request
from statistics import median
from typing import Any

import numpy as np
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from engine.cpu_time import CPU
from server.rtc.codecs import get_decoder, get_encoder
from server.rtc.pictures.encoders import MAX_BITRATE, MIN_BITRATE
from server.rtc.pictures.frames import VIDEO_CLOCK_HZ, picture_of

REST = "rest"  # of the process: threads and code that no part names
CODED_PICTURES = 60
COPIES = 30


def cpu_seconds(url: str) -> dict[str, float]:
    """Returns the server's CPU seconds by part, from its /metrics."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        sample.labels["part"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "relight_cpu_seconds_total"
    }


def parts_ms(before: dict[str, float], after: dict[str, float], process_s: float, frames: int) -> dict[str, float]:
    """Returns ms a frame by part, the largest first and `rest` last; `process_s` is what the process took in all."""
    spent = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
    each = {name: round(1e3 * seconds / max(1, frames), 2) for name, seconds in spent.items()}
    shown = dict(sorted(((name, ms) for name, ms in each.items() if ms > 0), key=lambda item: -item[1]))
    return {**shown, REST: round(1e3 * (process_s - sum(spent.values())) / max(1, frames), 2)}


def floor_ms(loop: list[NDArray[np.uint8]], codec: str, up_bps: float, down_bps: float) -> dict[str, float]:
    """Returns the least CPU ms a frame of `decode`, `encode`, `convert` and `relight`, measured on this thread.

    `up_bps` is the bit rate of what the server decodes, `down_bps` of what it encodes.
    """
    picture = loop[0].size * loop[0].itemsize
    a_byte_ms = _copy_ms(loop[0]) / (2 * picture)
    (decode, _), (_, encode) = _coded_ms(loop, codec, up_bps), _coded_ms(loop, codec, down_bps)
    return {
        "decode": round(decode, 2),
        "encode": round(encode, 2),
        "convert": round(2 * (picture + picture // 2) * a_byte_ms, 3),  # RGB and half as much of YUV, both ways
        "relight": round(2 * picture * a_byte_ms, 3),
    }


def _coded_ms(loop: list[NDArray[np.uint8]], codec: str, bitrate: float) -> tuple[float, float]:
    """Returns decoder's and encoder's CPU ms a picture, conversions left out."""
    parameters = RTCRtpCodecParameters(mimeType=f"video/{codec.upper()}", clockRate=VIDEO_CLOCK_HZ, payloadType=97)
    encoder: Any = get_encoder(parameters)
    decoder: Any = get_decoder(parameters)
    encoder.target_bitrate = int(min(max(bitrate, MIN_BITRATE), MAX_BITRATE))
    before = CPU.seconds()
    for index in range(CODED_PICTURES):
        pts = index * VIDEO_CLOCK_HZ // 30
        data, _ = encoder.compress(picture_of(loop[index % len(loop)], pts))
        if data:
            decoder.decode(JitterFrame(data, pts))
    after = CPU.seconds()
    decode, encode = (
        1e3 * (after.get(part, 0.0) - before.get(part, 0.0)) / CODED_PICTURES for part in ("decode", "encode")
    )
    return decode, encode


def _copy_ms(picture: NDArray[np.uint8]) -> float:
    to = np.empty_like(picture)
    times = []
    for _ in range(COPIES):
        start = time.thread_time()
        np.copyto(to, picture)
        times.append(1e3 * (time.thread_time() - start))
    return median(times)
