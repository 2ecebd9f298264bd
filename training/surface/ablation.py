"""ablated takes the engine's loss apart: one part after another is replaced by the truth, on held-out rendered people.

A plain ratio image in linear light, without a limit, a grid or an edge, stands beside it on the same pictures: with the
network's normals and a robust fit of the source light, and with the truth.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.frames import Frame
from engine.protocols import StreamConfig
from engine.ratio.engine import RatioEngine, RatioStream
from engine.relighting.grid import WorkingGrid
from engine.relighting.shading import WHITE, SourceShade
from engine.relighting.surface import PersonSurface
from engine.surface.head import HeadSurface
from engine.surface.network import SurfaceNetwork
from lcvd.lighting.colour import LUMA, linear_from_srgb, srgb_from_linear
from lcvd.lighting.lighting import shading
from lcvd.lighting.sh import sh_basis
from lcvd.types import Face, FloatArray, Lighting
from training.surface.evaluate import Trial, psnr, si_psnr

LIFTED = 1.2  # a confidence at which the engine's limits hardly bind
PLAIN_LOW, PLAIN_HIGH = 0.2, 3.5
DARK = 0.02  # of the face's light: a plain ratio divides by no less


class Variant(NamedTuple):
    """Says what of the engine is replaced by the truth."""

    title: str
    network: bool = True
    normal: bool = False
    source: str = ""  # "order 2" or "pixel": true luminance of the light in the picture
    confidence: float | None = None  # everywhere on the person
    alpha: bool = False
    colour: bool = False  # the true colour of the room's light is divided out of the result, pixel by pixel


VARIANTS = (
    Variant("mesh and skin samples", network=False),
    Variant("the engine as it is"),
    Variant("its limits lifted", confidence=LIFTED),
    Variant("sure everywhere", confidence=1.0),
    Variant("true normals", normal=True),
    Variant("true source light (order 2)", source="order 2"),
    Variant("true normals and source light", normal=True, source="order 2"),
    Variant("… and limits lifted", normal=True, source="order 2", confidence=LIFTED),
    Variant("… and source light by pixel", normal=True, source="pixel", confidence=LIFTED),
    Variant("true alpha", alpha=True),
    Variant("true colour of the room's light", colour=True),
    Variant("all of it", normal=True, source="pixel", confidence=LIFTED, alpha=True, colour=True),
)


def true_source(trial: Trial, by_pixel: bool) -> FloatArray:
    """Returns the luminance [S,S] of the light in the last frame, 1 on the face's mean, or its fit of order 2."""
    light = (trial.picture.light @ LUMA / trial.level).astype(np.float32)
    if by_pixel:
        return light
    where = trial.picture.coverage > 0.95
    basis = sh_basis(trial.picture.normal[where]).astype(np.float64)
    fit = np.linalg.lstsq(basis, light[where].astype(np.float64), rcond=None)[0]
    return np.asarray(sh_basis(trial.picture.normal) @ fit, np.float32)


class _ReplacedHead(HeadSurface):
    """A head of which parts are replaced by the truth; right for the last frame of the trial alone."""

    def __init__(self, network: SurfaceNetwork, trial: Trial, variant: Variant) -> None:
        super().__init__(network)
        self._trial, self._variant = trial, variant

    def refine(
        self, rgb: NDArray[np.uint8], face: Face, surface: PersonSurface, mask: FloatArray, source: FloatArray,
        grid: WorkingGrid,
    ) -> tuple[FloatArray, SourceShade]:  # fmt: skip
        """Returns what HeadSurface does, with the variant's parts of the truth."""
        normal, shade = super().refine(rgb, face, surface, mask, source, grid)
        covered = grid.sample(self._trial.picture.coverage)
        level, confidence = shade.level, shade.confidence
        if self._variant.normal:
            true = grid.sample(self._trial.picture.normal)
            normal = normal + covered[..., None] * (true - normal)
            normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-4)
        if self._variant.source:
            true = grid.sample(true_source(self._trial, self._variant.source == "pixel"))
            level = level + covered * (true - level)
        if self._variant.confidence is not None:
            confidence = np.float32(self._variant.confidence) * np.minimum(1, 2 * covered)
        return normal.astype(np.float32), shade._replace(level=level, confidence=confidence)


def replaced(engine: RatioEngine, trial: Trial, light: Lighting, variant: Variant) -> NDArray[np.uint8]:
    """Returns the engine's picture of the last frame with the variant's parts replaced."""
    stream = engine.open(StreamConfig(lighting=light))
    assert isinstance(stream, RatioStream)
    try:
        if stream.network is not None:
            stream.heads = [_ReplacedHead(stream.network, trial, variant)]
        for index, rgb in enumerate(trial.frames):
            work = stream.prepare(Frame(index, index / 15, rgb))
            if variant.alpha and work.payload is not None:
                work = replace(work, payload=_cut_out(work.payload, trial.picture.coverage))
            if variant.colour and work.payload is not None:
                people = tuple(replace(person, room=WHITE) for person in work.payload.people)
                work = replace(work, payload=replace(work.payload, people=people))
            (out,) = stream.render(work)
    finally:
        stream.close()
    return _without_room_colour(out.rgb, trial) if variant.colour else out.rgb


def _cut_out(scene, coverage):  # type: ignore[no-untyped-def]
    """Returns a Scene whose alpha is the true coverage [S,S]."""
    alpha = cv2.resize(coverage, scene.alpha.shape[::-1], interpolation=cv2.INTER_AREA)
    coefficients = np.zeros_like(scene.coefficients)
    coefficients[..., 3], coefficients[..., 4:] = alpha, 1
    return replace(scene, alpha=alpha, coefficients=coefficients)


def _without_room_colour(rgb: NDArray[np.uint8], trial: Trial) -> NDArray[np.uint8]:
    light = np.maximum(trial.picture.light, 1e-4)
    linear = linear_from_srgb(rgb) * (light @ LUMA)[..., None] / light
    return np.round(255 * srgb_from_linear(linear)).astype(np.uint8)


def plain(
    rgb: NDArray[np.uint8], normal: FloatArray, source: FloatArray, light: Lighting, low: float, high: float
) -> NDArray[np.uint8]:
    """Returns a ratio image in linear light: `rgb` [S,S,3] times the light on `normal` [S,S,3] over `source` [S,S].

    The luminance of the gain is clipped to `low` … `high`.
    """
    gain = shading(light, normal) / np.maximum(source, DARK)[..., None]
    luma = gain @ LUMA
    gain = gain * (np.clip(luma, low, high) / np.maximum(luma, 1e-6))[..., None]
    return np.asarray(np.round(255 * srgb_from_linear(linear_from_srgb(rgb) * gain)), np.uint8)


def ablated(
    trials: Iterable[Trial], lights: Sequence[Lighting], weights: Path | None = None
) -> dict[str, dict[str, float]]:
    """Returns mean PSNR and si-PSNR (dB) within head and neck for each variant, and for harsh rooms alone."""
    network = SurfaceNetwork if weights is None else lambda: SurfaceNetwork(weights)
    engines = {False: RatioEngine(), True: RatioEngine(make_surface=network)}
    rows: dict[str, list[tuple[float, float, float]]] = {}

    def note(title: str, trial: Trial, picture: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        found, true = ((p[trial.person] / np.float32(255)).astype(np.float32) for p in (picture, truth))
        rows.setdefault(title, []).append((psnr(found, true), si_psnr(found, true), trial.harshness))

    for trial in trials:
        for light, truth in zip(lights, trial.truths, strict=True):
            note("the untouched frames", trial, trial.frames[-1], truth)
            for variant in VARIANTS:
                note(variant.title, trial, replaced(engines[variant.network], trial, light, variant), truth)
            normal = trial.picture.normal
            for title, by_pixel, low, high in (
                ("a plain ratio of the truth, gain 0.2 to 3.5", False, PLAIN_LOW, PLAIN_HIGH),
                ("a plain ratio of the truth", False, 0.0, 1e3),
                ("a plain ratio of the truth, source by pixel", True, 0.0, 1e3),
            ):
                source = true_source(trial, by_pixel)
                note(title, trial, plain(trial.frames[-1], normal, source, light, low, high), truth)
    middle = float(np.median([row[2] for row in rows["the untouched frames"]])) if rows else 0.0
    return {title: _mean(found, middle) for title, found in rows.items()}


def _mean(rows: Sequence[tuple[float, float, float]], middle: float) -> dict[str, float]:
    figures = np.array(rows)
    harsh = figures[figures[:, 2] >= middle]
    return {
        "psnr": round(float(figures[:, 0].mean()), 2), "si_psnr": round(float(figures[:, 1].mean()), 2),
        "harsh": round(float(harsh[:, 0].mean()), 2),
    }  # fmt: skip
