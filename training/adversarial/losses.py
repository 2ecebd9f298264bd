"""This module holds the losses of the two players, computed for each head and averaged over the heads.

Hinge loss (Lim & Ye 2017, "Geometric GAN"): the discriminator pushes logits of real clips above 1 and those of
generated clips below -1; the generator raises the logits of what it made. R1 (Mescheder et al. 2018, Eq. 9) is taken
with respect to the features that a head gets and not to the clip, as in ADD (Sauer et al. 2023, arXiv 2311.17042): so
the frozen encoder needs no second derivative.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def hinge_discriminator(
    real: Sequence[Tensor],  # logits [B,N_i] of each head
    fake: Sequence[Tensor],
) -> Tensor:
    """Returns mean(max(0, 1 - real)) + mean(max(0, 1 + fake)), a scalar."""
    of_heads = [
        torch.relu(1 - on_real).mean() + torch.relu(1 + on_fake).mean()
        for on_real, on_fake in zip(real, fake, strict=True)
    ]
    return torch.stack(of_heads).mean()


def hinge_generator(
    fake: Sequence[Tensor],  # logits [B,N_i] of each head
) -> Tensor:
    """Returns [B]: the mean of -logit of each clip."""
    return -torch.stack([logits.mean(1) for logits in fake]).mean(0)


def gradient_penalty(
    logits: Sequence[Tensor],  # [B,N_i] of each head
    features: Sequence[Tensor],  # [B,…] what each head got, with requires_grad
) -> Tensor:
    """Returns R1, a scalar: the squared gradient of a clip's mean logit by its features, times the number of logits.

    Each logit depends on few features, so the gradient of their mean falls with 1/N and its square with 1/N²: with the
    factor N the penalty does not depend on the size of picture and clip.
    """
    of_heads = []
    for each, given in zip(logits, features, strict=True):
        # Clips do not mix in a head, so one call gives the gradient of each clip's own mean.
        (gradient,) = torch.autograd.grad(each.mean(1).sum(), given, create_graph=True)
        of_heads.append(gradient.to(each).flatten(1).square().sum(1).mean() * each.shape[1])
    return torch.stack(of_heads).mean()
