"""A spatial head sees frames one by one, a temporal head places one by one; both know image and frame index."""

import pytest

torch = pytest.importorskip("torch", reason="the lcvd extra is not installed")

from torch import Tensor  # noqa: E402

from training.adversarial.heads import Heads  # noqa: E402

B, F, C, H, W = 2, 5, 8, 3, 4


def judged(heads: Heads, level: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the logits [B,F,H,W] of the spatial and of the temporal head."""
    with torch.no_grad():
        spatial, temporal = heads([level], token)
    return spatial.reshape(B, F, H, W), temporal.reshape(B, F, H, W)


@pytest.fixture
def given() -> tuple[Heads, Tensor, Tensor]:
    """Returns heads of one level, features and a token."""
    generator = torch.Generator().manual_seed(0)
    level, token = torch.randn(B, F, C, H, W, generator=generator), torch.randn(B, 1, 6, generator=generator)
    return Heads([C], embedding=6, width=8, seed=0), level, token


def test_each_head_mixes_its_own_axes_only(given: tuple[Heads, Tensor, Tensor]) -> None:
    """A change at one frame and place moves the spatial logits of that frame, and the temporal ones of that place."""
    heads, level, token = given
    before = judged(heads, level, token)
    changed = level.clone()
    changed[1, 2, :, 0, 1] += 3 * torch.linspace(-1, 1, C)
    moved = [(a - b).abs() > 1e-6 for a, b in zip(before, judged(heads, changed, token), strict=True)]
    spatial, temporal = moved
    assert not spatial[0].any()
    assert not temporal[0].any()
    assert spatial[1, 2].all()  # by the normalisation the whole frame
    assert not spatial[1, [0, 1, 3, 4]].any()
    assert temporal[1, :, 0, 1].all()
    temporal[1, :, 0, 1] = False
    assert not temporal.any()


def test_image_and_frame_index_count(given: tuple[Heads, Tensor, Tensor]) -> None:
    """Another image changes every logit of its clip, and equal frames are told apart by their index."""
    heads, level, token = given
    before = judged(heads, level, token)
    other = token.clone()
    other[1] += 1
    for a, b in zip(before, judged(heads, level, other), strict=True):
        torch.testing.assert_close(a[0], b[0])
        assert ((a[1] - b[1]).abs() > 1e-6).all()
    spatial, _ = judged(heads, level[:, :1].expand(-1, F, -1, -1, -1), token)
    assert (spatial[:, 1:] - spatial[:, :-1]).abs().min() > 1e-7


def test_the_same_seed_gives_the_same_heads() -> None:
    """Every process of a run begins with equal heads, and the global generator is left as it was."""
    state = torch.get_rng_state()
    a, b, c = (Heads([C, C], embedding=6, width=8, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)
