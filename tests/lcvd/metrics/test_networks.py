"""FID, FVD, LPIPS, IQ and VQ with stand-ins for their networks and packages: what goes in, and what is made of it."""

import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from lcvd.errors import ModelUnavailable
from lcvd.metrics.frechet import TORCHSCRIPT, Fid, Fvd, i3d_picture, load_inception
from lcvd.metrics.image_quality import ImageQuality
from lcvd.metrics.lpips import Lpips
from lcvd.metrics.metric import Metric, Missing, Score
from lcvd.metrics.video_quality import SCALE, VideoQuality, rescaled
from tests.lcvd.metrics.synthetic_pairs import pair, request, texture


def run(metric: Metric, pairs: list) -> Score:
    assert metric.available() is None
    metric.load()
    for each in pairs:
        metric.update(each)
    score = metric.result()
    assert isinstance(score, Score), score
    return score


def clip(count: int, seed: int = 0, size: int = 48) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [texture(size, seed=int(rng.integers(1 << 30))) for _ in range(count)]


def pairs_of(results: list[np.ndarray], drivers: list[np.ndarray]) -> list:
    return [pair(i, a, b) for i, (a, b) in enumerate(zip(results, drivers, strict=True))]


def module(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> types.ModuleType:
    """An importable fake module."""
    made = types.ModuleType(name)
    made.__spec__ = types.SimpleNamespace(name=name)  # type: ignore[assignment]
    made.__path__ = []  # a package, so that it may have sub-modules
    for key, value in members.items():
        setattr(made, key, value)
    monkeypatch.setitem(sys.modules, name, made)
    return made


# ---- FID


def test_fid_of_a_brighter_clip_is_the_shift_of_its_features() -> None:
    """With the mean colour as feature, 10 levels up in all channels are 3 · 10² away; the clip itself is at 0."""

    def mean_colour(planes: np.ndarray) -> np.ndarray:
        assert planes.dtype == np.uint8
        assert planes.shape == (1, 3, 48, 48)
        return planes.mean((2, 3))

    driver = [frame.clip(0, 240) for frame in clip(5)]
    assert run(Fid(request(), mean_colour), pairs_of(driver, driver)).value == pytest.approx(0, abs=1e-6)
    brighter = [frame + np.uint8(10) for frame in driver]
    assert run(Fid(request(), mean_colour), pairs_of(brighter, driver)).value == pytest.approx(300, rel=1e-6)


def test_fid_of_one_frame_is_reported() -> None:
    """No covariance from one picture."""
    metric = Fid(request(), lambda planes: planes.mean((2, 3)))
    metric.update(pair(0, texture(), texture()))
    assert isinstance(metric.result(), Missing)


def test_fid_reads_nvidias_torchscript(tmp_path: Path) -> None:
    """The file is called with uint8 pictures and return_features, by name; another file is refused."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

    class Inception(torch.nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, img: torch.Tensor, return_features: bool = False) -> torch.Tensor:  # type: ignore[name-defined]
            assert img.dtype == torch.uint8
            return img.float().mean((2, 3)) if return_features else img.float()

    torch.jit.script(Inception()).save(str(tmp_path / TORCHSCRIPT))
    driver = [frame.clip(0, 240) for frame in clip(4)]
    score = run(Fid(request(files=(str(tmp_path),))), pairs_of([frame + np.uint8(10) for frame in driver], driver))
    assert score.value == pytest.approx(300, rel=1e-3)
    (tmp_path / TORCHSCRIPT).write_bytes(b"PK damaged")
    with pytest.raises(ModelUnavailable, match="not a TorchScript file"):
        load_inception(tmp_path / TORCHSCRIPT)


def test_fid_hands_the_published_weights_to_torch_fidelity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package gets name, features and path; a pickle that wants to run code never reaches it."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    made: list[tuple] = []

    class Extractor(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self, name: str, features: list[str], feature_extractor_weights_path: str) -> None:
            super().__init__()
            made.append((name, features, feature_extractor_weights_path))

        def forward(self, planes: torch.Tensor) -> tuple[torch.Tensor]:  # type: ignore[name-defined]
            return (planes.float().mean((2, 3)),)

    module(monkeypatch, "torch_fidelity")
    module(monkeypatch, "torch_fidelity.feature_extractor_inceptionv3", FeatureExtractorInceptionV3=Extractor)
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    torch.save({"a": torch.zeros(1)}, path)
    driver = [frame.clip(0, 240) for frame in clip(3)]
    brighter = [frame + np.uint8(10) for frame in driver]
    assert run(Fid(request(files=(str(tmp_path),))), pairs_of(brighter, driver)).value == pytest.approx(300, rel=1e-3)
    assert made == [("inception-v3-compat", ["2048"], str(path))]
    torch.save(Bomb(tmp_path / "ran"), path)
    with pytest.raises(ModelUnavailable):
        load_inception(path)
    assert not (tmp_path / "ran").exists()
    assert len(made) == 1


class Bomb:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


# ---- FVD


def test_fvd_windows_do_not_overlap_and_a_rest_is_left_out() -> None:
    """40 frames are two windows of 16 in order, [-1,1], and the distance is the shift of their features."""
    seen: list[np.ndarray] = []

    def mean_of(clips: np.ndarray) -> np.ndarray:
        assert clips.shape == (1, 3, 16, 224, 224)
        assert clips.dtype == np.float32
        seen.append(clips)
        return clips.mean((2, 3, 4)).astype(np.float64)

    driver = [np.full((60, 80, 3), 50 + 2 * i, np.uint8) for i in range(40)]
    brighter = [frame + np.uint8(51) for frame in driver]
    score = run(Fvd(request(frames=40), mean_of), pairs_of(brighter, driver))
    assert score.details["windows"] == 2
    assert score.frames == 32
    assert len(seen) == 4
    first = seen[1][0, 0, :, 0, 0]  # the driver's first window
    assert np.allclose((first + 1) * 127.5, 50 + 2 * np.arange(16), atol=1e-3)
    assert score.value == pytest.approx(3 * (51 / 127.5) ** 2, rel=1e-4)


@pytest.mark.parametrize(("height", "width"), [(48, 80), (80, 48), (224, 224), (301, 513)])
def test_fvd_pictures_are_cropped_from_the_middle(height: int, width: int) -> None:
    """224² whatever the size, and the centre stays the centre."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4] = 255
    picture = i3d_picture(rgb)
    assert picture.shape == (3, 224, 224)
    y, x = np.nonzero(picture[0] > 0)
    assert abs(y.mean() - 112) < 4
    assert abs(x.mean() - 112) < 4


def test_fvd_of_a_short_clip_is_skipped() -> None:
    """Fewer than two windows have no covariance."""
    missing = Fvd(request(frames=31)).available()
    assert missing is not None
    assert "31 frames" in missing.reason


def test_fvd_reads_the_torchscript_file(tmp_path: Path) -> None:
    """Called as StyleGAN-V does, after our own scaling."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

    class I3d(torch.nn.Module):  # type: ignore[name-defined,misc]
        def forward(
            self,
            x: torch.Tensor,
            rescale: bool = True,
            resize: bool = True,
            return_features: bool = False,  # type: ignore[name-defined]
        ) -> torch.Tensor:  # type: ignore[name-defined]
            assert not rescale
            assert not resize
            assert return_features
            return x.mean((2, 3, 4))

    torch.jit.script(I3d()).save(str(tmp_path / "i3d_torchscript.pt"))
    driver = [np.full((32, 32, 3), 100 + i, np.uint8) for i in range(32)]
    score = run(Fvd(request(frames=32, files=(str(tmp_path),))), pairs_of(driver, driver))
    assert score.value == pytest.approx(0, abs=1e-6)


# ---- LPIPS


def lpips_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package whose network has lpips's state names and whose distance is the mean absolute difference."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

    class LPIPS(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self, net: str, pnet_rand: bool, verbose: bool) -> None:
            assert (net, pnet_rand, verbose) == ("alex", True, False)  # it must not fetch AlexNet
            super().__init__()
            self.net = torch.nn.Module()
            self.net.slice1 = torch.nn.Module()
            self.net.slice1.add_module("0", torch.nn.Conv2d(3, 1, 1))

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:  # type: ignore[name-defined]
            assert a.min() >= -1
            assert a.max() <= 1
            scale = getattr(self.net.slice1, "0").weight.mean()
            return (scale * (a - b).abs()).mean().reshape(1, 1, 1, 1)

    module(monkeypatch, "lpips", LPIPS=LPIPS)
    module(monkeypatch, "torchvision")


def test_lpips_reads_alexnet_from_the_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's names become the package's; distances to the driver and between neighbours are what they are."""
    lpips_stand_in(monkeypatch)
    import torch

    state = {"features.0.weight": torch.full((1, 3, 1, 1), 2.0), "features.0.bias": torch.zeros(1)}
    torch.save({**state, "classifier.1.weight": torch.zeros(1)}, tmp_path / "alexnet-owt-7be5be79.pth")
    driver = [np.full((16, 16, 3), 100, np.uint8)] * 3
    results = [np.full((16, 16, 3), level, np.uint8) for level in (110, 130, 130)]
    score = run(Lpips(request(files=(str(tmp_path),))), pairs_of(results, driver))
    assert score.value == pytest.approx(2 * (10 + 30 + 30) / 3 / 127.5, rel=1e-5)
    assert score.details["adjacent"] == pytest.approx(2 * (20 + 0) / 2 / 127.5, rel=1e-5)


@pytest.mark.parametrize("damage", ["truncated", "other"])
def test_lpips_refuses_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    """A truncated file or another network's is an error that names the file."""
    lpips_stand_in(monkeypatch)
    import torch

    path = tmp_path / "alexnet-owt-7be5be79.pth"
    torch.save({"conv.weight": torch.zeros(1000)}, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:700])
    metric = Lpips(request(files=(str(tmp_path),)))
    assert metric.available() is None
    with pytest.raises(ModelUnavailable, match="alexnet"):
        metric.load()


# ---- IQ


def test_iq_is_the_mean_score_beside_the_drivers() -> None:
    """Pictures go in as [1,3,H,W] in [0,1]."""

    def brightness(picture: np.ndarray) -> float:
        assert picture.shape == (1, 3, 8, 8)
        assert picture.dtype == np.float32
        return float(picture.mean())

    level = lambda v: np.full((8, 8, 3), v, np.uint8)  # noqa: E731
    score = run(ImageQuality(request(), brightness), pairs_of([level(51), level(153)], [level(255)] * 2))
    assert score.value == pytest.approx(0.4)
    assert score.details["driver"] == pytest.approx(1.0)


@pytest.mark.parametrize(("mode", "lower", "good"), [("NR", False, True), ("FR", False, False), ("NR", True, False)])
def test_iq_asks_pyiqa_for_a_model_of_opinion(
    monkeypatch: pytest.MonkeyPatch, mode: str, lower: bool, good: bool
) -> None:
    """A named model is made on the CPU; one that needs a reference, or where lower is better, is refused."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

    class Model:
        metric_mode, lower_better = mode, lower

        def __call__(self, picture: torch.Tensor) -> torch.Tensor:  # type: ignore[name-defined]
            return picture.mean()[None]

    def create_metric(name: str, device: object) -> Model:
        assert name == "topiq_nr"
        assert device == torch.device("cpu")
        return Model()

    module(monkeypatch, "pyiqa", create_metric=create_metric)
    metric = ImageQuality(request(image_quality="topiq_nr"))
    frames = pairs_of([np.full((8, 8, 3), 51, np.uint8)], [np.full((8, 8, 3), 51, np.uint8)])
    if good:
        assert run(metric, frames).value == pytest.approx(0.2)
    else:
        assert metric.available() is None
        with pytest.raises(ModelUnavailable, match="topiq_nr"):
            metric.load()


# ---- VQ


def test_vq_keeps_only_the_frames_it_wants_and_rescales() -> None:
    """Frames 1, 1 and 3 of 5, in order; the published mean is ½, one deviation above is 1/(1 + 1/e)."""
    got: list[np.ndarray] = []

    def scorer(frames: np.ndarray) -> float:
        got.append(frames)
        return SCALE[0]

    frames = [np.full((4, 4, 3), i, np.uint8) for i in range(5)]
    score = run(VideoQuality(request(frames=5), np.array([1, 1, 3]), scorer), pairs_of(frames, frames))
    assert got[0][:, 0, 0, 0].tolist() == [1, 1, 3]
    assert score.value == 0.5
    assert score.frames == 2
    assert rescaled(sum(SCALE)) == pytest.approx(1 / (1 + math.exp(-1)))


OPTIONS = {
    "data": {
        "val-kv1k": {
            "args": {
                "sample_types": {"fragments": {k: 2 for k in ("fragments_h", "fragments_w", "fsize_h", "fsize_w")}},
                **{"clip_len": 8, "frame_interval": 2, "t_frag": 4, "num_clips": 1},
            }
        }
    },
    "model": {"args": {"width": 3}},
}


def test_vq_follows_the_authors_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampler, fragments, normalisation and weights reach a fake fastvqa as vqa.py gives them; repeats are equal."""
    torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    seen: dict[str, object] = {}

    class Sampler:
        def __init__(self, fsize_t: int, fragments_t: int, frame_interval: int, num_clips: int) -> None:
            seen["sampler"] = (fsize_t, fragments_t, frame_interval, num_clips)

        def __call__(self, total: int) -> np.ndarray:
            return np.sort(np.random.randint(0, total, 8))  # noqa: NPY002  (as the package does)

    def fragments(video: torch.Tensor, **options: int) -> torch.Tensor:  # type: ignore[name-defined]
        seen["options"] = options
        top = int(torch.randint(0, video.shape[-2] - 4, ()))
        return video[..., top : top + 4, :4]

    class Evaluator(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(width))

        def forward(self, views: dict) -> torch.Tensor:  # type: ignore[name-defined]
            assert views["fragments"].shape == (1, 3, 8, 4, 4)
            return (views["fragments"].mean((0, 2, 3, 4)) * self.weight).sum()

    module(monkeypatch, "fastvqa")
    module(monkeypatch, "fastvqa.datasets", FragmentSampleFrames=Sampler, get_spatial_fragments=fragments)
    module(monkeypatch, "fastvqa.models", DiViDeAddEvaluator=Evaluator)
    import json

    module(monkeypatch, "yaml", safe_load=json.loads)
    (tmp_path / "f3dvqa-b.yml").write_text(
        json.dumps(OPTIONS | {}).replace('"fsize_w": 2', '"fsize_w": 2, "aligned": 2')
    )
    torch.save({"state_dict": {"weight": torch.tensor([1.0, 0, 0])}}, tmp_path / "FAST_VQA_3D_1_1.pth")
    frames = clip(20, size=32)
    scores = [run(VideoQuality(request(frames=20, files=(str(tmp_path),))), pairs_of(frames, frames)) for _ in range(2)]
    assert scores[0] == scores[1]
    assert seen["sampler"] == (2, 4, 2, 1)
    assert seen["options"] == dict.fromkeys(("fragments_h", "fragments_w", "fsize_h", "fsize_w", "aligned"), 2)
    flat = [np.full((32, 32, 3), 182, np.uint8)] * 20  # (182 - 123.675)/58.395 = 0.9988 in red
    raw = run(VideoQuality(request(frames=20, files=(str(tmp_path),))), pairs_of(flat, flat)).details["raw"]
    assert raw == pytest.approx((182 - 123.675) / 58.395, rel=1e-5)
    torch.save({"state_dict": {"other": torch.zeros(3)}}, tmp_path / "FAST_VQA_3D_1_1.pth")
    with pytest.raises(ModelUnavailable, match="FasterVQA"):
        VideoQuality(request(frames=20, files=(str(tmp_path),))).load()
