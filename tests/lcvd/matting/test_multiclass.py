"""The multiclass person mask: all that is not background."""

from pathlib import Path

import numpy as np
import pytest

from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.matting import multiclass
from lcvd.matting.multiclass import MulticlassMatte


class FakeNetwork:
    """Sees cloth left of the middle with odds of 3 to 1, and nothing but background elsewhere."""

    width = height = 256

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, rgb: np.ndarray) -> list[np.ndarray]:
        assert rgb.shape == (256, 256, 3)
        logits = np.full((1, 256, 256, 6), -80, np.float32)
        logits[..., 0] = 1
        logits[:, :, :128, 4] = 1 + np.log(3)
        return [logits]


def test_the_mask_is_what_is_not_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """Odds of 3 to 1 give 0.75, also at a size and shape that are not the network's."""
    monkeypatch.setattr(multiclass, "model_path", lambda name, **where: Path(name))
    monkeypatch.setattr(multiclass, "LiteRtNetwork", FakeNetwork)
    mask = MulticlassMatte()(np.zeros((480, 640, 3), np.uint8))
    assert mask.dtype == np.float32
    np.testing.assert_allclose(mask[:, :128], 0.75, atol=1e-5)
    assert mask[:, 128:].max() < 1e-5


def test_anything_but_a_picture_is_a_shape_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty frame is refused."""
    monkeypatch.setattr(multiclass, "model_path", lambda name, **where: Path(name))
    monkeypatch.setattr(multiclass, "LiteRtNetwork", FakeNetwork)
    with pytest.raises(ShapeError):
        MulticlassMatte()(np.zeros((0, 640, 3), np.uint8))


def test_the_published_network_finds_the_person(portrait: np.ndarray) -> None:
    """Where the file is in the cache: the face is the person's, the picture behind it is not."""
    try:
        matte = MulticlassMatte(download=False)
    except ModelUnavailable:
        pytest.skip("selfie_multiclass_256x256.tflite is not in the cache: relight doctor --download")
    mask = matte(portrait)
    assert mask.shape == (256, 256)
    assert mask[40:75, 98:125].mean() > 0.95
    assert mask[:20, 180:].mean() < 0.1
