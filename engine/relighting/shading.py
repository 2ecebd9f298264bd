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
from lcvd.lighting.colour import LUMA, LUMA_B, LUMA_G, LUMA_R
from lcvd.lighting.lighting import PackedLighting
from lcvd.types import FloatArray

# A source light below this is not believed: what is darker is shadow, or paint. Where the surface network is sure of
# the light that fell somewhere, the floor and the gain's cap move to the second figures, as far as noise allows.
SOURCE_FLOOR, SURE_FLOOR = 0.15, 0.04
# A camera's white balance and its three broad sensor curves take this share of a lamp's colour; without it candlelight
# would leave the face a single hue. An environment is a picture as a camera takes it.
LEAK = 0.22
GAIN_KNEE, GAIN_CAP, GAIN_FLOOR = 1.4, 2.6, 0.05
SURE_KNEE, SURE_CAP = 2.5, 7.0
# Noise in code values of 255: up to the first a sure light is believed whole, from the second on by LEAST_SURE.
QUIET, NOISY, LEAST_SURE = 2.0, 8.0, 0.3
SPECULAR, SHININESS = 0.24, 24
# Pixels are relit as squares of their code values, which makes the untouched picture exact. A gain for light as
# displayed (gamma 2.2) becomes a gain of squares by this power: (v² g^(2/2.2))^(1/2) = v g^(1/2.2). The kernel computes
# it by five square roots, which vectorise; a power does not.
GAMMA_POWER = 29 / 32
WHITE = np.ones(3, np.float32)
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
    surface: Surface,
    source: SourceShade,
    light: PackedLighting,
    shadows: FloatArray,
    amount: float,
    noise: float = 0.0,
    room: FloatArray = WHITE,
) -> FloatArray:
    """Return [6,H,W]: the RGB gain, and the RGB specular term to add per luma, all of squared code values.

    `shadows` [L,H,W], 1 = in shadow, belongs to the first L directional lights. `amount` in [0,1] fades between nothing
    (gain 1) and the whole effect. `noise` is the camera's, in code values of 255: it narrows the gain's limits. `room`
    [3] is the colour of the light in the picture, linear RGB of luminance 1: `source` is divided by in this colour.
    """
    sure = 1 - (1 - LEAST_SURE) * min(max((noise - QUIET) / (NOISY - QUIET), 0.0), 1.0)
    out = np.empty((6, *surface.rim.shape), np.float32)
    grey, per_room = LUMA.astype(np.float32), 1 / room
    _shade(
        surface.normal,
        surface.rim,
        surface.skin,
        surface.luma,
        source.level,
        source.confidence,
        np.float32(sure),
        per_room * (light.ambient + np.float32(LEAK) * (light.ambient @ grey - light.ambient)),
        light.directions,
        light.rgbs,
        per_room * (light.rgbs + np.float32(LEAK) * ((light.rgbs @ grey)[:, None] - light.rgbs)),
        light.wraps,
        light.shadows,
        light.count,
        per_room * light.sh_irradiance,
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
    believed,
    ambient,
    directions,
    rgbs,
    leaky,
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
    height, width = rim.shape
    sh_rgb = np.ascontiguousarray(sh.T)
    lit_by_sh = False
    for k in range(9):
        for c in range(3):
            lit_by_sh = lit_by_sh or sh[k, c] != zero
    line = np.empty((5, width), np.float32)  # the normal's x, y, z; brightness as wanted, and within limits
    x, y, z, bright, limited = line[0], line[1], line[2], line[3], line[4]
    unshadowed = np.zeros(width, np.float32)
    for i in range(height):
        for j in range(width):
            x[j], y[j], z[j] = normal[i, j, 0], normal[i, j, 1], normal[i, j, 2]
        for c in range(3):
            target = out[c, i]
            for j in range(width):
                target[j] = ambient[c]
                out[3 + c, i, j] = zero
            if lit_by_sh:
                for j in range(width):
                    target[j] += basis_dot(x[j], y[j], z[j], sh_rgb[c])
        for k in range(count):
            shadow = shadows[k, i] if k < shadows.shape[0] else unshadowed
            _add_directional(
                line, rim[i], skin[i], shadow, directions[k], rgbs[k], leaky[k], wraps[k], strengths[k], specular,
                i, out,
            )  # fmt: skip
        for j in range(width):
            sure = believed * confidence[i, j]
            floor = np.float32(SOURCE_FLOOR) + sure * np.float32(SURE_FLOOR - SOURCE_FLOOR)
            lift = source[i, j] - floor
            soft = np.float32(0.02 / SOURCE_FLOOR**2) * floor * floor
            inverse = one / (floor + np.float32(0.5) * (lift + np.sqrt(lift * lift + soft)))
            r, g, b = max(out[0, i, j], zero), max(out[1, i, j], zero), max(out[2, i, j], zero)
            out[0, i, j], out[1, i, j], out[2, i, j] = r * inverse, g * inverse, b * inverse
            bright[j] = inverse * (np.float32(LUMA_R) * r + np.float32(LUMA_G) * g + np.float32(LUMA_B) * b)
        for j in range(width):  # alone, since the exponential is no vector's work
            sure = believed * confidence[i, j]
            knee = np.float32(GAIN_KNEE) + sure * np.float32(SURE_KNEE - GAIN_KNEE)
            limited[j] = bright[j]
            if bright[j] > knee:
                room = np.float32(GAIN_CAP) + sure * np.float32(SURE_CAP - GAIN_CAP) - knee
                limited[j] = knee + room * (one - np.exp(-(bright[j] - knee) / room))
        for c in range(3):
            row, added = out[c, i], out[3 + c, i]
            for j in range(width):
                colour = row[j] / max(bright[j], np.float32(1e-4))
                gain = max(limited[j] * colour, np.float32(GAIN_FLOOR))
                eighth = np.sqrt(np.sqrt(np.sqrt(gain)))
                sixteenth = np.sqrt(eighth)
                row[j] = one + amount * (gain / (sixteenth * np.sqrt(sixteenth)) - one)
                # The specular term has the light's colour and the surface's texture, so it is given per local mean
                # brightness. Where the picture is black it is reduced: that may be the night behind the hair, and
                # black cloth reflects less.
                mean = luma[i, j]
                gloss = (mean + np.float32(0.002)) / ((mean + np.float32(0.014)) * (mean + base))
                added[j] *= amount * gloss


@numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _add_directional(  # type: ignore[no-untyped-def]
    line, rim, skin, shadow, direction, rgb, leaky, wide, strength, specular, i, out
):  # fmt: skip
    """Add one light to row `i` of `out` [6,H,W]: what it gives surfaces, and its specular and rim terms."""
    one, zero = np.float32(1.0), np.float32(0.0)
    lx, ly, lz = direction[0], direction[1], direction[2]
    # Light from below mostly comes from a table or a screen and is broad; a hard one would blacken the bridge of the
    # nose.
    below = min(max((-ly - np.float32(0.25)) * np.float32(1.5), zero), np.float32(0.8))
    wrap = max(max(wide, below), np.float32(1e-6))
    fourth = one / (np.float32(4.0) * wrap)
    dark = strength * (one - np.float32(0.7) * below)
    # A light from behind reaches grazing surfaces only, and not the mesh's inner cheek.
    behind = min(max(-lz * np.float32(2.5), zero), one)
    shine = np.float32(SPECULAR) * specular if lz > np.float32(-0.2) else zero
    per_half = one / np.sqrt(max(np.float32(2.0) + np.float32(2.0) * lz, np.float32(1e-3)))
    for j in range(rim.shape[0]):
        x, y, z = line[0, j], line[1, j], line[2, j]
        cosine = x * lx + y * ly + z * lz
        wrapped = max(cosine + wrap, zero)
        response = wrapped * wrapped * fourth if cosine < wrap else cosine
        visible = one - dark * shadow[j]
        grazing = max(one - z, zero)
        response *= one + behind * (grazing * grazing * np.float32(1.6) - one)
        side = max(x * lx + y * ly, zero)
        edge = behind * rim[j] * side * side * (one - np.float32(0.4) * skin[j])
        half = max((cosine + z) * per_half, zero) if cosine > zero else zero
        highlight = shine * half**SHININESS * skin[j]
        diffuse, extra = response * visible, highlight * visible + edge * np.float32(RIM)
        out[0, i, j] += leaky[0] * diffuse
        out[1, i, j] += leaky[1] * diffuse
        out[2, i, j] += leaky[2] * diffuse
        out[3, i, j] += rgb[0] * extra
        out[4, i, j] += rgb[1] * extra
        out[5, i, j] += rgb[2] * extra
