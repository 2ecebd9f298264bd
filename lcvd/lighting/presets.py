"""Named studio lights in gallery order, `original` first. Data only; the formulas are in `lcvd.lighting.lighting`.

'left' is the left of the picture. Angles are azimuth (0 camera, +90 right, ±180 behind) and elevation. Exposure is
balanced so that switching never overexposes: soft-front shows about 1 over a frontal face, dramatic lights keep a lit
side of 1.1 to 1.75 and a dark side of at least 0.12 (tests/lcvd/lighting/test_presets.py).
"""

from dataclasses import dataclass

from lcvd.errors import LightError
from lcvd.lighting.lighting import direction_from_angles, rgb_from_temperature_k
from lcvd.types import Background, DirectionalLight, Lighting

Rgb = tuple[float, float, float]
_DIMMED = Background("dim", 0.7)


@dataclass(frozen=True, slots=True, eq=False)
class Preset:
    """A Preset is one named light of the gallery."""

    name: str  # kebab-case; the wire and command line name
    title: str
    description: str  # one line for people
    lighting: Lighting


def _colour(level: float, temperature_k: float) -> Rgb:
    r, g, b = level * rgb_from_temperature_k(temperature_k)
    return float(r), float(g), float(b)


def _directional(
    azimuth_deg: float, elevation_deg: float, level: float | Rgb, k: float, wrap: float, shadow: float = 0.0
) -> DirectionalLight:
    rgb = level if isinstance(level, tuple) else _colour(level, k)
    return DirectionalLight(direction_from_angles(azimuth_deg, elevation_deg), rgb, wrap, shadow)


def _preset(
    name: str,
    title: str,
    description: str,
    ambient: Rgb,
    *directionals: DirectionalLight,
    specular: float = 0.2,
    background: Background = _DIMMED,
) -> Preset:
    return Preset(name, title, description, Lighting(name, ambient, directionals, None, specular, 1.0, background))


def _mirrored(preset: Preset, name: str, title: str, description: str) -> Preset:
    """Exchange left and right of a preset."""
    light = preset.lighting
    directionals = tuple(
        DirectionalLight((-d.direction[0], d.direction[1], d.direction[2]), d.rgb, d.wrap, d.shadow)
        for d in light.directionals
    )
    return _preset(
        name, title, description, light.ambient_rgb, *directionals, specular=light.specular, background=light.background
    )


_ORIGINAL = Preset(
    "original",
    "Original",
    "The picture as the camera sees it.",
    Lighting("original", (1.0, 1.0, 1.0), (), None, 0.0, 0.0, Background("keep", 1.0)),
)
_REMBRANDT_LEFT = _preset(
    "rembrandt-left",
    "Rembrandt left",
    "One lamp high on the left; a triangle of light on the far cheek.",
    _colour(0.13, 6500),
    _directional(-42, 36, 1.5, 5200, 0.12, 0.9),
    _directional(25, 10, 0.09, 7000, 0.9),
    specular=0.3,
    background=Background("dim", 0.55),
)
_SPLIT_LEFT = _preset(
    "split-left",
    "Split left",
    "One lamp from the left: half the face in light, half in shade.",
    _colour(0.12, 6500),
    _directional(-78, 10, 1.66, 5600, 0.12, 0.8),
    _directional(35, 15, 0.06, 7000, 0.9),
    specular=0.3,
    background=Background("dim", 0.5),
)
_LOOP_LEFT = _preset(
    "loop-left",
    "Loop left",
    "A lamp a little left and above: gentle shape, a small shadow beside the nose.",
    _colour(0.3, 6200),
    _directional(-33, 30, 0.95, 5600, 0.3, 0.6),
    _directional(55, 5, 0.12, 6500, 0.7),
    specular=0.25,
)
_WINDOW_LEFT = _preset(
    "window-left",
    "Window left",
    "A tall window on the left on a bright day: wide, cool and soft.",
    _colour(0.18, 6200),
    _directional(-70, 16, 1.5, 7200, 0.6, 0.35),
    _directional(60, -5, 0.1, 4800, 0.9),
    background=Background("dim", 0.75),
)

PRESETS: tuple[Preset, ...] = (
    _ORIGINAL,
    _preset(
        "soft-front",
        "Soft front",
        "A large softbox just above the camera: even and flattering.",
        _colour(0.4, 6500),
        _directional(0, 22, 0.68, 6000, 0.7, 0.15),
        background=Background("dim", 0.85),
    ),
    _preset(
        "three-point",
        "Studio three-point",
        "Key from the left, fill from the right, a hair light from behind.",
        _colour(0.22, 6500),
        _directional(-42, 30, 0.92, 5600, 0.35, 0.55),
        _directional(48, 8, 0.34, 6500, 0.7),
        _directional(155, 35, 0.9, 6000, 0.1),
        specular=0.3,
        background=Background("dim", 0.6),
    ),
    _LOOP_LEFT,
    _mirrored(
        _LOOP_LEFT,
        "loop-right",
        "Loop right",
        "A lamp a little right and above: gentle shape, a small shadow beside the nose.",
    ),
    _REMBRANDT_LEFT,
    _mirrored(
        _REMBRANDT_LEFT,
        "rembrandt-right",
        "Rembrandt right",
        "One lamp high on the right; a triangle of light on the far cheek.",
    ),
    _SPLIT_LEFT,
    _mirrored(
        _SPLIT_LEFT,
        "split-right",
        "Split right",
        "One lamp from the right: half the face in light, half in shade.",
    ),
    _preset(
        "butterfly",
        "Butterfly",
        "A lamp high in front: cheekbones, and a small shadow under the nose.",
        _colour(0.24, 6500),
        _directional(0, 48, 1.34, 5600, 0.15, 0.85),
        _directional(0, -35, 0.14, 6000, 0.8),
        specular=0.35,
        background=Background("dim", 0.6),
    ),
    _preset(
        "rim",
        "Rim",
        "Two lamps from behind draw the outline; the face stays low.",
        _colour(0.3, 7000),
        _directional(-128, 22, 1.5, 6000, 0.3, 0.2),
        _directional(128, 22, 1.5, 6000, 0.3, 0.2),
        _directional(0, 20, 0.2, 6500, 0.8),
        specular=0.4,
        background=Background("dim", 0.4),
    ),
    _WINDOW_LEFT,
    _mirrored(
        _WINDOW_LEFT,
        "window-right",
        "Window right",
        "A tall window on the right on a bright day: wide, cool and soft.",
    ),
    _preset(
        "overcast",
        "Overcast",
        "A white sky: soft from above, hardly a shadow.",
        _colour(0.42, 7000),
        _directional(0, 68, 0.62, 7200, 0.95, 0.15),
        _directional(0, 5, 0.18, 7000, 0.9),
        specular=0.05,
        background=Background("lit", 0.85),
    ),
    _preset(
        "golden-hour",
        "Golden hour",
        "A low warm sun from the right, a blue sky opposite.",
        _colour(0.24, 9000),
        _directional(54, 16, 1.45, 3100, 0.2, 0.6),
        _directional(-140, 30, 0.7, 3200, 0.4),
        specular=0.25,
        background=Background("dim", 0.75),
    ),
    _preset(
        "candle",
        "Candle",
        "One small flame, low and very warm, in a dark room.",
        _colour(0.15, 5000),
        _directional(-36, -12, 1.3, 2700, 0.45, 0.3),
        _directional(30, 5, 0.1, 3600, 0.9),
        specular=0.3,
        background=Background("dim", 0.35),
    ),
    _preset(
        "moonlight",
        "Moonlight",
        "Cold and high from the right, deep in the night.",
        _colour(0.14, 11000),
        _directional(48, 46, 0.85, 12000, 0.15, 0.7),
        specular=0.25,
        background=Background("dim", 0.35),
    ),
    _preset(
        "neon",
        "Neon two-tone",
        "Magenta tube on the left, cyan tube on the right.",
        (0.13, 0.11, 0.19),
        _directional(-66, 6, (1.55, 0.16, 0.95), 6500, 0.35, 0.3),
        _directional(66, 6, (0.08, 0.85, 1.25), 6500, 0.35, 0.3),
        specular=0.45,
        background=Background("dim", 0.4),
    ),
    _preset(
        "under-light",
        "Under-light",
        "A lamp from below, as round a camp fire or a laptop at night.",
        _colour(0.16, 7500),
        _directional(0, -50, 1.4, 5000, 0.5, 0.2),
        _directional(0, 15, 0.14, 7000, 0.9),
        specular=0.2,
        background=Background("dim", 0.4),
    ),
)

_BY_NAME = {p.name: p for p in PRESETS}


def preset(name: str) -> Preset:
    """Return the preset of this name. Raises LightError with the legal names."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise LightError(f"light: no preset {name!r}", "one of " + ", ".join(_BY_NAME)) from None
