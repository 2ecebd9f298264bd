"""This module draws hair: its hairline, volume, colour and beard; it paints the canvas and swells the skull.

The hairline is a field over canonical points (a line from the fringe over the temple behind the ear to the nape). Paint
and volume use the same field, so that bald texels never stand off and hairy ones never lie flat.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from lcvd.face.geometry import face_mesh
from lcvd.lighting.colour import LUMA, linear_from_srgb
from lcvd.types import FloatArray
from training.heads.canvas import around, canvas
from training.heads.noise import mix, ramp, smooth_noise
from training.heads.skull import RINGS, ring_share, skull_rings

COLOURS = np.array(
    [(24, 20, 19), (38, 28, 24), (62, 42, 31), (92, 62, 42), (128, 88, 56), (176, 134, 86), (208, 172, 120),
     (142, 66, 36), (120, 116, 112), (196, 192, 186)], np.float32
)  # fmt: skip
DARK = [0, 1, 2, 8]
DYES = np.array([(60, 80, 150), (150, 50, 110), (50, 120, 100)], np.float32)
# The hairline seen from the side: hair behind z at height y (cm), from the forehead's top to the nape.
LINE_Y = (-12.0, -6.5, -4.0, -1.0, 0.6, 2.2, 3.4, 5.0, 7.0, 8.0)
LINE_Z = (-60.0, -12.0, -8.5, -5.6, -4.2, -0.6, 0.5, 1.5, 3.4, 5.2)


@dataclass(frozen=True, slots=True, eq=False)
class Hair:
    """Describes one person's hair."""

    colour: FloatArray  # [3] linear albedo
    natural: FloatArray  # [3] of brows and beard, which are never dyed
    length_cm: float  # how far it stands off the skull; 0 = shaved
    lift_cm: float  # extra height on top
    curl: float  # 0 strands … 1 curls
    recede_cm: float  # > 0 moves the front hairline back
    fringe_cm: float  # > 0: how far it falls over the forehead
    parting: float  # x of the parting, cm; the fringe is longer on one side of it
    bald: bool
    hood_cm: float  # long hair: how far below the skull's centre it hangs
    hood_deg: float
    beard: float  # 0 none … 1 full
    moustache: float
    brow: float  # density of the brows


def random_hair(rng: np.random.Generator, tone: FloatArray) -> Hair:
    """Draws hair; `tone` [3] is the skin's.

    About one head in eight is bald, four in ten wear it long, one in four has a beard.
    """
    # A pale beard on dark skin reads as a mask at 128 px: there it grows dark or grey, dyed hair may be anything.
    natural = COLOURS[DARK] if float(tone @ LUMA) < 0.14 else COLOURS
    grown = natural[rng.integers(len(natural))] * rng.uniform(0.85, 1.2)
    dyed = rng.random()
    srgb = DYES[rng.integers(len(DYES))] if dyed < 0.05 else COLOURS[rng.integers(8)] if dyed < 0.15 else grown
    bald = bool(rng.random() < 0.12)
    long = bool(not bald and rng.random() < 0.42)
    curl = float(rng.random() < 0.35) * float(rng.uniform(0.5, 1))
    afro = bool(not long and curl > 0 and rng.random() < 0.4)
    bearded = bool(not long and rng.random() < 0.42)
    return Hair(
        colour=linear_from_srgb(np.clip(srgb / 255, 0.02, 0.85).astype(np.float32)),
        natural=linear_from_srgb(np.clip(grown / 255, 0.02, 0.85).astype(np.float32)),
        length_cm=0.0 if bald else float(rng.uniform(2.2, 4.2) if afro else rng.uniform(0.25, 1.5) + 0.4 * long),
        lift_cm=0.0 if bald or afro else float(rng.uniform(0, 1.4)),
        curl=curl,
        recede_cm=0.0 if long else float(max(rng.normal(0, 1.3), 0)),
        fringe_cm=float(rng.uniform(0.6, 3.0)) if not bald and rng.random() < 0.4 else 0.0,
        parting=float(rng.uniform(-3.5, 3.5)),
        bald=bald,
        hood_cm=float(rng.uniform(7, 28)) if long else 0.0,
        hood_deg=float(rng.uniform(88, 118)),
        beard=float(rng.uniform(0.35, 1)) if bearded else 0.0,
        moustache=float(rng.uniform(0.4, 1)) if bearded or rng.random() < 0.06 else 0.0,
        brow=float(rng.uniform(0.45, 1)),
    )


def growth(points: FloatArray, hair: Hair) -> FloatArray:
    """Returns how far behind the hairline a point [...,3] of the average head lies, cm [...]; negative on bare skin."""
    if hair.bald:
        return np.full(points.shape[:-1], -9.0, np.float32)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    behind = np.interp(y, LINE_Y, LINE_Z).astype(np.float32) - z
    side = np.abs(x)
    # Receding hair recedes more at the temples than in the middle.
    behind -= hair.recede_cm * ramp(y, 3.5, 6.5) * (0.5 + 0.8 * np.exp(-0.5 * ((side - 3.5) / 1.6) ** 2))
    if hair.fringe_cm > 0:
        # Longest away from the parting; ends at the temples, where the side line takes over.
        fall = hair.fringe_cm * (0.45 + 0.55 * ramp(np.abs(x - hair.parting), 0.2, 3.5))
        behind = np.maximum(behind, (y - (7.3 - fall)) * ramp(side, 6.8, 5.8))
    return behind.astype(np.float32)


def hair_volume(rng: np.random.Generator, hair: Hair) -> FloatArray:
    """Returns how far hair swells each vertex of the skull's rings, [RINGS,36] cm."""
    rings, _ = skull_rings(face_mesh().neutral)
    cover = ramp(growth(rings, hair), -0.1, 1.6)
    on_top = ramp(rings[..., 1], 5.0, 11.0) * ramp(rings[..., 2], -10, -2)
    # The first ring stands right behind the outline of the face: full height there would be a step.
    ease = ramp(ring_share(), 0.0, 0.14)[:, None]
    waves = smooth_noise(rng, (RINGS, 36), (5, 12) if hair.curl > 0 else (2, 5))
    bumps = 1 + (0.1 + 0.12 * hair.curl) * np.clip(waves, -1.5, 1.5)
    low = 0.45 + 0.55 * ramp(rings[..., 1], -4.0, 4.0)  # the nape is trimmed
    return (cover * ease * bumps * (hair.length_cm * low + hair.lift_cm * on_top)).astype(np.float32)


def strands(rng: np.random.Generator, hair: Hair, shape: tuple[int, int], span: tuple[float, float]) -> FloatArray:
    """Returns relative brightness [H,W] of combed (rows = along the hair) or curled hair.

    `span` is its size in cm, down and across.
    """
    curl = smooth_noise(rng, shape, (span[0] / 0.8, span[1] / 0.8))
    comb = smooth_noise(rng, shape, (span[0] / 9.0, span[1] / 0.55)) + 0.6 * smooth_noise(
        rng, shape, (span[0] / 14.0, span[1] / 1.8)
    )
    field = 0.8 * hair.curl * curl + (1 - hair.curl) * 0.8 * comb
    return np.exp(0.26 * np.clip(field, -2.2, 2.2)).astype(np.float32)


@cache
def beard_fields() -> tuple[FloatArray, FloatArray]:
    """Returns the coverage [H,W] of the canvas by a full beard and by a moustache."""
    points = canvas().points
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    side = np.abs(x)
    lips = np.hypot(side / 2.9, (y + 3.55) / 1.15)
    # Its upper edge: from the corner of the mouth out over the cheek, then up into the sideburn.
    edge = -2.5 + 0.3 * np.maximum(3.5 - side, 0) + 2.25 * np.maximum(side - 5.2, 0)
    jaw = ramp(y - edge, 0.5, -0.7) * ramp(z, -3.8, -2.4) * ramp(lips, 0.95, 1.3)
    chops = ramp(side, 5.7, 6.2) * ramp(y, 3.0, 1.6) * ramp(y, -6, -5) * ramp(z, -3.4, -2.6)
    lip = ramp(side, 3.0, 2.3) * ramp(y, -3.35, -2.95) * ramp(y, -1.7, -2.25) * ramp(z, 3.5, 4.5)
    return np.maximum(jaw, chops), lip


def paint_hair(rng: np.random.Generator, hair: Hair, bare: FloatArray) -> FloatArray:
    """Paints hair and beard over a bare head, both linear albedo [H,W,3]."""
    field = around(strands(rng, hair, (96, 288), (30.0, 56.0)))
    colour = field[..., None] * hair.colour
    image = bare
    if not hair.bald:
        edge = 0.28 * around(smooth_noise(rng, (48, 192), (12, 70)))
        # Cropped hair lets the scalp through.
        image = mix(image, colour, (0.88 if hair.length_cm < 0.5 else 1.0) * ramp(_on_canvas(hair) + edge, -0.12, 0.32))
    if hair.beard > 0 or hair.moustache > 0:
        beard, lip = beard_fields()
        cover = np.maximum(hair.beard * beard, hair.moustache * lip) * np.clip(field, 0.75, 1.15)
        image = mix(image, field[..., None] * (0.75 * hair.natural), np.clip(1.1 * cover, 0, 0.96))
    return image


def _on_canvas(hair: Hair) -> FloatArray:
    return growth(canvas().points, hair)


def paint_hood(rng: np.random.Generator, hair: Hair, shape: tuple[int, int]) -> FloatArray:
    """Paints long hair, linear albedo [H,W,3].

    Columns go round the head; hair behind the neck lies in its shade.
    """
    turn = np.linspace(-1, 1, shape[1], dtype=np.float32)
    shade = 1 - 0.65 * np.exp(-0.5 * np.square(turn / 0.38))
    return (strands(rng, hair, shape, (30.0, 40.0)) * shade)[..., None] * hair.colour
