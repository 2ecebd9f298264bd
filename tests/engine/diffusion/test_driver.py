"""engine.diffusion.engine: light, a lost face and a turned camera on their way into the hints."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.diffusion.sampler import SamplerPlan  # noqa: E402
from lcvd.hints import render_hints  # noqa: E402
from tests.engine.diffusion.tiny_engine import (  # noqa: E402
    CAMERA,
    FPS,
    FULL,
    SIZE,
    TurningTracker,
    engine_of,
    frame,
    opened,
)
from tests.engine.synthetic_person import LEFT, RIGHT  # noqa: E402
from tests.lcvd.speaking_face import ANNA  # noqa: E402


def test_light_glides_frame_by_frame(tiny_lcvd) -> None:
    """A new light reaches the frames from where it was set, each with its own share, and none before."""
    engine = engine_of(tiny_lcvd)
    stream = opened(engine)
    works = []
    for i in range(20):
        if i == 13:
            stream.set_lighting(RIGHT)
        work = stream.prepare(frame(i))
        works += [work] if work else []
    levels = [light.directionals[0].direction[0] for work in works for light in work.lightings]
    assert levels[:13] == [levels[0]] * 13
    assert (np.diff(levels[13:19]) > 0).all()
    assert levels[13] < levels[18]
    still = opened(engine)
    hints = [w.payload.hints for i in range(20) if (w := still.prepare(frame(i)))]
    assert (works[0].payload.hints == hints[0]).all()
    assert (works[1].payload.hints[:3] == hints[1][:3]).all()
    assert (works[1].payload.hints[9] != hints[1][9]).any()


def test_strength_zero_is_the_portraits_own_light(tiny_lcvd) -> None:
    """ "Original" does not black the hint out: it draws the light the portrait was taken in."""
    stream = opened(engine_of(tiny_lcvd, blind=tuple(i / FPS for i in range(5, 100))), replace(LEFT, strength=0.0))
    work = next(w for i in range(5, 15) if (w := stream.prepare(frame(i))))
    assert all((hint == stream.reference.hint).all() for hint in work.payload.hints)


def test_a_lost_face_does_not_stop_the_picture(tiny_lcvd) -> None:
    """Losing the driver holds the pose while the light goes on; frames keep coming and none is untouched or black."""
    blind = tuple(i / FPS for i in range(12, 34))
    stream = opened(engine_of(tiny_lcvd, SamplerPlan(1, guidance="none"), blind=blind))
    hints, out = [], []
    for i in range(50):
        work = stream.prepare(frame(i))
        if work:
            hints.extend(work.payload.hints)
            assert [face is None for face in work.faces] == [f.t_s in blind for f in work.frames]
            out += stream.render(work)
    assert len(out) == 50
    assert all((hints[i] == hints[11]).all() for i in range(12, 34))
    assert (hints[34] == hints[11]).all()  # the first frame back has not moved yet
    assert (hints[45] != hints[11]).any()
    levels = np.array([f.rgb.mean() for f in out])
    change = np.abs(np.diff(levels))
    assert change[30:40].max() <= 3 * max(np.delete(change, range(30, 40)).max(), 0.5)


def test_a_driver_nobody_ever_saw_gives_the_resting_portrait(tiny_lcvd) -> None:
    """No face from the start: the avatar stands still in its own pose, lit as asked."""
    stream = opened(engine_of(tiny_lcvd, blind=tuple(i / FPS for i in range(5, 100))))
    work = next(w for i in range(5, 15) if (w := stream.prepare(frame(i))))
    rest = render_hints(stream.reference.face, FULL, (SIZE, SIZE)).rgb
    assert all((hint == rest).all() for hint in work.payload.hints)
    assert len(stream.render(work)) == 10


def test_the_camera_may_change_its_size(tiny_lcvd) -> None:
    """Window, pose and portrait go on; the avatar's size stays."""
    stream = opened(engine_of(tiny_lcvd, stride=4))
    out = [made for i in range(12) for made in stream.push(frame(i, CAMERA if i < 7 else (64, 48)))]
    assert [f.index for f in out] == list(range(12))
    assert {f.rgb.shape for f in out} == {(SIZE, SIZE, 3)}


def test_a_driver_who_laughs_at_the_start_is_at_rest_when_calm(tiny_lcvd) -> None:
    """Hints two calm seconds after a laugh are the resting portrait's; while it lasted they were not."""
    stream = opened(engine_of(tiny_lcvd, tracker=LaughingDriver))
    hints = [hint for i in range(80) if (work := stream.prepare(frame(i))) for hint in work.payload.hints]
    rest = render_hints(stream.reference.face, FULL, (SIZE, SIZE)).rgb
    off = [float(np.abs(hint.astype(float) - rest).mean()) for hint in hints]
    assert min(off[:20]) > 1
    assert off[-1] < 0.15 * off[0]


class LaughingDriver(TurningTracker):
    """Laughs for 0.8 s, then is calm; finds the portrait's face in the portrait."""

    def track(self, rgb, t_s):
        if rgb.shape[:2] != CAMERA:
            return super().track(rgb, 0.0)
        return ANNA.face(t_s, open_cm=3.0, smile=0.3) if t_s < 0.8 else ANNA.face(t_s)
