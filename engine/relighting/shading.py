"""Normals, source light and target light give each cell of the grid an RGB gain and an RGB specular term.

The gain is a ratio image (Riklin-Raviv and Shashua, "The Quotient Image", TPAMI 2001): R = S_target(n) / S_source(n)
cancels the albedo. It is soft-limited in luminance, so that colour survives, and floored, so that shadows keep a face.
A light from behind acts only at grazing normals (v², v = 1 − n_z), and on hair as a rim term that scales with the
hair's own brightness. `engine.relighting.apply` applies the result to pixels.
"""

from typing import NamedTuple

import numba
import numpy as np

from engine.relighting.apply import SPECULAR_BASE
from lcvd.lighting.colour import LUMA_B, LUMA_G, LUMA_R
from lcvd.lighting.lighting import PackedLighting
from lcvd.types import FloatArray

# A source light below this is not believed: what is darker is shadow, or paint. Where the surface network is sure of
# the light that fell somewhere, the floor and the gain's cap move to the second figures.
SOURCE_FLOOR, SURE_FLOOR = 0.15, 0.08
# A camera's white balance and its three broad sensor curves take this share of a light's colour; without it candlelight
# would leave the face a single hue.
LEAK = 0.22
GAIN_KNEE, GAIN_CAP, GAIN_FLOOR = 1.4, 2.6, 0.05
SURE_KNEE, SURE_CAP = 1.8, 4.5
SPECULAR, SHININESS = 0.24, 24
# Pixels are relit as squares of their code values, which makes the untouched picture exact. A gain for light as
# displayed (gamma 2.2) becomes a gain of squares by this power: (v² g^(2/2.2))^(1/2) = v g^(1/2.2). The kernel computes
# it by five square roots, which vectorise; a power does not.
GAMMA_POWER = 29 / 32
RIM = 1.1  # brightness of the contour under a light from behind, whatever the hair's own


class Surface(NamedTuple):
    """The surface the light falls on, one value per cell."""

    normal: FloatArray  # [H,W,3] unit, y up
    rim: FloatArray  # [H,W] 1 at the person's contour, 0 inside
    skin: FloatArray  # [H,W] 1 where the face mesh shows skin
    luma: FloatArray  # [H,W] local mean brightness of the person, squared code values


class SourceShade(NamedTuple):
    """The light that is already in the picture, one value per cell."""

    level: FloatArray  # [H,W] luminance, 1 on the middle of the face
    confidence: FloatArray  # [H,W] how sure it is there, 0 … 1: 0 keeps gains within narrow limits


def source_shade(normal: FloatArray, coefficients: FloatArray) -> SourceShade:
    """Return the light on unit normals [H,W,3] by irradiance coefficients [9] of luminance, with confidence 0."""
    level = np.empty(normal.shape[:2], np.float32)
    _source_level(normal, coefficients, level)
    return SourceShade(level, np.zeros_like(level))


def shade(
    surface: Surface, source: SourceShade, light: PackedLighting, shadows: FloatArray, amount: float
) -> FloatArray:
    """Return [6,H,W]: the RGB gain, and the RGB specular term to add per luma, all of squared code values.

    `shadows` [L,H,W], 1 = in shadow, belongs to the first L directional lights. `amount` in [0,1] fades between nothing
    (gain 1) and the whole effect.
    """
    out = np.empty((6, *surface.rim.shape), np.float32)
    _shade(
        surface.normal,
        surface.rim,
        surface.skin,
        surface.luma,
        source.level,
        source.confidence,
        light.ambient,
        light.directions,
        light.rgbs,
        light.wraps,
        light.shadows,
        light.count,
        light.sh_irradiance,
        np.float32(light.specular),
        shadows,
        np.float32(amount),
        np.float32(SPECULAR_BASE),
        out,
    )
    return out


@numba.njit(nogil=True, fastmath=True, inline="always")
def basis_dot(x, y, z, c):  # type: ignore[no-untyped-def]
    """Return Σ c_k Y_k(n) in the basis of lcvd.lighting.sh."""
    return (
        np.float32(0.2820948) * c[0]
        + np.float32(0.4886025) * (y * c[1] + z * c[2] + x * c[3])
        + np.float32(1.0925484) * (x * y * c[4] + y * z * c[5] + x * z * c[7])
        + np.float32(0.3153916) * (np.float32(3.0) * z * z - np.float32(1.0)) * c[6]
        + np.float32(0.5462742) * (x * x - y * y) * c[8]
    )


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _source_level(normal, coefficients, out):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = basis_dot(normal[i, j, 0], normal[i, j, 1], normal[i, j, 2], coefficients)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _shade(  # type: ignore[no-untyped-def]
    normal,
    rim,
    skin,
    luma,
    source,
    confidence,
    ambient,
    directions,
    rgbs,
    wraps,
    strengths,
    count,
    sh,
    specular,
    shadows,
    amount,
    base,
    out,
):
    one, zero = np.float32(1.0), np.float32(0.0)
    target = np.empty(3, np.float32)
    added = np.empty(3, np.float32)
    sh_rgb = np.ascontiguousarray(sh.T)
    lit_by_sh = False
    for k in range(9):
        for c in range(3):
            lit_by_sh = lit_by_sh or sh[k, c] != zero
    for i in range(rim.shape[0]):
        for j in range(rim.shape[1]):
            x, y, z = normal[i, j, 0], normal[i, j, 1], normal[i, j, 2]
            grazing = max(one - z, zero)
            for c in range(3):
                target[c] = ambient[c]
                added[c] = zero
                if lit_by_sh:
                    target[c] += basis_dot(x, y, z, sh_rgb[c])
            for k in range(count):
                lx, ly, lz = directions[k, 0], directions[k, 1], directions[k, 2]
                cosine = x * lx + y * ly + z * lz
                # Light from below mostly comes from a table or a screen and is broad; a hard one would blacken the
                # bridge of the nose.
                below = min(max((-ly - np.float32(0.25)) * np.float32(1.5), zero), np.float32(0.8))
                wrap = max(max(wraps[k], below), np.float32(1e-6))
                response = cosine
                if cosine < wrap:
                    response = max(cosine + wrap, zero) ** 2 / (np.float32(4.0) * wrap)
                visible = one
                if k < shadows.shape[0]:
                    visible = one - strengths[k] * (one - np.float32(0.7) * below) * shadows[k, i, j]
                # A light from behind reaches grazing surfaces only, and not the mesh's inner cheek.
                behind = min(max(-lz * np.float32(2.5), zero), one)
                response *= one + behind * (grazing * grazing * np.float32(1.6) - one)
                side = max(x * lx + y * ly, zero)
                edge = behind * rim[i, j] * side * side * (one - np.float32(0.4) * skin[i, j])
                highlight = zero
                if specular > zero and lz > np.float32(-0.2):
                    length = np.sqrt(max(np.float32(2.0) + np.float32(2.0) * lz, np.float32(1e-3)))
                    half = (x * lx + y * ly + z * (lz + one)) / length
                    if half > zero and cosine > zero:
                        highlight = np.float32(SPECULAR) * specular * half**SHININESS * skin[i, j]
                for c in range(3):
                    target[c] += rgbs[k, c] * response * visible
                    added[c] += rgbs[k, c] * (highlight * visible + edge * np.float32(RIM))
            sure = confidence[i, j]
            floor = np.float32(SOURCE_FLOOR) + sure * np.float32(SURE_FLOOR - SOURCE_FLOOR)
            lift = source[i, j] - floor
            soft = np.float32(0.02 / SOURCE_FLOOR**2) * floor * floor
            before = floor + np.float32(0.5) * (lift + np.sqrt(lift * lift + soft))
            bright = zero
            for c in range(3):
                target[c] = max(target[c], zero) / before
            bright = np.float32(LUMA_R) * target[0] + np.float32(LUMA_G) * target[1] + np.float32(LUMA_B) * target[2]
            limited = bright
            knee = np.float32(GAIN_KNEE) + sure * np.float32(SURE_KNEE - GAIN_KNEE)
            room = np.float32(GAIN_CAP) + sure * np.float32(SURE_CAP - GAIN_CAP) - knee
            if bright > knee:
                limited = knee + room * (one - np.exp(-(bright - knee) / room))
            # The specular term has the light's colour and the surface's texture, so it is given per local mean
            # brightness. Where the picture is black it is reduced: that may be the night behind the hair, and black
            # cloth reflects less.
            mean = luma[i, j]
            gloss = (mean + np.float32(0.002)) / ((mean + np.float32(0.014)) * (mean + base))
            for c in range(3):
                colour = target[c] / max(bright, np.float32(1e-4))
                colour += np.float32(LEAK) * (one - colour)
                out[c, i, j] = max(limited * colour, np.float32(GAIN_FLOOR))
                out[3 + c, i, j] = amount * added[c] * gloss
    for c in range(3):
        for i in range(out.shape[1]):
            row = out[c, i]
            for j in range(row.shape[0]):
                eighth = np.sqrt(np.sqrt(np.sqrt(row[j])))
                sixteenth = np.sqrt(eighth)
                row[j] = one + amount * (row[j] / (sixteenth * np.sqrt(sixteenth)) - one)
