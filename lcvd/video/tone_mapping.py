"""High dynamic range and wide gamut become BT.709: RGB code values of 16 bits in, display-ready bytes out.

HLG and PQ (ITU-R BT.2100-2) are turned into light on a display of 1,000 cd/m², pressed into the 100 cd/m² of a BT.1886
display by the EETF of ITU-R BT.2390-11 §5.4.1 applied to the largest of R, G, B, and brought to BT.709's primaries.
Light up to 30 cd/m² keeps its brightness; HDR's reference white, 203 cd/m² (BT.2408), gets 95 % of the code range.
Standard range in BT.2020's or P3's primaries changes its primaries alone.
"""

from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Transfer = Literal["hlg", "pq", "sdr"]
Primaries = Literal["bt709", "bt2020", "p3"]

PEAK_NITS, SDR_NITS = 1000.0, 100.0
HLG_GAMMA = 1.2  # BT.2100's system gamma of a display of 1,000 cd/m²
SDR_GAMMA = 2.4  # BT.1886
STEPS = 8192  # of tables over the square root of light: a quarter of a level at the darkest step

# Chromaticities (x, y) of red, green and blue; all have the white of D65.
_CHROMATICITIES: dict[Primaries, tuple[tuple[float, float], ...]] = {
    "bt709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)


class Mapping(NamedTuple):
    """Holds the tables of one kind of video."""

    light: NDArray[np.float32]  # [65536] code value → light; HLG: scene light, else in units of the SDR white
    ootf: NDArray[np.float32]  # [STEPS] √(scene luminance) → factor to display light in units of the SDR white
    gain: NDArray[np.float32]  # [STEPS] √(largest of RGB / peak) → factor that presses it into [0,1]
    peak: float  # largest light there can be, in units of the SDR white
    code: NDArray[np.uint8]  # [STEPS] √(light) → byte
    matrix: NDArray[np.float32]  # [3,3] BT.709 from the video's primaries
    weights: NDArray[np.float32]  # [3] luminance of the video's primaries


def to_bt709(codes: NDArray[np.uint16], transfer: Transfer, primaries: Primaries) -> NDArray[np.uint8]:
    """Return display-ready BT.709 RGB [H,W,3] of `codes` [H,W,3], full range of 16 bits."""
    out = np.empty(codes.shape, np.uint8)
    _map(codes.reshape(-1, 3), out.reshape(-1, 3), *_mapping(transfer, primaries))
    return out


def hlg_scene_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scene light in [0,1] of an HLG signal in [0,1] (BT.2100-2, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def pq_nits(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cd/m² of a PQ signal in [0,1] (BT.2100-2, table 4)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal ** (1 / m2)
    return 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def pq_signal(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the PQ signal of cd/m², the inverse of `pq_nits`."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = (nits / 10_000) ** m1
    return ((c1 + c2 * root) / (1 + c3 * root)) ** m2


def pressed_nits(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `nits` of a display of PEAK_NITS as SDR_NITS show them: BT.2390's EETF, both blacks 0."""
    top = float(pq_signal(np.asarray(PEAK_NITS)))
    e1 = np.minimum(pq_signal(nits) / top, 1.0)
    most = float(pq_signal(np.asarray(SDR_NITS))) / top
    knee = 1.5 * most - 0.5
    t = np.clip((e1 - knee) / (1 - knee), 0.0, 1.0)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    return pq_nits(np.where(e1 < knee, e1, spline) * top)


def rgb_to_xyz(primaries: Primaries) -> NDArray[np.float64]:
    """Return the matrix [3,3] from linear RGB to CIE XYZ, white at Y = 1."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in _CHROMATICITIES[primaries]]).T
    x, y = _D65
    return columns * np.linalg.solve(columns, np.array([x / y, 1.0, (1 - x - y) / y]))


@cache
def _mapping(transfer: Transfer, primaries: Primaries) -> Mapping:
    codes = np.arange(65536) / 65535
    steps = (np.arange(STEPS) / (STEPS - 1)) ** 2
    xyz = rgb_to_xyz(primaries)
    ootf, gain, peak = np.ones(STEPS), np.ones(STEPS), PEAK_NITS / SDR_NITS
    if transfer == "hlg":
        light = hlg_scene_light(codes)
        ootf = peak * np.maximum(steps, 1e-9) ** (HLG_GAMMA - 1)
    elif transfer == "pq":
        light = np.minimum(pq_nits(codes), PEAK_NITS) / SDR_NITS
    else:
        light, peak = codes**SDR_GAMMA, 1.0
    if transfer != "sdr":
        nits = np.maximum(steps, 1e-9) * PEAK_NITS
        gain = pressed_nits(nits) / nits
    code = np.round(255 * steps ** (1 / SDR_GAMMA))
    matrix = np.linalg.solve(rgb_to_xyz("bt709"), xyz)
    f = np.float32
    return Mapping(
        light.astype(f), ootf.astype(f), gain.astype(f), peak, code.astype(np.uint8), matrix.astype(f), xyz[1].astype(f)
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _map(codes, out, light, ootf, gain, peak, code, matrix, weights):  # type: ignore[no-untyped-def]
    last = np.float32(ootf.shape[0] - 1)
    zero, one = np.float32(0), np.float32(1)
    to_peak = np.float32(1 / peak)
    for i in range(codes.shape[0]):
        r, g, b = light[codes[i, 0]], light[codes[i, 1]], light[codes[i, 2]]
        luminance = min(weights[0] * r + weights[1] * g + weights[2] * b, one)
        factor = ootf[int(np.sqrt(luminance) * last)] if peak > 1 else one
        largest = min(max(r, g, b) * factor * to_peak, one)
        factor *= gain[int(np.sqrt(largest) * last + np.float32(0.5))]
        r, g, b = r * factor, g * factor, b * factor
        red = matrix[0, 0] * r + matrix[0, 1] * g + matrix[0, 2] * b
        green = matrix[1, 0] * r + matrix[1, 1] * g + matrix[1, 2] * b
        blue = matrix[2, 0] * r + matrix[2, 1] * g + matrix[2, 2] * b
        # A colour outside BT.709 goes towards the grey of its luminance until it is inside: clipping turns hues.
        y = min(weights[0] * r + weights[1] * g + weights[2] * b, one)
        low, high = min(red, green, blue), max(red, green, blue)
        keep = one
        if low < zero:
            keep = y / (y - low) if y > zero else zero
        if high > one and high > y:
            keep = min(keep, (one - y) / (high - y))
        out[i, 0] = code[int(np.sqrt(min(max(y + (red - y) * keep, zero), one)) * last + np.float32(0.5))]
        out[i, 1] = code[int(np.sqrt(min(max(y + (green - y) * keep, zero), one)) * last + np.float32(0.5))]
        out[i, 2] = code[int(np.sqrt(min(max(y + (blue - y) * keep, zero), one)) * last + np.float32(0.5))]
