"""server.rtc.video_input and video_output: drain, pace, keep time; a calm picture when there is none."""

import asyncio
import fractions
import threading
from dataclasses import replace

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.live.stream import OutputFrame
from server.rtc import video_input, video_output
from server.rtc.pictures.frames import picture_of, rgb_array
from server.settings import FrameLimits, Settings

LIMITS = FrameLimits(16, 200, 30_000)


class Source(MediaStreamTrack):
    """Gives what is put into `queue`; ends on None."""

    def __init__(self, kind: str = "video") -> None:
        super().__init__()
        self.kind = kind
        self.queue: asyncio.Queue = asyncio.Queue()

    async def recv(self):
        item = await self.queue.get()
        if item is None:
            raise MediaStreamError
        return item


class FakeLive:
    """Remembers what is submitted; gives what is put into `ready`."""

    def __init__(self) -> None:
        self.submitted: list[tuple[tuple[int, ...], float]] = []
        self.ready: list[OutputFrame] = []
        self.wait_s = 1.0

    def submit(self, rgb: np.ndarray, t_s: float) -> None:
        self.submitted.append((rgb.shape, t_s))

    def next_output(self, now_s: float):
        return (self.ready.pop(0) if self.ready else None), self.wait_s


def rgb_of(width: int, height: int, pts: int = 0) -> av.VideoFrame:
    return picture_of(np.zeros((height, width, 3), np.uint8), pts)


def output_of(t_s: float, level: int = 7, size: tuple[int, int] = (32, 48)) -> OutputFrame:
    return OutputFrame(0, t_s, np.full((*size, 3), level, np.uint8), 0.0, True)


async def test_the_input_drains_and_keeps_presentation_times() -> None:
    """Everything waiting is handed on at once, whatever its resolution, with t_s = pts · time base."""
    source, live = Source(), FakeLive()
    for pts, size in ((0, (64, 48)), (3000, (64, 48)), (6000, (48, 64)), (9000, (65, 49))):
        source.queue.put_nowait(rgb_of(*size, pts))
    source.queue.put_nowait(None)
    reader = video_input.VideoInput(source, live, LIMITS, lambda w, h: None)
    await reader.run()
    assert live.submitted == [((48, 64, 3), 0.0), ((48, 64, 3), 1 / 30), ((64, 48, 3), 2 / 30), ((49, 65, 3), 0.1)]
    assert reader.frames == 4


async def test_the_input_takes_yuv_from_a_foreign_decoder() -> None:
    """A picture that is not RGB yet becomes it."""
    source, live = Source(), FakeLive()
    picture = rgb_of(64, 48).reformat(format="yuv420p")
    picture.pts, picture.time_base = 0, fractions.Fraction(1, 90_000)
    source.queue.put_nowait(picture)
    source.queue.put_nowait(None)
    await video_input.VideoInput(source, live, LIMITS, lambda w, h: None).run()
    assert live.submitted == [((48, 64, 3), 0.0)]


@pytest.mark.parametrize("size", [(8, 64), (64, 15), (201, 64), (190, 190)])
async def test_impossible_sizes_are_reported_and_dropped(size: tuple[int, int]) -> None:
    """Too small, too long, too many pixels: the live core never sees it, and the next good one passes."""
    source, live, reported = Source(), FakeLive(), []
    source.queue.put_nowait(rgb_of(*size))
    source.queue.put_nowait(rgb_of(64, 48))
    source.queue.put_nowait(None)
    reader = video_input.VideoInput(source, live, LIMITS, lambda w, h: reported.append((w, h)))
    await reader.run()
    assert reported == [size]
    assert len(live.submitted) == 1


async def test_an_8k_picture_is_refused_by_its_size() -> None:
    """With the limits of the default settings, unconverted as the decoder gave it."""
    source, live, reported = Source(), FakeLive(), []
    source.queue.put_nowait(av.VideoFrame(7680, 4320, "yuv420p"))
    source.queue.put_nowait(None)
    await video_input.VideoInput(source, live, Settings().frame_limits, lambda w, h: reported.append((w, h))).run()
    assert reported == [(7680, 4320)]
    assert live.submitted == []


async def test_an_output_wakes_a_waiting_reader_from_any_thread() -> None:
    """`wake` from the device thread ends the wait; nobody polls."""
    live, sent = FakeLive(), []
    output = video_output.VideoOutput(lambda frame, now: sent.append(frame))
    output.attach(live)
    waiting = asyncio.ensure_future(output.recv())
    await asyncio.sleep(0.02)
    assert not waiting.done()
    live.ready.append(output_of(0.5))
    threading.Thread(target=output.wake).start()
    picture = await asyncio.wait_for(waiting, 5)
    assert picture.pts == 45_000
    assert rgb_array(picture)[0, 0, 0] == 7
    assert len(sent) == 1


async def test_the_output_asks_again_when_the_pacer_said_so() -> None:
    """A picture scheduled for later leaves without another wake."""
    live = FakeLive()
    live.wait_s = 0.02
    output = video_output.VideoOutput(lambda frame, now: None)
    output.attach(live)
    waiting = asyncio.ensure_future(output.recv())
    await asyncio.sleep(0)
    live.ready.append(output_of(0.1))
    assert (await asyncio.wait_for(waiting, 5)).pts == 9000


async def test_presentation_times_only_grow() -> None:
    """Two pictures of one time, or a source that jumps back, do not send RTP time backwards."""
    live = FakeLive()
    live.ready = [output_of(1.0), output_of(1.0), output_of(0.2), output_of(2.0)]
    output = video_output.VideoOutput(lambda frame, now: None)
    output.attach(live)
    assert [(await output.recv()).pts for _ in range(4)] == [90_000, 90_001, 90_002, 180_000]


async def test_odd_sides_lose_a_pixel() -> None:
    """4:2:0 has even sides."""
    live = FakeLive()
    live.ready = [output_of(0.0, size=(33, 47))]
    output = video_output.VideoOutput(lambda frame, now: None)
    output.attach(live)
    picture = await output.recv()
    assert (picture.width, picture.height) == (46, 32)


async def test_a_source_that_stops_leaves_its_last_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A muted or ended track shows the last picture again, at the same time of the source but for one tick."""
    monkeypatch.setattr(video_output, "KEEPALIVE_S", 0.02)
    live = FakeLive()
    live.ready = [output_of(0.0, level=99)]
    output = video_output.VideoOutput(lambda frame, now: None)
    output.attach(live)
    first, again = await output.recv(), await asyncio.wait_for(output.recv(), 5)
    assert rgb_array(again)[0, 0, 0] == 99
    assert again.pts == first.pts + 1
    assert output.sent == (first.pts, 0.0)


async def test_a_source_that_never_starts_shows_a_dark_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing usable came: a calm picture, not an error."""
    monkeypatch.setattr(video_output, "BLANK_AFTER_S", 0.02)
    output = video_output.VideoOutput(lambda frame, now: None)
    output.attach(FakeLive())
    picture = await asyncio.wait_for(output.recv(), 5)
    assert (picture.height, picture.width) == video_output.BLANK_SIZE
    assert rgb_array(picture).max() == video_output.BLANK_GREY


async def test_stopping_ends_a_waiting_reader() -> None:
    """A sender that waits for a picture is released when the connection closes."""
    output = video_output.VideoOutput(lambda frame, now: None)
    output.attach(FakeLive())
    waiting = asyncio.ensure_future(output.recv())
    await asyncio.sleep(0.01)
    output.stop()
    with pytest.raises(MediaStreamError):
        await asyncio.wait_for(waiting, 5)


async def test_a_connection_that_goes_on_begins_with_a_relit_picture() -> None:
    """Untouched ones before it are left out; those after it, as of an engine that fails, are not."""
    live, sent = FakeLive(), []
    output = video_output.VideoOutput(lambda frame, now: sent.append((frame.t_s, frame.relit)))
    output.attach(live)
    output.hold_untouched()
    relit = [False, False, True, False, True]
    live.ready = [replace(output_of(0.1 * place), relit=each) for place, each in enumerate(relit, 1)]
    for _ in range(3):
        await asyncio.wait_for(output.recv(), 5)
    assert sent == [(0.1 * place, relit[place - 1]) for place in (3, 4, 5)]


async def test_an_engine_that_never_relights_is_not_waited_for() -> None:
    """After HOLD_S, counted from the sender's first request, pictures leave untouched, and no card before them."""
    now = [100.0]
    live = FakeLive()
    output = video_output.VideoOutput(lambda frame, now: None, clock=lambda: now[0])
    output.attach(live)
    output.hold_untouched()
    now[0] += 60  # ICE took its time
    live.wait_s = 0.01
    live.ready = [replace(output_of(0.1), relit=False)]
    waiting = asyncio.ensure_future(output.recv())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    now[0] += video_output.HOLD_S
    live.ready = [replace(output_of(0.2), relit=False)]
    output.wake()
    assert (await asyncio.wait_for(waiting, 5)).pts == 18_000
