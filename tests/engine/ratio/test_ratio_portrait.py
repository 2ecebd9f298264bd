"""The ratio engine lights the sample portrait, a real face, from either side, with the real networks."""

import itertools

import numpy as np
import pytest

from engine.bench.sample_clip import sample_frames
from engine.frames import Frame
from engine.protocols import StreamConfig
from engine.ratio.engine import RatioEngine
from lcvd.errors import ModelUnavailable
from lcvd.lighting.presets import preset


@pytest.fixture(scope="module")
def engine():
    ratio = RatioEngine()
    try:
        ratio.open(StreamConfig(lighting=preset("original").lighting)).close()
    except ModelUnavailable as error:
        pytest.skip(error.message)
    return ratio


def relit(engine, name, count=14):
    stream = engine.open(StreamConfig(lighting=preset(name).lighting))
    for i, rgb in enumerate(itertools.islice(sample_frames((240, 320)), count)):
        work = stream.prepare(Frame(i, i / 30, rgb))
        (out,) = stream.render(work)
    return rgb.astype(float), out.rgb.astype(float), work


def cheeks(picture, face):
    """Return the mean brightness of the cheek at the left of the picture and of the one at its right."""
    points = face.vertices_px[[50, 280], :2].astype(int)
    (xa, ya), (xb, yb) = sorted(points.tolist())
    return tuple(float(picture[y - 3 : y + 4, x - 3 : x + 4].mean()) for x, y in ((xa, ya), (xb, yb)))


def test_key_moves_the_brighter_cheek(engine):
    """Split light from the left and from the right change the cheeks' balance by more than a factor of two."""
    balance = {}
    for name in ("split-left", "split-right"):
        _, out, work = relit(engine, name)
        left, right = cheeks(out, work.faces[0])
        balance[name] = left / right
    assert balance["split-left"] > 1.15
    assert balance["split-left"] > 2 * balance["split-right"]


def test_original_is_the_picture(engine):
    """The preset `original` gives the frames back."""
    rgb, out, _ = relit(engine, "original")
    np.testing.assert_array_equal(rgb, out)


def test_face_stays_a_face_under_neon(engine):
    """Two-tone neon colours the cheeks apart and leaves detail in both."""
    rgb, out, work = relit(engine, "neon")
    points = work.faces[0].vertices_px[[50, 280], :2].astype(int)
    (xa, ya), (xb, yb) = sorted(points.tolist())
    left, right = out[ya - 3 : ya + 4, xa - 3 : xa + 4].mean((0, 1)), out[yb - 3 : yb + 4, xb - 3 : xb + 4].mean((0, 1))
    assert left[0] / left[1] > 1.2 * right[0] / right[1]
    assert min(left.min(), right.min()) > 20
    assert out.std() > 0.4 * rgb.std()
