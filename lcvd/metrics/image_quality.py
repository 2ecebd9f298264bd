"""IQ: quality of single frames without a reference, by a model of the pyiqa toolbox.

The paper's IQ column lies between 1.2 and 3.1. The paper does not name the model (docs/evaluate.md); the
range suggests the five-point scale of opinion scores, so the default is Q-Align (Wu et al. 2024,
ICML), and any other pyiqa model can be named. pyiqa fetches weights itself; the default runs only where they are
already in the Hugging Face cache.
"""

from collections.abc import Callable

import numpy as np

from lcvd.errors import ModelUnavailable
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Picture, Request, RunningMean, Score
from lcvd.metrics.weight_files import TROUBLES, every, first_line, require_package, require_torch
from lcvd.types import FloatArray

DEFAULT = "qalign"
DEFAULT_HUB = "q-future/one-align"
Scorer = Callable[[FloatArray], float]  # [1,3,H,W] in [0,1] -> score


class ImageQuality:
    """The metric `IQ`. `scorer` replaces pyiqa's model."""

    info = MetricInfo(
        name="IQ",
        column="IQ",
        better="higher",
        unit="opinion score",
        source="LCVD Tables 1, 3, 4, 5 (model assumed: Q-Align, Wu et al. 2024); package pyiqa",
        needs="torch, pyiqa and its model (default qalign: q-future/one-align in the Hugging Face cache)",
    )

    def __init__(self, request: Request, scorer: Scorer | None = None) -> None:
        self._name = request.image_quality
        self._scorer = scorer
        self._result, self._driver = RunningMean(), RunningMean()

    def available(self) -> Missing | None:
        if self._scorer is not None:
            return None
        missing = every(require_torch(), require_package("pyiqa", "pip install pyiqa"))
        if missing is not None or self._name != DEFAULT:
            return missing
        missing = require_package("huggingface_hub", "pip install huggingface-hub")
        if missing is None and not _cached(DEFAULT_HUB):
            return Missing(
                f"{DEFAULT_HUB} is not in the Hugging Face cache",
                f"huggingface-cli download {DEFAULT_HUB} (16 GB), or name a smaller model with --image-quality",
            )
        return missing

    def load(self) -> None:
        if self._scorer is not None:
            return
        try:
            import pyiqa
            import torch

            model = pyiqa.create_metric(self._name, device=torch.device("cpu"))
        except TROUBLES as error:
            raise ModelUnavailable(
                f"pyiqa cannot make {self._name}: {first_line(error)}", "pyiqa.list_models() names what it has"
            ) from error
        if model.metric_mode != "NR" or model.lower_better:
            raise ModelUnavailable(
                f"pyiqa's {self._name} needs a reference or has lower = better", "name a no-reference model"
            )

        def score(picture: FloatArray) -> float:
            with torch.inference_mode():
                return float(model(torch.from_numpy(picture)))

        self._scorer = score

    def update(self, pair: FramePair) -> None:
        assert self._scorer is not None
        self._result.add(self._scorer(_tensor(pair.result)))
        self._driver.add(self._scorer(_tensor(pair.driver)))

    def result(self) -> Score | Missing:
        if not self._result.count:
            return Missing("no frames", "give a clip with frames")
        return Score(self._result.mean, self._result.count, {"std": self._result.std, "driver": self._driver.mean})


def _cached(repository: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repository, "config.json"), str)


def _tensor(rgb: Picture) -> FloatArray:
    return np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32)[None] / np.float32(255)
