"""engine.live.fallback, as a part of the state: another avatar engine renders, or a picture is held.

The driver checks every picture that is scheduled or sent.
"""

import pytest

from engine.live.actions import Close, Discard, Open
from engine.live.fallback import SLOWEST_S, status_message
from engine.live.health import STEADY_S
from engine.live.state import NO_ANSWER
from tests.engine.live.state_driver import (
    FINE,
    FINE_SEEN,
    FIRST_WAIT_S,
    PORTRAIT_LEVEL,
    PORTRAIT_SEEN,
    SIMPLE_SEEN,
    FakeDevice,
    StateDriver,
    avatar_device,
    avatar_entered,
    avatar_rendering,
    fallback_rendering,
)


def test_the_fallback_breaks_as_well() -> None:
    """Both fail: the last picture of an avatar is held, and each comes back by itself."""
    driver = avatar_rendering()
    driver.fail(driver.main)
    driver.frame()
    assert driver.fail(driver.fallback, "The other stopped.") == FIRST_WAIT_S
    driver.outputs.clear()
    for _ in range(10):
        driver.frame()
    assert driver.seen == [FINE_SEEN] * 10
    assert not any(output.relit for output in driver.outputs)
    assert driver.engine["state"] == "failed"
    assert driver.engine["message"] == "The engine stopped. The last picture is held."  # of the main one
    driver.opened(driver.fallback)
    while driver.seen[-1] != SIMPLE_SEEN:
        driver.step(driver.fallback)
    driver.fail(driver.fallback)
    driver.frame()
    assert driver.seen[-1] == SIMPLE_SEEN  # the last one is held, whichever made it
    driver.opened(driver.main)
    while driver.seen[-1] != FINE_SEEN:
        driver.step(driver.main)
    assert driver.engine["state"] == "ok"


def test_a_hanging_fallback_is_replaced() -> None:
    """Held pictures go out, and another lane takes over after a wait."""
    driver = fallback_rendering()
    old = driver.fallback
    for _ in range(60):
        driver.frame()
    assert driver.late
    driver.outputs.clear()
    driver.frame()
    assert driver.seen == [SIMPLE_SEEN]
    assert not driver.outputs[-1].relit
    work = driver.take(old)
    assert driver.hang(old) == [Close(old), Open(driver.fallback, FIRST_WAIT_S)]
    assert driver.state.fallback is not None
    assert driver.state.fallback.health.message == NO_ANSWER
    assert driver.finish(old, work) == []
    driver.opened(driver.fallback)
    while not driver.outputs[-1].relit:
        driver.step(driver.fallback)
    assert driver.seen[-1] == SIMPLE_SEEN


def test_the_fallback_is_opened_when_needed_and_closed_when_not() -> None:
    """A healthy engine's fallback rests, ends after a while, and another begins with the next trouble."""
    driver = avatar_entered()
    assert len(driver.lanes) == 1
    driver.frame()
    first = driver.fallback
    driver.opened(first)
    driver.step(first)
    driver.opened(driver.main)
    since = driver.now
    while first in driver.lanes:
        driver.step(driver.main)
        assert driver.fed[first] == []  # it rests meanwhile
    assert driver.now - since == pytest.approx(STEADY_S, abs=0.1)
    assert driver.lanes == [driver.main]
    driver.fail(driver.main)
    driver.frame()
    assert driver.fallback is not first
    driver.opened(driver.fallback)
    driver.step(driver.fallback)
    assert driver.seen[-1] == SIMPLE_SEEN


def test_a_fallback_that_is_needed_again_is_not_closed() -> None:
    """Only a run of frames without it counts."""
    driver = fallback_rendering()
    lane = driver.fallback
    driver.opened(driver.main)
    driver.step(driver.main, n=int(0.7 * STEADY_S * 30))
    driver.fail(driver.main)
    driver.step(lane, n=5)
    driver.opened(driver.main)
    driver.step(lane, driver.main, n=int(0.7 * STEADY_S * 30))
    assert driver.engine["state"] == "ok"
    assert driver.fallback is lane


def test_the_rest_of_the_fallback_is_not_its_fault() -> None:
    """It had a frame when the engine came back; the time since counts for nothing."""
    driver = fallback_rendering()
    driver.frame()
    driver.take(driver.fallback)
    driver.opened(driver.main)
    driver.step(driver.main, n=60)
    driver.fail(driver.main)
    driver.step(driver.fallback)
    assert driver.seen[-1] == SIMPLE_SEEN
    assert driver.outputs[-1].relit


def test_a_mirror_is_not_the_fallbacks_fault() -> None:
    """The time that its frames under way had waited is forgotten with them."""
    driver = fallback_rendering()
    driver.frame()
    driver.now += SLOWEST_S - 0.01
    driver.change(mirror=True)
    driver.step(driver.fallback)
    assert driver.outputs[-1].relit
    assert driver.seen == [SIMPLE_SEEN]


def test_a_fallback_that_has_yet_to_prove_itself_gets_few_frames() -> None:
    """None before it opens; every third after a failure."""
    driver = avatar_entered()
    for _ in range(4):
        driver.frame()
    assert driver.fed[driver.fallback] == []
    driver.opened(driver.fallback)
    driver.frame()
    driver.fail(driver.fallback)
    driver.opened(driver.fallback)
    for _ in range(6):
        driver.frame()
    assert len(driver.fed[driver.fallback]) == 2


def test_a_late_picture_of_the_fallback_does_not_push_in() -> None:
    """Once the engine is well, what the fallback still had is thrown away and counted."""
    driver = fallback_rendering()
    driver.frame()
    work = driver.take(driver.fallback)
    driver.opened(driver.main)  # and has not been given a frame yet
    assert driver.engine["state"] == "warming"
    assert driver.engine["message"].startswith("Getting lcvd ready.")
    assert driver.finish(driver.fallback, work) == [Discard(1)]
    driver.step(driver.main, n=3)
    assert {showing for showing, _ in driver.seen} == {"lcvd"}


def test_a_camera_engine_is_never_the_fallback() -> None:
    """Whoever names one by mistake gets the portrait, at first and after a switch."""
    ratio = FakeDevice("ratio", level=0)
    driver = StateDriver(FINE, ratio, PORTRAIT_LEVEL)
    for _ in range(30):
        driver.frame()
    assert driver.seen == [PORTRAIT_SEEN] * 30
    assert driver.lanes == [driver.main]
    driver.switch(avatar_device("other", 90), ratio)
    for _ in range(30):
        driver.frame()
    assert set(driver.seen) == {PORTRAIT_SEEN}
    assert driver.lanes == [driver.main]


def test_the_fallback_has_a_second_to_answer() -> None:
    """A slow avatar is better than a still one: no held picture goes out before."""
    driver = fallback_rendering()
    start = driver.now
    while not driver.outputs:
        driver.frame()
    assert driver.now - start == pytest.approx(1.0, abs=0.1)
    assert driver.seen == [SIMPLE_SEEN]


@pytest.mark.parametrize(
    ("state", "message", "showing", "said"),
    [
        ("warming", "", "portrait", "Getting lcvd ready. Your portrait stands in."),
        ("warming", "", "avatar", "Getting lcvd ready. The simpler avatar (avatar) is shown meanwhile."),
        (
            "failed",
            "The engine does not answer; you are seen without the light.",
            "lcvd",
            "The engine does not answer. The last picture is held.",
        ),
        ("failed", "No face was found.", "portrait", "No face was found. Your portrait stands in."),
        ("paused", "", "lcvd", "Paused: the picture is held, the camera is not shown."),
        ("ok", "", "lcvd", ""),
    ],
)
def test_the_words_say_what_is_seen(state: str, message: str, showing: str, said: str) -> None:
    """The message says what is wrong, then what replaces it; never that the person is seen."""
    assert status_message(state, message, "lcvd", showing) == said
