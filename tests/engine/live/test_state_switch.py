"""engine.live.state, going over from one engine to another while the camera is shown."""

import pytest

from engine.live.actions import Close, Open
from engine.live.health import BEHIND_MESSAGE
from engine.protocols import STALL_S, EngineTraits
from tests.engine.live.state_driver import FIRST_WAIT_S, STEP_S, FakeDevice, StateDriver


@pytest.fixture
def driver() -> StateDriver:
    """A stream whose engine is open and has shown a frame."""
    made = StateDriver(FakeDevice())
    made.opened(made.main)
    made.frame(0)
    made.render(made.main)
    return made


OTHER = FakeDevice("other", level=10)


def test_a_switch_keeps_the_old_engine_until_the_new_is_ready(driver: StateDriver) -> None:
    """The picture stays relit by the old engine while the new one opens, then the new one takes over at once."""
    old = driver.main
    assert driver.switch(OTHER) == [Open(driver.following)]
    assert driver.following.device is OTHER
    for value in (1, 2):
        driver.frame(value)
        driver.render(old)
    assert driver.engine == {
        "name": "fake",
        "state": "ok",
        "message": "Getting other ready.",
        "showing": "fake",
    }
    new = driver.following
    assert driver.opened(new) == [Close(old)]
    assert (driver.main, driver.state.next_lane) == (new, None)
    assert (driver.engine["name"], driver.engine["state"], driver.engine["message"]) == ("other", "ok", "")
    driver.frame(3)
    driver.render(new)
    assert driver.seen == [("fake", 100), ("fake", 101), ("fake", 102), ("other", 13)]
    assert driver.changes == 2


def test_a_result_of_the_engine_before_is_not_shown(driver: StateDriver) -> None:
    """What it still rendered when the new one took over is thrown away."""
    old = driver.main
    driver.switch(OTHER)
    driver.frame()
    work = driver.take(old)
    driver.opened(driver.following)
    assert driver.finish(old, work) == []
    assert driver.fail(old) == 0.0  # nor is its end a failure of the new one
    assert driver.engine["state"] == "ok"
    driver.state.opened(old, driver.now)
    assert driver.perform() == []


def test_switching_back_while_the_new_one_opens_stays(driver: StateDriver) -> None:
    """A change of mind leaves everything as it was."""
    driver.switch(OTHER)
    dropped = driver.following
    assert driver.switch(driver.main.device) == [Close(dropped)]  # type: ignore[arg-type]
    driver.opened(dropped)
    driver.step(driver.main, n=2)
    assert driver.engine == {"name": "fake", "state": "ok", "message": "", "showing": "fake"}
    assert [output.relit for output in driver.outputs] == [True] * 3


def test_a_third_engine_takes_the_place_of_the_second(driver: StateDriver) -> None:
    """Only the one asked for last is got ready."""
    driver.switch(OTHER)
    dropped = driver.following
    closing, opening = driver.switch(FakeDevice("third"))
    assert (closing, opening) == (Close(dropped), Open(driver.following))
    assert "third" in driver.engine["message"]


def test_switching_away_from_a_failed_engine_recovers(driver: StateDriver) -> None:
    """A participant whose engine is broken has nothing to go on with: the other one takes over before it is ready."""
    old = driver.main
    driver.frame()
    driver.fail(old)
    assert driver.engine["state"] == "failed"
    plain = FakeDevice("passthrough", EngineTraits(tracks_faces=False), level=0)
    opening, closing = driver.switch(plain)
    assert (opening, closing) == (Open(driver.main), Close(old))
    assert (driver.engine["name"], driver.engine["state"], driver.engine["message"]) == ("passthrough", "warming", "")
    driver.frame()
    assert not driver.outputs[-1].relit
    driver.opened(driver.main)
    driver.step(driver.main, n=40)
    assert driver.engine["state"] == "ok"
    assert driver.outputs[-1].relit
    assert driver.state.face == "ok"


def test_switching_away_from_an_engine_that_is_behind(driver: StateDriver) -> None:
    """It may recover meanwhile, and says what is wrong; the new one does not inherit that."""
    while driver.engine["state"] != "behind":
        driver.frame()
    assert driver.switch(OTHER) == [Open(driver.following)]
    assert (driver.engine["name"], driver.engine["message"]) == ("fake", BEHIND_MESSAGE)
    driver.opened(driver.following)
    assert (driver.engine["name"], driver.engine["state"], driver.engine["message"]) == ("other", "ok", "")
    driver.step(driver.main)
    assert driver.outputs[-1].showing == "other"


def test_an_engine_that_still_warms_up_is_left_at_once() -> None:
    """The one asked for next takes its place."""
    driver = StateDriver(FakeDevice())
    old = driver.main
    assert driver.switch(OTHER) == [Open(driver.main), Close(old)]
    assert driver.state.next_lane is None
    assert driver.engine == {"name": "other", "state": "warming", "message": "", "showing": "camera"}


def test_a_new_engine_that_fails_stays_as_asked(driver: StateDriver) -> None:
    """The participant is told, seen untouched, and the old engine ends."""
    old = driver.main
    driver.switch(OTHER)
    new = driver.following
    assert driver.fail(new, "no memory") == FIRST_WAIT_S
    assert driver.lanes == [new]
    assert old not in driver.lanes
    assert driver.engine == {"name": "other", "state": "failed", "message": "no memory", "showing": "fake"}
    driver.frame()
    assert not driver.outputs[-1].relit


def test_each_engine_has_the_time_it_asks_for() -> None:
    """`stall_s` of the engine is what is waited; after a switch, that of the other; the caller's wins over both."""
    slow, quick = FakeDevice("slow", EngineTraits(stall_s=2.0)), FakeDevice("quick")
    for options, first_s, second_s in (({}, 2.0, STALL_S), ({"stall_s": 1.0}, 1.0, 1.0)):
        driver = StateDriver(slow, **options)
        driver.opened(driver.main)
        assert silence_until_behind(driver) == pytest.approx(first_s, abs=2 * STEP_S)
        driver.fail(driver.main)
        driver.switch(quick)
        driver.opened(driver.main)
        assert silence_until_behind(driver) == pytest.approx(second_s, abs=2 * STEP_S)


def silence_until_behind(driver: StateDriver) -> float:
    """Seconds without a result until the engine is behind."""
    since = driver.now
    while driver.engine["state"] != "behind":
        driver.frame()
    return driver.now - since


def test_close_ends_the_engine_that_was_to_follow_too(driver: StateDriver) -> None:
    """No lane is left."""
    driver.switch(OTHER)
    driver.state.close()
    driver.perform()
    assert driver.lanes == []
    assert driver.state.next_lane is None


def test_a_hang_does_not_lose_the_engine_that_is_asked_for(driver: StateDriver) -> None:
    """Another lane of the hung engine goes on, and the one asked for still takes over when it is ready."""
    hung = driver.main
    driver.switch(OTHER)
    asked = driver.following
    assert driver.state.hung(hung)
    driver.perform()
    assert driver.following is asked
    driver.opened(asked)
    assert driver.main is asked
    assert driver.lanes == [asked]
