"""Adapters against a hand-written convolution in float64, and what dropping a condition means."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.errors import ShapeError  # noqa: E402
from lcvd.networks.adapters import Adapters, ConvAdapter  # noqa: E402


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """Cross-correlation by loops over output pixels: x [C,H,W], weight [O,C,k,k] -> [O,H',W']."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    rows, columns = ((n - k) // stride + 1 for n in x.shape[1:])
    out = np.empty((weight.shape[0], rows, columns))
    for row in range(rows):
        for column in range(columns):
            patch = x[:, row * stride : row * stride + k, column * stride : column * stride + k]
            out[:, row, column] = np.tensordot(weight, patch, 3) + bias
    return out


def by_hand(state: dict, picture: np.ndarray) -> np.ndarray:
    """The paper's list of layers, read from the published key names."""
    x = picture.astype(np.float64)
    for index, stride in zip(range(0, 16, 2), (1, 2, 1, 2, 1, 2, 1, 1), strict=True):
        x = convolve(x, state[f"conv_layers.{index}.weight"], state[f"conv_layers.{index}.bias"], stride, 1)
        x = x / (1 + np.exp(-x))
    return convolve(x, state["final_proj.weight"], state["final_proj.bias"], 1, 0) * state["scale"]


@pytest.fixture
def adapter() -> ConvAdapter:
    torch.manual_seed(3)
    adapter = ConvAdapter(7)
    with torch.no_grad():
        for parameter in adapter.parameters():
            if parameter.ndim <= 1 or not parameter.any():
                parameter.normal_(std=0.3)
        adapter.scale.fill_(1.7)
    return adapter


def test_forward_equals_convolution_by_hand(adapter: ConvAdapter) -> None:
    """The features of a picture are those of a float64 convolution written out."""
    picture = np.random.default_rng(0).uniform(-1, 1, (3, 24, 32))
    state = {name: value.double().numpy() for name, value in adapter.state_dict().items()}
    with torch.no_grad():
        got = adapter(torch.from_numpy(picture).float()[None])[0].numpy()
    expected = by_hand(state, picture)
    assert expected.std() > 0.05
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_published_size() -> None:
    """Each adapter has 205,557 parameters in 19 tensors of the published names and shapes."""
    with torch.device("meta"):
        state = ConvAdapter().state_dict()
    assert sum(value.numel() for value in state.values()) == 205_557
    names = {f"conv_layers.{i}.{kind}" for i in range(0, 16, 2) for kind in ("weight", "bias")}
    assert set(state) == names | {"scale", "final_proj.weight", "final_proj.bias"}
    assert tuple(state["conv_layers.10.weight"].shape) == (64, 32, 4, 4)
    assert tuple(state["scale"].shape) == (1,)


def test_fresh_adapter_adds_nothing() -> None:
    """The projection starts at zero and the scale at 2, so a fresh adapter leaves the UNet as it was."""
    fresh = ConvAdapter(5)
    with torch.no_grad():
        assert not fresh(torch.rand(1, 3, 16, 16)).any()
    assert fresh.scale.item() == 2.0
    spread = fresh.conv_layers[14].weight.std().item()
    assert spread == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)


def test_features_are_per_frame(adapter: ConvAdapter) -> None:
    """A frame's features do not depend on the frames beside it, so they may be cached."""
    adapters = Adapters(7)
    adapters.light = adapter
    clip = torch.rand(2, 3, 3, 16, 16)
    with torch.no_grad():
        together = adapters.features("shading", clip)
        alone = adapters.features("shading", clip[1:, 2:])
    torch.testing.assert_close(together[1:, 2:], alone, atol=1e-5, rtol=0)


def test_sum_of_conditions(adapter: ConvAdapter) -> None:
    """The features of several conditions are their sum; one reference frame serves all frames."""
    adapters = Adapters(7)
    adapters.light = adapters.ref = adapter
    shading, reference = torch.rand(1, 3, 3, 16, 16), torch.rand(1, 1, 3, 16, 16)
    with torch.no_grad():
        total = adapters(shading=shading, reference=reference)
        parts = adapters.features("shading", shading) + adapters.features("reference", reference.expand_as(shading))
    torch.testing.assert_close(total, parts, atol=1e-5, rtol=0)


def test_dropping_is_not_a_black_hint(adapter: ConvAdapter) -> None:
    """α = 0 zeroes the features of its own item; a black hint does not, because adapters have biases."""
    adapters = Adapters(7)
    adapters.light = adapter
    shading = torch.rand(2, 2, 3, 16, 16)
    with torch.no_grad():
        kept = adapters(shading=shading)
        dropped = adapters(shading=shading, keep={"shading": torch.tensor([1.0, 0.0])})
        black = adapters(shading=torch.zeros_like(shading))
    assert torch.equal(dropped[0], kept[0])
    assert not dropped[1].any()
    assert black.abs().max() > 0.01
    assert adapters() is None


def test_wrong_shapes_are_named(adapter: ConvAdapter) -> None:
    """A picture whose size is no multiple of 8 is refused by name."""
    with pytest.raises(ShapeError, match=r"shading.*\(1, 1, 3, 20, 16\)"):
        Adapters(7)(shading=torch.zeros(1, 1, 3, 20, 16))
