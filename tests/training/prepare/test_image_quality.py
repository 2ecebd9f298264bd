"""Each part of the image quality falls with its own fault, the threshold separates good from spoilt clips."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from lcvd.errors import ModelUnavailable
from training.prepare.image_quality import BASIC_THRESHOLD, BasicImageQuality, FaceStats, FasterVqa, make_image_quality

FACE = (160, 90, 350, 330)


def face_stats(rgb: np.ndarray, source: np.ndarray | None = None) -> FaceStats:
    return FaceStats(rgb, FACE, rgb if source is None else source, (0, 0))


def value(rgb: np.ndarray) -> float:
    return BasicImageQuality()([face_stats(rgb)]).value


def test_a_good_portrait_passes(portrait: np.ndarray) -> None:
    """The sample portrait is above the threshold in every part."""
    score = BasicImageQuality()([face_stats(portrait)] * 16)
    assert score.value >= BASIC_THRESHOLD
    assert set(score.parts) == {"detail", "sharpness", "exposure", "clean"}


@pytest.mark.parametrize(
    ("part", "spoil"),
    [
        ("sharpness", lambda rgb: cv2.GaussianBlur(rgb, (0, 0), 4)),
        ("clean", lambda rgb: cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 6])[1], 1)),
        ("exposure", lambda rgb: np.clip(rgb.astype(int) * 4, 0, 255).astype(np.uint8)),
        ("exposure", lambda rgb: rgb // 12),
    ],
)
def test_trouble_lowers_its_part_below_the_threshold(
    portrait: np.ndarray, part: str, spoil: Callable[[np.ndarray], np.ndarray]
) -> None:
    """A blurred, blocky, burnt or black picture fails, and the part names the reason."""
    before, after = (BasicImageQuality()([face_stats(rgb)]).parts[part] for rgb in (portrait, spoil(portrait)))
    assert after < BASIC_THRESHOLD < before


def test_blur_lowers_the_score_step_by_step(portrait: np.ndarray) -> None:
    """More blur is never better."""
    values = [value(cv2.GaussianBlur(portrait, (0, 0), sigma)) for sigma in (0.5, 1, 1.5, 2, 3)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 0.2


def test_pixels_that_had_to_be_invented_cost_detail(portrait: np.ndarray) -> None:
    """A crop enlarged four times has a quarter of the detail."""
    small = cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA)
    assert BasicImageQuality()([face_stats(portrait, small)]).parts["detail"] == pytest.approx(0.25)


def test_the_block_grid_begins_where_the_codec_began(portrait: np.ndarray) -> None:
    """A square cut at an odd place still has its blocks found."""
    blocky = cv2.imdecode(cv2.imencode(".jpg", portrait, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], 1)
    cut = np.ascontiguousarray(blocky[5:, 3:])
    true, wrong = (
        BasicImageQuality()([FaceStats(portrait, FACE, cut, corner)]).parts["clean"] for corner in ((3, 5), (0, 0))
    )
    assert true < wrong


def test_faster_vqa_without_its_files_is_told_or_replaced(tmp_path: Path) -> None:
    """By name its absence is an error with a remedy; auto falls back to the score without weights."""
    with pytest.raises(ModelUnavailable, match="FasterVQA") as caught:
        make_image_quality("faster-vqa", [tmp_path], 16)
    assert "basic" in caught.value.hint
    assert make_image_quality("auto", [tmp_path], 16).name == "basic"
    with pytest.raises(ValueError, match="vmaf"):
        make_image_quality("vmaf", [], 16)


def test_faster_vqa_scores_the_frames_it_asks_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its indices choose the crops, and its raw score is put on [0,1] as published."""
    (tmp_path / "FAST_VQA_3D_1_1.pth").touch()
    (tmp_path / "f3dvqa-b.yml").touch()
    seen = []

    def load(weights: Path, options: Path, frames: int) -> tuple[np.ndarray, Callable[[np.ndarray], float]]:
        assert (weights.name, options.name, frames) == ("FAST_VQA_3D_1_1.pth", "f3dvqa-b.yml", 4)
        return np.array([0, 2, 3]), lambda pictures: float(seen.append(pictures) or 0.14759505)

    monkeypatch.setattr("lcvd.metrics.video_quality.load_faster_vqa", load)
    faces = [face_stats(np.full((8, 8, 3), i, np.uint8)) for i in range(4)]
    score = FasterVqa((str(tmp_path),), 4)(faces)
    assert score.value == pytest.approx(0.5)
    assert seen[0][:, 0, 0, 0].tolist() == [0, 2, 3]
