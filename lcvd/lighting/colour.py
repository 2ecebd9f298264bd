"""Colour: luminance, sRGB to linear and back, RGB of a colour temperature. Linear RGB is Rec. 709 throughout."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcvd.errors import LightError
from lcvd.types import FloatArray

LUMA_R, LUMA_G, LUMA_B = 0.2126, 0.7152, 0.0722  # of linear Rec. 709 / sRGB; scalars, for compiled kernels
LUMA = np.array([LUMA_R, LUMA_G, LUMA_B])
NEUTRAL_K = 6500.0
TEMPERATURE_RANGE_K = (1667.0, 25000.0)


def luminance(rgb: ArrayLike) -> float:
    """Return the relative luminance of one linear RGB [3]."""
    return float(np.asarray(rgb, np.float64) @ LUMA)


def rgb_tuple(values: ArrayLike) -> tuple[float, float, float]:
    """Convert [3] to plain floats, as Lighting holds them."""
    r, g, b = np.asarray(values, np.float64)
    return float(r), float(g), float(b)


def linear_from_srgb(srgb: ArrayLike) -> FloatArray:
    """sRGB [...] uint8, or float in [0,1] -> linear float32 [...] in [0,1] (IEC 61966-2-1)."""
    s = np.asarray(srgb)
    if s.dtype == np.uint8:
        return _LINEAR_FROM_BYTE[s]
    return _decode(np.clip(s, 0, 1)).astype(np.float32)


def srgb_from_linear(linear: ArrayLike) -> FloatArray:
    """Linear [...] -> sRGB float32 [...] in [0,1], clipped (IEC 61966-2-1)."""
    x = np.clip(np.asarray(linear, np.float32), 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.power(x, 1 / 2.4) - 0.055).astype(np.float32)


def _decode(s: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(s <= 0.04045, s / 12.92, np.power((s + 0.055) / 1.055, 2.4))


_LINEAR_FROM_BYTE = _decode(np.arange(256) / 255).astype(np.float32)


def rgb_from_temperature_k(temperature_k: float) -> NDArray[np.float64]:
    """Linear RGB [3] of a Planckian radiator relative to 6500 K, luminance 1; 6500 K gives (1, 1, 1).

    Chromaticity from the cubic fit of Kim et al. (US patent 7024034 B2, 2006), good from 1667 to 25000 K, then
    XYZ → linear sRGB (IEC 61966-2-1), divided by 6500 K's and scaled back to luminance 1. Raises LightError.
    """
    low, high = TEMPERATURE_RANGE_K
    if not low <= temperature_k <= high:
        raise LightError(f"temperature_k: {temperature_k}", f"a number from {low:g} to {high:g}")
    ratio = np.maximum(_planckian_rgb(float(temperature_k)) / _planckian_rgb(NEUTRAL_K), 0)
    return ratio / (ratio @ LUMA)


# x and y of red, green, blue and white, in OpenEXR's order (ITU-R BT.709-6, section 1).
REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
# Bradford's cone responses (Lam, "Metamerism and Colour Constancy", 1985).
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def xyz_from_rgb(chromaticities: ArrayLike) -> NDArray[np.float64]:
    """Matrix [3,3] of linear RGB with these primaries and white [8] → XYZ, white at Y = 1 (SMPTE RP 177-1993).

    Raises LightError for primaries that span no colours.
    """
    xy = np.asarray(chromaticities, np.float64).reshape(4, 2)
    if not np.isfinite(xy).all() or (np.abs(xy[:, 1]) < 1e-6).any():  # y below 0 is legal: ACES' blue
        raise LightError(f"chromaticities: {xy.ravel().tolist()}", "x and y of red, green, blue and white, no y of 0")
    columns = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(1)) / xy[:, 1]])
    primaries, white = columns[:, :3], columns[:, 3]
    if abs(np.linalg.det(primaries)) < 1e-6:
        raise LightError(f"chromaticities: {xy.ravel().tolist()}", "three primaries that are not on one line")
    return np.asarray(primaries * np.linalg.solve(primaries, white), np.float64)


def rec709_from(chromaticities: ArrayLike) -> NDArray[np.float64]:
    """Matrix [3,3] of linear RGB with these primaries and white → linear Rec. 709; white stays white (Bradford)."""
    return np.asarray(np.linalg.solve(xyz_from_rgb(REC709), _adapted(xyz_from_rgb(chromaticities))), np.float64)


def rec709_from_xyz() -> NDArray[np.float64]:
    """Matrix [3,3] of XYZ with the equal-energy white, as Radiance keeps it → linear Rec. 709; white stays white."""
    return np.asarray(np.linalg.solve(xyz_from_rgb(REC709), _adapted(np.eye(3))), np.float64)


def _adapted(xyz_from: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix to XYZ, with its white moved to Rec. 709's."""
    source, target = (_BRADFORD @ matrix.sum(1) for matrix in (xyz_from, xyz_from_rgb(REC709)))
    return np.asarray(np.linalg.solve(_BRADFORD, np.diag(target / source) @ _BRADFORD) @ xyz_from, np.float64)


_RGB_FROM_XYZ = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
)


def _planckian_rgb(t: float) -> NDArray[np.float64]:
    k = 1000 / t
    if t <= 4000:
        x = ((-0.2661239 * k - 0.2343589) * k + 0.8776956) * k + 0.179910
    else:
        x = ((-3.0258469 * k + 2.1070379) * k + 0.2226347) * k + 0.240390
    if t <= 2222:
        y = ((-1.1063814 * x - 1.34811020) * x + 2.18555832) * x - 0.20219683
    elif t <= 4000:
        y = ((-0.9549476 * x - 1.37418593) * x + 2.09137015) * x - 0.16748867
    else:
        y = ((3.0817580 * x - 5.87338670) * x + 3.75112997) * x - 0.37001483
    return _RGB_FROM_XYZ @ np.array([x / y, 1.0, (1 - x - y) / y])
