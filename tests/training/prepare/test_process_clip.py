"""With DECA every frame of a processed clip has DECA's own light and coefficients, otherwise one light holds."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from lcvd.face.neutral import centred_face
from lcvd.face.raster import rasterize
from lcvd.hints import render_hints
from lcvd.lighting.sh import sh_from_deca
from lcvd.tracking.deca import DecaCode, DecaCrop
from lcvd.types import Lighting
from training.data.processed_clip import ProcessedClip
from training.prepare.footage import Footage
from training.prepare.image_quality import FaceStats, QualityScore
from training.prepare.process_clip import Tools, process_clip
from training.prepare.segments import RawClip
from training.prepare.settings import PrepareSettings

SIZE = (200, 240)
SETTINGS = PrepareSettings(size=64, frames=3, rate=1)


class Fixed:
    """An image quality and a matte with values that the test sets."""

    name, threshold = "fixed", 0.5

    def __init__(self, value: float = 1.0, share: float = 0.5) -> None:
        self.value, self.share, self.seen = value, share, 0

    def __call__(self, given: Sequence[FaceStats]) -> QualityScore:
        self.seen = len(given)
        return QualityScore(self.value, {"part": 0.25})

    def matte(self, rgb: np.ndarray) -> np.ndarray:
        mask = np.zeros((64, 64), np.float32)
        mask[: round(64 * self.share)] = 1
        return mask


def raw(codes: tuple[DecaCode, ...] = ()) -> RawClip:
    """Returns three frames of a smooth skin-coloured picture, with a face in the middle."""
    rgb = np.full((*SIZE, 3), (190, 150, 130), np.uint8)
    faces = tuple(replace(centred_face(SIZE, i / 25), score=0.9) for i in range(3))
    return RawClip(0, tuple(Footage(i, i / 25, rgb, False) for i in range(3)), faces, codes)


def prepared(given: RawClip, fixed: Fixed) -> ProcessedClip | str:
    tools = Tools(None, "deca", fixed.matte, fixed, rasterize, ())  # type: ignore[arg-type]
    return process_clip(given, "a", tools, SETTINGS)


def code(seed: int) -> DecaCode:
    rng = np.random.default_rng(seed)
    light = rng.normal(0, 0.1, (9, 3)).astype(np.float32)
    light[0] += 3
    sizes = (100, 50, 50, 6, 3)
    return DecaCode(*(rng.normal(size=n).astype(np.float32) for n in sizes), light, DecaCrop(0.0, 0.0, 100))


def test_with_deca_each_frame_has_its_own_light_and_code() -> None:
    """Hints are rendered under DECA's light of the same frame; coefficients are in the npz."""
    codes = tuple(code(i) for i in range(3))
    clip = prepared(raw(codes), Fixed())
    assert isinstance(clip, ProcessedClip)
    for i in range(3):
        sh = sh_from_deca(codes[i].light)
        assert np.allclose(clip.tracking["sh"][i], sh)
        assert np.array_equal(clip.tracking["deca_shape"][i], codes[i].shape)
        drawn = clip.hints[i][clip.hints[i].any(2)].astype(float).mean(0)
        whole = render_hints(raw().faces[i], Lighting("", (0, 0, 0), sh=sh), SIZE).rgb
        assert drawn == pytest.approx(whole[whole.any(2)].astype(float).mean(0), abs=2)
    assert not np.array_equal(clip.hints[0], clip.hints[1])


def test_without_deca_one_light_holds_for_the_clip() -> None:
    """The estimates' jitter does not flicker through the hints."""
    clip = prepared(raw(), Fixed())
    assert isinstance(clip, ProcessedClip)
    assert np.array_equal(clip.tracking["sh"][0], clip.tracking["sh"][2])
    assert np.array_equal(clip.hints[0], clip.hints[2])
    assert set(clip.tracking) >= {"vertices_px", "rotation", "translation_px", "scale_px_per_cm", "identity", "score"}
    assert not [name for name in clip.tracking if name.startswith("deca")]


def test_a_refused_clip_says_why() -> None:
    """Image quality comes first, with its parts; a mask without a person is refused too."""
    assert prepared(raw(), Fixed(value=0.4)) == "fixed quality 0.40 is below 0.50 (part 0.25)"
    assert prepared(raw(), Fixed(share=0.0)) == "the portrait mask covers 0% of the crop"
    dark = raw()
    black = tuple(frame._replace(rgb=np.zeros_like(frame.rgb)) for frame in dark.frames)
    said = prepared(replace(dark, frames=black), Fixed())
    assert isinstance(said, str)
    assert said.startswith("its light cannot be estimated")


def test_quality_sees_every_frame_of_the_sample() -> None:
    """FasterVQA chooses among them itself."""
    fixed = Fixed()
    prepared(raw(), fixed)
    assert fixed.seen == 3
