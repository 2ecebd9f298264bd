"""AdversarialDistiller is the TrainableModel of `relight distill` with [distill.adversarial]; Opponent trains heads.

SF-V (Zhang et al. 2024, arXiv 2406.04324): the student starts as the teacher's UNet and predicts x0 of a clip in one
step from its noisiest level. It is held to the clip by a pseudo-Huber loss, and to what clips look like by the
discriminator, which sees both with one more noise on them. The student's own steps leave the heads as they are (its
forward uses detached copies), and the heads' step gets detached features, so each player moves alone.
"""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.func import functional_call

from lcvd.networks.precond import region_means
from training.adversarial.discriminator import Discriminator, Pair, encoder_channels, lognormal, noised
from training.adversarial.heads import Heads
from training.adversarial.losses import hinge_generator
from training.config import AdversarialConfig, TrainConfig
from training.data.batch import Batch, slot_generator
from training.loop.networks import TrainableModel
from training.loop.phases import pseudo_huber

SEED_OFFSET = 2  # of the discriminator's noise, beside that of clips (0) and of the references' augmentation (1)


class AdversarialDistiller(TrainableModel):
    """The student; the frozen encoder and the heads are not submodules, so they are not wrapped or exported with it."""

    terms = ("ldm", "portrait", "adversarial")

    def __init__(self, student: TrainableModel, teacher: TrainableModel, config: TrainConfig) -> None:
        super().__init__(student.denoiser.unet, student.adapters, student.region)
        assert config.distill is not None
        assert config.distill.adversarial is not None
        self._given: AdversarialConfig = config.distill.adversarial
        self._huber, self._seed = config.distill.huber, config.seed
        self._teacher = (teacher.requires_grad_(False).eval(),)  # in a tuple, because nn.Module would register it
        denoiser = teacher.denoiser
        embedding = int(denoiser.unet.svd.config["cross_attention_dim"])
        heads = Heads(encoder_channels(denoiser), embedding, self._given.width, config.seed)
        device = next(denoiser.parameters()).device
        self._discriminator = (Discriminator(heads, self._given.r1).to(device),)
        self._pairs: list[Pair] = []

    @property
    def discriminator(self) -> Discriminator:
        """Returns the trained heads with their loss."""
        return self._discriminator[0]

    def take_pair(self) -> Pair:
        """Returns what the encoder saw in the last forward of training; each pair is given once."""
        return self._pairs.pop()

    def forward(self, batch: Batch) -> Tensor:
        """Returns [B,3]: pseudo-Huber loss of the whole picture and of the portrait, and the weighted adversarial loss.

        In evaluation it is [B,2]: what a hinge loss says depends on the heads and cannot be compared between steps.
        """
        sigma = batch.sigma[:, 0]
        x0 = self.denoiser.denoised(noised(batch.target, batch.noise, sigma), sigma, self.condition(batch))
        portrait = batch.portrait if self.region == "portrait" else 1 - batch.portrait
        held = pseudo_huber(region_means((x0 - batch.target) ** 2, portrait), self._huber)
        if not self.training:
            return held
        adversarial = hinge_generator(self._judged(x0, batch))
        return torch.cat([held, self._given.weight * adversarial[:, None]], 1)

    def _judged(self, x0: Tensor, batch: Batch) -> list[Tensor]:
        """Returns the logits of the generated clips, and keeps the features for the heads' own step."""
        sigma, noise = self._noise(batch)
        teacher = self._teacher[0]
        with torch.no_grad():
            condition = teacher.condition(batch)
            real = teacher.denoiser.encoded(noised(batch.target, noise, sigma), sigma, condition)
        fake = teacher.denoiser.encoded(noised(x0, noise, sigma), sigma, condition)
        self._pairs = [Pair(real, [level.detach() for level in fake], batch.clip)]
        heads = self.discriminator.heads
        still = {name: value.detach() for name, value in heads.named_parameters()}
        logits: list[Tensor] = functional_call(heads, still, (fake, batch.clip))
        return [each.float() for each in logits]

    def _noise(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Draws (σ [B], noise [B,F,4,h,w]) that both clips of a pair get; it depends on (seed, slot) only."""
        sigmas, noises = [], []
        for slot in batch.slots:
            generator = slot_generator(self._seed + SEED_OFFSET, slot)
            sigmas.append(lognormal(self._given.p_mean, self._given.p_std, generator))
            noises.append(torch.randn(batch.target.shape[1:], generator=generator))
        return torch.tensor(sigmas, device=batch.target.device), torch.stack(noises).to(batch.target)


@dataclass(frozen=True, slots=True)
class OpponentReport:
    """Holds the numbers of one step of the heads; means over the clips of all processes."""

    loss: float
    hinge: float
    r1: float  # before its weight
    real: float  # mean logit
    fake: float
    grad_norm: float


class Opponent:
    """Trains the heads: one step after each of the student's, on the same clips. accelerate saves it with the run."""

    def __init__(self, model: AdversarialDistiller, lr: float, clip_norm: float, accelerator: Accelerator) -> None:
        self._model, self._clip, self._accelerator = model, clip_norm, accelerator
        # No momentum of the gradient, as is usual for discriminators (Karras et al. 2020, StyleGAN2, App. B).
        optimizer = torch.optim.AdamW(model.discriminator.parameters(), lr=lr, betas=(0.0, 0.99), weight_decay=0.0)
        self.wrapped: nn.Module
        self.wrapped, self._optimizer = accelerator.prepare(model.discriminator, optimizer)
        self._seen: list[Tensor] = []

    def accumulate(self) -> None:
        """Runs the heads forward and backward on the pair of the student's last forward."""
        pair = self._model.take_pair()
        values: Tensor = self.wrapped(pair.real, pair.fake, pair.embedding)
        self._accelerator.backward(values[0])
        self._seen.append(values.detach())

    def clipped_norm(self) -> float:
        """Clips the gradient and returns its norm before that."""
        norm = self._accelerator.clip_grad_norm_(self.wrapped.parameters(), self._clip)
        return float("nan") if norm is None else float(norm)

    def step(self, norm: float, update: bool) -> OpponentReport:
        """Steps the optimizer, unless this step is skipped, and forgets the gradient."""
        if update:
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        mean = self._accelerator.reduce(torch.stack(self._seen).mean(0), "mean")
        self._seen = []
        loss, hinge, r1, real, fake = mean.tolist()
        return OpponentReport(loss, hinge, r1, real, fake, norm)


def opponent_of(model: TrainableModel, config: TrainConfig, accelerator: Accelerator) -> Opponent | None:
    """Returns the opponent that a student needs, or None."""
    if not isinstance(model, AdversarialDistiller):
        return None
    assert config.distill is not None
    assert config.distill.adversarial is not None
    return Opponent(model, config.distill.adversarial.lr, config.optimizer.clip_norm, accelerator)
