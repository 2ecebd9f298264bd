"""Person mask: rgb → [256,256] in [0,1], by MediaPipe's multiclass selfie segmentation on LiteRT (Apache-2.0).

The network tells background, hair, body skin, face skin, clothes and others (what a person wears or holds) apart; the
person is all but the first. Twenty times the work of lcvd.matting.selfie, and it is right where that one takes a flag
or a bright wall for the person: for a look now and then.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcvd.tracking.crop import require_rgb, shrink
from lcvd.tracking.litert import LiteRtNetwork
from lcvd.tracking.models import model_path
from lcvd.types import FloatArray


class MulticlassMatte:
    """Matte (protocol). Not for two threads at once.

    `directory`, `cache_dir` and `download` are those of `lcvd.tracking.models.model_path`. Raises ModelUnavailable.
    """

    def __init__(self, *, directory: Path | None = None, cache_dir: Path | None = None, download: bool = True) -> None:
        path = model_path("selfie_multiclass", directory=directory, cache_dir=cache_dir, download=download)
        self._network = LiteRtNetwork(path)

    def __call__(self, rgb: NDArray[np.uint8]) -> FloatArray:
        """Mask float32 [256,256], stretched over rgb uint8 [H,W,3] of any shape, 1 = person. Raises ShapeError."""
        require_rgb(rgb)
        (logits,) = self._network(shrink(rgb, self._network.width, self._network.height))
        # 1 − softmax of the background: e^(others − background) summed, s / (1 + s).
        odds = np.exp(np.clip(logits[0, ..., 1:] - logits[0, ..., :1], -30, 30)).sum(-1)
        return (odds / (1 + odds)).astype(np.float32)
