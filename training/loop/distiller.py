"""Distiller: the Trainee of `relight distill`. Its forward is the phased consistency loss of a student of few steps.

The teacher answers both branches and is guided with the one ω of the configuration (Eq. 6); the student answers the
full condition only, so guidance is folded in and costs nothing any more. The follower is the run's own average (ema):
the same weights that are validated and exported, so checkpoint, resume and guard are the trainer's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from lcvd.networks.adapters import Adapters
from lcvd.networks.guidance import guided
from lcvd.networks.precond import Condition, region_means
from lcvd.networks.schedule import x0_from_v
from lcvd.networks.student import ABOUT
from lcvd.sampling.conditions import joined
from lcvd.weights.load import find_weights, load_part
from lcvd.weights.location import weights_manifest
from training.config import DistillConfig, TrainConfig
from training.data.batch import Batch
from training.loop.ema import Ema
from training.loop.networks import Trainee
from training.loop.phases import Phases, distilled_target, pseudo_huber


class Distiller(Trainee):
    """The student; the teacher is beside it and no part of it (no state, no gradient, not wrapped)."""

    def __init__(
        self,
        student: Trainee,
        teacher: Trainee,  # frozen, on the same device
        config: DistillConfig,
    ) -> None:
        super().__init__(student.denoiser.unet, student.adapters, student.region)
        self.phases = Phases.of(config.sampler, config.steps[0], config.teacher_steps)
        self._teacher = (teacher.requires_grad_(False).eval(),)  # in a tuple: nn.Module would register it
        self._omega, self._huber = torch.tensor(config.omega), config.huber
        self._average: Mapping[str, Tensor] = {}

    def follow(self, ema: Ema | None) -> None:
        """The average is the follower; without one it is the student itself (Song & Dhariwal 2023)."""
        # Detached, and not the parameters: autocast would remember their casts made without gradient.
        own = {name: value.detach() for name, value in self.named_parameters()}
        self._average = own if ema is None else ema.shadow

    def forward(self, batch: Batch) -> Tensor:
        """[B,2]: loss of the whole picture and of the portrait alone, at the path's level nearest to each batch.sigma.

        Square root of the mean squares of a sequence, in x0: pseudo-Huber.
        """
        index = self.phases.index_of(batch.sigma[:, 0])
        sigma = self.phases.at(index)[0]
        x = batch.target + batch.noise * sigma.to(batch.noise)[:, None, None, None, None]
        wanted = distilled_target(
            x, index, self.phases, lambda x, s: self._guided(x, s, batch), lambda x, s: self._followed(x, s, batch)
        )
        x0 = self.denoiser.denoised(x, sigma, self.condition(batch))
        portrait = batch.portrait if self.region == "portrait" else 1 - batch.portrait
        return pseudo_huber(region_means((x0 - wanted) ** 2, portrait), self._huber)

    def _guided(self, x: Tensor, sigma: Tensor, batch: Batch) -> Tensor:
        """The teacher's x0: both branches in one call, or one where ω = 1 makes the other idle."""
        teacher = self._teacher[0]
        told = teacher.condition(batch)
        if float(self._omega) == 1.0:
            return teacher.denoiser.denoised(x, sigma, told)
        both = joined(unshaded(teacher.adapters, batch, told), told)
        v1, v2 = teacher.denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), both).chunk(2)
        v = guided(v1.flatten(0, 1), v2.flatten(0, 1), self._omega).unflatten(0, v1.shape[:2])
        return _x0(x, v, sigma)

    def _followed(self, x: Tensor, sigma: Tensor, batch: Batch) -> Tensor:
        """x0 of the averaged student."""
        adapters, denoiser = (_below(self._average, name) for name in ("adapters.", "denoiser."))
        given = {"shading": batch.shading, "reference": batch.reference, "keep": batch.keep}
        features = functional_call(self.adapters, adapters, (), given)
        if features is not None:  # as in Trainee.condition
            features = features.expand(-1, x.shape[1], -1, -1, -1)
        condition = Condition(features, batch.clip, batch.latents, batch.ids)
        return _x0(x, functional_call(self.denoiser, denoiser, (x, sigma, condition)), sigma)


def unshaded(adapters: Adapters, batch: Batch, told: Condition) -> Condition:
    """c1 of `lcvd.networks.guidance.MODES["relight"]`: the reference's features, no shading, CLIP zero."""
    features = adapters(reference=batch.reference, keep=batch.keep)
    if told.features is not None:
        # Shading has a frame each, the reference one for all.
        features = torch.zeros_like(told.features) if features is None else features.expand_as(told.features)
    return Condition(features, torch.zeros_like(told.image_embedding), told.latents, told.ids)


def load_teacher(config: TrainConfig, device: torch.device) -> Trainee:
    """UNet and adapters of the teacher's weights, float32 (accelerate mixes the precision). Raises WeightsError."""
    assert config.distill is not None
    path = config.distill.teacher or config.model.path
    assert path is not None, "checked with the configuration"
    found = find_weights(path)
    unet, adapters = (load_part(found, name, device, torch.float32) for name in ("unet", "adapters"))
    return Trainee(unet, adapters, config.region)


def manifest_notes(config: TrainConfig) -> dict[str, Any]:
    """What the manifest of a run's weights says beside its files; `lcvd.networks.student` reads it."""
    notes: dict[str, Any] = {}
    if config.model.source == "weights" and config.model.path is not None:
        # A toy's student is a toy.
        before = weights_manifest(config.model.path)
        notes |= {name: before[name] for name in ABOUT if name in before}
    notes["size"] = config.data.size  # what it was trained on last
    if config.distill is not None:
        each = config.distill
        notes["student"] = {"omega": each.omega, "steps": each.steps[0], "sampler": each.sampler}
    if config.staggered is not None and config.staggered.steps:
        notes["staggered"] = True
    return notes


def _below(values: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _x0(x: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
    return x0_from_v(x, v, sigma.to(x).reshape(-1, 1, 1, 1, 1))
