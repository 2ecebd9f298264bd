"""server.rtc.audio_delay: a track for aiortc that keeps time, whatever the event loop and the source do."""

import asyncio

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from server.rtc import audio_delay
from server.rtc.sound.delay_line import FRAME, MAX_DELAY_S
from tests.server.rtc.test_tracks import Source


def sound_of(number: int, rate: int = 48_000, channels: int = 2) -> av.AudioFrame:
    """Frame `number` of 20 ms, every sample with that value."""
    count = rate // 50
    layout = "mono" if channels == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.full((1, count * channels), number, np.int16), format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, number * count, audio_delay.fractions.Fraction(1, rate)
    return frame


_REAL_SLEEP = asyncio.sleep


class Clock:
    """Time that stands still between `sleep`s, which pass it at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []
        monkeypatch.setattr(audio_delay.asyncio, "sleep", self._sleep)

    def __call__(self) -> float:
        return self.now_s

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


async def fed(clock: Clock, count: int, *, ends: bool = True, **of: int) -> audio_delay.AudioDelay:
    """A track that got `count` frames, one every 20 ms of the clock, and whose source has ended or says no more."""
    source = Source("audio")
    track = audio_delay.AudioDelay(source, clock)
    for number in range(count):
        source.queue.put_nowait(sound_of(number, **of))
    if ends:
        source.queue.put_nowait(None)
    receive = source.recv

    async def timed() -> av.AudioFrame:
        frame = await receive()
        clock.now_s += 0.02
        return frame

    source.recv = timed  # type: ignore[method-assign]
    running = asyncio.ensure_future(track.run())
    while not source.queue.empty():
        await _REAL_SLEEP(0)
    if ends:
        await running
    running.cancel()
    return track


async def test_frames_leave_every_20_ms_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule counts frames from the first: sleeps that take too long do not add up, and PTS have no gap."""
    clock = Clock(monkeypatch)
    track = await fed(clock, 100)
    track.match(2.1)
    pts, left_s = [], []
    for _ in range(50):
        pts.append((await track.recv()).pts)
        left_s.append(clock.now_s)
        clock.now_s += 0.003  # the encoder's time
    assert pts == [k * FRAME for k in range(50)]
    assert np.allclose(np.diff(left_s), 0.02)
    assert track.media_s(clock.now_s) == pytest.approx(50 * 0.02 - 0.02 + 0.003)


async def test_a_busy_loop_catches_up_and_a_sleeping_one_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second late: the missed frames at once. A minute: they are not sent, and PTS stay on the clock."""
    clock = Clock(monkeypatch)
    track = await fed(clock, 100, ends=False)
    first = await track.recv()
    clock.now_s += 0.5
    slept = len(clock.slept)
    frames = [await track.recv() for _ in range(25)]
    assert len(clock.slept) == slept
    clock.now_s += 60.0
    start_s = clock.now_s - track.media_s(clock.now_s)
    late = [await track.recv() for _ in range(3)]
    assert [f.pts // FRAME for f in (first, *frames)] == list(range(26))
    assert [f.pts // FRAME for f in late] == list(range(late[0].pts // FRAME, late[0].pts // FRAME + 3))
    assert late[-1].pts / 48_000 == pytest.approx(clock.now_s - start_s, abs=0.02)


@pytest.mark.parametrize(
    ("rate", "channels", "layout"), [(48_000, 2, "stereo"), (8000, 1, "mono"), (16_000, 1, "mono")]
)
async def test_what_a_decoder_gives_becomes_48_khz(
    monkeypatch: pytest.MonkeyPatch, rate: int, channels: int, layout: str
) -> None:
    """Opus, G.711 and G.722 as aiortc decodes them; one frame of 960 samples each time."""
    clock = Clock(monkeypatch)
    track = await fed(clock, 50, rate=rate, channels=channels)
    track.match(1.0)
    frame = await track.recv()
    assert (frame.sample_rate, frame.samples, frame.layout.name, frame.format.name) == (48_000, FRAME, layout, "s16")


async def test_what_leaves_came_as_long_ago_as_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second after frame k came, it leaves."""
    clock = Clock(monkeypatch)
    track = await fed(clock, 100)
    track.match(0.5)
    await track.recv()  # the crossfade from silence
    for _ in range(5):
        frame = await track.recv()
        came = round((clock.now_s - 0.5 - 100.0) / 0.02) - 1  # frame k came at 100 + 0.02·(k + 1)
        assert set(frame.to_ndarray()[0]) <= {came - 1, came, came + 1}


async def test_the_delay_has_limits() -> None:
    """Four seconds at most, and never before it came."""
    track = audio_delay.AudioDelay(Source("audio"))
    track.match(9.0)
    assert track.delay_s == MAX_DELAY_S
    track.match(-1.0)
    assert track.delay_s == 0


async def test_the_end_comes_after_all_that_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that ends is heard to the end, then the track says so."""
    clock = Clock(monkeypatch)
    track = await fed(clock, 50)
    track.match(0.4)
    heard: set[int] = set()

    async def listen() -> None:
        for _ in range(1000):
            heard.update((await track.recv()).to_ndarray()[0])

    with pytest.raises(MediaStreamError):
        await listen()
    assert 49 in heard


async def test_a_source_that_never_speaks_ends_quietly() -> None:
    """Whoever waits for its first sound is released, by its end or by ours."""
    for stop in (False, True):
        source = Source("audio")
        track = audio_delay.AudioDelay(source)
        running = asyncio.ensure_future(track.run())
        waiting = asyncio.ensure_future(track.recv())
        await asyncio.sleep(0)
        track.stop() if stop else source.queue.put_nowait(None)
        with pytest.raises(MediaStreamError):
            await asyncio.wait_for(waiting, 5)
        running.cancel()
