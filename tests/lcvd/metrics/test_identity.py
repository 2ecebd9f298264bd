"""Identity: alignment onto ArcFace's template, and embeddings by stand-in networks in all three forms."""

from pathlib import Path

import numpy as np
import pytest

from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.lighting.presets import preset
from lcvd.metrics.identity import TEMPLATE, Identity, aligned_crop, cosine, five_points, load_embedder
from lcvd.metrics.metric import Missing, Score
from lcvd.types import Face
from tests.lcvd.metrics.synthetic_pairs import drawn, face_at, pair, request, turned


def colour(crops: np.ndarray) -> np.ndarray:
    """A stand-in for ArcFace: the mean colour of the crop."""
    return crops.mean((2, 3))


def shown(face: Face, albedo: tuple[float, float, float] = (0.5, 0.3, 0.25)) -> np.ndarray:
    return drawn(face, preset("soft-front").lighting, albedo=np.array(albedo))


def marked(face: Face) -> np.ndarray:
    """A black picture with a white dot at each of the five points."""
    import cv2

    picture = np.zeros((240, 240, 3), np.uint8)
    for x, y in five_points(face):
        cv2.circle(picture, (round(float(x)), round(float(y))), 4, (255, 255, 255), -1)
    return picture


@pytest.mark.parametrize(("roll", "scale"), [(0, 9.0), (25, 6.0), (-40, 11.0)])
def test_five_points_land_on_the_template(roll: float, scale: float) -> None:
    """Whatever the head's roll and size, eyes, nose and mouth end within 5 px of ArcFace's places."""
    face = face_at(turned(0, roll), scale=scale)
    crop = aligned_crop(marked(face), face)
    assert crop.shape == (3, 112, 112)
    assert crop.dtype == np.float32
    assert crop.min() == -1
    for x, y in TEMPLATE:
        near = crop[0, round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7]
        assert near.max() > 0.9
    assert (crop > 0).mean() < 0.06  # and nowhere else is much


def test_points_of_another_mesh_are_refused() -> None:
    """FLAME's vertices have other meanings."""
    import dataclasses

    short = dataclasses.replace(face_at(), vertices_px=np.zeros((68, 3), np.float32))
    with pytest.raises(ShapeError, match="68 vertices"):
        five_points(short)


def test_cosine_of_known_vectors() -> None:
    """1, 0, -1, ½, and 0 for a zero vector instead of a division."""
    x = np.array([1.0, 0])
    assert [cosine(x, np.array(v)) for v in ([5.0, 0], [0, 2.0], [-1.0, 0], [0.0, 0])] == [1, 0, -1, 0]
    assert cosine(x, np.array([1, np.sqrt(3)])) == pytest.approx(0.5)


def test_without_reference_the_driver_is_the_person() -> None:
    """The same picture scores 1; another skin, another score; frames without a face do not count."""
    face = face_at()
    metric = Identity(request(), colour)
    assert metric.available() is None
    metric.load()
    metric.update(pair(0, shown(face), shown(face), face, face))
    metric.update(pair(1, shown(face), shown(face), None, face))
    score = metric.result()
    assert isinstance(score, Score)
    assert score.value == pytest.approx(1)
    assert score.frames == 1
    metric.update(pair(2, shown(face, (0.05, 0.1, 0.6)), shown(face), face, face))
    score = metric.result()
    assert isinstance(score, Score)
    assert score.value < 0.98
    assert score.details["least"] < score.value


def test_a_reference_replaces_the_driver() -> None:
    """Compared with the portrait, embedded once."""
    face, calls = face_at(), []

    def counted(crops: np.ndarray) -> np.ndarray:
        calls.append(len(crops))
        return colour(crops)

    portrait = shown(face, (0.05, 0.1, 0.6))
    metric = Identity(request(reference=portrait, reference_face=face), counted)
    metric.load()
    for i in range(3):
        metric.update(pair(i, portrait, shown(face), face, face))
    score = metric.result()
    assert isinstance(score, Score)
    assert score.value == pytest.approx(1)
    assert len(calls) == 4


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """No file, no face in the reference, no reference for another person."""
    assert "arcface.onnx" in Identity(request(files=(str(tmp_path),))).available().reason  # type: ignore[union-attr]
    blank = np.zeros((8, 8, 3), np.uint8)
    assert isinstance(Identity(request(reference=blank), colour).available(), Missing)
    assert "--reference" in Identity(request(person="other"), colour).available().remedy  # type: ignore[union-attr]
    (tmp_path / "arcface.pt").write_bytes(b"x")
    assert Identity(request(files=(str(tmp_path),)), colour).available() is None


def test_a_torchscript_file_runs(tmp_path: Path) -> None:
    """A tiny scripted network in ArcFace's place gives its own numbers; a damaged file is refused."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

    class Mean(torch.nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[name-defined]
            return x.mean((2, 3))

    path = tmp_path / "arcface.pt"
    torch.jit.script(Mean()).save(str(path))
    crops = np.random.default_rng(0).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)
    assert np.allclose(load_embedder(path)(crops), colour(crops), atol=1e-5)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelUnavailable, match=r"arcface\.pt"):
        load_embedder(path)


def test_an_onnx_file_runs(tmp_path: Path) -> None:
    """A one-node ONNX graph (GlobalAveragePool, written by hand) gives its own numbers; a damaged file is refused."""
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    path = tmp_path / "arcface.onnx"
    path.write_bytes(average_pool_onnx())
    crops = np.random.default_rng(0).uniform(-1, 1, (1, 3, 112, 112)).astype(np.float32)
    assert np.allclose(load_embedder(path)(crops).reshape(1, 3), colour(crops), atol=1e-5)
    path.write_bytes(b"not a model")
    with pytest.raises(ModelUnavailable, match=r"arcface\.onnx"):
        load_embedder(path)


def average_pool_onnx() -> bytes:
    """A serialised ModelProto (onnx.proto3): y = GlobalAveragePool(x), x float [1,3,112,112], opset 13, IR 8."""

    def varint(n: int) -> bytes:
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])

    def number(field: int, n: int) -> bytes:
        return varint(field << 3) + varint(n)

    def message(field: int, body: bytes) -> bytes:
        return varint(field << 3 | 2) + varint(len(body)) + body

    def value(name: bytes, shape: list[int]) -> bytes:
        dims = b"".join(message(1, number(1, side)) for side in shape)
        tensor = number(1, 1) + message(2, dims)  # elem_type FLOAT
        return message(1, name) + message(2, message(1, tensor))

    node = message(1, b"x") + message(2, b"y") + message(4, b"GlobalAveragePool")
    graph = message(1, node) + message(2, b"g")
    graph += message(11, value(b"x", [1, 3, 112, 112])) + message(12, value(b"y", [1, 3, 1, 1]))
    return number(1, 8) + message(7, graph) + message(8, message(1, b"") + number(2, 13))
