"""lcvd.matting.u2net: the published names and shapes, the forward pass written out, and files that do not fit."""

import numpy as np
import pytest

from lcvd.errors import ModelUnavailable

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
import torch.nn.functional as F  # noqa: E402

from lcvd.matting.u2net import U2Net, load_u2net  # noqa: E402

# name: (block, channels in, inner, out), Qin et al. 2020, figure 5 and the published class
STAGES = {
    "stage1": ("7", 3, 32, 64),
    "stage2": ("6", 64, 32, 128),
    "stage3": ("5", 128, 64, 256),
    "stage4": ("4", 256, 128, 512),
    "stage5": ("4F", 512, 256, 512),
    "stage6": ("4F", 512, 256, 512),
    "stage5d": ("4F", 1024, 256, 512),
    "stage4d": ("4", 1024, 128, 256),
    "stage3d": ("5", 512, 64, 128),
    "stage2d": ("6", 256, 32, 64),
    "stage1d": ("7", 128, 16, 64),
}
SIDES = {"side1": 64, "side2": 64, "side3": 128, "side4": 256, "side5": 512, "side6": 512}


def published_keys() -> dict[str, tuple[int, ...]]:
    """Names and shapes of u2net_human_seg.pth."""
    out: dict[str, tuple[int, ...]] = {}

    def unit(name: str, channels: int, wide: int) -> None:
        out[f"{name}.conv_s1.weight"] = (wide, channels, 3, 3)
        out[f"{name}.conv_s1.bias"] = (wide,)
        for part in ("weight", "bias", "running_mean", "running_var"):
            out[f"{name}.bn_s1.{part}"] = (wide,)
        out[f"{name}.bn_s1.num_batches_tracked"] = ()

    for stage, (block, channels, inner, wide) in STAGES.items():
        depth = int(block[0])
        unit(f"{stage}.rebnconvin", channels, wide)
        unit(f"{stage}.rebnconv1", wide, inner)
        for level in range(2, depth + 1):
            unit(f"{stage}.rebnconv{level}", inner, inner)
        for level in range(2, depth):
            unit(f"{stage}.rebnconv{level}d", 2 * inner, inner)
        unit(f"{stage}.rebnconv1d", 2 * inner, wide)
    for side, channels in SIDES.items():
        out[f"{side}.weight"], out[f"{side}.bias"] = (1, channels, 3, 3), (1,)
    out["outconv.weight"], out["outconv.bias"] = (1, 6, 1, 1), (1,)
    return out


def test_full_size_keys_and_shapes():
    """The full-size network has exactly the published names and shapes: 44,009,869 parameters, a file of 176 MB."""
    with torch.device("meta"):
        model = U2Net()
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == published_keys()
    assert sum(p.numel() for p in model.parameters()) == 44_009_869


@pytest.fixture(scope="module")
def tiny():
    """A narrow network with random weights and running statistics."""
    torch.manual_seed(0)
    model = U2Net(width=8)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.1)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(64, 64), (75, 51)])
def test_forward_equals_its_slow_twin(tiny, size):
    """The network written out from its state dict gives the same map in float64, also where pooling meets odd sizes."""
    model = U2Net(width=8).double().eval()
    model.load_state_dict(tiny.state_dict())
    s = model.state_dict()

    def unit(x, name, dilation=1):
        y = F.conv2d(x, s[f"{name}.conv_s1.weight"], s[f"{name}.conv_s1.bias"], padding=dilation, dilation=dilation)
        mean, var, w, b = (
            s[f"{name}.bn_s1.{k}"][:, None, None] for k in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu((y - mean) / torch.sqrt(var + 1e-5) * w + b)

    def pool(x):
        return F.max_pool2d(x, 2, 2, ceil_mode=True)

    def up(x, y):
        return F.interpolate(x, size=y.shape[2:], mode="bilinear", align_corners=False)

    def pooled(x, name, depth):
        entry = unit(x, f"{name}.rebnconvin")
        levels = [unit(entry, f"{name}.rebnconv1")]
        for level in range(2, depth):
            levels.append(unit(pool(levels[-1]), f"{name}.rebnconv{level}"))
        y = unit(levels[-1], f"{name}.rebnconv{depth}", 2)
        for level in range(depth - 1, 0, -1):
            side = levels[level - 1]
            y = unit(torch.cat((up(y, side), side), 1), f"{name}.rebnconv{level}d")
        return y + entry

    def flat(x, name):
        entry = unit(x, f"{name}.rebnconvin")
        a = unit(entry, f"{name}.rebnconv1")
        b = unit(a, f"{name}.rebnconv2", 2)
        c = unit(b, f"{name}.rebnconv3", 4)
        d = unit(c, f"{name}.rebnconv4", 8)
        y = unit(torch.cat((d, c), 1), f"{name}.rebnconv3d", 4)
        y = unit(torch.cat((y, b), 1), f"{name}.rebnconv2d", 2)
        return unit(torch.cat((y, a), 1), f"{name}.rebnconv1d") + entry

    def block(x, name):
        kind = STAGES[name][0]
        return flat(x, name) if kind == "4F" else pooled(x, name, int(kind))

    x = torch.rand(1, 3, *size, dtype=torch.float64)
    h1 = block(x, "stage1")
    h2 = block(pool(h1), "stage2")
    h3 = block(pool(h2), "stage3")
    h4 = block(pool(h3), "stage4")
    h5 = block(pool(h4), "stage5")
    h6 = block(pool(h5), "stage6")
    d5 = block(torch.cat((up(h6, h5), h5), 1), "stage5d")
    d4 = block(torch.cat((up(d5, h4), h4), 1), "stage4d")
    d3 = block(torch.cat((up(d4, h3), h3), 1), "stage3d")
    d2 = block(torch.cat((up(d3, h2), h2), 1), "stage2d")
    d1 = block(torch.cat((up(d2, h1), h1), 1), "stage1d")
    maps = [
        up(F.conv2d(d, s[f"side{k}.weight"], s[f"side{k}.bias"], padding=1), x)
        for k, d in enumerate((d1, d2, d3, d4, d5, h6), 1)
    ]
    wanted = torch.sigmoid(F.conv2d(torch.cat(maps, 1), s["outconv.weight"], s["outconv.bias"]))
    got = model(x)
    assert got.shape == (1, 1, *size)
    assert wanted.std() > 1e-4
    np.testing.assert_allclose(got.detach().numpy(), wanted.numpy(), atol=1e-11)


def test_loader(tiny, tmp_path):
    """A bare state dict, with or without batch counters, old format or new, loads to the same network."""
    path = tmp_path / "u2net_human_seg.pth"
    x = torch.rand(1, 3, 48, 48)
    state = tiny.state_dict()
    bare = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    for saved, modern in ((state, True), (state, False), (bare, True)):
        torch.save(saved, path, _use_new_zipfile_serialization=modern)
        torch.testing.assert_close(load_u2net(path)(x), tiny(x))


def test_wrong_files_are_named(tiny, tmp_path):
    """Missing, extra and mis-shaped keys, other networks, truncated files and pickle bombs are errors."""
    path = tmp_path / "u2net_human_seg.pth"
    with pytest.raises(ModelUnavailable, match="does not exist"):
        load_u2net(path)
    state = dict(tiny.state_dict())
    del state["side3.bias"]
    state["head.weight"] = torch.zeros(1)
    state["outconv.weight"] = torch.zeros(1, 7, 1, 1)
    torch.save(state, path)
    match = r"1 missing: side3.bias; 1 extra: head.weight; 1 mis-shaped: outconv.weight \(expected \[1, 6, 1, 1\], got"
    with pytest.raises(ModelUnavailable, match=match):
        load_u2net(path)
    others = {"no U²-Net": {"conv_in.weight": torch.zeros(4, 3, 3, 3)}, "holds a list": [torch.zeros(1)]}
    for match, other in others.items():
        torch.save(other, path)
        with pytest.raises(ModelUnavailable, match=match):
            load_u2net(path)
    torch.save(tiny.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelUnavailable, match=r"cut off|whole archive"):
        load_u2net(path)

    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    torch.save({"stage1": Bomb()}, path)
    with pytest.raises(ModelUnavailable, match="refused"):
        load_u2net(path)
    assert not (tmp_path / "executed").exists()
