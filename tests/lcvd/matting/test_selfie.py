"""The person mask: where the person is, at any shape of frame."""

import cv2
import numpy as np
import pytest

from lcvd.errors import ShapeError
from lcvd.matting.selfie import SelfieMatte


@pytest.fixture(scope="module")
def matte():
    return SelfieMatte()


def framed(portrait, width, height):
    """The portrait's person in a frame of this size: head in the upper middle, cut or extended at the sides."""
    scale = 0.9 * height / 420
    move = np.array([[scale, 0, width / 2 - 225 * scale], [0, scale, 0.1 * height]])
    return cv2.warpAffine(portrait, move, (width, height), borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [
        (640, 480, (144, 256)),
        (1280, 720, (144, 256)),
        (480, 480, (144, 256)),
        (480, 640, (256, 192)),
        (360, 640, (256, 144)),
        (160, 120, (144, 256)),
    ],
)
def test_the_person_is_found_in_any_shape_of_frame(matte, portrait, width, height, shape):
    """Face and chest are person, the upper corners are not, and the mask has the frame's extent."""
    mask = matte(framed(portrait, width, height))
    assert mask.shape == shape
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    h, w = shape
    face = mask[int(0.3 * h) : int(0.45 * h), int(0.45 * w) : int(0.55 * w)]
    corners = np.concatenate([mask[: h // 12, : w // 10].ravel(), mask[: h // 12, -w // 10 :].ravel()])
    assert face.mean() > 0.95
    assert corners.mean() < 0.1


def test_a_mirrored_frame_gives_the_mirrored_mask(matte, portrait):
    """Left and right are treated alike."""
    frame = framed(portrait, 640, 480)
    straight, mirrored = matte(frame), matte(np.ascontiguousarray(frame[:, ::-1]))
    assert np.abs(straight - mirrored[:, ::-1]).mean() < 0.03


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2160, 3840)])
def test_extreme_sizes_give_a_calm_answer(matte, shape):
    """A pixel, a line and a 4K frame of nothing are answered with a finite, almost empty mask."""
    mask = matte(np.zeros((*shape, 3), np.uint8))
    assert np.isfinite(mask).all()
    assert mask.mean() < 0.5


def test_the_frame_is_left_alone_and_the_mask_is_the_callers(matte, portrait):
    """The frame is not written to, and a mask stays as it was when the next is made."""
    frame = framed(portrait, 640, 480)
    before = frame.copy()
    mask = matte(frame)
    kept = mask.copy()
    matte(np.zeros_like(frame))
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(mask, kept)


def test_anything_but_a_picture_is_a_shape_error(matte):
    """An empty frame is refused."""
    with pytest.raises(ShapeError):
        matte(np.zeros((0, 640, 3), np.uint8))
