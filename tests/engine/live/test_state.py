"""engine.live.state, for one who is seen by camera: whatever the engine does the picture goes on, in order."""

import numpy as np
import pytest

from engine.frames import Frame
from engine.live.actions import Clear, Close, Discard, Feed, Open, Reset, Show
from engine.live.health import BEHIND_MESSAGE, GOOD_S, PROBE_EVERY, PROOFS
from engine.live.output import OutputFrame
from engine.live.overlay import View
from engine.live.state import NO_ANSWER
from engine.protocols import STALL_S, EngineTraits
from tests.engine.fakes import NIGHT, picture
from tests.engine.live.state_driver import FIRST_WAIT_S, STEP_S, FakeDevice, StateDriver, kinds, shown


@pytest.fixture
def driver() -> StateDriver:
    """A stream whose engine is open."""
    made = StateDriver(FakeDevice())
    made.opened(made.main)
    return made


def relit(driver: StateDriver) -> list[bool]:
    return [output.relit for output in driver.outputs]


def indices(driver: StateDriver) -> list[int]:
    return [output.index for output in driver.outputs]


def test_every_frame_is_fed_and_shown_relit_in_order(driver: StateDriver) -> None:
    """Each frame goes to the engine alone, and its result out with the frame's own index and time."""
    for value in range(20):
        assert kinds(driver.frame(value)) == [Feed]
        driver.render(driver.main)
    assert indices(driver) == list(range(20))
    assert all(relit(driver))
    assert driver.seen == [("fake", 100 + value) for value in range(20)]
    assert [output.t_s for output in driver.outputs] == pytest.approx([100 + (i + 1) * STEP_S for i in range(20)])
    assert driver.engine == {"name": "fake", "state": "ok", "message": "", "showing": "fake"}


def test_frames_pass_untouched_until_the_engine_opens() -> None:
    """Meanwhile nothing is fed; afterwards frames are relit."""
    driver = StateDriver(FakeDevice())
    for _ in range(3):
        (output,) = shown(driver.frame())
        assert (output.relit, output.showing) == (False, "camera")
    assert not driver.fed[driver.main]
    assert driver.engine == {"name": "fake", "state": "warming", "message": "", "showing": "camera"}
    driver.opened(driver.main)
    driver.step(driver.main, n=2)
    assert relit(driver) == [False] * 3 + [True] * 2
    assert indices(driver) == list(range(5))


def test_a_failure_costs_no_frame_and_the_engine_comes_back(driver: StateDriver) -> None:
    """What it had and what comes after goes out untouched until it has proved itself; each wait is longer."""
    for value in range(3):
        driver.frame(value)
        driver.render(driver.main)
    driver.frame(3)
    assert driver.fail(driver.main, "out of photons") == FIRST_WAIT_S
    assert kinds(driver.frame(4)) == [Show]
    assert (driver.engine["state"], driver.engine["message"]) == ("failed", "out of photons")
    assert driver.fail(driver.main) == 2 * FIRST_WAIT_S
    assert driver.lanes == [driver.main]  # the lane itself tries again
    for value in range(5, 10):
        driver.frame(value)
    assert indices(driver) == list(range(10))
    assert relit(driver) == [value < 3 for value in range(10)]
    assert np.array_equal(driver.outputs[3].rgb, picture(3))
    assert np.array_equal(driver.outputs[5].rgb, picture(5))
    driver.opened(driver.main)
    assert driver.engine["state"] == "failed"  # open again is not well again
    proofs = 0
    while driver.engine["state"] != "ok":
        driver.step(driver.main)
        proofs += driver.outputs[-1].index % 3 == 0
    assert proofs == PROOFS
    assert driver.discarded == PROOFS - 1
    driver.step(driver.main, n=2)
    assert relit(driver)[-2:] == [True, True]
    assert indices(driver) == list(range(len(driver.outputs)))


def test_frames_held_in_a_window_are_not_lost_when_the_engine_fails(driver: StateDriver) -> None:
    """What a window had collected goes out untouched, in order."""
    for _ in range(4):
        driver.frame(step_s=0.01)
    driver.render(driver.main)
    for _ in range(3):
        driver.frame(step_s=0.01)
    driver.fail(driver.main)
    driver.now += 0.01
    for _ in range(20):
        driver.collect()
        driver.now += 0.01
    assert [(output.index, output.relit) for output in driver.outputs] == [(i, i < 4) for i in range(7)]


def test_an_engine_that_falls_behind_lets_frames_pass_and_comes_back(driver: StateDriver) -> None:
    """No result for a quarter of a second: untouched frames, state behind; prompt results bring the light back."""
    driver.step(driver.main, n=3)
    for _ in range(20):
        driver.frame()
    assert (driver.engine["state"], driver.engine["message"]) == ("behind", BEHIND_MESSAGE)
    untouched = [output for output in driver.outputs if not output.relit]
    assert untouched[0].arrived_s == pytest.approx(driver.outputs[2].arrived_s + STALL_S + STEP_S, abs=STEP_S)
    assert untouched[-1].index == 22
    assert len(untouched) >= 10
    driver.now += STALL_S
    assert kinds(driver.render(driver.main)) == [Discard]  # late: what is newer was shown
    before, since_s = driver.discarded, driver.now
    while driver.engine["state"] != "ok":
        driver.step(driver.main)
    assert driver.now - since_s == pytest.approx(GOOD_S, abs=2 * PROBE_EVERY * STEP_S)
    assert driver.discarded - before == pytest.approx(GOOD_S / (PROBE_EVERY * STEP_S), abs=1)
    driver.step(driver.main, n=2)
    assert driver.outputs[-1].relit
    times = [output.t_s for output in driver.outputs]
    assert times == sorted(set(times))


def test_a_hanging_engine_gets_another_lane(driver: StateDriver) -> None:
    """Once no result is in time its lanes are suspects; the hanging one is closed and another opened after a wait."""
    old = driver.main
    driver.step(old, n=2)
    assert not driver.late
    driver.frame()
    work = driver.take(old)
    while not driver.late:
        driver.frame()
    assert driver.state.lanes == [old]
    opening, closing = driver.hang(old)
    assert opening == Open(driver.main, FIRST_WAIT_S)
    assert closing == Close(old)
    assert driver.main is not old
    assert driver.main.device is old.device
    assert (driver.engine["state"], driver.engine["message"]) == ("failed", NO_ANSWER)
    assert not driver.state.hung(old)  # it was replaced
    assert driver.finish(old, work) == []  # the call has returned: nothing of it is shown
    driver.opened(driver.main)
    assert driver.engine["state"] == "failed"
    while not driver.outputs[-1].relit:
        driver.step(driver.main)
    assert driver.engine["state"] == "ok"
    assert relit(driver)[:4] == [True, True, False, False]


def test_while_paused_no_engine_is_suspected() -> None:
    """A paused participant's lanes are left alone, though nothing comes from them; others' are asked."""
    driver = StateDriver(FakeDevice())
    driver.change(paused=True)
    driver.frame(step_s=60)
    assert not driver.late
    driver.change(paused=False)
    driver.frame()
    assert driver.late


def test_a_mirror_throws_stale_frames_away_and_begins_afresh(driver: StateDriver) -> None:
    """No frame from before the flip comes out after it, be it in the engine, waiting for it, or waiting to be sent."""
    driver.step(driver.main, n=2)
    driver.frame()
    work = driver.take(driver.main)
    driver.frame()
    assert driver.change(mirror=True) == [Clear(), Reset(driver.main)]
    assert driver.fed[driver.main] == []
    assert driver.finish(driver.main, work) == []
    driver.step(driver.main)
    assert indices(driver) == [0, 1, 4]
    assert all(relit(driver))


def test_a_mirror_clears_what_was_not_sent_yet(driver: StateDriver) -> None:
    """A window that is on its way out stays behind."""
    for _ in range(4):
        driver.frame()
    driver.render(driver.main)
    assert len(driver.pacer) == 3
    driver.change(mirror=True)
    driver.step(driver.main, n=2)
    assert indices(driver) == [0, 4, 5]


def test_a_mirror_that_comes_while_a_result_is_drawn_costs_only_that_result(driver: StateDriver) -> None:
    """A result that went stale between two looks is thrown away, and the next ones are shown."""
    driver.step(driver.main, n=2)
    driver.frame()
    assert driver.finish(driver.main, driver.take(driver.main), lambda: driver.change(mirror=True)) == []
    driver.step(driver.main, n=2)
    assert indices(driver) == [0, 1, 3, 4]
    assert all(relit(driver))


def test_a_window_that_is_partly_stale_shows_its_fresh_frames(driver: StateDriver) -> None:
    """Frames from before a mirror are left out, in what is drawn and in what a failing engine gives back."""
    driver.step(driver.main, n=2)
    stale, fresh = Frame(1, 1.0, picture(), driver.now), Frame(2, 200.0, picture(), driver.now)
    driver.change(mirror=True)
    driver.state.drawn([OutputFrame(f.index, f.t_s, f.rgb, f.arrived_s, True, "fake") for f in (stale, fresh)])
    assert [output.index for output in shown(driver.perform())] == [2]
    driver.state.failed(driver.main, [stale, fresh], "broken")
    assert [output.index for output in shown(driver.perform())] == [2]


def test_a_mirror_is_not_the_engines_fault(driver: StateDriver) -> None:
    """The time that frames under way had waited is forgotten with them."""
    driver.frame()
    driver.now += STALL_S - STEP_S / 2
    driver.change(mirror=True)
    driver.frame()
    assert driver.engine["state"] == "ok"


def test_paused_shows_the_untouched_picture(driver: StateDriver) -> None:
    """Paused, frames go by the engine and its results are not shown; unpaused, it is fed again."""
    driver.step(driver.main, n=2)
    driver.frame()
    work = driver.take(driver.main)
    assert driver.change(paused=True) == [Clear(), Reset(driver.main)]
    for _ in range(3):
        assert [output.relit for output in shown(driver.frame(step_s=1.0))] == [False]
    assert driver.finish(driver.main, work) == []
    assert driver.engine == {"name": "fake", "state": "paused", "message": "", "showing": "camera"}
    assert driver.fed[driver.main] == []
    assert driver.change(paused=False) == [Clear(), Reset(driver.main)]
    assert driver.engine["state"] == "ok"  # the pause was not its fault
    driver.step(driver.main, n=2)
    assert relit(driver) == [True] * 2 + [False] * 3 + [True] * 2
    assert driver.engine["state"] == "ok"


def test_a_result_that_comes_while_paused_is_not_shown(driver: StateDriver) -> None:
    """Even one of a frame that came since, as after a pause that was ended and begun again."""
    driver.frame()
    work = driver.take(driver.main)
    driver.change(paused=True)
    driver.state.arrivals.fresh_from = 0  # what else would withhold it
    assert driver.finish(driver.main, work) == []


def test_light_and_view_disturb_nothing(driver: StateDriver) -> None:
    """They are read with the next frame; nothing under way is thrown away."""
    assert driver.change(lighting=NIGHT, view=View(split=0.5)) == []
    assert driver.change(mirror=False, paused=False) == []


def test_the_split_shows_both_halves_of_one_instant(driver: StateDriver) -> None:
    """Left of the divider the original, right of it the relit picture, of the same frame."""
    driver.change(view=View(split=0.5))
    driver.frame(30)
    (output,) = shown(driver.render(driver.main))
    assert output.rgb[0, 0, 0] == 30
    assert output.rgb[0, -1, 0] == 130


def test_a_view_that_cannot_be_drawn_does_not_cost_the_picture(
    driver: StateDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inset that raises is left out."""

    def broken(*_: object) -> None:
        raise RuntimeError("no pencil")

    monkeypatch.setattr("engine.live.overlay.compose", broken)
    driver.step(driver.main, n=2)
    assert relit(driver) == [True, True]


def test_what_an_engine_held_passes_when_the_picture_changes_its_size(driver: StateDriver) -> None:
    """It goes out untouched; not while paused, not of a lane that is no longer the main one."""
    driver.frame()
    driver.frame()
    held = driver.take(driver.main).frames
    driver.state.passed(driver.main, held)
    assert [(output.index, output.relit) for output in shown(driver.perform())] == [(0, False), (1, False)]
    old = driver.main
    driver.hang(old)
    driver.state.passed(old, held)
    assert driver.perform() == []
    driver.change(paused=True)
    driver.state.arrivals.fresh_from = 0
    driver.state.passed(driver.main, held)
    assert driver.perform() == []


def test_time_that_jumps_back_goes_on(driver: StateDriver) -> None:
    """A changed camera starts its clock anew; what comes out stays in order and nothing is lost."""
    for t_s in (100.0, 100.033, 3.0, 3.033):
        driver.frame(t_s=t_s, step_s=0.033)
        driver.render(driver.main)
    assert [output.t_s for output in driver.outputs] == pytest.approx([100.0, 100.033, 100.0663, 100.0993], abs=1e-3)


def test_advice_on_the_face_comes_from_an_engine_that_sees_it() -> None:
    """No face for a second is said, while the engine is well and the picture is not paused; others say nothing."""
    driver = StateDriver(FakeDevice())
    driver.opened(driver.main)
    driver.step(driver.main, n=25)
    assert driver.state.face == "ok"
    driver.step(driver.main, n=10)
    assert driver.state.face == "no_face"
    driver.change(paused=True)
    assert driver.state.face == "ok"
    driver.change(paused=False)
    assert driver.state.face == "no_face"
    driver.fail(driver.main)
    assert driver.state.face == "ok"
    blind = StateDriver(FakeDevice(traits=EngineTraits(tracks_faces=False)))
    blind.opened(blind.main)
    blind.step(blind.main, n=60)
    assert blind.state.face == "ok"


def test_an_engine_that_has_yet_to_prove_itself_sees_the_face_already(driver: StateDriver) -> None:
    """Its results are not shown, but the advice is there as soon as they are."""
    while driver.engine["state"] != "behind":
        driver.frame()
    while driver.engine["state"] != "ok":
        driver.step(driver.main, step_s=0.06)
    assert driver.state.face == "no_face"


def test_a_picture_of_another_maker_is_noticed(driver: StateDriver) -> None:
    """Its delay is another; between pictures of one maker nothing changes."""
    driver.step(driver.main, n=5)
    assert driver.changes == 1  # the camera, which nobody had sent, to the engine
    driver.fail(driver.main)
    for _ in range(5):
        driver.frame()
    assert driver.changes == 2


def test_close_ends_the_lane_and_everything_under_way(driver: StateDriver) -> None:
    """Once: a second call, a late result, a failure and a hang ask for nothing more."""
    driver.step(driver.main, n=2)
    driver.frame()
    work = driver.take(driver.main)
    output = driver.outputs[-1]
    driver.state.close()
    assert driver.perform() == [Close(driver.main), Clear()]
    assert driver.lanes == []
    driver.state.close()
    assert driver.perform() == []
    assert driver.state.result(driver.main, work, driver.now) is None
    driver.state.drawn([OutputFrame(99, 999.0, output.rgb, driver.now, True, "fake")])
    assert driver.perform() == []
    assert not driver.state.hung(driver.main)
    assert driver.change(mirror=True, paused=True) == []
    assert driver.switch(FakeDevice("other")) == []
