"""lcvd.tracking.deca_encoder: published names, the forward pass, damaged and hostile files, and the whole tracker."""

import pickle
import sys
from types import ModuleType

import numpy as np
import pytest

from lcvd.errors import ModelUnavailable
from lcvd.tracking.deca import DecaTracker, face_from_code, make_tracker, split_code
from lcvd.tracking.flame_files import load_flame
from tests.lcvd.tracking.synthetic_deca import FakeLandmarker, mesh_face, numbers
from tests.lcvd.tracking.synthetic_flame import write_folder


@pytest.fixture
def torch():
    """torch, or skip."""
    return pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")


def published_keys() -> dict[str, tuple[int, ...]]:
    """Names and shapes of E_flame in deca_model.tar, from ResNet-50's table (He et al. 2015, table 1)."""
    out: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            out[f"{name}.{part}"] = (channels,)
        out[f"{name}.num_batches_tracked"] = ()

    out["encoder.conv1.weight"] = (64, 3, 7, 7)
    norm("encoder.bn1", 64)
    channels = 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], 1):
        for block in range(blocks):
            at = f"encoder.layer{stage}.{block}"
            for k, shape in enumerate([(width, channels, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)], 1):
                out[f"{at}.conv{k}.weight"] = shape
                norm(f"{at}.bn{k}", shape[0])
            if block == 0:
                out[f"{at}.downsample.0.weight"] = (4 * width, channels, 1, 1)
                norm(f"{at}.downsample.1", 4 * width)
            channels = 4 * width
    out |= {"layers.0.weight": (1024, 2048), "layers.0.bias": (1024,)}
    out |= {"layers.2.weight": (236, 1024), "layers.2.bias": (236,)}
    return out


def test_full_size_keys_and_shapes(torch):
    """The full-size encoder has exactly the published names, shapes and number of parameters."""
    from lcvd.tracking.deca_encoder import CoarseEncoder

    with torch.device("meta"):
        model = CoarseEncoder()
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == published_keys()
    # torchvision's resnet50 has 25,557,032, of which 2,049,000 are its classifier; the regressor has 2,340,076.
    assert sum(p.numel() for p in model.parameters()) == 25_557_032 - 2_049_000 + 2_340_076


@pytest.fixture
def tiny(torch):
    """A narrow encoder with random weights and running statistics."""
    from lcvd.tracking.deca_encoder import CoarseEncoder

    torch.manual_seed(0)
    model = CoarseEncoder(width=4, hidden=8)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.2)
    return model.eval()


def test_forward_equals_its_slow_twin(torch, tiny):
    """The network written out function by function from its state dict gives the same numbers in float64."""
    import torch.nn.functional as F

    tiny = tiny.double()
    s = tiny.state_dict()
    x = torch.rand(2, 3, 224, 224, dtype=torch.float64)

    def norm(y, name):
        mean, var, w, b = (s[f"{name}.{k}"][:, None, None] for k in ("running_mean", "running_var", "weight", "bias"))
        return (y - mean) / torch.sqrt(var + 1e-5) * w + b

    y = F.max_pool2d(F.relu(norm(F.conv2d(x, s["encoder.conv1.weight"], stride=2, padding=3), "encoder.bn1")), 3, 2, 1)
    for stage, blocks in enumerate([3, 4, 6, 3], 1):
        for block in range(blocks):
            at = f"encoder.layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            z = F.relu(norm(F.conv2d(y, s[f"{at}.conv1.weight"]), f"{at}.bn1"))
            z = F.relu(norm(F.conv2d(z, s[f"{at}.conv2.weight"], stride=stride, padding=1), f"{at}.bn2"))
            z = norm(F.conv2d(z, s[f"{at}.conv3.weight"]), f"{at}.bn3")
            if block == 0:
                y = norm(F.conv2d(y, s[f"{at}.downsample.0.weight"], stride=stride), f"{at}.downsample.1")
            y = F.relu(z + y)
    y = F.avg_pool2d(y, 7, 1).flatten(1)
    wanted = F.relu(y @ s["layers.0.weight"].T + s["layers.0.bias"]) @ s["layers.2.weight"].T + s["layers.2.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(tiny(x).numpy(), wanted.numpy(), rtol=1e-9, atol=1e-9)


def test_loader_reads_the_published_layout(torch, tiny, tmp_path):
    """deca_model.tar's nested dict, a flat one, fp16, and one without batch counters load to the same network."""
    from lcvd.tracking.deca_encoder import load_encoder

    state = tiny.state_dict()
    x = torch.rand(1, 3, 224, 224)
    wanted = tiny(x).detach()
    files = {
        "nested.tar": {"E_flame": state, "E_detail": {}, "D_detail": {}},
        "flat.tar": {f"E_flame.{k}": v for k, v in state.items()},
        "old.tar": {"E_flame": {k: v for k, v in state.items() if "num_batches" not in k}},
    }
    for name, saved in files.items():
        torch.save(saved, tmp_path / name)
        torch.testing.assert_close(load_encoder(tmp_path / name)(x), wanted)
    torch.save(files["nested.tar"], tmp_path / "legacy.tar", _use_new_zipfile_serialization=False)
    torch.testing.assert_close(load_encoder(tmp_path / "legacy.tar")(x), wanted)
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    torch.save({"E_flame": half}, tmp_path / "half.tar")
    torch.testing.assert_close(load_encoder(tmp_path / "half.tar")(x), wanted, atol=2e-2, rtol=2e-2)


def test_wrong_weights_are_named(torch, tiny, tmp_path):
    """Missing, extra and mis-shaped keys are counted and named; so is a file without E_flame."""
    from lcvd.tracking.deca_encoder import load_encoder

    path = tmp_path / "deca_model.tar"
    state = dict(tiny.state_dict())
    del state["encoder.bn1.weight"]
    state["encoder.fc.weight"] = torch.zeros(2)
    state["layers.2.bias"] = torch.zeros(159)
    torch.save({"E_flame": state}, path)
    match = (
        r"1 missing: encoder.bn1.weight; 1 extra: encoder.fc.weight; 1 mis-shaped: layers.2.bias \(expected \[236\], g"
    )
    with pytest.raises(ModelUnavailable, match=match):
        load_encoder(path)
    for saved, match in (
        ({"unet": {}}, "no 'E_flame'"),
        ({"E_flame": {"a": torch.zeros(1)}}, "lacks"),
        ([1], "a list"),
    ):
        torch.save(saved, path)
        with pytest.raises(ModelUnavailable, match=match):
            load_encoder(path)


def test_damaged_and_hostile_weights(torch, tiny, tmp_path):
    """A truncated file, text, no file and a pickle bomb are errors, and the bomb has not gone off."""
    from lcvd.tracking.deca_encoder import load_encoder

    path = tmp_path / "deca_model.tar"
    with pytest.raises(ModelUnavailable, match="does not exist"):
        load_encoder(path)
    torch.save({"E_flame": tiny.state_dict()}, path)
    whole = path.read_bytes()
    for damaged in (b"", b"<html>", whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(ModelUnavailable, match=r"cut off|torch file|whole archive|empty|refused"):
            load_encoder(path)

    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    for modern in (True, False):
        torch.save({"E_flame": Bomb()}, path, _use_new_zipfile_serialization=modern)
        with pytest.raises(ModelUnavailable, match="refused"):
            load_encoder(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelUnavailable, match=r"refused|torch file|cut off"):
        load_encoder(path)
    assert not (tmp_path / "executed").exists()


def test_whole_folder(torch, tiny, tmp_path, monkeypatch):
    """A folder with every file makes a tracker whose face is what network, FLAME and camera say."""
    import lcvd.tracking.mesh

    monkeypatch.setattr(lcvd.tracking.mesh, "MeshTracker", lambda: FakeLandmarker(mesh_face()))
    write_folder(tmp_path)
    with torch.no_grad():
        tiny.layers[2].weight.zero_()
        tiny.layers[2].bias.copy_(torch.from_numpy(numbers(9)))
    torch.save({"E_flame": tiny.state_dict()}, tmp_path / "deca_model.tar")
    tracker, note = make_tracker(tmp_path)
    assert isinstance(tracker, DecaTracker)
    assert "DECA and FLAME" in note
    assert "our ResNet-50" in note
    face = tracker.track(np.full((400, 500, 3), 90, np.uint8), 0.0)
    wanted = face_from_code(load_flame(tmp_path), split_code(numbers(9), tracker.code.crop), 0.0)
    np.testing.assert_allclose(face.vertices_px, wanted.vertices_px, atol=1e-2)


def test_decalib_is_used_where_it_is_installed(torch, tmp_path, monkeypatch):
    """With a decalib the weights go into its ResnetEncoder(outsize=236); with a broken one into ours."""
    from lcvd.tracking import deca_encoder

    made = []

    class ResnetEncoder(deca_encoder.CoarseEncoder):
        def __init__(self, outsize, last_op=None):
            made.append(outsize)
            super().__init__()

    modules = {name: ModuleType(name) for name in ("decalib", "decalib.models", "decalib.models.encoders")}
    modules["decalib.models.encoders"].ResnetEncoder = ResnetEncoder
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    torch.save({"E_flame": deca_encoder.CoarseEncoder().state_dict()}, tmp_path / "deca_model.tar")
    assert isinstance(deca_encoder.load_encoder(tmp_path / "deca_model.tar"), ResnetEncoder)
    assert made == [236]
    assert "decalib" in deca_encoder.encoder_source()
    monkeypatch.setitem(sys.modules, "decalib.models.encoders", None)
    assert not isinstance(deca_encoder.load_encoder(tmp_path / "deca_model.tar"), ResnetEncoder)
