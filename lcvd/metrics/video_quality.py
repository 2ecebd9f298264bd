"""VQ: quality of the clip in motion without a reference, by FasterVQA.

Wu et al. 2023, "Neighbourhood Representative Sampling for Efficient End-to-End Video Quality Assessment" (TPAMI),
through the authors' package `fastvqa`, as their `vqa.py` does it: 8 times 4 frames, spatial fragments, ImageNet
normalisation, the published logistic rescale to [0,1]. Only the sampled frames are kept. Sampling is random; its seed
is fixed here.
"""

import contextlib
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ModelUnavailable
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, Picture, Request, Score
from lcvd.metrics.weight_files import TROUBLES, every, find, first_line, require, require_package, require_torch

WEIGHTS = ("FAST_VQA_3D_1_1.pth", "FAST_VQA_3D_1*1.pth")
OPTIONS = ("f3dvqa-b.yml", "options/fast/f3dvqa-b.yml")
ORIGIN = "github.com/VQAssessment/FAST-VQA-and-FasterVQA"
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SCALE = (0.14759505, 0.03613452)  # FasterVQA's published mean and deviation of raw scores
SEED = 42
Scorer = Callable[[NDArray[np.uint8]], float]  # [T,H,W,3], the sampled frames -> raw score


def rescaled(raw: float) -> float:
    """Map FasterVQA's raw score to [0,1] by the logistic of the published standard score."""
    return 1 / (1 + math.exp(-(raw - SCALE[0]) / SCALE[1]))


class VideoQuality:
    """The metric `VQ`. `indices` and `scorer` replace the package's sampling and the network of the file."""

    info = MetricInfo(
        name="VQ",
        column="VQ",
        better="higher",
        unit="[0,1]",
        source="LCVD Tables 1, 3; FasterVQA, Wu et al. 2023, package fastvqa (vqa.py)",
        needs="torch, fastvqa (with yaml, decord), FAST_VQA_3D_1_1.pth and options/fast/f3dvqa-b.yml",
    )

    def __init__(
        self, request: Request, indices: NDArray[np.integer] | None = None, scorer: Scorer | None = None
    ) -> None:
        self._files, self._frames = request.files, request.frames
        self._indices, self._scorer = indices, scorer
        self._kept: dict[int, Picture] = {}

    def available(self) -> Missing | None:
        if self._scorer is not None:
            return None
        install = f"clone {ORIGIN} and pip install it"
        return every(
            require_torch(),
            require_package("fastvqa", install),
            require_package("yaml", "pip install pyyaml"),
            require(self._files, WEIGHTS, ORIGIN),
            require(self._files, OPTIONS, ORIGIN),
        )

    def load(self) -> None:
        if self._scorer is not None:
            return
        weights, options = find(self._files, *WEIGHTS), find(self._files, *OPTIONS)
        assert weights is not None  # available() said so
        assert options is not None
        self._indices, self._scorer = load_faster_vqa(weights, options, self._frames)

    def update(self, pair: FramePair) -> None:
        assert self._indices is not None
        if pair.index in self._indices:
            self._kept[pair.index] = pair.result

    def result(self) -> Score | Missing:
        if self._scorer is None or self._indices is None or not self._kept:
            return Missing("no frames", "give a clip with frames")
        frames = np.stack([self._kept[int(i)] for i in self._indices])
        raw = self._scorer(frames)
        return Score(rescaled(raw), len(self._kept), {"raw": raw})


def load_faster_vqa(weights: Path, options: Path, frames: int) -> tuple[NDArray[np.integer], Scorer]:
    """Return the indices of the frames it samples from a clip of `frames`, and its scorer. Raises ModelUnavailable."""
    try:
        import torch
        import yaml
        from fastvqa.datasets import FragmentSampleFrames, get_spatial_fragments
        from fastvqa.models import DiViDeAddEvaluator

        opt = yaml.safe_load(options.read_text())
        data = opt["data"]["val-kv1k"]["args"]
        # The option file moved these into the sample type in later releases.
        sample = {**data, **data["sample_types"]["fragments"]}
        pieces = int(sample.get("t_frag", 1))
        model = DiViDeAddEvaluator(**opt["model"]["args"]).eval()
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True)["state_dict"])
        sampler = FragmentSampleFrames(
            fsize_t=int(sample["clip_len"]) // pieces,
            fragments_t=pieces,
            frame_interval=int(sample.get("frame_interval", 1)),
            num_clips=int(sample.get("num_clips", 1)),
        )
        with _seeded():
            indices = np.minimum(np.asarray(sampler(frames)), frames - 1)
    except TROUBLES as error:
        raise ModelUnavailable(f"FasterVQA cannot be made: {first_line(error)}", f"compare with {ORIGIN}") from error
    spatial = {key: sample[key] for key in ("fragments_h", "fragments_w", "fsize_h", "fsize_w", "aligned")}
    clips = int(sample.get("num_clips", 1))

    def score(pictures: NDArray[np.uint8]) -> float:
        with torch.inference_mode(), _seeded():
            torch.manual_seed(SEED)
            video = torch.from_numpy(pictures).permute(3, 0, 1, 2).float()  # C T H W
            pieces = get_spatial_fragments(video, **spatial)
            mean, std = (torch.tensor(v)[:, None, None, None] for v in (MEAN, STD))
            views = ((pieces - mean) / std).reshape(3, clips, -1, *pieces.shape[2:]).transpose(0, 1)
            out = model({"fragments": views})  # some releases answer a list, one score per sample type
            return float((out[0] if isinstance(out, list) else out).mean())

    return indices, score


@contextlib.contextmanager
def _seeded():  # type: ignore[no-untyped-def]
    """Seed numpy's and Python's global generators, which the package draws from, and restore them afterwards."""
    state, other = np.random.get_state(), random.getstate()  # noqa: NPY002
    np.random.seed(SEED)  # noqa: NPY002
    random.seed(SEED)
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        random.setstate(other)
