"""Distiller is the TrainableModel of `relight distill`: its forward is the phased consistency loss of a student.

The teacher answers both branches and is guided with the one ω of the configuration (Eq. 6); the student answers the
full condition only, so guidance is folded in and costs nothing at inference. The target network is the run's own
average (ema): the same weights that are validated and exported, so checkpoint, resume and guard are the trainer's.
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
from training.loop.networks import TrainableModel
from training.loop.phases import Phases, distilled_target, pseudo_huber


class Distiller(TrainableModel):
    """The student; its teacher is not a submodule, so it has no state, gets no gradient and is not wrapped."""

    def __init__(
        self,
        student: TrainableModel,
        teacher: TrainableModel,  # frozen, on the same device
        config: DistillConfig,
    ) -> None:
        super().__init__(student.denoiser.unet, student.adapters, student.region)
        self.phases = Phases.of(config.sampler, config.steps[0], config.teacher_steps)
        self._teacher = (teacher.requires_grad_(False).eval(),)  # in a tuple, because nn.Module would register it
        self._omega, self._huber = torch.tensor(config.omega), config.huber
        self._average: Mapping[str, Tensor] = {}

    def use_average(self, ema: Ema | None) -> None:
        """Makes the average the target network; without an average it is the student itself (Song & Dhariwal 2023)."""
        # Detached copies, because autocast would cache casts of the parameters made without gradient.
        own = {name: value.detach() for name, value in self.named_parameters()}
        self._average = own if ema is None else ema.shadow

    def forward(self, batch: Batch) -> Tensor:
        """Returns [B,2]: the loss of the whole picture and of the portrait, at the level nearest to each batch.sigma.

        The error is the pseudo-Huber of the root mean square of a sequence, in x0.
        """
        index = self.phases.index_of(batch.sigma[:, 0])
        sigma = self.phases.at(index)[0]
        x = batch.target + batch.noise * sigma.to(batch.noise)[:, None, None, None, None]
        wanted = distilled_target(
            x, index, self.phases, lambda x, s: self._guided(x, s, batch), lambda x, s: self._target_x0(x, s, batch)
        )
        x0 = self.denoiser.denoised(x, sigma, self.condition(batch))
        portrait = batch.portrait if self.region == "portrait" else 1 - batch.portrait
        return pseudo_huber(region_means((x0 - wanted) ** 2, portrait), self._huber)

    def _guided(self, x: Tensor, sigma: Tensor, batch: Batch) -> Tensor:
        """Returns the teacher's x0: both branches in one call, or one branch where ω = 1."""
        teacher = self._teacher[0]
        condition = teacher.condition(batch)
        if float(self._omega) == 1.0:
            return teacher.denoiser.denoised(x, sigma, condition)
        both = joined(unshaded(teacher.adapters, batch, condition), condition)
        v1, v2 = teacher.denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), both).chunk(2)
        v = guided(v1.flatten(0, 1), v2.flatten(0, 1), self._omega).unflatten(0, v1.shape[:2])
        return _x0(x, v, sigma)

    def _target_x0(self, x: Tensor, sigma: Tensor, batch: Batch) -> Tensor:
        """Returns x0 of the target network."""
        adapters, denoiser = (_below(self._average, name) for name in ("adapters.", "denoiser."))
        given = {"shading": batch.shading, "reference": batch.reference, "keep": batch.keep}
        features = functional_call(self.adapters, adapters, (), given)
        if features is not None:  # as in TrainableModel.condition
            features = features.expand(-1, x.shape[1], -1, -1, -1)
        condition = Condition(features, batch.clip, batch.latents, batch.ids)
        return _x0(x, functional_call(self.denoiser, denoiser, (x, sigma, condition)), sigma)


def unshaded(adapters: Adapters, batch: Batch, condition: Condition) -> Condition:
    """Returns c1 of `lcvd.networks.guidance.MODES["relight"]`: the reference's features, no shading, CLIP zero."""
    features = adapters(reference=batch.reference, keep=batch.keep)
    if condition.features is not None:
        # Shading features differ by frame; the reference has one for all.
        features = torch.zeros_like(condition.features) if features is None else features.expand_as(condition.features)
    return Condition(features, torch.zeros_like(condition.image_embedding), condition.latents, condition.ids)


def load_teacher(config: TrainConfig, device: torch.device) -> TrainableModel:
    """Loads UNet and adapters of the teacher's weights, float32 (accelerate mixes the precision).

    Raises WeightsError.
    """
    assert config.distill is not None
    path = config.distill.teacher or config.model.path
    assert path is not None, "checked with the configuration"
    found = find_weights(path)
    unet, adapters = (load_part(found, name, device, torch.float32) for name in ("unet", "adapters"))
    return TrainableModel(unet, adapters, config.region)


def manifest_notes(config: TrainConfig) -> dict[str, Any]:
    """Returns the entries of the manifest that describe the run's weights; `lcvd.networks.student` reads them."""
    notes: dict[str, Any] = {}
    if config.model.source == "weights" and config.model.path is not None:
        # A student of demonstration weights is a demonstration too.
        before = weights_manifest(config.model.path)
        notes |= {name: before[name] for name in ABOUT if name in before}
    notes["size"] = config.data.size  # the size it was trained on last
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
