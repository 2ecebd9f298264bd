"""Validation measures the loss by σ on held-out clips, always with the same noise, and relights some for a picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from lcvd.model import LcvdModel
from lcvd.networks.schedule import few_step_sigmas
from lcvd.sampling.pipeline import relight_frames
from training.config import SyntheticConfig, TrainConfig
from training.data.batch import make_row
from training.data.dataset import ClipDataset
from training.data.dropout import ConditionMask
from training.data.encoder import FrozenEncoder
from training.data.sample import TrainingClip
from training.data.synthetic import HELD_OUT, HeadSource, SyntheticHeads
from training.loop.networks import TrainableModel

SLOTS = 2**40  # first slot of validation clips, beyond those of any training run


@dataclass(frozen=True, slots=True, eq=False)
class ValidationReport:
    """Holds the result of one validation; losses are means over the clips."""

    loss: float
    by_sigma: dict[str, float]
    psnr: float | None = None  # dB, of the whole pictures against the truth
    psnr_reference: float | None = None  # dB, of the reference standing still against the truth
    grid: NDArray[np.uint8] | None = field(default=None, repr=False)


class Validation:
    """Holds the clips of one run's validations."""

    def __init__(self, config: TrainConfig, encoder: FrozenEncoder) -> None:
        self._config, self._encoder = config, encoder
        distill = config.distill
        # A student is validated with its own levels, as it will be used.
        self._sigmas = None if distill is None else few_step_sigmas(distill.sampler, distill.steps[0]).tolist()
        self.clips = held_out_clips(config)

    @torch.no_grad()
    def measure(self, trainable: TrainableModel, model: LcvdModel) -> ValidationReport:
        """Measures with every condition given.

        `model` holds the same networks as `trainable`, which is left in training mode.
        """
        config = self._config.validation
        trainable.eval()
        bands: dict[str, list[float]] = {f"{sigma:g}": [] for sigma in config.sigmas}
        for number, clip in enumerate(self.clips):
            for sigma, band in zip(config.sigmas, bands.values(), strict=True):
                row = make_row(
                    clip,
                    SLOTS + number,
                    self._config,
                    self._encoder,
                    model.device,
                    condition_mask=ConditionMask(1.0, 1.0, 1.0, 1.0),
                    sigma=sigma,
                )
                band.append(float(trainable(row).sum()))
        by_sigma = {name: float(np.mean(values)) for name, values in bands.items()}
        shown = [self._relit(clip, model) for clip in self.clips[: config.grid]]
        trainable.train()
        if not shown:
            return ValidationReport(float(np.mean(list(by_sigma.values()))), by_sigma)
        return ValidationReport(
            loss=float(np.mean(list(by_sigma.values()))),
            by_sigma=by_sigma,
            psnr=float(np.mean([_psnr(clip.frames[1:], relit) for clip, relit in shown])),
            psnr_reference=float(np.mean([_psnr(clip.frames[1:], clip.reference[None]) for clip, _ in shown])),
            grid=sample_grid([clip for clip, _ in shown], [relit for _, relit in shown]),
        )

    def _relit(self, clip: TrainingClip, model: LcvdModel) -> tuple[TrainingClip, NDArray[np.uint8]]:
        config = self._config.validation
        frames = relight_frames(
            model,
            clip.reference,
            clip.hints[0],
            clip.hints[1:],
            clip.masks[0].astype(np.float32) / 255.0,
            steps=config.steps,
            omega=config.omega if self._sigmas is None else 1.0,
            sigmas=self._sigmas,
        )
        return clip, np.stack(list(frames))


def held_out_clips(config: TrainConfig) -> list[TrainingClip]:
    """Returns synthetic heads that no run trains on, under another light than the reference's; or prepared clips.

    Raises ConfigError, DataError.
    """
    data, count = config.data, config.validation.clips
    folders = config.validation.folders or data.folders
    if folders and (config.validation.folders or data.synthetic is None):
        dataset = ClipDataset(folders)
        dataset.expect(data.frames, data.size)
        return [dataset.load(i, np.random.default_rng([0, i])) for i in islice(_spread(len(dataset), count), count)]
    heads = data.synthetic or SyntheticConfig()
    source = HeadSource(count, HELD_OUT, data.frames, data.size, heads.cache, facekit=heads.facekit)
    filmed = SyntheticHeads(source, data.frames)
    return [filmed.clip(i, side=1, pair=True, reference=0) for i in range(count)]


def sample_grid(clips: Sequence[TrainingClip], relit: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Returns a picture with the middle and the last frame of each clip as rows: reference, hint, relit, truth."""
    rows = []
    for clip, made in zip(clips, relit, strict=True):
        last = len(made)
        for f in sorted({(last + 1) // 2, last}):
            rows.append(np.concatenate([clip.reference, clip.hints[f], made[f - 1], clip.frames[f]], axis=1))
    return np.concatenate(rows)


def _psnr(truth: NDArray[np.uint8], picture: NDArray[np.uint8]) -> float:
    error = float(np.mean((truth.astype(np.float32) - picture.astype(np.float32)) ** 2))
    return 10 * math.log10(255.0**2 / max(error, 1e-10))


def _spread(length: int, count: int) -> Sequence[int]:
    """Returns `count` indices spread over the whole length, at most all."""
    return [i * length // min(count, length) for i in range(min(count, length))]
