"""Person mask: rgb → [h,w] in [0,1], by MediaPipe's selfie segmentation on LiteRT (Apache-2.0).

Two networks: 144×256 for wide frames, 256×256 for the others; the one whose shape is nearer squeezes the picture less.
Frames far from both (a phone held upright) are laid into the square whole, so that nobody is squashed.
The mask covers the whole frame at the network's own resolution; edge-aware upsampling is the engine's business.
"""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.tracking.crop import require_rgb
from lcvd.tracking.litert import LiteRtNetwork
from lcvd.tracking.models import model_path
from lcvd.types import FloatArray

WIDE_ASPECT = 1.3  # 4:3 goes to the wide network: as good there (1.33 of squeeze either way) and 1.7 × faster
TALL_ASPECT = 0.7  # narrower than this is laid into the square instead of stretched over it


class SelfieMatte:
    """Matte (protocol) for one stream. Not for two threads at once. Raises ModelUnavailable."""

    def __init__(self, *, directory: Path | None = None, cache_dir: Path | None = None, download: bool = True) -> None:
        find = partial(model_path, directory=directory, cache_dir=cache_dir, download=download)
        self._wide = LiteRtNetwork(find("selfie_landscape"))
        self._square = LiteRtNetwork(find("selfie_square"))

    def __call__(self, rgb: NDArray[np.uint8]) -> FloatArray:
        """Mask float32 [h,w] of rgb uint8 [H,W,3], 1 = person. Raises ShapeError."""
        require_rgb(rgb)
        aspect = rgb.shape[1] / rgb.shape[0]
        net = self._wide if aspect >= WIDE_ASPECT else self._square
        inner = net.width if aspect >= TALL_ASPECT else max(8, round(net.width * aspect))
        small: NDArray = _shrink(rgb, inner, net.height)
        left = (net.width - inner) // 2
        if inner < net.width:
            small = cv2.copyMakeBorder(small, 0, 0, left, net.width - inner - left, cv2.BORDER_REPLICATE)
        (mask,) = net(small)
        cut = mask.reshape(net.height, net.width)[:, left : left + inner]
        return np.clip(cut, 0, 1)


def _shrink(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    # Area averaging where the frame is much larger: bilinear would skip pixels and the mask would crawl.
    much = rgb.shape[1] > 1.5 * width or rgb.shape[0] > 1.5 * height
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if much else cv2.INTER_LINEAR)  # type: ignore[return-value]
