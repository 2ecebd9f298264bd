"""engine.live.lane and engine.live.stream with engines that give pictures of a size of their own."""

import numpy as np
import pytest

from engine.frames import Frame
from engine.live.overlay import View, compose
from engine.live.stream import LiveStream
from engine.protocols import STALL_S, Avatar, EngineTraits
from tests.engine.fakes import DAY, FakeEngine, Hand, change, picture, switch, until


def sized(size: tuple[int, int], declared: tuple[int, int] | None) -> FakeEngine:
    """Gives frames of `size`; says so when `declared`."""

    def resized(frames: list[Frame]) -> list[Frame]:
        return [Frame(f.index, f.t_s, np.full((*size, 3), 99, np.uint8), f.arrived_s) for f in frames]

    engine = FakeEngine(result=resized)
    if declared is not None:
        engine.traits = EngineTraits(output_size=declared)
    return engine


def test_an_engine_may_give_pictures_of_its_own_size() -> None:
    """What it declared comes out; the camera's size is not asked for."""
    hand = Hand(sized((64, 64), (64, 64)))
    until(lambda: hand.state() == "ok")
    hand.send_and_get(3)
    assert {frame.rgb.shape for frame in hand.outputs} == {(64, 64, 3)}
    assert all(frame.relit for frame in hand.outputs)
    hand.close()


@pytest.mark.parametrize("declared", [None, (64, 32)])
def test_another_size_than_declared_is_a_failure(declared: tuple[int, int] | None) -> None:
    """Undeclared, or not the one declared: the frame leaves untouched."""
    hand = Hand(sized((64, 64), declared))
    until(lambda: hand.state() == "ok")
    hand.send()
    until(lambda: hand.state() == "failed")
    hand.collect()
    assert [frame.relit for frame in hand.outputs] == [False]
    hand.close()


def test_a_stream_of_its_own_size_lives_through_a_change_of_the_cameras() -> None:
    """It is not opened again, and nothing it holds leaves untouched."""
    for engine, opened in ((sized((64, 64), (64, 64)), 1), (FakeEngine(), 2)):
        hand = Hand(engine)
        until(lambda h=hand: h.state() == "ok")
        hand.send_and_get(2)
        hand.clock.now += 1 / 30
        hand.stream.submit(picture(1, 20, 30), hand.clock.now)
        hand.get(2)
        assert engine.opened == opened
        hand.close()


def test_a_new_portrait_opens_the_stream_again_where_it_matters() -> None:
    """An engine that animates gets it; one that does not goes on undisturbed."""
    for engine, opened in ((sized((64, 64), (64, 64)), 2), (FakeEngine(), 1)):
        seen = []
        plain = engine.open
        engine.open = lambda config, plain=plain, seen=seen: seen.append(config.avatar) or plain(config)  # type: ignore
        hand = Hand(engine)
        until(lambda h=hand: h.state() == "ok")
        hand.send_and_get(2)
        avatar = Avatar(picture(7))
        change(hand.stream, avatar=avatar)
        hand.send_and_get(2)
        assert engine.opened == opened
        assert seen == [None, avatar][:opened]
        hand.close()


def test_a_windowed_engine_is_given_the_time_it_asks_for() -> None:
    """`stall_s` of the engine is what the live core waits; after a switch, that of the other engine."""
    slow, quick = FakeEngine(window=12), FakeEngine(name="quick")
    slow.traits = EngineTraits(stall_s=2.0)
    hand = Hand(slow)
    until(lambda: hand.state() == "ok")
    for i in range(11):  # 11/30 s without a result is more than the default
        hand.send()
        until(lambda n=i: len(slow.prepared) > n)
    assert STALL_S < 11 / 30
    assert hand.state() == "ok"
    hand.send()
    hand.get(0)
    assert hand.outputs[0].relit
    other = Hand(quick, hand.clock)
    switch(hand.stream, other.host)
    until(lambda: hand.stream.snapshot().engine["name"] == "quick")
    assert hand.stream._state.health._stall_s == STALL_S
    hand.close()
    other.close()


def test_whoever_says_a_stall_time_is_obeyed() -> None:
    """The caller's value wins over the engine's."""
    engine = FakeEngine()
    engine.traits = EngineTraits(stall_s=2.0)
    hand = Hand(engine, stall_s=0.5)
    assert hand.stream._state.health._stall_s == 0.5
    assert isinstance(hand.stream, LiveStream)
    hand.close()


@pytest.mark.parametrize(("height", "width"), [(120, 160), (160, 120), (64, 64)])
def test_the_split_shows_the_middle_of_the_camera(height: int, width: int) -> None:
    """Left the original, cut to the avatar's shape without stretching; right the avatar; inputs stay as they are."""
    original = np.zeros((height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    radius = min(height, width) / 2 - 4
    original[np.hypot(y + 0.5 - height / 2, x + 0.5 - width / 2) < radius] = 200
    avatar = np.full((64, 64, 3), 50, np.uint8)
    made = compose(original, avatar, None, DAY, View(split=0.5))
    assert made.shape == (64, 64, 3)
    assert (made[:, 34:] == 50).all()
    assert (avatar == 50).all()
    disc = made[:, :31, 0] > 100  # half a disc touching top and bottom alike
    rows, columns = np.flatnonzero(disc.any(1)), np.flatnonzero(disc.any(0))
    assert abs(rows[0] - (63 - rows[-1])) <= 1
    assert abs(rows[0] - columns[0]) <= 1
