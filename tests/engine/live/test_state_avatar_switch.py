"""engine.live.state, going over to an avatar, between avatars, to another portrait, and back to the camera.

The driver checks that the camera is not shown while the participant wants an avatar.
"""

import pytest

from engine.live.actions import Action, Clear, Close, Feed, Open, Reset, Show
from engine.live.controls import EnginePair
from engine.protocols import Avatar
from tests.engine.fakes import picture
from tests.engine.live.state_driver import (
    FINE,
    FINE_SEEN,
    OTHER_PORTRAIT_LEVEL,
    PORTRAIT_LEVEL,
    PORTRAIT_SEEN,
    SIMPLE,
    SIMPLE_SEEN,
    FakeDevice,
    StateDriver,
    avatar_device,
    avatar_entered,
    avatar_rendering,
    fallback_rendering,
    kinds,
    shown,
)

RATIO = FakeDevice("ratio", level=0)
OTHER = Avatar(picture(OTHER_PORTRAIT_LEVEL))


def by_camera() -> StateDriver:
    """One who is seen by camera, relit without a change, with a portrait in hand."""
    driver = StateDriver(RATIO, None, PORTRAIT_LEVEL)
    driver.opened(driver.main)
    driver.step(driver.main, n=2)
    return driver


def to_avatar(driver: StateDriver) -> list[Action]:
    """The avatar is asked for: from now on the camera may not be shown."""
    driver.hidden = True
    driver.outputs.clear()
    return driver.switch(FINE, SIMPLE)


def test_going_over_to_an_avatar_hides_the_camera_at_once() -> None:
    """The portrait is shown without waiting for a frame, and what the engine still renders is thrown away."""
    driver = by_camera()
    old = driver.main
    driver.frame()
    work = driver.take(old)
    newest_s = driver.state.arrivals.count, driver.now
    actions = to_avatar(driver)
    assert actions[:3] == [Close(old), Open(driver.main), Clear()]
    (still,) = shown(actions)
    assert still.index == newest_s[0]
    assert newest_s[1] < still.t_s < newest_s[1] + 0.01
    driver.collect()
    assert driver.seen == [PORTRAIT_SEEN]
    assert driver.finish(old, work) == []
    assert driver.fail(old) == 0.0
    driver.frame()
    driver.opened(driver.fallback)
    driver.step(driver.fallback, n=2)
    assert driver.seen[-1] == SIMPLE_SEEN
    assert (driver.engine["name"], driver.engine["state"]) == ("lcvd", "warming")
    driver.opened(driver.main)
    driver.step(driver.main)
    assert driver.seen[-1] == FINE_SEEN


def test_before_the_first_frame_there_is_nothing_to_replace() -> None:
    """An avatar chosen then shows nothing until a frame comes."""
    driver = StateDriver(RATIO, None, PORTRAIT_LEVEL)
    assert Show not in kinds(to_avatar(driver))
    assert driver.engine["showing"] == "portrait"
    driver.frame()
    assert driver.seen == [PORTRAIT_SEEN]


def test_a_camera_picture_that_is_being_drawn_does_not_slip_through() -> None:
    """The switch to an avatar comes between a result and its place in the queue."""
    driver = by_camera()
    driver.frame()
    driver.finish(driver.main, driver.take(driver.main), lambda: to_avatar(driver))
    driver.collect()
    assert driver.seen == [PORTRAIT_SEEN]


def test_camera_pictures_in_the_queue_are_thrown_away() -> None:
    """Relit, due, and not fetched yet when the avatar was chosen: nobody gets them."""
    driver = by_camera()
    for _ in range(4):
        driver.frame()
    driver.render(driver.main)
    assert len(driver.pacer) == 3
    to_avatar(driver)
    driver.frame(step_s=1.0)
    assert set(driver.seen) == {PORTRAIT_SEEN}


def test_an_engine_that_was_to_follow_gives_way_to_an_avatar() -> None:
    """Asked for in quick succession: nothing of either camera engine is shown."""
    driver = by_camera()
    driver.switch(FakeDevice("other", level=0))
    old, dropped = driver.main, driver.following
    actions = to_avatar(driver)
    assert actions[:2] == [Close(dropped), Close(old)]
    assert driver.opened(dropped) == []
    assert driver.lanes == [driver.main]


def test_from_the_simple_avatar_to_the_fine_one_and_back() -> None:
    """The simple avatar goes on as the fallback, its stream unbroken, and returns as the engine."""
    driver = StateDriver(SIMPLE, None, PORTRAIT_LEVEL)
    driver.opened(driver.main)
    driver.step(driver.main, n=2)
    simple = driver.main
    assert driver.switch(FINE, SIMPLE) == [Open(driver.main)]
    fine = driver.main
    assert driver.fallback is simple
    assert driver.lanes == [simple, fine]
    driver.outputs.clear()
    driver.step(simple, n=20)
    assert (driver.engine["name"], driver.engine["state"]) == ("lcvd", "warming")
    assert driver.seen == [SIMPLE_SEEN] * 20
    assert driver.switch(SIMPLE) == [Close(fine)]  # a change of mind
    assert driver.main is simple
    assert (driver.engine["name"], driver.engine["state"], driver.engine["showing"]) == ("avatar", "ok", "avatar")
    driver.step(simple, n=5)
    assert driver.engine["message"] == ""
    driver.switch(FINE, SIMPLE)
    driver.opened(driver.main)
    driver.step(driver.main)
    assert driver.seen[-1] == FINE_SEEN


def test_from_one_avatar_to_an_unrelated_one() -> None:
    """The engine before is no fallback of the new one: it ends, and so does the fallback before."""
    driver = fallback_rendering()
    old, simple = driver.main, driver.fallback
    third = avatar_device("third", 80)
    assert driver.switch(third) == [Open(driver.main), Close(old), Close(simple)]
    driver.frame()
    assert driver.lanes == [driver.main]
    assert driver.main.device is third
    assert driver.seen[-1] == SIMPLE_SEEN  # the last picture is held


def test_another_avatars_placeholder_has_its_size() -> None:
    """The split's "before" is scaled to what the new engine renders."""
    driver = avatar_rendering()
    driver.switch(avatar_device("third", 80, side=32))
    assert driver.state.fallback is not None
    assert driver.state.fallback.placeholder is not None
    assert driver.state.fallback.placeholder.shape == (32, 32, 3)


def test_a_placeholder_that_was_shown_gives_way_to_that_of_the_next_size() -> None:
    """It is no picture of an avatar that would be held."""
    driver = avatar_entered(fallback=False)
    driver.frame()
    driver.switch(avatar_device("third", 80, side=32))
    driver.frame()
    assert [output.rgb.shape[0] for output in driver.outputs] == [24, 32]
    assert driver.seen == [PORTRAIT_SEEN] * 2


def test_back_to_the_camera_by_choice() -> None:
    """The avatar is shown until the other engine is ready, even one that replaces it; then the camera, relit."""
    driver = fallback_rendering()
    old, simple = driver.main, driver.fallback
    ratio = FakeDevice("ratio", level=10)
    assert driver.switch(ratio) == [Open(driver.following)]
    driver.step(simple, n=30)
    assert driver.seen == [SIMPLE_SEEN] * 30
    assert driver.state.fallback is not None
    driver.hidden = False
    assert driver.opened(driver.following) == [Close(old), Close(simple)]
    assert driver.state.fallback is None
    driver.step(driver.main)
    assert driver.seen[-1] == ("ratio", 211 + 10)
    assert driver.engine == {"name": "ratio", "state": "ok", "message": "", "showing": "ratio"}
    assert driver.lanes == [driver.main]


def test_a_camera_engine_that_cannot_start_is_still_what_was_asked_for() -> None:
    """The person wished to be seen by camera: its failure shows them untouched."""
    driver = avatar_rendering()
    driver.switch(FakeDevice("ratio", level=10))
    driver.hidden = False
    driver.fail(driver.following, "no memory")
    assert driver.engine["name"] == "ratio"
    driver.frame()
    assert driver.outputs[-1].showing == "camera"


def test_another_portrait_replaces_the_first() -> None:
    """In mid-window: pictures of the first one stop at once, the new placeholder is shown."""
    driver = avatar_rendering()
    driver.frame()
    work = driver.take(driver.main)
    driver.frame()
    actions = driver.change(avatar=OTHER)
    assert kinds(actions) == [Clear, Reset, Show]
    driver.collect()
    assert driver.seen == [("portrait", OTHER_PORTRAIT_LEVEL)]
    assert driver.finish(driver.main, work) == []
    driver.step(driver.main, n=3)
    assert driver.seen[1:] == [("lcvd", 100 + OTHER_PORTRAIT_LEVEL)] * 3


def test_a_portrait_that_comes_before_a_frame_is_shown_with_the_first() -> None:
    """Where nothing was shown yet nothing is replaced; a picture may follow the placeholder at once."""
    driver = StateDriver(FINE, None, PORTRAIT_LEVEL)
    assert Show not in kinds(driver.change(avatar=OTHER))
    driver.opened(driver.main)
    driver.step(driver.main)
    assert driver.seen == [("portrait", OTHER_PORTRAIT_LEVEL), ("lcvd", 100 + OTHER_PORTRAIT_LEVEL)]


def test_another_portrait_ends_a_failure_at_once() -> None:
    """A portrait that cannot be animated, then one that can: nobody waits for the next try."""
    driver = StateDriver(FINE, SIMPLE, PORTRAIT_LEVEL)
    driver.frame()
    old, simple = driver.main, driver.fallback
    for lane in (old, simple):
        driver.fail(lane, "No face was found.")
    assert driver.engine["message"] == "No face was found. Your portrait stands in."
    actions = driver.change(avatar=OTHER)
    assert [action for action in actions if isinstance(action, Open)] == [Open(driver.main, 0.0)]
    assert driver.lanes == [driver.main]
    assert driver.engine["state"] == "warming"
    driver.opened(driver.main)
    driver.step(driver.main)
    assert driver.seen[-1] == ("lcvd", 100 + OTHER_PORTRAIT_LEVEL)
    assert driver.engine["state"] == "ok"


@pytest.mark.parametrize("fails", [False, True])
def test_the_fallback_takes_another_portrait_too(fails: bool) -> None:
    """While it shows, and after it failed with the first one: then another lane is opened with the next frame."""
    driver = fallback_rendering()
    old = driver.fallback
    if fails:
        driver.frame()
        driver.fail(old)
    else:
        driver.frame()
        work = driver.take(old)
    actions = driver.change(avatar=OTHER)
    assert Reset(old) in actions
    assert (Close(old) in actions) is fails
    if not fails:
        assert driver.finish(old, work) == []
    driver.outputs.clear()
    driver.collect()
    driver.frame()
    assert (driver.fallback is old) is not fails
    driver.opened(driver.fallback)
    driver.step(driver.fallback, n=3)
    assert set(driver.seen) == {("portrait", OTHER_PORTRAIT_LEVEL), ("avatar", 120 + OTHER_PORTRAIT_LEVEL)}


def test_other_settings_of_the_same_portrait_hold_the_picture() -> None:
    """The stream is opened again with them; the last picture stays, the placeholder does not flash up."""
    driver = avatar_rendering()
    portrait = driver.state.controls.avatar
    assert portrait is not None
    placeholder = driver.state.controls.placeholder
    actions = driver.change(avatar=Avatar(portrait.portrait_rgb, steps=1), placeholder=placeholder)
    assert actions == [Clear(), Reset(driver.main)]
    driver.frame()
    driver.step(driver.main, n=3)
    assert {showing for showing, _ in driver.seen} == {"lcvd"}
    assert all(output.relit for output in driver.outputs)


def test_other_settings_leave_the_fallback_alone() -> None:
    """They are the fine engine's; the simple one goes on undisturbed."""
    driver = fallback_rendering()
    portrait, placeholder = driver.state.controls.avatar, driver.state.controls.placeholder
    assert portrait is not None
    actions = driver.change(avatar=Avatar(portrait.portrait_rgb, steps=1), placeholder=placeholder)
    assert actions == [Clear(), Reset(driver.main)]
    driver.step(driver.fallback)
    assert driver.seen == [SIMPLE_SEEN]


def test_a_portrait_does_not_disturb_a_camera_engine() -> None:
    """It animates none; the portrait waits for an engine that does."""
    driver = by_camera()
    assert driver.change(avatar=OTHER) == []
    to_avatar(driver)
    driver.collect()
    assert driver.seen == [("portrait", OTHER_PORTRAIT_LEVEL)]


def test_a_portrait_and_an_avatar_in_one_value() -> None:
    """Both were asked for together: the new portrait is what replaces the camera."""
    driver = by_camera()
    driver.hidden = True
    driver.outputs.clear()
    assert kinds(driver.change(avatar=OTHER, engine=EnginePair(FINE, SIMPLE))) == [Close, Open, Clear, Show]
    driver.collect()
    assert driver.seen == [("portrait", OTHER_PORTRAIT_LEVEL)]


def test_a_portrait_that_comes_after_the_end_opens_nothing() -> None:
    """The upload was still being read when the connection ended, with its engine failed: no lane is left."""
    driver = StateDriver(FINE, None, PORTRAIT_LEVEL)
    driver.fail(driver.main)
    driver.state.close()
    driver.perform()
    assert driver.change(avatar=OTHER) == []
    assert driver.lanes == []


def test_a_paused_avatar_takes_another_portrait() -> None:
    """The held picture gives way to the new placeholder, and nothing is fed."""
    driver = avatar_rendering()
    driver.change(paused=True)
    driver.frame()
    driver.change(avatar=OTHER)
    driver.collect()
    driver.outputs.clear()
    assert Feed not in kinds(driver.frame())
    assert driver.seen == [("portrait", OTHER_PORTRAIT_LEVEL)]


def test_a_new_portrait_does_not_lose_the_camera_that_is_asked_for() -> None:
    """The failed avatar is tried again with it; the engine asked for still takes over when it is ready."""
    driver = StateDriver(avatar_device("lcvd", 100), portrait=PORTRAIT_LEVEL)
    driver.frame()
    driver.switch(FakeDevice("ratio"))
    asked = driver.following
    driver.fail(driver.main)
    driver.change(avatar=Avatar(picture(OTHER_PORTRAIT_LEVEL)))
    assert driver.following is asked
    driver.hidden = False
    driver.opened(asked)
    assert driver.lanes == [asked]
