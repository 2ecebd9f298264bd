"""A light transition is continuous, takes 250 ms of the stream's own time and starts from any thread."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from engine.light_transition import TRANSITION_S, LightTransition
from lcvd.lighting.lighting import shading
from tests.engine.synthetic_person import LEFT, RIGHT

NORMAL = np.array([-0.6, 0.0, 0.8], np.float32)


def level(lighting):
    return float(shading(lighting, NORMAL)[0])


def test_stands_still_until_set():
    """Without a change the light that was given comes back itself."""
    transition = LightTransition(LEFT)
    assert all(transition.at(t) is LEFT for t in (0.0, 1.0, 100.0))


def test_change_is_continuous_and_ends():
    """No step is larger than the transition allows, and after 250 ms the new light is reached exactly."""
    transition = LightTransition(LEFT)
    transition.at(0.0)
    transition.set(RIGHT)
    levels = [level(LEFT)] + [level(transition.at(t)) for t in np.arange(0.01, 0.4, 0.01)]
    whole = abs(level(RIGHT) - level(LEFT))
    assert np.abs(np.diff(levels)).max() < 5 * whole * 0.01 / TRANSITION_S
    assert levels[20] != level(RIGHT)
    assert levels[26] == level(RIGHT)
    assert transition.at(0.4) is RIGHT


def test_a_change_after_a_gap_does_not_jump():
    """A light that changed while frames had stopped for seconds changes gradually once they come again."""
    transition = LightTransition(LEFT)
    transition.at(0.0)
    transition.set(RIGHT)
    whole = abs(level(RIGHT) - level(LEFT))
    assert abs(level(transition.at(5.0)) - level(LEFT)) < 0.6 * whole
    assert transition.at(5.26) is RIGHT


@pytest.mark.parametrize("changes_per_s", [10, 20, 60])
def test_a_dragged_light_is_followed_while_it_moves(changes_per_s):
    """Changes faster than a transition do not hold the light back: it lags by about a tenth of a second."""
    transition = LightTransition(LEFT)
    transition.at(0.0)
    turn = np.radians(120)  # a second of dragging, from left to right
    shown = LEFT
    for index in range(1, 31):
        t_s = index / 30
        at_s = np.floor(t_s * changes_per_s) / changes_per_s
        angle = at_s * turn - turn / 2
        light = replace(LEFT.directionals[0], direction=(float(np.sin(angle)), 0.0, float(np.cos(angle))))
        transition.set(replace(LEFT, directionals=(light,)))
        shown = transition.at(t_s)
    x, _, z = shown.directionals[0].direction
    lag_s = 1.0 - (np.arctan2(x, z) + turn / 2) / turn
    assert 0.0 <= lag_s < 0.2


def test_frame_rate_does_not_matter():
    """The light at a time is nearly the same whether the frames before came fast or slow."""
    seen = []
    for step in (1 / 60, 1 / 15):
        transition = LightTransition(LEFT)
        transition.at(0.0)
        transition.set(RIGHT)
        times = np.arange(1, 100) / 60
        seen.append(
            {round(t * 60): level(transition.at(t)) for t in times if round(t / step, 6) % 1 == 0 or t == times[0]}
        )
    shared = seen[0].keys() & seen[1].keys()
    assert len(shared) > 10
    whole = abs(level(RIGHT) - level(LEFT))
    assert all(abs(seen[0][k] - seen[1][k]) < 0.12 * whole for k in shared)


def test_second_change_starts_where_the_first_has_come_to():
    """A change during a transition does not jump."""
    transition = LightTransition(LEFT)
    transition.at(0.0)
    transition.set(RIGHT)
    middle = [level(transition.at(t)) for t in (0.03, 0.06, 0.09)][-1]
    transition.set(LEFT)
    assert abs(level(transition.at(0.1)) - middle) < 0.15
    assert transition.at(0.36) is LEFT


def test_time_may_step_back():
    """A clock that goes back neither raises nor stops the transition."""
    transition = LightTransition(LEFT)
    transition.at(100.0)
    transition.set(RIGHT)
    transition.at(100.1)
    transition.at(1.0)
    assert transition.at(1.5) is RIGHT


def test_set_from_another_thread():
    """The last light that was set wins, whichever thread set it."""
    transition = LightTransition(LEFT)
    transition.at(0.0)
    thread = threading.Thread(target=transition.set, args=(RIGHT,))
    thread.start()
    thread.join()
    transition.at(0.1)
    assert transition.at(1.0) is RIGHT
