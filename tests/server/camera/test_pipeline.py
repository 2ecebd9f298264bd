"""server.camera.pipeline: camera to sink in one process, with a camera, a sink and readers that the test moves."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from engine.live.controls import EnginePair
from engine.live.device import DeviceThread
from engine.passthrough import PassthroughEngine
from engine.protocols import EngineTraits
from server.camera.pipeline import CARDS, Limits, Pipeline
from server.camera.rate import ConstantRate
from server.camera.sinks import ReaderGone, Sink
from server.errors import CameraError
from server.session.requested import Requested
from tests.server.camera.test_sources import FakeSource, until

CAMERA_LEVEL = 90  # of FakeSource's pictures


class FakeSink(Sink):
    """Keeps the mean level and the time of what is written."""

    def __init__(self, constant_rate: bool = True, virtual: bool = False, slow_s: float = 0.0) -> None:
        self.constant_rate, self.live_before_camera = constant_rate, virtual
        self.levels: list[float] = []
        self.times: list[float] = []
        self.size: tuple[int, int] | None = None
        self.fps = Fraction(0)
        self.closed, self.gone = 0, threading.Event()
        self.slow_s = slow_s

    def open(self, width: int, height: int, fps: Fraction) -> None:
        self.size, self.fps, self.device = (width, height), fps, "fake"

    def write(self, rgb: np.ndarray, t_s: float) -> None:
        if self.gone.is_set():
            raise ReaderGone
        assert rgb.shape == (self.size[1], self.size[0], 3)
        self.levels.append(float(rgb.mean()))
        self.times.append(t_s)
        time.sleep(self.slow_s)

    def close(self) -> None:
        self.closed += 1


class Room:
    """A pipeline that runs on a thread, and its parts."""

    def __init__(self, device: DeviceThread, sink: FakeSink, limits: Limits, readers: Callable[[], int | None]) -> None:
        self.source, self.sink, self.stop = FakeSource(), sink, threading.Event()
        requested = Requested(device.name)
        if device.traits.shows_avatar:
            requested = requested.with_portrait(np.full((48, 64, 3), 200, np.uint8), None)
        controls = requested.controls(EnginePair(device))
        self.pipeline = Pipeline(controls, self.source, sink, self.stop, limits, count=lambda name: readers())
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.pipeline.run()
        except CameraError as error:
            self.error = error

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def room() -> Iterator[Callable[..., Room]]:
    """Returns room(sink, limits, readers, device) -> Room, running."""
    made: list[Room] = []
    devices: list[DeviceThread] = []

    def begin(
        sink: FakeSink,
        limits: Limits = Limits(),  # noqa: B008 (it is frozen)
        readers: Callable[[], int | None] = lambda: None,
        engine: PassthroughEngine | None = None,
        before: Callable[[Room], None] = lambda room: None,
    ) -> Room:
        devices.append(DeviceThread(engine or PassthroughEngine()))
        assert devices[-1].wait_ready(20)
        made.append(Room(devices[-1], sink, limits, readers))
        before(made[-1])
        made[-1].thread.start()
        return made[-1]

    yield begin
    for each in made:
        each.end()
    for device in devices:
        device.close()


def test_a_number_of_pictures_is_written_to_the_picture(room: Callable[..., Room]) -> None:
    """Size and rate are the source's own; the sink is closed and the camera given back."""
    found = room(FakeSink(), Limits(frames=10))
    found.thread.join(20)
    assert found.sink.levels == [CAMERA_LEVEL] * 10
    assert (found.sink.size, found.sink.fps) == ((64, 48), 30)
    assert found.sink.closed == 1
    assert found.source.closed == found.source.opened == 1
    assert found.pipeline.written.frames == 10


def test_a_time_is_written_at_a_constant_rate_whatever_the_camera_gives(room: Callable[..., Room]) -> None:
    """200 pictures a second become 30: one second is 30 pictures, and the others are counted as left out."""
    found = room(FakeSink(), Limits(seconds=1.0))
    found.thread.join(20)
    assert len(found.sink.levels) == 30
    assert found.pipeline.written.dropped > 0


def test_a_file_gets_each_picture_once_with_rising_times(room: Callable[..., Room]) -> None:
    """No picture is repeated where every one has its own time."""
    found = room(FakeSink(constant_rate=False), Limits(seconds=0.3))
    found.thread.join(20)
    assert found.sink.times[0] == 0
    assert all(a < b for a, b in zip(found.sink.times, found.sink.times[1:], strict=False))
    assert found.sink.times[-1] >= 0.3
    assert found.pipeline.written.repeated == 0


def test_another_size_is_letterboxed_and_odd_sides_lose_a_pixel(room: Callable[..., Room]) -> None:
    """--size decides what others get, whatever the camera gives."""
    found = room(FakeSink(), Limits(size=(101, 49), frames=2))
    found.thread.join(20)
    assert found.sink.size == (100, 48)
    assert 0 < found.sink.levels[0] < CAMERA_LEVEL  # black beside it


def test_the_camera_opens_with_the_first_reader_and_closes_after_the_last(
    room: Callable[..., Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after, a card is there for whoever looks first."""
    monkeypatch.setattr("server.camera.readers.LINGER_S", 0.5)
    readers = [0]
    found = room(FakeSink(virtual=True), readers=lambda: readers[0])
    until(lambda: len(found.sink.levels) >= 3)  # the card comes again, for who looks later
    assert found.source.opened == 0
    assert found.pipeline.status()["camera"] == "off"
    assert found.sink.size == (640, 480)
    readers[0] = 1
    until(lambda: found.pipeline.status()["camera"] == "live")
    until(lambda: found.sink.levels[-1] == pytest.approx(CAMERA_LEVEL, abs=1))
    readers[0] = 0
    until(lambda: found.source.closed == 1)
    until(lambda: found.sink.levels[-1] < CAMERA_LEVEL / 2)
    assert found.pipeline.status()["camera"] == "off"


def test_where_readers_cannot_be_counted_the_camera_is_open(room: Callable[..., Room]) -> None:
    """OBS's virtual camera on macOS and Windows."""
    found = room(FakeSink(virtual=True), readers=lambda: None)
    until(lambda: found.source.opened == 1 and found.sink.levels[-1:] == [CAMERA_LEVEL])


def test_an_unplugged_camera_is_replaced_by_a_card_until_it_is_back(
    room: Callable[..., Room],
) -> None:
    """The output goes on at its rate, and the trouble is told."""
    found = room(FakeSink())
    until(lambda: len(found.sink.levels) > 3)
    found.source.missing.set()
    found.source.unplugged.set()
    until(lambda: found.sink.levels[-1] != CAMERA_LEVEL)
    count = len(found.sink.levels)
    until(lambda: len(found.sink.levels) > count + 20)  # repeated, with nothing coming
    assert set(found.sink.levels[-10:]) == {found.sink.levels[-1]}
    until(lambda: "is not there" in found.pipeline.status()["trouble"])
    found.source.missing.clear()
    until(lambda: found.sink.levels[-1] == CAMERA_LEVEL)
    assert found.pipeline.status()["trouble"] == ""


def test_a_file_ends_in_time_though_the_camera_went(room: Callable[..., Room]) -> None:
    """Its card comes once a second, so that `--seconds` is reached."""
    found = room(FakeSink(constant_rate=False), Limits(seconds=3.0))
    until(lambda: len(found.sink.levels) > 3)
    found.source.missing.set()
    found.source.unplugged.set()
    found.thread.join(20)
    assert not found.thread.is_alive()
    assert found.sink.times[-1] >= 3.0
    cards = [level for level in found.sink.levels if level != CAMERA_LEVEL]
    assert 3 <= len(cards) <= 4


def test_a_card_that_finds_no_room_comes_with_the_next_place(
    room: Callable[..., Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A camera that dies in the place of its last picture is not shown for ever."""
    refused: list[float] = []
    place = ConstantRate.place

    def once(self: ConstantRate, t_s: float, now_s: float, fill: bool = True) -> int | None:
        if found.source.missing.is_set() and not refused:
            refused.append(t_s)
            return None
        return place(self, t_s, now_s, fill)

    found = room(FakeSink())
    monkeypatch.setattr(ConstantRate, "place", once)
    until(lambda: len(found.sink.levels) > 3)
    found.source.missing.set()
    found.source.unplugged.set()
    until(lambda: found.pipeline.status()["camera"] == "away" and found.sink.levels[-1] != CAMERA_LEVEL)
    assert refused


def test_a_camera_that_never_opened_is_an_error(room: Callable[..., Room]) -> None:
    """A pipe gets nothing, and the command ends with the sentence."""
    found = room(FakeSink(), before=lambda room: room.source.missing.set())
    found.thread.join(20)
    assert "is not there" in str(found.error)
    assert found.sink.size is None
    assert found.sink.closed == 1


class AvatarEngine(PassthroughEngine):
    """Claims to show an avatar, of level 200, and never opens a stream."""

    traits = EngineTraits(shows_avatar=True, output_size=(48, 64))

    def open(self, config):
        raise RuntimeError("not yet")


def test_an_avatars_owner_is_never_shown(room: Callable[..., Room]) -> None:
    """Neither while the engine fails, nor before the camera opens, nor after it went: the portrait is."""
    found = room(FakeSink(virtual=True), Limits(size=(64, 48)), engine=AvatarEngine())
    until(lambda: found.pipeline.status()["camera"] == "live" and len(found.sink.levels) > 30)
    found.source.missing.set()
    found.source.unplugged.set()
    until(lambda: found.pipeline.status()["camera"] == "away")
    count = len(found.sink.levels)
    until(lambda: len(found.sink.levels) > count + 5)
    assert set(found.sink.levels) == {200.0}


def test_a_slow_reader_gets_fewer_pictures_and_none_of_them_old(room: Callable[..., Room]) -> None:
    """At half the rate it is seen to be slow within ten pictures; then nothing is repeated to make up for any."""
    found = room(FakeSink(slow_s=1 / 15), Limits(frames=40))
    found.thread.join(20)
    written = found.pipeline.written
    assert written.frames == 40
    # Nine writes of 1/15 s pass before their mean is above 1/30 s, and cost as many places; then those are made up for.
    assert written.repeated <= 20
    assert written.took_s >= 39 / 15  # as it was, not as the rate says
    assert written.delays_s[-1] < 4 / 15  # a write, a turn and the rest of a busy machine's


def test_a_hiccup_of_the_reader_is_made_up_for(room: Callable[..., Room]) -> None:
    """0.25 s without reading, once, cost no time of the output: sound that is recorded beside it stays in step."""
    found = room(FakeSink(), Limits(frames=60))
    until(lambda: len(found.sink.levels) > 15)
    found.sink.slow_s = 0.25
    count = len(found.sink.levels)
    until(lambda: len(found.sink.levels) > count)
    found.sink.slow_s = 0.0
    found.thread.join(20)
    written = found.pipeline.written
    assert written.repeated >= 4


def test_a_reader_that_goes_is_the_end_and_no_error(room: Callable[..., Room]) -> None:
    """The camera's lamp goes out with it."""
    found = room(FakeSink())
    until(lambda: len(found.sink.levels) > 3)
    found.sink.gone.set()
    found.thread.join(20)
    assert found.error is None
    assert found.source.closed == 1
    assert found.stop.is_set()


def test_changes_of_the_controls_reach_the_picture(room: Callable[..., Room]) -> None:
    """The live stream is the same that sessions have."""
    found = room(FakeSink())
    until(lambda: len(found.sink.levels) > 3)
    live = found.pipeline.live
    live.apply(replace(live.controls, mirror=True))
    assert found.pipeline.live.controls.mirror


def test_cards_fit_every_size_and_differ() -> None:
    """Nothing is cut at 16 px, and the text is seen at 640."""
    from server.camera.card import draw_card

    for size in ((16, 16), (64, 48), (640, 480), (360, 640), (1920, 1080)):
        assert draw_card(*size, CARDS["off"]).shape == (size[1], size[0], 3)
    off, away = draw_card(640, 480, CARDS["off"]), draw_card(640, 480, CARDS["away"])
    assert (off != away).any()
    assert not (off[:, :8] != off[0, 0]).any()  # the longest line leaves a margin
