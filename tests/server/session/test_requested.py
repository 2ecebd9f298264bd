"""server.session.requested, notices and admission: a session's parts that need neither socket nor connection."""

import numpy as np
import pytest

from engine.live.overlay import View
from engine.protocols import EngineTraits
from lcvd.errors import LightError
from server.errors import TooFast, TooLarge
from server.protocol import Mirror, Notice, Pause, SetBackground, SetLight, SetStrength, SetView
from server.session.admission import FLOOD_LIMIT, FLOOD_MEMORY_S, FloodGuard
from server.session.avatar_settings import AvatarSettings
from server.session.notices import NOTICE_EVERY_S, Notices
from server.session.requested import Requested


def test_each_message_changes_its_own_setting_alone() -> None:
    """The value before stays as it was, and what a message does not name is the very same object."""
    before = Requested("ratio")
    after = before.changed_by(SetView(type="set_view", hint=True, split=0.5))
    after = after.changed_by(Mirror(type="mirror", on=True)).changed_by(Pause(type="pause", on=True))
    assert (after.view, after.mirror, after.paused) == (View(True, 0.5), True, True)
    assert (before.view, before.mirror, before.paused) == (View(), False, False)
    assert after.light is before.light
    lit = after.changed_by(SetStrength(type="set_strength", value=0.5)).changed_by(
        SetLight(type="set_light", preset="neon")
    )
    assert (lit.light.base.name, lit.light.strength) == ("neon", 0.5)
    assert lit.view is after.view
    dim = lit.changed_by(SetBackground(type="set_background", mode="dim", gain=0.5))
    assert dim.light.lighting.background.mode == "dim"
    assert dim.changed_by(SetBackground(type="set_background", mode="auto")).light.background is None


def test_a_preset_that_does_not_exist_changes_nothing() -> None:
    """The error comes before any new settings do."""
    with pytest.raises(LightError, match="disco"):
        Requested("ratio").changed_by(SetLight(type="set_light", preset="disco"))


def test_portrait_and_avatar_settings_come_in_either_order() -> None:
    """The avatar always has the newest of both; settings before the first portrait make no avatar."""
    portrait, crop = np.zeros((4, 4, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    settings = AvatarSettings(steps=2)
    first = Requested("lcvd").with_avatar_settings(settings)
    assert first.avatar is None
    assert first.with_portrait(portrait, crop).avatar.steps == 2
    second = Requested("lcvd").with_portrait(portrait, crop).with_avatar_settings(settings)
    assert second.avatar.portrait_rgb is portrait
    assert second.avatar.steps == 2
    assert second.placeholder is not None
    assert second.placeholder.fitted(EngineTraits(shows_avatar=True)) is crop


def test_a_notice_is_not_repeated_within_its_time() -> None:
    """The same code waits, another does not."""
    sent: list[Notice] = []
    times_s = iter((0.0, 1.0, 1.0, NOTICE_EVERY_S))
    notices = Notices(sent.append, lambda: next(times_s))
    for code in ("a", "a", "b", "a"):
        notices.send(code, "text", "hint")
    assert [notice.code for notice in sent] == ["a", "b", "a"]
    assert sent[0] == Notice(code="a", message="text", hint="hint")


def test_a_fallback_is_a_notice_once_until_it_is_over() -> None:
    """A warm-up is one only where it is known to be late; after `ok` the next failure is one again."""
    now_s, sent = 0.0, []
    notices = Notices(sent.append, lambda: now_s)
    for step, (state, reason) in enumerate(
        [("warming", ""), ("warming", "lcvd is late"), ("failed", ""), ("ok", ""), ("failed", "")]
    ):
        now_s = step * NOTICE_EVERY_S
        notices.avatar_state({"state": state, "message": f"message {step}"}, reason)
    assert [notice.message for notice in sent] == ["lcvd is late. message 1", "message 4"]


def test_a_flood_is_refused_and_then_too_much() -> None:
    """Each message beyond the rate is an error; FLOOD_LIMIT of them without a pause exceed what is borne."""
    guard = FloodGuard(10, rate=1, burst=1)
    with pytest.raises(TooLarge, match="11 characters"):
        guard.check("x" * 11, 0.0)
    guard.check("x", 0.0)
    for _ in range(FLOOD_LIMIT - 1):
        with pytest.raises(TooFast):
            guard.check("x", 0.0)
    assert not guard.exceeded
    guard.check("x", FLOOD_MEMORY_S)
    with pytest.raises(TooFast):
        guard.check("x", FLOOD_MEMORY_S)  # the first of a new count
    assert not guard.exceeded
    for _ in range(FLOOD_LIMIT - 1):
        with pytest.raises(TooFast):
            guard.check("x", FLOOD_MEMORY_S)
    assert guard.exceeded
