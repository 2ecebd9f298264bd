"""Light changes in time: continuous, 250 ms of the stream's own time, from any thread."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from engine.light_transition import GLIDE_S, LightGlide
from lcvd.lighting.lighting import shading
from tests.engine.made_up_person import LEFT, RIGHT

NORMAL = np.array([-0.6, 0.0, 0.8], np.float32)


def level(lighting):
    return float(shading(lighting, NORMAL)[0])


def test_stands_still_until_set():
    """Without a change the very light that was given comes back."""
    glide = LightGlide(LEFT)
    assert all(glide.at(t) is LEFT for t in (0.0, 1.0, 100.0))


def test_change_is_continuous_and_ends():
    """No step is larger than the glide allows, and after 250 ms the new light is there, exactly."""
    glide = LightGlide(LEFT)
    glide.at(0.0)
    glide.set(RIGHT)
    levels = [level(LEFT)] + [level(glide.at(t)) for t in np.arange(0.01, 0.4, 0.01)]
    whole = abs(level(RIGHT) - level(LEFT))
    assert np.abs(np.diff(levels)).max() < 5 * whole * 0.01 / GLIDE_S
    assert levels[20] != level(RIGHT)
    assert levels[26] == level(RIGHT)
    assert glide.at(0.4) is RIGHT


def test_a_change_after_a_gap_does_not_jump():
    """Frames that stopped for seconds, and a light changed meanwhile: it glides once they come again."""
    glide = LightGlide(LEFT)
    glide.at(0.0)
    glide.set(RIGHT)
    whole = abs(level(RIGHT) - level(LEFT))
    assert abs(level(glide.at(5.0)) - level(LEFT)) < 0.6 * whole
    assert glide.at(5.26) is RIGHT


@pytest.mark.parametrize("changes_per_s", [10, 20, 60])
def test_a_dragged_light_is_followed_while_it_moves(changes_per_s):
    """Changes that come faster than a glide lasts do not hold the light back: it lags by about a tenth of a second."""
    glide = LightGlide(LEFT)
    glide.at(0.0)
    turn = np.radians(120)  # a second of dragging, from left to right
    shown = LEFT
    for index in range(1, 31):
        t_s = index / 30
        at_s = np.floor(t_s * changes_per_s) / changes_per_s
        angle = at_s * turn - turn / 2
        lamp = replace(LEFT.directionals[0], direction=(float(np.sin(angle)), 0.0, float(np.cos(angle))))
        glide.set(replace(LEFT, directionals=(lamp,)))
        shown = glide.at(t_s)
    x, _, z = shown.directionals[0].direction
    lag_s = 1.0 - (np.arctan2(x, z) + turn / 2) / turn
    assert 0.0 <= lag_s < 0.2


def test_frame_rate_does_not_matter():
    """The light at a time is nearly the same whether the frames before came fast or slow."""
    seen = []
    for step in (1 / 60, 1 / 15):
        glide = LightGlide(LEFT)
        glide.at(0.0)
        glide.set(RIGHT)
        times = np.arange(1, 100) / 60
        seen.append({round(t * 60): level(glide.at(t)) for t in times if round(t / step, 6) % 1 == 0 or t == times[0]})
    shared = seen[0].keys() & seen[1].keys()
    assert len(shared) > 10
    whole = abs(level(RIGHT) - level(LEFT))
    assert all(abs(seen[0][k] - seen[1][k]) < 0.12 * whole for k in shared)


def test_second_change_starts_where_the_first_has_come_to():
    """A change during a glide does not jump."""
    glide = LightGlide(LEFT)
    glide.at(0.0)
    glide.set(RIGHT)
    middle = [level(glide.at(t)) for t in (0.03, 0.06, 0.09)][-1]
    glide.set(LEFT)
    assert abs(level(glide.at(0.1)) - middle) < 0.15
    assert glide.at(0.36) is LEFT


def test_time_may_step_back():
    """A clock that goes back neither raises nor leaves the glide hanging."""
    glide = LightGlide(LEFT)
    glide.at(100.0)
    glide.set(RIGHT)
    glide.at(100.1)
    glide.at(1.0)
    assert glide.at(1.5) is RIGHT


def test_set_from_another_thread():
    """Whoever sets last wins, whichever thread it was."""
    glide = LightGlide(LEFT)
    glide.at(0.0)
    thread = threading.Thread(target=glide.set, args=(RIGHT,))
    thread.start()
    thread.join()
    glide.at(0.1)
    assert glide.at(1.0) is RIGHT
