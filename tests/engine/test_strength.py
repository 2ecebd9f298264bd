"""Strength between 0 and 1 is one linear mixture of the portrait's own light and the wanted one, live and offline."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from engine.frames import Frame
from engine.protocols import Avatar, StreamConfig
from engine.reference import mixed_lighting
from engine.relighting.shading import GAMMA_POWER, SourceShade, Surface, shade
from lcvd.hints import render_hints
from lcvd.lighting.lighting import pack, scaled, sh_projection, shading
from lcvd.lighting.presets import PRESETS, preset
from lcvd.types import DirectionalLight, Lighting
from tests.engine.avatar.synthetic_portrait import avatar_stream
from tests.engine.synthetic_person import LEFT, RIGHT, DrawnMatte, ScriptedTracker, portrait

STRENGTHS = (0.25, 0.5, 0.75)
CORNERS = tuple(product((-0.6, 0.6), (0.0, 0.6)))
CAMERA = (48, 64)
FOUR = replace(LEFT, directionals=tuple(DirectionalLight((x, y, 0.53), (0.3,) * 3) for x, y in CORNERS))


def directions(count: int = 4000) -> np.ndarray:
    n = np.random.default_rng(0).normal(size=(count, 3))
    return (n / np.linalg.norm(n, axis=1, keepdims=True)).astype(np.float32)


def mixture(of, own: Lighting, wanted: Lighting, strength: float) -> np.ndarray:
    return (1 - strength) * of(own).astype(float) + strength * of(wanted).astype(float)


@pytest.mark.parametrize("strength", [0.0, *STRENGTHS, 1.0])
@pytest.mark.parametrize("name", [each.name for each in PRESETS if each.name != "original"])
def test_a_mixture_shades_as_the_sum_of_its_lights(name: str, strength: float) -> None:
    """Of every preset over a portrait lit from the right: shade and SH projection, and nothing travels."""
    wanted = preset(name).lighting
    got = mixed_lighting(RIGHT, replace(wanted, strength=strength), strength)
    assert got.strength == 1.0
    n = directions()
    if len(wanted.directionals) < 4:
        np.testing.assert_allclose(
            shading(got, n), mixture(lambda l: shading(l, n), RIGHT, wanted, strength), atol=1e-5
        )
    np.testing.assert_allclose(sh_projection(got), mixture(sh_projection, RIGHT, wanted, strength), atol=1e-5)
    known = {light.direction for light in (*RIGHT.directionals, *wanted.directionals)}
    assert {light.direction for light in got.directionals} <= known


def test_a_fifth_light_is_kept_as_the_hints_see_it() -> None:
    """A kernel takes four: the portrait's own then counts as its SH projection."""
    got = mixed_lighting(RIGHT, FOUR, 0.5)
    assert [light.direction for light in got.directionals] == [light.direction for light in FOUR.directionals]
    np.testing.assert_allclose(sh_projection(got), mixture(sh_projection, RIGHT, FOUR, 0.5), atol=1e-5)
    pack(got)


def test_ends_are_the_lights_themselves() -> None:
    """0 is the portrait's own light and 1 the wanted one, background and sheen included; between, no jump."""
    own = replace(RIGHT, specular=0.2)
    assert repr(mixed_lighting(own, LEFT, 0.0)) == repr(own)
    assert repr(mixed_lighting(own, LEFT, 1.0)) == repr(LEFT)
    near = mixed_lighting(own, LEFT, 1e-6)
    np.testing.assert_allclose(shading(near, directions()), shading(own, directions()), atol=1e-4)
    assert near.specular == pytest.approx(own.specular, abs=1e-4)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_hints_of_lcvd_are_equal_live_and_offline(
    tiny_lcvd_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strength: float
) -> None:
    """The live stream's hints and those animate_clip gives the model, of one portrait, are the same bytes, and each is
    the linear mixture of the hints of both lights within a code value."""
    pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
    from engine.backends.eager import EagerBackend
    from engine.diffusion.engine import DiffusionEngine, DiffusionOptions
    from engine.diffusion.latency import CostModel
    from engine.offline import animate_clip as offline
    from lcvd.model import load_lcvd

    size, wanted = 64, replace(LEFT, strength=strength)
    model = load_lcvd(tiny_lcvd_folder, "cpu", "float32")
    engine = DiffusionEngine(
        lambda: EagerBackend(model),
        DiffusionOptions(size, 4),
        ScriptedTracker,
        DrawnMatte,
        measure=lambda backend, px: CostModel((0.1, 0.2), 0.01),
    )
    engine.warmup()
    face = portrait((96, 96))
    stream = engine.open(StreamConfig(wanted, avatar=Avatar(face)))
    work = next(w for i in range(4) if (w := stream.prepare(Frame(i, i / 25, np.zeros((*CAMERA, 3), np.uint8)))))
    reference = stream.reference

    given: list[Lighting] = []

    def hints(driver, square, ref, lighting, *rest):
        given.append(lighting)
        raise KeyboardInterrupt  # the model's hours are not needed

    monkeypatch.setattr(offline, "_hints", hints)
    monkeypatch.setattr(offline, "make_tracker", lambda folder, device: (ScriptedTracker(), ""))
    monkeypatch.setattr(offline, "make_matte", lambda file, device: (DrawnMatte(), ""))
    monkeypatch.setattr(offline, "_first_face", lambda reader, tracker: (face, None))
    monkeypatch.setattr(offline, "ClipReader", FakeReader)
    monkeypatch.setattr(offline, "ClipWriter", FakeWriter)
    with pytest.raises(KeyboardInterrupt):
        offline.animate_clip(
            tiny_lcvd_folder,
            face,
            tmp_path / "driver.mp4",
            tmp_path / "out.mp4",
            wanted,
            offline.PortraitOptions(size=size),
            tmp_path / "state",
        )
    offline_hint = render_hints(reference.face, given[0], (size, size)).rgb
    for live_hint in work.payload.hints:
        assert (live_hint == offline_hint).all()
    own, full = (render_hints(reference.face, each, (size, size)).rgb for each in (reference.lighting, LEFT))
    assert np.abs(own.astype(int) - full).max() > 20
    inside = (np.minimum(own, full) > 0) & (np.maximum(own, full) < 255)  # code values end there, light does not
    assert inside.sum() > 0.4 * (own > 0).sum()
    assert np.abs(offline_hint - ((1 - strength) * own + strength * full))[inside].max() <= 1.0


class FakeReader:
    """A driver whose file is never read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> "FakeReader":
        return self

    def __exit__(self, *error: object) -> None: ...


class FakeWriter:
    """A target that is never written."""

    def __init__(self, *target: object) -> None: ...

    def discard(self) -> None: ...


@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_cpu_avatars_target_is_the_same_mixture(strength: float) -> None:
    """The light of its frames is the mixture, and below the soft limit its kernel's gains are too."""
    stream = avatar_stream(replace(LEFT, strength=strength))
    try:
        own = stream.own
        work = stream.prepare(Frame(0, 0.0, np.zeros((*CAMERA, 3), np.uint8)))
    finally:
        stream.close()
    (light,) = work.lightings
    n = directions()
    shades = mixture(lambda each: shading(each, n), own, LEFT, strength)
    np.testing.assert_allclose(shading(light, n), shades, atol=1e-5)

    def target(lighting: Lighting) -> np.ndarray:
        """[3,H,W] what `shade` aims at, under a source that leaves it as it is."""
        dim = scaled(lighting, 0.25)  # below the limit, where the kernel bends the target
        facing = np.abs(n[:3600].reshape(60, 60, 3))
        zeros = np.zeros((60, 60), np.float32)
        gain = shade(
            Surface(facing, zeros, zeros, zeros + 0.2),
            SourceShade(zeros + 1, zeros),
            pack(dim),
            np.zeros((0, 60, 60), np.float32),
            1,
        )
        return gain[:3].astype(float) ** (1 / GAMMA_POWER)

    np.testing.assert_allclose(target(light), mixture(target, own, LEFT, strength), atol=1e-3)


def test_strength_goes_from_the_references_own_light_to_the_asked_one() -> None:
    """At 0 the reference's light, at 1 the asked one, in between their mixture: strength is not ignored."""
    own, asked = preset("split-left").lighting, preset("soft-front").lighting
    own_sh, asked_sh = sh_projection(own), sh_projection(asked)
    assert np.abs(own_sh - asked_sh).max() > 0.1
    for share in (0.0, 0.3, 1.0):
        got = sh_projection(mixed_lighting(own, asked, share))
        np.testing.assert_allclose(got, share * asked_sh + (1 - share) * own_sh, atol=1e-6)
