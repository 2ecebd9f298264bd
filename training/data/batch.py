"""This module turns TrainingClips into the tensors of the loss; every random number depends on (seed, slot) only.

A slot is a clip's place in the order of the whole run, over all processes. So a restart needs no generator's state, and
2 processes of batch 1 see exactly what 1 process of batch 2 sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lcvd.networks.adapters import ConditionName
from lcvd.networks.precond import micro_condition
from training.config import TrainConfig
from training.data.dropout import ConditionMask, draw_condition_mask
from training.data.encoder import FrozenEncoder, sampled
from training.data.noise import counted_rows, draw_augmentation, draw_sigma
from training.data.sample import TrainingClip


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Holds B sequences of F frames on one device; h = H/8."""

    names: tuple[str, ...]
    slots: tuple[int, ...]  # places in the order of the run, for random numbers drawn later
    target: Tensor  # [B,F,4,h,w] latents times the scaling factor
    noise: Tensor  # [B,F,4,h,w]
    sigma: Tensor  # [B,F]
    rows: Tensor  # [B,F] of 0 and 1: 1 for the rows that are in the loss
    shading: Tensor | None  # [B,F,3,H,W] in [0,1]
    reference: Tensor | None  # [B,1,3,H,W] in [-1,1]
    keep: dict[ConditionName, Tensor]  # [B] of 0 and 1, as the adapters take it
    condition_masks: tuple[ConditionMask, ...]  # of each sequence: `keep`, CLIP and latent
    clip: Tensor  # [B,1,D]
    latents: Tensor  # [B,F,4,h,w] reference, unscaled, times 1 − mask
    ids: Tensor  # [B,3]
    portrait: Tensor  # [B,F,1,h,w] of 0 and 1


def slot_generator(seed: int, slot: int) -> torch.Generator:
    """Returns the generator of one clip's random numbers, on the CPU for every device."""
    # SeedSequence decorrelates the streams of neighbouring slots.
    state = np.random.SeedSequence([seed, slot]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))


def make_batch(
    clips: Sequence[TrainingClip],
    slots: Sequence[int],
    config: TrainConfig,
    encoder: FrozenEncoder,
    device: torch.device,
) -> Batch:
    """Draws the random numbers and encodes the clips. Each clip has its own generator, read in a fixed order."""
    return collate([make_row(clip, slot, config, encoder, device) for clip, slot in zip(clips, slots, strict=True)])


def make_row(
    clip: TrainingClip,
    slot: int,
    config: TrainConfig,
    encoder: FrozenEncoder,
    device: torch.device,
    *,
    condition_mask: ConditionMask | None = None,
    sigma: float | None = None,
) -> Batch:
    """Returns a batch of one clip; `condition_mask` and `sigma` replace the drawn ones."""
    generator = slot_generator(config.seed, slot)
    frames, side = len(clip.frames), clip.frames.shape[1] // 8
    drawn_sigma = draw_sigma(config.noise, config.staggered, frames, generator)
    drawn_mask = draw_condition_mask(config.dropout, generator)
    draw = encoder.draw(generator, clip.reference)
    # The level depends on the draw alone, so that a cached encoding is used with the level it was made with.
    augmentation = draw_augmentation(config.noise, slot_generator(config.seed + 1, draw))
    noise = torch.randn(2 * frames + 1, 4, side, side, generator=generator).to(device)
    if sigma is not None:
        drawn_sigma = torch.full((frames,), sigma)
    condition_mask = drawn_mask if condition_mask is None else condition_mask

    moments = encoder.moments(clip.frames)
    target = sampled(moments, noise[frames : 2 * frames]) * encoder.scaling
    masks = latent_masks(torch.from_numpy(clip.masks).to(device), side)
    reference_latents = sampled(encoder.noisy_moments(clip.reference, augmentation, draw)[None], noise[2 * frames :])
    latents = reference_latents * (1 - masks[:1]) * condition_mask.latent
    keep: dict[ConditionName, Tensor] = {
        "shading": torch.tensor([condition_mask.shading], device=device),
        "reference": torch.tensor([condition_mask.reference], device=device),
    }
    return Batch(
        names=(clip.name,),
        slots=(slot,),
        target=target[None],
        noise=noise[None, :frames],
        sigma=drawn_sigma[None].to(device),
        rows=counted_rows(drawn_sigma)[None].to(device),
        shading=_pictures(clip.hints, device)[None] / 255.0 if "shading" in config.conditions else None,
        reference=_pictures(clip.reference[None], device)[None] / 127.5 - 1
        if "reference" in config.conditions
        else None,
        keep=keep,
        condition_masks=(condition_mask,),
        clip=encoder.token(clip.reference)[None] * condition_mask.clip,
        latents=latents[None].expand(-1, frames, -1, -1, -1),
        ids=micro_condition(1, noise_augmentation=augmentation, device=device),
        portrait=masks[None],
    )


def latent_masks(masks: Tensor, side: int) -> Tensor:
    """Returns masks uint8 [F,S,S] as 0 or 1, float32 [F,1,side,side].

    They are thresholded at one half and resampled to the nearest pixel, as the released code trains.
    """
    hard = (masks > 127).float()[:, None]
    return torch.nn.functional.interpolate(hard, size=(side, side), mode="nearest")


def collate(rows: Sequence[Batch]) -> Batch:
    """Joins batches of one clip into one batch."""
    if len(rows) == 1:
        return rows[0]

    def cat_given(tensors: list[Tensor | None]) -> Tensor | None:
        given = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(given) if given else None

    def cat(name: str) -> Tensor:
        return torch.cat([getattr(row, name) for row in rows])

    return Batch(
        names=tuple(name for row in rows for name in row.names),
        slots=tuple(slot for row in rows for slot in row.slots),
        target=cat("target"),
        noise=cat("noise"),
        sigma=cat("sigma"),
        rows=cat("rows"),
        shading=cat_given([row.shading for row in rows]),
        reference=cat_given([row.reference for row in rows]),
        keep={name: torch.cat([row.keep[name] for row in rows]) for name in rows[0].keep},
        condition_masks=tuple(each for row in rows for each in row.condition_masks),
        clip=cat("clip"),
        latents=cat("latents"),
        ids=cat("ids"),
        portrait=cat("portrait"),
    )


def _pictures(pictures: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", device: torch.device) -> Tensor:
    """Returns [N,S,S,3] as float32 [N,3,S,S] in 0…255."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2).contiguous().float()
