"""Synthetic heads → a small KL-VAE of factor 8 with 4 channels, the space a nano LCVD paints in.

An ordinary AutoencoderKL of diffusers without attention, so crops teach what whole pictures need; the last part of the
steps sees whole pictures all the same, because group normalisation averages over the picture. Loss: L1, doubled on the
person, L1 of the differences of neighbours at three scales, L1 of means over 8² (else colour is learnt last), and a light KL
term; no perceptual network: none is here.
Then each latent channel is brought to mean 0 and deviation 1 inside `quant_conv` and `post_quant_conv`, exactly, and
with the encoder as it is the decoder learns on alone (what a denoiser is trained on no longer changes).
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lcvd.weights import build_part
from training.checkpoint import told_when_disk_full
from training.shards import write_json
from training.synthetic import HeadSource

JOINT, DECODER = "joint.pt", "decoder.pt"
WEIGHTS, LOG = "diffusion_pytorch_model.safetensors", "vae-log.jsonl"
CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [16, 16, 32, 64],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "scaling_factor": 1.0,
}
OnVaeStep = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class VaeRun:
    """What decides a VAE's training."""

    output: Path
    steps: int = 1300  # of encoder and decoder together
    decoder_steps: int = 2500  # then, of the decoder alone
    batch: int = 16  # crops; a quarter as many whole pictures
    crop: int = 64  # px
    whole: float = 0.2  # share of the steps, the last ones of either part, that see whole pictures
    lr: float = 2e-3
    warmup: int = 50
    kl: float = 1e-4  # of the mean divergence of one latent number, in nats
    edges: float = 0.5
    colour: float = 2.0
    latent_noise: float = 0.05  # deviation of what the decoder alone has to bear, as a denoiser is not exact
    seed: int = 0
    save_every: int = 100


def train_vae(run: VaeRun, heads: HeadSource, resume: bool = True, on_step: OnVaeStep | None = None) -> Path:
    """Both parts, or what is left of them; returns the folder of config.json and weights. Raises DiskFull.

    The same seed gives the same weights on the same machine, also through a restart.
    """
    run.output.mkdir(parents=True, exist_ok=True)
    if not resume:
        for name in (JOINT, DECODER, WEIGHTS, LOG):
            (run.output / name).unlink(missing_ok=True)
    if not (run.output / WEIGHTS).exists():
        vae = _steps(run, heads, _fresh(run.seed), 0, run.steps, run.output / JOINT, on_step)
        normalise_latents(vae, _sample_pictures(run, heads))
        save_vae(vae, run.output)
    if run.decoder_steps:
        vae = build_part("vae", CONFIG)
        vae.load_state_dict(load_file(run.output / WEIGHTS))
        for part in (vae.encoder, vae.quant_conv):
            part.requires_grad_(False)
        vae = _steps(run, heads, vae, run.steps, run.steps + run.decoder_steps, run.output / DECODER, on_step)
        save_vae(vae, run.output)
    return run.output


def _fresh(seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_part("vae", CONFIG)


def _steps(
    run: VaeRun, heads: HeadSource, vae: Any, first: int, end: int, state_path: Path, on_step: OnVaeStep | None
) -> Any:
    """Train what wants a gradient from step `first`, or from what `state_path` holds, until `end`."""
    alone = first > 0  # the decoder
    optimizer = torch.optim.AdamW(
        [value for value in vae.parameters() if value.requires_grad], lr=run.lr, betas=(0.9, 0.99), weight_decay=0.0
    )
    done = first
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        done = int(state["step"])
    log_path = run.output / LOG
    _cut_log(log_path, done)
    for step in range(done, end):
        share = (step - first) / (end - first)
        for group in optimizer.param_groups:
            group["lr"] = _rate(run, step - first, end - first)
        pictures, masks = _draw(run, heads, step, whole=share >= 1 - run.whole)
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + step)
        losses = vae_losses(vae, pictures, masks, generator, run.latent_noise if alone else 0.0)
        loss = losses[0] + run.edges * losses[1] + run.colour * losses[2] + run.kl * losses[3]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        with told_when_disk_full(run.output), log_path.open("a") as log:
            told = [round(float(value.detach()), 5) for value in losses]
            row = {"step": step + 1} | dict(zip(("l1", "edges", "colour", "kl"), told, strict=True))
            log.write(json.dumps(row) + "\n")
        if (step + 1 - first) % run.save_every == 0 or step + 1 == end:
            with told_when_disk_full(run.output):
                part = state_path.with_suffix(".part")
                torch.save({"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, part)
                part.replace(state_path)
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))
    return vae


def vae_losses(
    vae: Any,
    pictures: Tensor,  # [N,3,H,W] in [-1,1]
    masks: Tensor,  # [N,1,H,W] in [0,1], 1 = person
    generator: torch.Generator,
    latent_noise: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(L1 with the person counted twice, L1 of neighbours' differences, L1 of means over 8², mean KL in nats)."""
    posterior = vae.encode(pictures).latent_dist
    latents = posterior.sample(generator)
    if latent_noise:
        latents = latents + latent_noise * torch.randn(latents.shape, generator=generator)
    made = vae.decode(latents).sample
    weight = (1 + masks) / (1 + masks).mean()
    error = made - pictures
    l1 = (error.abs() * weight).mean()
    colour = (F.avg_pool2d(error, 8).abs() * F.avg_pool2d(weight, 8)).mean()
    mean, logvar = posterior.mean, posterior.logvar
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    return l1, _edges(error, weight), colour, kl


def _edges(error: Tensor, weight: Tensor) -> Tensor:
    """Mean |differences of neighbours| of an error picture, at full, half and quarter size."""
    total = error.new_zeros(())
    for _ in range(3):
        total = total + ((error[..., 1:] - error[..., :-1]).abs() * weight[..., 1:]).mean()
        total = total + ((error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :]).mean()
        error, weight = F.avg_pool2d(error, 2), F.avg_pool2d(weight, 2)
    return total / 3


@torch.no_grad()
def normalise_latents(vae: Any, pictures: Tensor) -> None:
    """Each latent channel gets mean 0 and deviation 1 over `pictures` [N,3,H,W]; what is decoded stays the same."""
    latents = torch.cat([vae.encode(chunk).latent_dist.mode() for chunk in pictures.split(8)])
    mean = latents.mean((0, 2, 3))
    std = latents.std((0, 2, 3)).clamp_min(1e-6)
    channels = len(mean)
    into, out = vae.quant_conv, vae.post_quant_conv  # both 1 x 1
    # decode(z) = g(W z + b) and z = mean + std·z': W' = W·std, b' = b + W·mean.
    out.bias += (out.weight[:, :, 0, 0] * mean).sum(1)
    out.weight *= std[None, :, None, None]
    into.weight[:channels] /= std[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - mean) / std
    into.bias[channels:] -= 2 * std.log()


def save_vae(vae: Any, folder: Path) -> Path:
    """config.json and weights, as diffusers has them."""
    with told_when_disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: value.detach().contiguous() for key, value in vae.state_dict().items()}, folder / WEIGHTS)
        write_json(folder / "config.json", CONFIG)
    return folder


@torch.no_grad()
def reconstruction_psnr(vae: Any, pictures: NDArray[np.uint8], masks: NDArray[np.uint8]) -> tuple[float, float]:
    """(inside the mask, whole picture) in dB of pictures [N,S,S,3] through encoder and decoder."""
    x = _pixels(pictures)
    made = torch.cat([vae.decode(vae.encode(chunk).latent_dist.mode()).sample for chunk in x.split(8)])
    squares = ((made.clamp(-1, 1) - x) / 2) ** 2
    inside = torch.from_numpy(masks).float()[:, None] / 255
    within = float((squares * inside).sum() / (3 * inside.sum()))
    return -10 * math.log10(within), -10 * math.log10(float(squares.mean()))


def _draw(run: VaeRun, heads: HeadSource, step: int, whole: bool) -> tuple[Tensor, Tensor]:
    """The step's pictures [N,3,H,W] and masks [N,1,H,W]; a function of (seed, step) alone."""
    rng = np.random.default_rng([run.seed, step])
    side = heads.size if whole else min(run.crop, heads.size)
    count = max(run.batch * run.crop**2 // heads.size**2, 1) if whole else run.batch
    pictures, masks = [], []
    for _ in range(count):
        film = heads.pictures(int(rng.integers(heads.heads)))
        frame, light = int(rng.integers(len(film))), int(rng.integers(2))
        y, x = (int(value) for value in rng.integers(heads.size - side + 1, size=2))
        crop = film[frame, y : y + side, x : x + side]
        crop = crop[:, ::-1] if rng.random() < 0.5 else crop
        pictures.append(crop[..., 3 * light : 3 * light + 3])
        masks.append(crop[..., 12])
    return _pixels(np.stack(pictures)), torch.from_numpy(np.stack(masks)).float()[:, None] / 255


def _sample_pictures(run: VaeRun, heads: HeadSource) -> Tensor:
    """One picture of each of up to 256 heads."""
    rng = np.random.default_rng([run.seed, run.steps])
    rows = []
    for index in range(min(heads.heads, 256)):
        film = heads.pictures(index)
        light = int(rng.integers(2))
        rows.append(film[int(rng.integers(len(film))), ..., 3 * light : 3 * light + 3])
    return _pixels(np.stack(rows))


def _pixels(pictures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0


def _rate(run: VaeRun, step: int, steps: int) -> float:
    """Warm-up, then half a cosine down to 3 % of it."""
    if step < run.warmup:
        return run.lr * (step + 1) / run.warmup
    done = (step - run.warmup) / max(steps - run.warmup, 1)
    return run.lr * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))


def _cut_log(path: Path, done: int) -> None:
    """Lines beyond the checkpoint go: their steps are made again."""
    lines = path.read_text().splitlines() if path.exists() and done else []
    path.write_text("".join(line + "\n" for line in lines[:done]))
