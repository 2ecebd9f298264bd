"""The iris network on the sample portrait: it finds the irises, also in the mirror image."""

import cv2
import numpy as np
import pytest

from lcvd.tracking.iris import CORNERS, IrisNetwork
from lcvd.tracking.mesh import MeshTracker
from lcvd.tracking.models import model_path

ZOOM = 2.0  # the portrait's eyes are small


@pytest.fixture(scope="module")
def network() -> IrisNetwork:
    return IrisNetwork(model_path("iris_landmark"))


@pytest.fixture(scope="module")
def seen(portrait: np.ndarray):
    """Return the enlarged portrait and its face."""
    rgb = cv2.resize(portrait, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    tracker = MeshTracker()
    for index in range(4):
        face = tracker.track(rgb, index / 30)
    assert face is not None
    return rgb, face


def test_irises_lie_between_the_lids(network: IrisNetwork, seen) -> None:
    """Each iris is inside its eye's opening, as large as irises are, and both are of one size."""
    rgb, face = seen
    radii = []
    for eye in (0, 1):
        found = network(rgb, face.vertices_px, eye)
        outline = np.vstack([found.corners[:1], found.upper, found.corners[1:], found.lower[::-1]])
        assert cv2.pointPolygonTest(outline.reshape(-1, 1, 2), tuple(map(float, found.iris)), False) > 0
        assert np.abs(found.corners - face.vertices_px[list(CORNERS[eye]), :2]).max() < 0.25 * found.width
        radii.append(found.radius / face.scale_px_per_cm)
    assert 0.45 < min(radii) <= max(radii) < 0.75
    assert max(radii) < 1.15 * min(radii)


def test_a_mirrored_picture_gives_mirrored_eyes(network: IrisNetwork, seen) -> None:
    """The picture-left eye of the mirror image is the picture-right one of the picture."""
    rgb, face = seen
    mirrored, points = np.ascontiguousarray(rgb[:, ::-1]), face.vertices_px.copy()
    points[:, 0] = rgb.shape[1] - points[:, 0]
    for eye in (0, 1):
        swapped = points.copy()
        swapped[list(CORNERS[1 - eye])] = points[list(CORNERS[eye])]
        a, b = network(rgb, face.vertices_px, eye), network(mirrored, swapped, 1 - eye)
        np.testing.assert_allclose(b.iris, [rgb.shape[1] - a.iris[0], a.iris[1]], atol=0.5)


class _Counted:
    """A network that notes its runs."""

    def __init__(self, net, runs: list[int]) -> None:
        self.net, self.width, self.runs = net, net.width, runs

    def __call__(self, square: np.ndarray):
        self.runs.append(1)
        return self.net(square)


def test_the_network_rests_while_an_eye_looks_the_same(seen) -> None:
    """Every second frame of a still eye is spared, noise or not; an iris that moved by a sixth is seen at once."""
    rgb, face = seen
    resting = IrisNetwork(model_path("iris_landmark"), rests=True)
    runs: list[int] = []
    resting._net = _Counted(resting._net, runs)
    rng = np.random.default_rng(0)
    for _ in range(4):
        noisy = np.clip(rgb + rng.normal(0, 3, rgb.shape), 0, 255).astype(np.uint8)
        found = resting(noisy, face.vertices_px, 0)
    assert len(runs) == 2
    resting(rgb, face.vertices_px, 0)
    assert len(runs) == 3
    looked = rgb.copy()
    (x, y), r = found.iris.astype(int), int(found.radius) + 1
    by = max(round(found.radius / 3), 2)
    looked[y - r : y + r, x - r + by : x + r + by] = rgb[y - r : y + r, x - r : x + r]
    resting(looked, face.vertices_px, 0)
    assert len(runs) == 4
