"""Offline LCVD: a reference portrait and the hints of a clip become the relit clip, as published.

    from lcvd.sampling.pipeline import load_lcvd, relight_frames
    for frame in relight_frames(model, reference_rgb, reference_hint, hints, mask, steps=25, omega=4.5): …

All latents are denoised first (every step couples the whole clip), then frames are decoded and handed out in batches.
With `state_dir` the latents live in files and an interrupted run goes on at the window it had reached.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.model import LcvdModel, load_lcvd
from lcvd.networks.guidance import OMEGA, ModeName, omega_per_frame
from lcvd.networks.schedule import SamplerName, sigmas_for
from lcvd.networks.vae import DECODE_BATCH, decode_batches
from lcvd.sampling.conditions import ClipConditions, Pictures, channels_first, joined
from lcvd.sampling.latent_file import ClipLatents
from lcvd.sampling.sampler import KnownFrames, OnProgress, Predict, initial_noise, sample_clip

__all__ = ["LcvdModel", "load_lcvd", "relight_frames", "relight_latents"]


def predictor(
    model: LcvdModel,
    conditions: ClipConditions,
    batched: bool = True,  # both branches in one batch; False runs them one after the other in half the memory
    needs_c1: bool = True,  # False where ω is 1 throughout: v is v2 and c1 is never predicted
) -> Predict:
    """Wrap the denoiser and a clip's conditions as the sampler's `Predict`."""

    def predict(x: Tensor, sigma: float, frames: Sequence[int]) -> tuple[Tensor, Tensor]:
        c1, c2 = conditions.pair(frames)
        x = x[None].to(model.device)
        level = torch.full((1,), sigma, device=model.device)
        if not needs_c1:
            v2 = model.denoiser(x, level, c2)[0]
            return v2, v2
        if batched:
            v1, v2 = model.denoiser(x.expand(2, -1, -1, -1, -1), level.expand(2), joined(c1, c2))
            return v1, v2
        return model.denoiser(x, level, c1)[0], model.denoiser(x, level, c2)[0]

    return predict


@torch.inference_mode()
def relight_latents(
    model: LcvdModel,
    reference_rgb: NDArray[np.uint8],  # [H,W,3]
    reference_hint: NDArray[np.uint8],  # the reference's own shading under its own light
    hints: Pictures,  # uint8 [T,3,H,W] or [T,H,W,3]; may be memory-mapped
    mask: NDArray[np.generic],  # [H,W] in [0,1], 1 = portrait
    steps: int = 25,
    omega: float | tuple[float, float] | Sequence[float] = OMEGA,
    sampler: SamplerName = "euler",
    seed: int = 0,
    on_progress: OnProgress | None = None,
    mode: ModeName = "relight",
    batched: bool = True,
    known: KnownFrames | None = None,  # frame 1 is the first hint's
    sigmas: Sequence[float] | None = None,  # levels of your own, the last one 0; else the sampler's
    state_dir: Path | None = None,
    released_reference: bool = False,
) -> Tensor:
    """Return clean scaled latents [T + 1,4,h,w], the anchor first, on the CPU; arguments as in `relight_frames`."""
    levels = sigmas_for(sampler, steps) if sigmas is None else np.asarray(sigmas, np.float64)
    if len(levels) < 2 or levels[-1] != 0 or not (np.diff(levels) < 0).all():
        raise ValueError(f"sigmas: must fall strictly to 0, got {list(levels)}")
    generator = torch.Generator().manual_seed(seed)
    height, width = channels_first("reference", reference_rgb).shape[1:]
    # Drawn on the CPU in float32, in the release's order: picture noise, then latents.
    picture_noise = torch.randn(1, 3, height, width, generator=generator)
    conditions = ClipConditions(
        model, reference_rgb, mask, reference_hint, hints, mode, picture_noise, released_reference
    )
    weights = omega_per_frame(omega, conditions.frames)
    size = conditions.latent_size
    start = initial_noise(generator, size, float(levels[0]))
    key = ""
    if state_dir is not None:
        about = f"{model.identity} {model.dtype} {mode} {sampler} {seed} {levels.tolist()} {weights.tolist()}"
        about += " released reference" if released_reference else ""
        key = _fingerprint(about, reference_rgb, mask, reference_hint, hints, known)
    state = ClipLatents(conditions.frames, (4, *size), state_dir, key)
    state.begin(start)
    predict = predictor(model, conditions, batched, needs_c1=bool((weights != 1.0).any()))
    return sample_clip(predict, state, levels, weights, sampler, known, on_progress=on_progress)


def relight_frames(
    model: LcvdModel,
    reference_rgb: NDArray[np.uint8],  # [H,W,3], H and W multiples of 8 (trained at 512)
    reference_hint: NDArray[np.uint8],  # the reference's own shading under its own light
    hints: Pictures,  # uint8 [T,3,H,W] or [T,H,W,3]; may be memory-mapped
    mask: NDArray[np.generic],  # [H,W] in [0,1], 1 = portrait of the reference
    steps: int = 25,
    omega: float | tuple[float, float] | Sequence[float] = OMEGA,  # see `omega_per_frame`; T + 1 numbers
    sampler: SamplerName = "euler",
    seed: int = 0,
    on_progress: OnProgress | None = None,  # (window predictions done, of how many)
    mode: ModeName = "relight",  # in landmark mode the hints are landmark maps
    batched: bool = True,
    known: KnownFrames | None = None,
    sigmas: Sequence[float] | None = None,
    state_dir: Path | None = None,
    decoder: Literal["image", "temporal"] = "image",
    decode_batch: int = DECODE_BATCH,
    released_reference: bool = False,  # see `lcvd.sampling.conditions.released_bytes`
) -> Iterator[NDArray[np.uint8]]:
    """Yield T relit frames, uint8 [H,W,3], in order; the anchor is not among them.

    Denoises before the first frame comes (progress tells), then decodes `decode_batch` frames at a time. The same seed,
    weights, machine and thread count give the same bytes. Raises ShapeError, ValueError or ModelUnavailable.
    """
    vae = {"image": model.vae, "temporal": model.temporal_vae}.get(decoder)
    if decoder not in ("image", "temporal"):
        raise ValueError(f"decoder: unknown name {decoder!r}; use image or temporal")
    if vae is None:
        raise ModelUnavailable(
            "decoder temporal: these weights have no temporal VAE", "relight weights fetch --temporal-vae"
        )
    if decode_batch < 1:
        raise ShapeError(f"decode_batch: must be at least 1 frame, got {decode_batch}")
    latents = relight_latents(
        model,
        reference_rgb,
        reference_hint,
        hints,
        mask,
        steps=steps,
        omega=omega,
        sampler=sampler,
        seed=seed,
        on_progress=on_progress,
        mode=mode,
        batched=batched,
        known=known,
        sigmas=sigmas,
        state_dir=state_dir,
        released_reference=released_reference,
    )
    return _decoded(vae, latents[1:], decode_batch)


@torch.inference_mode()
def _decoded(vae: object, latents: Tensor, batch: int) -> Iterator[NDArray[np.uint8]]:
    for pictures in decode_batches(vae, latents, batch):
        rounded = (pictures * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        yield from rounded


def _fingerprint(
    about: str,
    reference_rgb: NDArray[np.uint8],
    mask: NDArray[np.generic],
    reference_hint: NDArray[np.uint8],
    hints: Pictures,
    known: KnownFrames | None,
) -> str:
    """SHA-256 of everything the result depends on; reads each hint once."""
    digest = hashlib.sha256(about.encode())
    for array in (reference_rgb, mask, reference_hint):
        digest.update(np.ascontiguousarray(array).data)
    for index in range(hints.shape[0]):
        digest.update(np.ascontiguousarray(hints[index]).data)
    if known is not None:
        digest.update(f"{known.first}".encode())
        digest.update(known.latents.float().cpu().contiguous().numpy().data)
    return digest.hexdigest()
