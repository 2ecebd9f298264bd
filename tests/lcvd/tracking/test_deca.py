"""lcvd.tracking.deca: the crop, the coefficients, the way back into the picture, and the choice of tracker."""

import dataclasses
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest

from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.face.geometry import face_mesh, mirror_pairs
from lcvd.hints import render_hints
from lcvd.lighting.sh import deca_from_sh, sh_from_deca, sh_from_directional
from lcvd.tracking import deca
from lcvd.tracking.deca import (
    CROP_PX,
    MESH_68,
    DecaCrop,
    DecaTracker,
    cut,
    deca_crop,
    face_from_code,
    landmarks_68,
    make_tracker,
    split_code,
)
from lcvd.tracking.flame import project
from lcvd.tracking.flame_files import load_flame
from lcvd.types import Background, Face, Lighting
from tests.lcvd.tracking.synthetic_flame import write_folder

CROP = DecaCrop(left=40.5, top=12.25, size=380)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the made-up FLAME files and no deca_model.tar."""
    out = tmp_path_factory.mktemp("deca")
    write_folder(out)
    return out


@pytest.fixture(scope="module")
def flame(folder):
    """The made-up head."""
    return load_flame(folder)


def numbers(seed: int = 0, scale: float = 8.0) -> np.ndarray:
    """236 plausible encoder outputs."""
    rng = np.random.default_rng(seed)
    out = rng.normal(0, 0.5, 236).astype(np.float32)
    out[200:206] = [0.1, -0.4, 0.05, 0.2, 0.02, 0]
    out[206:209] = [scale, 0.01, -0.02]
    return out


def mesh_face(t_s: float = 0.0, held: bool = False) -> Face:
    """A MediaPipe face looking straight ahead, 20 px a centimetre, at (250, 200)."""
    mesh = face_mesh()
    vertices = mesh.neutral * np.array([20, -20, 20], np.float32) + np.array([250, 200, 0], np.float32)
    return Face(
        t_s, mesh, vertices, np.eye(3, dtype=np.float32), np.array([250, 200, 0], np.float32), 20.0,
        mesh.neutral, np.zeros_like(mesh.neutral), 0.9, held,
    )  # fmt: skip


class FakeLandmarker:
    """Says what it is told, and counts resets."""

    def __init__(self, *faces: Face | None) -> None:
        self.faces = list(faces)
        self.resets = self.closes = 0

    def track(self, rgb, t_s):
        return self.faces.pop(0)

    def reset(self):
        self.resets += 1

    def close(self):
        self.closes += 1


# The crop


def test_box_of_68_points():
    """The square's side is 1.25 × 1.1 × the mean of the box's sides, whole pixels, around its middle."""
    points = np.array([[100, 50], [220, 60], [150, 210]], float)
    assert deca_crop(points) == DecaCrop(160 - 192 / 2, 130 - 192 / 2, int((120 + 160) / 2 * 1.1 * 1.25))


def test_cut_is_bilinear_at_the_published_points():
    """Crop pixel i shows the frame at left + i·size/223, black outside: the definition, pixel by pixel."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (60, 70, 3), np.uint8)
    crop = DecaCrop(left=-7.5, top=20.25, size=61)
    got = cut(rgb, crop)
    assert (got.shape, got.dtype) == ((3, CROP_PX, CROP_PX), np.float32)

    def at(row: int, column: int) -> np.ndarray:
        return rgb[row, column] / 255 if 0 <= row < 60 and 0 <= column < 70 else np.zeros(3)

    for i, j in [(0, 0), (5, 40), (100, 28), (147, 29), (150, 200), (223, 223), (3, 223)]:
        x, y = -7.5 + j * 61 / 223, 20.25 + i * 61 / 223
        column, row = int(np.floor(x)), int(np.floor(y))
        u, v = x - column, y - row
        top = (1 - u) * at(row, column) + u * at(row, column + 1)
        bottom = (1 - u) * at(row + 1, column) + u * at(row + 1, column + 1)
        np.testing.assert_allclose(got[:, i, j], (1 - v) * top + v * bottom, atol=1e-6)


def test_cut_equals_skimage():
    """DECA cuts with skimage's similarity and warp; ours are the same pixels."""
    transform = pytest.importorskip("skimage.transform", reason="pip install scikit-image")
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (120, 90, 3), np.uint8)
    crop = DecaCrop(left=-13.5, top=9.75, size=130)
    x, y, s = crop.left, crop.top, crop.size
    form = transform.estimate_transform(
        "similarity", np.array([[x, y], [x, y + s], [x + s, y]]), np.array([[0, 0], [0, 223], [223, 0]])
    )
    wanted = transform.warp(rgb / 255, form.inverse, output_shape=(224, 224))
    np.testing.assert_allclose(cut(rgb, crop).transpose(1, 2, 0), wanted, atol=2e-6)


@pytest.mark.parametrize("points", [np.zeros((68, 2)), np.full((68, 2), np.nan), np.zeros(68)])
def test_no_box_is_an_error(points):
    """Points that span nothing, are not finite or are no points are refused."""
    with pytest.raises(ShapeError):
        deca_crop(points)


def test_68_points_of_the_mesh():
    """The mesh's 68 points are mirror images of each other where the scheme says so, and in their anatomical order."""
    mirrored = (
        *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
        45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
        54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
    )  # fmt: skip
    pairs = mirror_pairs()
    assert [pairs[v] for v in MESH_68] == [MESH_68[k] for k in mirrored]
    points = landmarks_68(mesh_face())
    assert (np.diff(points[:17, 0]) > 0).all()  # the jaw, from picture left to right
    assert points[:, 1].argmax() == 8  # the chin is lowest (y down)
    assert points[17:27, 1].max() < points[36:48, 1].min() < points[33, 1] < points[48:68, 1].min()
    assert points[36:42, 0].max() < points[30, 0] < points[42:48, 0].min()


# Coefficients and the way back


def test_parts_in_order():
    """236 numbers are shape, texture, expression, pose, camera and nine RGB triples of light."""
    code = split_code(np.arange(236, dtype=np.float32), CROP)
    ends = [code.shape[-1], code.texture[-1], code.expression[-1], code.pose[-1], code.camera[-1], code.light[-1, -1]]
    assert ends == [99, 149, 199, 205, 208, 235]
    assert code.light.shape == (9, 3)
    assert code.light[1].tolist() == [212, 213, 214]
    with pytest.raises(ShapeError, match="159"):
        split_code(np.zeros(159, np.float32), CROP)


def test_vertices_go_back_as_deca_does(folder):
    """DECA's own way (skin, project, to crop pixels, back by the inverse similarity) gives the same vertices."""
    flame = load_flame(folder, np.float64)
    code = split_code(numbers(3), CROP)
    face = face_from_code(flame, code, 0.5, 0.8)
    vertices = flame.vertices(code.shape.astype(float), code.expression.astype(float), code.pose.astype(float))
    flat = project(vertices, code.camera.astype(float))
    crop_px = (flat[:, :2] * 0.5 + 0.5) * 224
    wanted = crop_px * CROP.size / 223 + [CROP.left, CROP.top]
    np.testing.assert_allclose(face.vertices_px[:, :2], wanted, atol=1e-3)
    np.testing.assert_allclose(face.vertices_px[:, 2], flat[:, 2] * 112 * CROP.size / 223, atol=1e-3)
    assert (face.t_s, face.score, face.held) == (0.5, 0.8, False)


def test_face_explains_its_vertices(flame):
    """vertices = scale · rotation @ (identity + expression), y flipped, + translation: what Face promises."""
    face = face_from_code(flame, split_code(numbers(4), CROP), 0.0)
    posed = face.scale_px_per_cm * (face.identity + face.expression) @ face.rotation.T
    np.testing.assert_allclose(posed * [1, -1, 1] + face.translation_px, face.vertices_px, atol=1e-3)
    np.testing.assert_allclose(face.rotation @ face.rotation.T, np.eye(3), atol=1e-6)
    assert 100 < face.width_px < 300


def test_identity_is_the_shape_alone(flame):
    """The same shape in another pose and expression has the same identity."""
    first, second = numbers(5), numbers(6)
    second[:100] = first[:100]
    faces = [face_from_code(flame, split_code(n, CROP), 0.0) for n in (first, second)]
    np.testing.assert_array_equal(faces[0].identity, faces[1].identity)
    assert np.abs(faces[0].expression - faces[1].expression).max() > 1e-3


def test_deca_light_lights_the_hint(flame):
    """A DECA light from picture left makes the left half of the FLAME hint brighter, and the hint spares the eyes."""
    code = split_code(numbers(7), CROP)
    code = dataclasses.replace(code, pose=np.zeros(6, np.float32))
    light = deca_from_sh(sh_from_directional((-1, 0, 0.5), (0.8, 0.8, 0.8)))
    face = face_from_code(flame, code, 0.0)
    lighting = Lighting("deca", (0, 0, 0), (), sh_from_deca(light), background=Background("keep"))
    hints = render_hints(face, lighting, (420, 460))
    columns = np.flatnonzero(hints.mask.any(0))
    middle = (columns[0] + columns[-1]) // 2
    left, right = hints.rgb[:, :middle][hints.mask[:, :middle]], hints.rgb[:, middle:][hints.mask[:, middle:]]
    assert left.mean() > 1.5 * right.mean()
    assert not hints.rgb[~hints.mask].any()
    rows = np.flatnonzero(hints.mask.any(1))
    inside = hints.mask[rows[0] : rows[-1], columns[0] : columns[-1]]
    assert (~inside[inside.shape[0] // 4 : inside.shape[0] // 2]).any()  # eye holes


# The tracker


def test_tracker_follows_the_landmarker(flame, folder):
    """A seen face is cut, encoded and posed; a held one is the last one held; a lost one is None; reset forgets."""
    seen = []

    def encoder(crops):
        seen.append(crops.copy())
        return numbers(8)[None]

    landmarker = FakeLandmarker(mesh_face(), mesh_face(held=True), None, mesh_face(held=True))
    tracker = DecaTracker(folder, landmarker=landmarker, flame=flame, encoder=encoder)
    rgb = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    first = tracker.track(rgb, 1.0)
    assert first.mesh is flame.mesh
    assert first.t_s == 1.0
    np.testing.assert_array_equal(seen[0][0], cut(rgb, deca_crop(landmarks_68(mesh_face()))))
    np.testing.assert_allclose(tracker.light(), sh_from_deca(numbers(8)[209:].reshape(9, 3)))
    held = tracker.track(rgb, 1.04)
    assert (held.held, held.t_s, len(seen)) == (True, 1.04, 1)
    np.testing.assert_array_equal(held.vertices_px, first.vertices_px)
    assert tracker.track(rgb, 1.5) is None
    assert tracker.light() is None
    assert tracker.track(rgb, 1.6) is not None  # nothing of ours to hold: encode it
    tracker.reset()
    tracker.close()
    assert (landmarker.resets, landmarker.closes, tracker.code) == (1, 1, None)


def test_tracker_names_missing_files(folder):
    """Without deca_model.tar the constructor says so and where it is to be had."""
    with pytest.raises(ModelUnavailable, match=r"lacks deca_model.tar") as error:
        DecaTracker(folder, landmarker=FakeLandmarker())
    assert "DECA" in error.value.hint


def test_choice_of_tracker(monkeypatch, folder, tmp_path):
    """No folder, a folder that lacks files, or no torch: the MediaPipe mesh, and the note says why."""
    import lcvd.tracking.mesh

    monkeypatch.setattr(lcvd.tracking.mesh, "MeshTracker", FakeLandmarker)
    for where, why in ((None, "no DECA folder"), (tmp_path / "absent", "not a directory"), (folder, "deca_model.tar")):
        tracker, note = make_tracker(where)
        assert isinstance(tracker, FakeLandmarker)
        assert "MediaPipe" in note
        assert why in note
    (tmp_path / "full").mkdir()
    write_folder(tmp_path / "full")
    (tmp_path / "full" / "deca_model.tar").write_bytes(b"x")
    monkeypatch.setattr(deca.importlib.util, "find_spec", lambda name: None)
    tracker, note = make_tracker(tmp_path / "full")
    assert isinstance(tracker, FakeLandmarker)
    assert "pip install 'relight-live[lcvd]'" in note


# The network (torch)


@pytest.fixture
def torch():
    """torch, or skip."""
    return pytest.importorskip("torch", reason="pip install 'relight-live[lcvd]'")


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
