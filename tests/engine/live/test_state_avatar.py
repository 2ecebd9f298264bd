"""engine.live.state, for an avatar's owner: never the camera, whatever the engine does.

The driver checks every picture that is scheduled or sent.
"""

import pytest

from engine.frames import Frame
from engine.live.actions import Clear, Close, Discard, Feed, Open, Reset
from engine.live.health import GOOD_S, PROBE_EVERY
from engine.live.overlay import View
from engine.protocols import EngineTraits
from tests.engine.fakes import picture
from tests.engine.live.state_driver import (
    CAMERA_LEVEL,
    FINE_SEEN,
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    PORTRAIT_LEVEL,
    PORTRAIT_SEEN,
    SIMPLE_SEEN,
    STEP_S,
    FakeDevice,
    StateDriver,
    avatar_device,
    avatar_entered,
    avatar_rendering,
    fallback_rendering,
    kinds,
    shown,
)


def until_behind(driver: StateDriver, *lanes: object) -> None:
    while driver.engine["state"] != "behind":
        driver.step(*lanes)  # type: ignore[arg-type]


def test_the_fallback_is_shown_while_the_engine_warms_up() -> None:
    """First the portrait, then the simpler avatar, then the engine; message and `showing` say so."""
    driver = avatar_entered()
    assert kinds(driver.frame())[0] is Open  # the fallback's lane, with the first frame
    assert driver.fallback.device.name == "avatar"
    for _ in range(4):
        driver.frame()
    assert {(*seen, output.rgb.shape) for seen, output in zip(driver.seen, driver.outputs, strict=True)} == {
        (*PORTRAIT_SEEN, (24, 24, 3))
    }
    assert not any(output.relit for output in driver.outputs)
    assert driver.engine == {
        "name": "lcvd",
        "state": "warming",
        "message": "Getting lcvd ready. Your portrait stands in.",
        "showing": "portrait",
    }
    driver.opened(driver.fallback)
    driver.step(driver.fallback)
    assert driver.seen[-1] == SIMPLE_SEEN
    assert (driver.engine["name"], driver.engine["state"], driver.engine["showing"]) == ("lcvd", "warming", "avatar")
    assert "simpler avatar (avatar)" in driver.engine["message"]
    driver.outputs.clear()
    driver.step(driver.fallback, n=40)
    assert driver.seen == [SIMPLE_SEEN] * 40
    driver.opened(driver.main)
    driver.step(driver.main)
    assert driver.seen[-1] == FINE_SEEN
    assert driver.engine == {"name": "lcvd", "state": "ok", "message": "", "showing": "lcvd"}


def test_before_there_is_a_portrait_nothing_is_shown() -> None:
    """No picture is better than the camera's."""
    driver = StateDriver(avatar_device("lcvd", 100))
    for _ in range(3):
        assert shown(driver.frame()) == []
    assert driver.outputs == []


@pytest.mark.parametrize("ever_open", [False, True], ids=["warm-up or open fails", "prepare or render raises"])
@pytest.mark.parametrize("fallback", [True, False], ids=["fallback", "alone"])
def test_an_engine_that_fails_shows_no_camera(ever_open: bool, fallback: bool) -> None:
    """The simpler avatar is shown, or where there is none the portrait; the frames that come back are not."""
    driver = avatar_entered(fallback)
    for i in range(60):
        if ever_open:
            driver.opened(driver.main)
        if i:
            driver.frame()
        assert driver.fail(driver.main, "The engine stopped; you are seen without the light.") <= LONGEST_WAIT_S
        driver.frame()
        if fallback:
            driver.opened(driver.fallback)
            driver.render(driver.fallback)
    assert driver.engine["state"] == "failed"
    assert driver.engine["message"].startswith("The engine stopped. ")
    assert "seen" not in driver.engine["message"]
    assert driver.engine["showing"] == ("avatar" if fallback else "portrait")
    assert driver.seen[-1] == (SIMPLE_SEEN if fallback else PORTRAIT_SEEN)
    assert len(driver.outputs) >= 60


def test_late_results_show_no_camera() -> None:
    """An engine that falls behind is replaced, and its late results are not shown before it has proved itself."""
    driver = avatar_rendering()
    driver.frame()
    until_behind(driver)
    assert "keep up" in driver.engine["message"]
    assert "seen" not in driver.engine["message"]
    driver.opened(driver.fallback)
    driver.step(driver.fallback, n=3)
    assert driver.seen[-1] == SIMPLE_SEEN
    driver.now += 2
    driver.outputs.clear()
    before = driver.discarded
    assert kinds(driver.render(driver.main)) == [Discard]
    assert driver.outputs == []
    before = driver.discarded
    while driver.engine["showing"] != "lcvd":
        driver.step(driver.fallback, driver.main)
    assert driver.discarded - before == pytest.approx(GOOD_S / (PROBE_EVERY * STEP_S), abs=1)
    assert driver.engine["state"] == "ok"
    times = [output.t_s for output in driver.outputs]
    assert times == sorted(set(times))


def test_a_hanging_engine_is_replaced_while_the_fallback_shows() -> None:
    """Both lanes are suspects; another lane on the engine follows and comes back."""
    driver = avatar_rendering()
    old = driver.main
    driver.frame()
    until_behind(driver)
    assert driver.late
    assert driver.state.lanes == [old, driver.fallback]
    opening, closing = driver.hang(old)
    assert (opening, closing) == (Open(driver.main, FIRST_WAIT_S), Close(old))
    assert driver.engine["message"] == "The engine does not answer. The last picture is held."
    driver.opened(driver.main)
    while driver.seen[-1:] != [FINE_SEEN] or driver.engine["state"] != "ok":
        driver.step(driver.main)


def test_pause_holds_the_last_picture() -> None:
    """Paused, nothing of the camera goes out and no engine is fed; the picture moves again afterwards."""
    driver = avatar_rendering()
    assert driver.change(paused=True) == [Clear(), Reset(driver.main)]
    for _ in range(30):
        assert Feed not in kinds(driver.frame())
    assert driver.seen == [FINE_SEEN] * 30
    assert not any(output.relit for output in driver.outputs)
    assert driver.lanes == [driver.main]
    assert (driver.engine["state"], driver.engine["showing"]) == ("paused", "lcvd")
    assert driver.engine["message"] == "Paused: the picture is held, the camera is not shown."
    driver.change(paused=False)
    driver.step(driver.main)
    assert driver.outputs[-1].relit
    assert driver.seen[-1] == FINE_SEEN
    assert driver.engine["state"] == "ok"


def test_pause_before_any_picture_shows_the_portrait() -> None:
    """There is nothing to hold yet."""
    driver = avatar_entered(fallback=False)
    driver.change(paused=True)
    for _ in range(3):
        driver.frame()
    assert driver.seen == [PORTRAIT_SEEN] * 3


def test_a_mirror_begins_both_lanes_afresh() -> None:
    """Results from before it are not shown, and the last picture stays meanwhile."""
    driver = fallback_rendering()
    driver.frame()
    work = driver.take(driver.fallback)
    assert driver.change(mirror=True) == [Clear(), Reset(driver.main), Reset(driver.fallback)]
    assert driver.finish(driver.fallback, work) == []
    driver.step(driver.fallback)
    driver.opened(driver.main)
    driver.step(driver.main)
    assert driver.seen == [SIMPLE_SEEN, FINE_SEEN]


def test_what_an_avatar_engine_held_back_is_not_passed() -> None:
    """One without a size of its own is opened again for a turned camera; the frames inside it stay there."""
    main = FakeDevice("lcvd", EngineTraits(shows_avatar=True), 100)
    driver = StateDriver(main, None, PORTRAIT_LEVEL)
    driver.opened(driver.main)
    driver.frame()
    held = driver.take(driver.main).frames
    driver.state.passed(driver.main, held)
    assert driver.perform() == []
    driver.state.failed(driver.main, held, "broken")
    assert driver.perform() == []


def test_the_state_is_ok_only_once_the_avatar_was_seen() -> None:
    """Whenever it is ok the engine's own picture goes out, and there is no message."""
    driver = fallback_rendering()
    driver.opened(driver.main)
    states = []
    for i in range(12):
        driver.frame()
        if i % 4 == 3:  # a window of four
            driver.render(driver.main)
        engine = driver.engine
        assert (engine["state"] == "ok") == (engine["showing"] == "lcvd" and not engine["message"]), engine
        states.append(engine["state"])
    assert set(states) == {"warming", "ok"}


def test_the_split_shows_the_portrait_and_not_the_camera() -> None:
    """Before: the portrait. After: the avatar."""
    driver = StateDriver(avatar_device("lcvd", 100, side=64), None, PORTRAIT_LEVEL)
    driver.change(view=View(split=0.5))
    driver.opened(driver.main)
    driver.step(driver.main)
    rgb = driver.outputs[-1].rgb
    assert (rgb[:, :28] == PORTRAIT_LEVEL).all()
    assert (rgb[:, 36:] == 100 + PORTRAIT_LEVEL).all()


def test_an_avatar_engine_that_lets_the_camera_pass_is_not_shown() -> None:
    """A result that is the very picture of the camera is withheld, and counted."""
    driver = StateDriver(FakeDevice("lcvd", EngineTraits(shows_avatar=True)), None, PORTRAIT_LEVEL)
    driver.opened(driver.main)
    for i in range(4):
        driver.frame()
        work = driver.take(driver.main)
        overlay = driver.state.result(driver.main, work, driver.now)
        assert overlay is not None
        leaked = [Frame(f.index, f.t_s, f.rgb[:], f.arrived_s) for f in work.frames]
        driver.state.drawn(overlay.draw(work, leaked, "lcvd", driver.stats))
        assert driver.perform() == []
        assert driver.stats.snapshot().counters["withheld"] == i + 1


def test_advice_on_the_face_comes_from_the_engine_that_renders() -> None:
    """The fallback says that no face is seen while it shows; its late results say nothing."""
    driver = fallback_rendering()
    driver.step(driver.fallback, n=40)
    assert driver.state.face == "no_face"
    driver.fail(driver.fallback)
    assert driver.state.face == "ok"
    driver = fallback_rendering()
    works = []
    for _ in range(2):
        driver.frame(step_s=0.9)
        works.append(driver.take(driver.fallback))
    driver.opened(driver.main)
    for work in works:
        driver.finish(driver.fallback, work)
    assert driver.state.face == "ok"


def test_a_change_of_the_cameras_size_changes_nothing() -> None:
    """The avatar keeps its size through a turned camera, and nothing is opened again."""
    driver = avatar_rendering()
    for height, width in ((12, 16), (16, 12), (30, 40)):
        driver.now += 0.03
        driver.state.frame(picture(CAMERA_LEVEL, height, width), driver.now, driver.now)
        assert kinds(driver.perform()) == [Feed]
        driver.render(driver.main)
    assert {output.rgb.shape for output in driver.outputs} == {(24, 24, 3)}
    assert driver.seen == [FINE_SEEN] * 3


def test_close_ends_both_lanes() -> None:
    """No lane is left, and nothing waits to be sent."""
    driver = fallback_rendering()
    main, fallback = driver.main, driver.fallback
    driver.state.close()
    assert driver.perform() == [Close(fallback), Close(main), Clear()]
    assert driver.lanes == []
