"""server.session.step_down: all who are there fit, by smaller and fewer pictures, before anybody waits."""

import pytest

from server.rtc.bench.frame_cost import MIDDLE, SIZES
from server.rtc.bench.machine_cost import FrameCost, MachineCost
from server.session.capacity import Capacity
from server.session.places import Places
from server.session.step_down import INTAKE_PX_S, LEVELS, SHORT_INTAKE_PX_S, UP_AFTER_S, StepDown
from server.settings import Settings
from tests.engine.fakes import Clock
from tests.server.client import CameraTrack, Participant, moving_square, running
from tests.server.http.test_app import get

VGA = MIDDLE[0] * MIDDLE[1]
HD = 1280 * 720
# One core of which 70 % count; a picture costs 1 ms for each 20,000 px.
MACHINE = MachineCost(tuple(FrameCost(w * h, w * h / 20e6, 0.0) for w, h in SIZES), 1.0)


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def steps(clock: Clock) -> StepDown:
    return StepDown(Capacity(MACHINE), True, clock)


def test_one_alone_is_never_capped(steps: StepDown) -> None:
    """Nobody else suffers, however large the picture is."""
    steps.update([])
    assert steps.cap is None
    steps.update([4 * HD])
    assert (steps.level, steps.cap) == (0, None)


def test_the_mildest_level_at_which_all_fit_is_chosen(steps: StepDown) -> None:
    """0.46 cores each at VGA and 30: one fits. At 480x360 and 24 0.21 fit three times, at 320x240 and 15 twelve."""
    for count, level in ((2, 2), (3, 2), (4, 3), (12, 3)):
        steps.update([VGA] * count)
        assert (steps.level, steps.cap) == (level, LEVELS[level])


def test_small_pictures_need_no_step(steps: StepDown) -> None:
    """What is sent counts, not what might be; large ones are still capped where another is there."""
    steps.update([160 * 120] * 3)
    assert (steps.level, steps.cap and steps.cap[:3]) == (0, LEVELS[0][:3])


def test_less_is_decoded_of_each_where_there_is_much_to_do(clock: Clock) -> None:
    """A machine with room decodes 1080p at 30 beside others, one that has little 720p, at every level."""
    for cores, limit in ((100.0, INTAKE_PX_S), (1.0, SHORT_INTAKE_PX_S)):
        steps = StepDown(Capacity(MACHINE._replace(cores=cores)), True, clock)
        steps.update([160 * 120] * 8)
        assert steps.cap is not None
        assert steps.cap.intake_px_s == limit
    assert {cap.intake_px_s for cap in LEVELS[1:]} == {SHORT_INTAKE_PX_S}


def test_beyond_the_last_level_it_stays_there(steps: StepDown) -> None:
    """Then people wait, whose number `Admission` bounds."""
    steps.update([VGA] * 100)
    assert steps.cap == LEVELS[-1] == steps.smallest


def test_it_falls_at_once_and_rises_slowly(steps: StepDown, clock: Clock) -> None:
    """One step each ten seconds, with room to spare for so long; who leaves and comes back changes nothing."""
    steps.update([VGA] * 4)
    assert steps.level == 3
    steps.update([VGA] * 2)
    clock.now = UP_AFTER_S - 1
    steps.update([VGA] * 4)
    steps.update([VGA] * 2)
    clock.now = 2 * UP_AFTER_S - 2
    steps.update([VGA] * 2)
    assert steps.level == 3
    clock.now = 2 * UP_AFTER_S
    steps.update([VGA] * 2)
    assert steps.level == 2
    for _ in range(5):
        clock.now += UP_AFTER_S
        steps.update([VGA] * 2)
    assert steps.level == 2
    for _ in range(4):
        clock.now += UP_AFTER_S
        steps.update([VGA])
    assert (steps.level, steps.cap) == (0, None)


def test_an_operator_may_forbid_it(clock: Clock) -> None:
    """Then everybody has the first level, and fewer are admitted."""
    steps = StepDown(Capacity(MACHINE), False, clock)
    steps.update([VGA] * 4)
    assert (steps.level, steps.cap and steps.cap[:3], steps.smallest) == (0, LEVELS[0][:3], LEVELS[0])


def test_there_are_as_many_places_as_fit_at_the_last_level() -> None:
    """Twelve at 320x240 and 15, one at 1280x720 and 30 where no step is allowed."""
    for allowed, count in ((True, 12), (False, 1)):
        places = Places(Settings(step_down=allowed))
        places.capacity.take(MACHINE)
        places.adapt([], None)
        assert places.admission.limit == count


async def test_pictures_come_back_smaller_while_two_are_there() -> None:
    """The first is handled at its own size, both at the level that fits, and the one who stays gets the size back."""
    async with running(step_down=True) as server, Participant(server.ws) as first:
        shared = server.server
        shared.places.capacity.take(MACHINE)
        camera = CameraTrack(moving_square((480, 640)), fps=30)
        await first.offer(camera)
        assert (await first.pictures(3))[-1].shape == (480, 640, 3)
        async with Participant(server.ws) as second:
            await second.offer(CameraTrack(moving_square((480, 640)), fps=30))
            await second.pictures(2)
            small = lambda: first.received and first.received[-1].shape[0] < 480  # noqa: E731
            await first.until(small, what="smaller pictures")
            assert first.received[-1].shape in [(360, 480, 3), (240, 320, 3)]
            health = (await get(server.http + "/healthz")).json()
            assert health["step"] == shared.places.steps.level >= 2
            assert (await first.wait(type="stats", height=first.received[-1].shape[0]))["width"] in (480, 320)
            session = next(iter(shared.sessions.values()))
            assert session.peer.source_pixels == VGA
        await first.until(lambda: first.received[-1].shape == (480, 640, 3), 60, "its own size again")
