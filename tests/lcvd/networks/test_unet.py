"""The UNet with features against a hook on diffusers' own class; published names; traps; export."""

import copy
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from diffusers.models import UNetSpatioTemporalConditionModel  # noqa: E402

from lcvd.errors import ModelUnavailable, ShapeError  # noqa: E402
from lcvd.networks.unet import SVD_XT_CONFIG, FeatureUNet, unet_from_config  # noqa: E402
from lcvd.weights.tiny import UNET  # noqa: E402
from tests.rounding import rounding  # noqa: E402


@pytest.fixture(scope="module")
def unet(tiny_model) -> FeatureUNet:
    return tiny_model.denoiser.unet


def inputs(batch: int = 1, frames: int = 4, size: int = 8, seed: int = 1) -> tuple:
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, frames, 8, size, size, generator=g),
        torch.linspace(0.3, 1.1, batch),
        torch.randn(batch, 1, 32, generator=g),
        torch.tensor([[6.0, 127.0, 0.02]]).repeat(batch, 1),
        torch.randn(batch, frames, 32, size, size, generator=g),
    )


def test_features_equal_a_hook_on_the_stock_class(unet: FeatureUNet, tiny_weights: Path) -> None:
    """Features given to the wrapper act as a tensor added to the output of the stock class's conv_in."""
    stock = UNetSpatioTemporalConditionModel.from_config(dict(UNET)).eval()
    stock.load_state_dict(torch.load(tiny_weights / "unet.pth", weights_only=True), strict=True)
    sample, time, clip, ids, features = inputs(batch=2)
    stock.conv_in.register_forward_hook(lambda module, given, out: out + features.flatten(0, 1))
    with torch.no_grad():
        expected = stock(sample, time, clip, ids, return_dict=False)[0]
        got = unet(sample, time, clip, ids, features)
        without = unet(sample, time, clip, ids)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    assert (got - without).abs().max() > 0.1


@pytest.mark.parametrize("size", [8, 9])
def test_the_walk_is_the_stock_classs(unet: FeatureUNet, tiny_weights: Path, size: int) -> None:
    """Without features it equals diffusers' own forward, also where a side does not halve evenly."""
    stock = UNetSpatioTemporalConditionModel.from_config(dict(UNET)).eval()
    stock.load_state_dict(torch.load(tiny_weights / "unet.pth", weights_only=True), strict=True)
    sample, time, clip, ids, _ = inputs(batch=2, size=size)
    with torch.no_grad():
        expected = stock(sample, time, clip, ids, return_dict=False)[0]
        torch.testing.assert_close(unet(sample, time, clip, ids), expected, atol=1e-6, rtol=0)


def test_the_encoders_levels_are_the_blocks_outputs(unet: FeatureUNet) -> None:
    """`encoded` gives what hooks see at the down blocks and the middle block in a whole forward, in their order."""
    given = inputs(batch=2, size=9)
    seen: list[torch.Tensor] = []

    def keep(module: object, arguments: object, out: torch.Tensor | tuple[torch.Tensor, object]) -> None:
        seen.append(out[0] if isinstance(out, tuple) else out)

    blocks = [*unet.svd.down_blocks, unet.svd.mid_block]
    hooks = [block.register_forward_hook(keep) for block in blocks]
    with torch.no_grad():
        unet(*given)
        for hook in hooks:
            hook.remove()
        levels = unet.encoded(*given)
    assert len(levels) == len(seen) == len(blocks)
    for level, out in zip(levels, seen, strict=True):
        assert level.shape[:2] == (2, 4)
        torch.testing.assert_close(level.flatten(0, 1), out, atol=1e-6, rtol=0)


def test_equal_levels_of_every_frame_are_one_level(unet: FeatureUNet) -> None:
    """c_noise [B,F] with equal rows answers as c_noise [B]; with unequal rows it does not."""
    unet = copy.deepcopy(unet).double()  # in float32 a product of other rows rounds otherwise: 1.4e-6
    sample, time, clip, ids, features = (each.double() for each in inputs(batch=2))
    rows = time[:, None].repeat(1, sample.shape[1])
    with torch.no_grad():
        expected = unet(sample, time, clip, ids, features)
        torch.testing.assert_close(unet(sample, rows, clip, ids, features), expected, atol=1e-9, rtol=0)
        rows[0, 1] += 1.0
        other = unet(sample, rows, clip, ids, features)
    assert (other[0] - expected[0]).abs().max() > 1e-3
    torch.testing.assert_close(other[1], expected[1], atol=1e-9, rtol=0)


def test_a_frames_level_reaches_its_own_rows(unet: FeatureUNet) -> None:
    """Every residual block gets frame f's own time: the embedding of row b·F + f is that of c_noise[b, f]."""
    seen: list = []
    block = unet.svd.down_blocks[0].resnets[0]
    hook = block.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    sample, _, clip, ids, features = inputs(batch=2)
    levels = torch.arange(8.0).reshape(2, 4) / 3
    try:
        with torch.no_grad():
            unet(sample, levels, clip, ids, features)
            for b in range(2):
                for f in range(4):
                    one = sample[:1, :1], levels[b : b + 1, f], clip[:1], ids[:1], features[:1, :1]
                    unet(*one)
    finally:
        hook.remove()
    torch.testing.assert_close(seen[0], torch.cat(seen[1:]), atol=1e-5, rtol=0)


def test_features_reach_the_first_skip(unet: FeatureUNet) -> None:
    """The sum is stored as the first skip connection, so the last up block sees it too."""
    seen: list = []
    block = unet.svd.up_blocks[-1]
    hook = block.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["res_hidden_states_tuple"][0]), with_kwargs=True
    )
    sample, time, clip, ids, features = inputs()
    try:
        with torch.no_grad():
            unet(sample, time, clip, ids, features)
            plain = torch.nn.functional.conv2d(sample[0], unet.svd.conv_in.weight, unet.svd.conv_in.bias, padding=1)
    finally:
        hook.remove()
    torch.testing.assert_close(seen[0], plain + features[0], atol=1e-5, rtol=0)


def test_zero_features_equal_none(unet: FeatureUNet) -> None:
    """No features and zero features are the same bits."""
    sample, time, clip, ids, features = inputs()
    with torch.no_grad():
        assert torch.equal(unet(sample, time, clip, ids, torch.zeros_like(features)), unet(sample, time, clip, ids))


def test_batch_items_are_independent(unet: FeatureUNet) -> None:
    """Two items in one batch answer as each alone: the trap of diffusers before 0.42."""
    sample, time, clip, ids, features = inputs(batch=2)
    with torch.no_grad():
        both = unet(sample, time, clip, ids, features)
        for item in range(2):
            one = slice(item, item + 1)
            alone = unet(sample[one], time[one], clip[one], ids[one], features[one])
            torch.testing.assert_close(both[one], alone, atol=rounding(unet, alone), rtol=0)


def test_clip_enters_as_one_token(unet: FeatureUNet) -> None:
    """With one context token a cross-attention is to_out(to_v(e)), whatever the picture."""
    attention = unet.svd.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    token = torch.randn(3, 1, 32)
    with torch.no_grad():
        got = attention(torch.randn(3, 10, 32), encoder_hidden_states=token)
        constant = attention.to_out[0](attention.to_v(token))
    torch.testing.assert_close(got, constant.expand_as(got), atol=rounding(attention, constant), rtol=0)


def test_full_size_on_meta() -> None:
    """svd-xt's configuration gives 1,524,623,082 parameters, 1428 names and heads (5, 10, 20, 20)."""
    with torch.device("meta"):
        full = unet_from_config(SVD_XT_CONFIG)
        stock = UNetSpatioTemporalConditionModel.from_config(dict(SVD_XT_CONFIG))
    state = full.svd.state_dict()
    assert sum(parameter.numel() for parameter in full.parameters()) == 1_524_623_082
    assert len(state) == 1428
    assert {k: tuple(v.shape) for k, v in state.items()} == {k: tuple(v.shape) for k, v in stock.state_dict().items()}
    heads = [block.attentions[0].transformer_blocks[0].attn1.heads for block in full.svd.down_blocks[:3]]
    assert (*heads, full.svd.mid_block.attentions[0].transformer_blocks[0].attn1.heads) == (5, 10, 20, 20)
    assert full.feature_channels == 320


@pytest.mark.parametrize("heads", [None, [5, 10, 10, 20]])
def test_heads_must_be_named_and_right(heads: list | None) -> None:
    """A configuration without heads, or with the class's old default, is refused before anything is built."""
    config = {**SVD_XT_CONFIG, "num_attention_heads": heads}
    with pytest.raises(ModelUnavailable, match="num_attention_heads"):
        unet_from_config(config)


def test_old_diffusers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A diffusers below 0.42 is refused with the pip command."""
    monkeypatch.setattr("lcvd.networks.unet.version", lambda name: "0.41.2")
    with pytest.raises(ModelUnavailable, match=r"0\.41\.2") as caught:
        unet_from_config(UNET)
    assert "pip install" in caught.value.hint


def test_wrong_feature_shape_is_named(unet: FeatureUNet) -> None:
    """Features of another size are refused, with both shapes in the message."""
    sample, time, clip, ids, features = inputs()
    with pytest.raises(ShapeError, match=r"\(1, 4, 32, 8, 8\), got \(1, 3, 32, 8, 8\)"):
        unet(sample, time, clip, ids, features[:, :3])
    with pytest.raises(ShapeError, match=r"c_noise: expected \(1,\) or \(1, 4\), got \(1, 3\)"):
        unet(sample, time[:, None].repeat(1, 3), clip, ids, features)


@pytest.mark.parametrize("per_frame", [False, True])
def test_survives_export(unet: FeatureUNet, per_frame: bool) -> None:
    """torch.export takes the wrapper as it is, and the exported program gives the same numbers on other inputs."""

    def given(seed: int) -> tuple:
        sample, time, *rest = inputs(batch=2, seed=seed)
        return sample, time[:, None] + torch.linspace(0, seed, 4) if per_frame else time, *rest

    with torch.no_grad():
        program = torch.export.export(unet, given(1), strict=False)
        other = given(5)
        torch.testing.assert_close(program.module()(*other), unet(*other), atol=1e-6, rtol=0)


def test_traces_into_one_graph() -> None:
    """torch.compile's front end sees the wrapper whole: no graph break (code generation is not run)."""
    # One level with every kind of layer: tracing costs by the operation, and more levels repeat the same ones.
    one_level = {
        "down_block_types": ["CrossAttnDownBlockSpatioTemporal"],
        "up_block_types": ["UpBlockSpatioTemporal"],
        "block_out_channels": [32],
        "num_attention_heads": [2],
    }
    small = unet_from_config({**UNET, **one_level}).eval()
    compiled = torch.compile(small, backend="eager", fullgraph=True)
    sample, time, *rest = inputs(frames=2)
    with torch.no_grad():
        for levels in (time, torch.tensor([[0.3, 0.9]])):
            torch.testing.assert_close(compiled(sample, levels, *rest), small(sample, levels, *rest), atol=1e-6, rtol=0)


def test_tiny_configuration_is_the_file(tiny_weights: Path) -> None:
    """The tiny model's unet/config.json is what the loader reads."""
    path = tiny_weights / "stable-video-diffusion-img2vid-xt" / "unet" / "config.json"
    assert json.loads(path.read_text())["num_attention_heads"] == [2, 4]
