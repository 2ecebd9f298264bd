"""lcvd.matting.portrait: the published steps on maps whose answer is known, and the choice of network."""

import sys

import numpy as np
import pytest

import lcvd.matting.selfie
from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.matting import portrait as module
from lcvd.matting.portrait import CalibratedMatte, U2NetMatte, make_matte, portrait_mask

RGB = np.zeros((64, 96, 3), np.uint8)


def fixed(values: np.ndarray):
    """A matte that always gives `values`."""
    return lambda rgb: np.asarray(values, np.float32)


def test_square_grows_by_the_dilation():
    """At the picture's own size a square of 10 grows to 16: a 7×7 dilation adds three on every side."""
    values = np.zeros((64, 96))
    values[20:30, 40:50] = 1
    got = portrait_mask(RGB, fixed(values))
    wanted = np.zeros((64, 96))
    wanted[17:33, 37:53] = 1
    np.testing.assert_array_equal(got, wanted)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(portrait_mask(RGB, fixed(values), dilation_px=1), values)


def test_every_map_is_stretched():
    """Values are stretched to 0…1 in each image before the threshold: what counts is above the middle of the range."""
    values = np.full((64, 96), 0.30)
    values[:, 48:] = 0.36
    values[0, 0] = 0.20
    values[0, 95] = 0.50
    got = portrait_mask(RGB, fixed(values), dilation_px=1)
    np.testing.assert_array_equal(got[:, 48:], 1)
    np.testing.assert_array_equal(got[:, :48], 0)


def test_enlarged_edges_are_soft():
    """A map of half the size is thresholded first and enlarged after, so that its edge has bilinear values."""
    values = np.zeros((32, 48))
    values[:, 24:] = 0.9
    got = portrait_mask(RGB, fixed(values), dilation_px=1)
    np.testing.assert_allclose(got[10, 46:50], [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(portrait_mask(RGB, fixed(values))[10, 43:47], [0, 0.25, 0.75, 1])


@pytest.mark.parametrize(("value", "wanted"), [(0.0, 0), (0.3, 0), (0.9, 1)])
def test_a_flat_map_has_nothing_to_stretch(value, wanted):
    """One value everywhere is portrait everywhere or nowhere, never not-a-number."""
    np.testing.assert_array_equal(portrait_mask(RGB, fixed(np.full((8, 8), value))), wanted)


def test_a_picture_without_a_person_has_an_empty_mask():
    """MediaPipe's faint noise on an empty room is not stretched to a person; the same map unguarded would be."""
    noise = np.random.default_rng(0).uniform(0, 0.05, (16, 16))
    assert portrait_mask(RGB, fixed(noise)).max() == 1
    assert portrait_mask(RGB, CalibratedMatte(fixed(noise))).max() == 0
    noise[4:9, 4:9] = 0.8
    assert portrait_mask(RGB, CalibratedMatte(fixed(noise))).max() == 1


def test_latent_is_bilinear_without_prefilter():
    """Every latent cell takes the mean of the four pixels in its middle, as cv2 does at a factor of eight."""
    pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    from lcvd.sampling.conditions import latent_mask

    mask = np.random.default_rng(1).random((64, 96)).astype(np.float32)
    got = latent_mask(mask, (8, 12)).numpy()[0, 0]
    wanted = (mask[3::8, 3::8] + mask[4::8, 3::8] + mask[3::8, 4::8] + mask[4::8, 4::8]) / 4
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_wrong_arguments_are_named():
    """Pictures, mattes, sizes and dilations that cannot be are refused."""
    with pytest.raises(ShapeError, match="rgb"):
        portrait_mask(RGB[..., 0], fixed(np.ones((4, 4))))
    with pytest.raises(ShapeError, match="matte gave"):
        portrait_mask(RGB, fixed(np.ones((4, 4, 1))))
    with pytest.raises(ShapeError, match="not finite"):
        portrait_mask(RGB, fixed(np.full((4, 4), np.nan)))
    with pytest.raises(ShapeError, match="dilation_px"):
        portrait_mask(RGB, fixed(np.ones((4, 4))), dilation_px=0)


def test_choice_of_network(monkeypatch, tmp_path):
    """No file, an absent one or no torch: MediaPipe, and the note says why."""
    monkeypatch.setattr(lcvd.matting.selfie, "SelfieMatte", lambda: fixed(np.full((4, 4), 0.9)))
    for where, why in ((None, "no u2net_human_seg.pth"), (tmp_path, "does not exist"), (tmp_path / "x.pth", "x.pth")):
        matte, note = make_matte(where)
        assert matte(RGB).max() == np.float32(0.9)
        assert "MediaPipe" in note
        assert why in note
    (tmp_path / "u2net_human_seg.pth").write_bytes(b"x")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert "pip install -e '.[lcvd]'" in make_matte(tmp_path)[1]
    monkeypatch.setitem(sys.modules, "lcvd.matting.u2net", None)
    with pytest.raises(ModelUnavailable, match="torch"):
        U2NetMatte(tmp_path / "u2net_human_seg.pth")


def test_u2net_is_fed_as_released(tmp_path):
    """The network sees RGB/255 at 320², in that channel order, and its fused map comes back unchanged."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    from lcvd.matting.u2net import U2Net

    torch.manual_seed(0)
    net = U2Net(width=4).eval()
    torch.save(net.state_dict(), tmp_path / "u2net_human_seg.pth")
    matte, note = make_matte(tmp_path)
    assert "U²-Net" in note
    rgb = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    with torch.no_grad():
        wanted = net(torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255)[0, 0].numpy()
    np.testing.assert_allclose(matte(rgb), wanted, atol=1e-6)
    assert portrait_mask(rgb, matte).shape == (320, 320)
    (tmp_path / "u2net_human_seg.pth").write_bytes(b"<html>")
    with pytest.raises(ModelUnavailable, match="u2net_human_seg"):
        make_matte(tmp_path)
