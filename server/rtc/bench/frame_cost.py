"""Measures what one picture costs on this machine: decode → engine → encode, of the sample portrait, by size.

The CPU's time is that of the whole process, so nothing else should run meanwhile: it is measured at the start, after
the warm-up and before anybody is admitted. The device's time is that of `render`, which serves one after the other.
"""

import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, repeat

from aiortc.jitterbuffer import JitterFrame

from engine.bench.sample_clip import sample_frames
from engine.errors import EngineError
from engine.frames import Frame
from engine.protocols import Engine, StreamConfig
from lcvd.lighting.presets import preset
from server.rtc.bench.machine_cost import FrameCost, MachineCost, available_cores
from server.rtc.decoders import LiveVp8Decoder
from server.rtc.pictures.encoders import LiveVp8Encoder
from server.rtc.pictures.frames import VIDEO_CLOCK_HZ, even, picture_of, rgb_array

LIGHT = "rembrandt-left"
FPS = 30
SIZES = ((320, 240), (640, 480), (1280, 720))
MIDDLE = (640, 480)
WARM, MEASURED = 4, 12  # pictures of each size: the face is found, the codecs settle; then the cost
TOGETHER = 8  # streams side by side, at most: each takes memory
IDLE_RATIO = 0.85  # of the cores: busier than this, nothing but their number holds the streams back


def measure(engine: Engine, cores: float | None = None) -> MachineCost:
    """Returns what a picture of `engine`, which is warm, costs; takes 2 to 4 s.

    Raises what the engine raises, and EngineError where it gives a picture for a few only.
    """
    cores = cores or available_cores()
    return MachineCost(tuple(_cost(engine, *size) for size in SIZES), _usable(engine, cores))


def _cost(engine: Engine, width: int, height: int) -> FrameCost:
    pictures = _handled(engine, width, height)
    list(islice(pictures, WARM))
    started_s = time.process_time()
    devices_s = list(islice(pictures, MEASURED))
    cpu_s = time.process_time() - started_s
    pictures.close()
    if len(devices_s) < MEASURED:
        raise EngineError(
            f"engine {engine.name} gave {len(devices_s)} pictures of {MEASURED}", "set RELIGHT_MAX_SESSIONS"
        )
    return FrameCost(width * height, cpu_s / MEASURED, sum(devices_s) / MEASURED)


def _usable(engine: Engine, cores: float) -> float:
    """Returns how many cores streams side by side keep busy: all, or as many as one interpreter lock lets them."""
    streams = min(TOGETHER, max(1, int(cores)))
    if streams == 1:
        return cores
    opened = [_handled(engine, *MIDDLE) for _ in range(streams)]
    with ThreadPoolExecutor(streams, "relight-measure") as pool:
        list(pool.map(_take, opened, repeat(WARM)))
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        list(pool.map(_take, opened, repeat(MEASURED)))
        busy = (time.process_time() - cpu_s) / (time.perf_counter() - wall_s)
    for pictures in opened:
        pictures.close()
    return cores if busy >= IDLE_RATIO * streams else max(1.0, min(busy, cores))


def _take(pictures: Iterator[float], count: int) -> None:
    list(islice(pictures, count))


def _handled(engine: Engine, width: int, height: int) -> Generator[float, None, None]:
    """Handles one picture after the other as a session does; yields the seconds that `render` took."""
    source, encoder, decoder = LiveVp8Encoder(), LiveVp8Encoder(), LiveVp8Decoder()
    clip = list(islice(sample_frames((height, width), FPS), WARM + MEASURED))
    coded = [source.compress(picture_of(rgb, 0))[0] for rgb in clip]
    stream = engine.open(StreamConfig(lighting=preset(LIGHT).lighting))
    try:
        for index, data in enumerate(coded):
            timestamp = index * VIDEO_CLOCK_HZ // FPS
            (picture,) = decoder.decode(JitterFrame(data, timestamp))
            work = stream.prepare(Frame(index, index / FPS, rgb_array(picture)))
            if work is None:  # an engine that takes several pictures at once waits for more
                continue
            started_s = time.perf_counter()
            relit = stream.render(work)
            device_s = time.perf_counter() - started_s
            for frame in relit:
                encoder.compress(picture_of(even(frame.rgb), timestamp))
            yield device_s
    finally:
        stream.close()
