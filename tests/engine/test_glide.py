"""Light changes in time: continuous, 250 ms of the stream's own time, from any thread."""

import threading

import numpy as np

from engine.glide import GLIDE_S, LightGlide
from lcvd.lighting import shading
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
    levels = [level(glide.at(t)) for t in np.arange(0.01, 0.4, 0.01)]
    assert levels[0] == level(LEFT)
    whole = abs(level(RIGHT) - level(LEFT))
    assert np.abs(np.diff(levels)).max() < 4 * whole * 0.01 / GLIDE_S
    assert glide.at(0.4) is RIGHT


def test_frame_rate_does_not_matter():
    """The light at a time is the same whether the frames before came fast or slow."""
    seen = []
    for step in (1 / 60, 1 / 15):
        glide = LightGlide(LEFT)
        glide.at(0.0)
        glide.set(RIGHT)
        times = np.arange(1, 100) / 60
        seen.append({round(t * 60): level(glide.at(t)) for t in times if round(t / step, 6) % 1 == 0 or t == times[0]})
    shared = seen[0].keys() & seen[1].keys()
    assert len(shared) > 10
    assert all(abs(seen[0][k] - seen[1][k]) < 1e-6 for k in shared)


def test_second_change_starts_where_the_first_has_come_to():
    """A change during a glide does not jump."""
    glide = LightGlide(LEFT)
    glide.at(0.0)
    glide.set(RIGHT)
    glide.at(0.0)
    middle = level(glide.at(0.12))
    glide.set(LEFT)
    assert abs(level(glide.at(0.13)) - middle) < 0.15
    assert glide.at(0.5) is LEFT


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
