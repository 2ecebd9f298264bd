"""The colour of the light in the picture is taken from the face's skin, over time, as far as no skin has that colour.

Lamps, screens and walls tint a face beyond what a camera's white balance takes away. The ratio of wanted to present
light would leave that tint in the picture; it is divided out with the light. In a well balanced picture the colour is
white, and nothing changes (`lcvd.lighting.skin_colour`).
"""

import numpy as np
from numpy.typing import NDArray

from engine.relighting.shading import WHITE
from engine.relighting.source_light import MIN_Z, sample_triangles
from lcvd.lighting.colour import LUMA, linear_from_srgb
from lcvd.lighting.skin_colour import light_tint, tint_colour
from lcvd.types import Face, FloatArray, MeshTopology

EVERY_S, MEMORY_S = 0.25, 1.0  # between two looks, and the time constant
STEP = 3  # every third triangle is enough for a median
MIN_SAMPLES = 25
CLIPPED = 250  # code value from which a channel may be cut off
DARKEST = 0.25  # of the median brightness: what is darker is shadow or hair
DIM, BLACK = 0.02, 0.004  # median luminance below which noise and black level tint the picture: from none to all of it
MOST = 1.2  # largest tint believed, a candle's is about 1


class RoomColour:
    """Tracks the colour of the light on one face. One thread at a time may use it."""

    def __init__(self, mesh: MeshTopology) -> None:
        self._triangles = np.ascontiguousarray(sample_triangles(mesh)[::STEP])
        self.reset()

    def reset(self) -> None:
        """Go back to white."""
        self.rgb: FloatArray = WHITE  # linear, luminance 1
        self._tint: NDArray[np.float64] | None = None
        self._t_s = 0.0

    def update(self, rgb: NDArray[np.uint8], face: Face) -> FloatArray:
        """Take in the frame `rgb` [H,W,3] and return the light's colour, linear RGB [3] of luminance 1.

        A held face, or one with too few visible samples, changes nothing.
        """
        if face.held or (self._tint is not None and 0 <= face.t_s - self._t_s < EVERY_S):
            return self.rgb
        skin = _skin_colour(rgb, face, self._triangles)
        if skin is None:
            return self.rgb
        sure = np.clip((skin @ LUMA - BLACK) / (DIM - BLACK), 0, 1)
        tint = sure * light_tint(skin)
        tint *= min(1.0, MOST / max(float(np.linalg.norm(tint)), 1e-9))
        if self._tint is not None:
            keep = np.exp(-max(face.t_s - self._t_s, 0.0) / MEMORY_S)
            tint = keep * self._tint + (1 - keep) * tint
        self._tint, self._t_s = tint, face.t_s
        self.rgb = tint_colour(tint).astype(np.float32)
        return self.rgb


def _skin_colour(rgb: NDArray[np.uint8], face: Face, triangles: NDArray[np.int32]) -> NDArray[np.float64] | None:
    """Return the median colour of visible skin, linear RGB [3]; None where too little is seen.

    Medians of each channel's share, so that a medical mask or a beard over less than half of it has no say.
    """
    height, width = rgb.shape[:2]
    a, b, c = face.vertices_px[triangles.T]
    u, v = (c - a).T, (b - a).T
    z = u[0] * v[1] - u[1] * v[0]  # of their cross product: y points down in the picture
    area2 = (u * u).sum(0) * (v * v).sum(0) - (u * v).sum(0) ** 2
    x, y = ((a + b + c)[:, :2] / 3).astype(np.int64).T
    step = max(round(0.012 * face.width_px), 1)
    inside = (x >= step) & (x < width - step) & (y >= step) & (y < height - step)
    seen = inside & (z > MIN_Z * np.sqrt(np.maximum(area2, 0)))
    shift = step * np.array([(0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1)])
    codes = rgb[y[seen, None] + shift[:, 1], x[seen, None] + shift[:, 0]]
    clipped = codes.max((1, 2)) >= CLIPPED
    colours = linear_from_srgb(codes).mean(1, dtype=np.float64)[~clipped]
    if len(colours) < MIN_SAMPLES:
        return None
    light = colours @ LUMA
    level = float(np.median(light))
    bright = light > max(DARKEST * level, 1e-4)
    shares = np.median(colours[bright] / light[bright, None], axis=0)
    out: NDArray[np.float64] = level * shares
    return out
