"""This module trains a small KL-VAE of factor 8 with 4 channels on synthetic heads, the latent space of the nano LCVD.

It is an AutoencoderKL of diffusers without attention, so crops train what whole pictures need; the last steps see whole
pictures, because group normalisation averages over the picture. The loss is L1, doubled on the person; L1 of
neighbours' differences at three scales; squared error of each cell's mean colour on three axes of equal spread; and a
light KL term. There is no perceptual loss, since no network for one is at hand. Without help, the four channels hold
light, two slopes and one axis of colour, and the colour of a purple lamp is lost (docs/LOG.md): hence the colour axes,
and a guide that makes the first three latents start as the cell's colour on them and fades by half of the steps. At the
end each latent channel is brought to mean 0 and deviation 1 inside `quant_conv` and `post_quant_conv`, exactly.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lcvd.errors import WeightsError
from lcvd.weights.load import build_part, find_weights, load_part
from training.data.encoder import VAE_BATCH
from training.data.shards import raise_disk_full, write_json
from training.data.synthetic import HeadSource

STATE, WEIGHTS, LOG = "vae-state.pt", "diffusion_pytorch_model.safetensors", "vae-log.jsonl"
CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [16, 16, 32, 64],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 2,  # more groups come near instance norm, which loses brightness and colour
    "mid_block_add_attention": False,
    "scaling_factor": 1.0,
}
CELL_MEAN, CELL_STD = (-0.27, 0.12, -0.02), (0.33, 0.27, 0.13)  # of `opponent` over 200 pictures of heads
TERMS = ("l1", "edges", "colour", "guide", "kl")
OnVaeStep = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class VaeRun:
    """Holds every setting of a VAE's training."""

    output: Path
    steps: int = 6000
    batch: int = 16  # crops; whole pictures are as many as have the same number of pixels
    crop: int = 64  # px
    whole: float = 0.1  # share of the steps, the last ones, that see whole pictures
    lr: float = 2e-3
    warmup: int = 50
    kl: float = 1e-4  # of the mean divergence of one latent number, in nats
    edges: float = 0.5
    colour: float = 0.1
    guide: float = 0.5  # at the first step; falls linearly to 0 at half of the steps
    seed: int = 0
    save_every: int = 100
    precision: Literal["no", "bf16"] = "no"  # of the networks' arithmetic; the weights are float32
    start: Path | None = None  # LCVD weights whose VAE, of the same layout, is trained further


def further(output: Path, start: Path, **settings: Any) -> VaeRun:
    """Returns the settings for a VAE that already works: fewer and smaller steps, and no guide."""
    usual: dict[str, Any] = {"steps": 2000, "lr": 5e-4, "guide": 0.0}
    return VaeRun(output, start=start, **usual | settings)


def train_vae(run: VaeRun, heads: HeadSource, resume: bool = True, on_step: OnVaeStep | None = None) -> Path:
    """Trains, or continues, until `run.steps`; returns the folder of config.json and weights.

    The same seed gives the same weights on the same machine, also through a restart. Raises DiskFull, and WeightsError
    where `run.start` cannot be read or has another layout.
    """
    run.output.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        vae: Any = build_part("vae", CONFIG)
    if run.start is not None:
        vae.load_state_dict(start_of(run.start).state_dict())
    optimizer = torch.optim.AdamW(vae.parameters(), lr=run.lr, betas=(0.9, 0.99), weight_decay=0.0)
    state_path, log_path = run.output / STATE, run.output / LOG
    done = 0
    if resume and state_path.exists():
        state = torch.load(state_path, weights_only=True)
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        done = int(state["step"])
    _cut_log(log_path, done)
    for step in range(done, run.steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(run, step)
        pictures, masks = _draw(run, heads, step)
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16, enabled=run.precision == "bf16"):
            losses = vae_losses(vae, pictures, masks, generator)
        weights = (1.0, run.edges, run.colour, run.guide * max(0.0, 1 - 2 * step / run.steps), run.kl)
        loss = torch.stack([weight * value for weight, value in zip(weights, losses, strict=True)]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        with raise_disk_full(run.output), log_path.open("a") as log:
            row = {name: round(float(value.detach()), 5) for name, value in zip(TERMS, losses, strict=True)}
            log.write(json.dumps({"step": step + 1} | row) + "\n")
        if (step + 1) % run.save_every == 0 or step + 1 == run.steps:
            with raise_disk_full(run.output):
                part = state_path.with_suffix(".part")
                torch.save({"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, part)
                part.replace(state_path)
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))
    normalise_latents(vae, _sample_pictures(run, heads))
    return save_vae(vae, run.output)


def start_of(folder: Path) -> Any:
    """Returns the VAE of LCVD weights, float32. Raises WeightsError where its layout is not this module's."""
    found = find_weights(folder)
    other = [key for key, value in CONFIG.items() if key[0] != "_" and found.parts["vae"].config.get(key) != value]
    if other:
        raise WeightsError(f"{folder}: its VAE differs in {', '.join(other)}", "start from weights of `relight nano`")
    return load_part(found, "vae", torch.device("cpu"), torch.float32)


def vae_losses(
    vae: Any,
    pictures: Tensor,  # [N,3,H,W] in [-1,1]
    masks: Tensor,  # [N,1,H,W] in [0,1], 1 = person
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the `TERMS`: weighted L1, edges, squared error of the cells' colour, guide, KL of a latent number."""
    posterior = vae.encode(pictures).latent_dist
    error = vae.decode(posterior.sample(generator)).sample - pictures
    weight = (1 + masks) / (1 + masks).mean()
    l1 = (error.abs() * weight).mean()
    colour = (opponent(F.avg_pool2d(error, 8), centred=False) ** 2 * F.avg_pool2d(weight, 8)).mean()
    mean, logvar = posterior.mean, posterior.logvar
    guide = ((mean[:, :3] - opponent(F.avg_pool2d(pictures, 8))) ** 2).mean()
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    return l1, _edges(error, weight), colour, guide, kl


def opponent(
    rgb: Tensor,  # [N,3,H,W] in [-1,1]
    centred: bool = True,
) -> Tensor:
    """Returns lightness, red − blue and green − both, each with mean 0 and deviation 1 over cells of the heads."""
    red, green, blue = rgb.unbind(1)
    axes = torch.stack([(red + green + blue) / 3, red - blue, green - (red + blue) / 2], 1)
    mean, std = (axes.new_tensor(values)[:, None, None] for values in (CELL_MEAN, CELL_STD))
    return (axes - mean if centred else axes) / std


def _edges(error: Tensor, weight: Tensor) -> Tensor:
    """Returns the mean |difference of neighbours| of an error picture over full, half and quarter size."""
    total = error.new_zeros(())
    for _ in range(3):
        total = total + ((error[..., 1:] - error[..., :-1]).abs() * weight[..., 1:]).mean()
        total = total + ((error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :]).mean()
        error, weight = F.avg_pool2d(error, 2), F.avg_pool2d(weight, 2)
    return total / 3


@torch.no_grad()
def normalise_latents(vae: Any, pictures: Tensor) -> None:
    """Scales each latent channel to mean 0 and deviation 1 over `pictures` [N,3,H,W]; decoded pictures stay equal."""
    latents = torch.cat([vae.encode(chunk).latent_dist.mode() for chunk in pictures.split(VAE_BATCH)])
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
    """Writes config.json and weights as diffusers does."""
    with raise_disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: value.detach().contiguous() for key, value in vae.state_dict().items()}, folder / WEIGHTS)
        write_json(folder / "config.json", CONFIG)
    return folder


@torch.no_grad()
def reconstruction_psnr(vae: Any, pictures: NDArray[np.uint8], masks: NDArray[np.uint8]) -> tuple[float, float]:
    """Returns the PSNR, dB, inside the mask and of the whole picture, of pictures [N,S,S,3] through the VAE."""
    x = _pixels(pictures)
    made = torch.cat([vae.decode(vae.encode(chunk).latent_dist.mode()).sample for chunk in x.split(VAE_BATCH)])
    squares = ((made.clamp(-1, 1) - x) / 2) ** 2
    inside = torch.from_numpy(masks).float()[:, None] / 255
    within = float((squares * inside).sum() / (3 * inside.sum()))
    return -10 * math.log10(within), -10 * math.log10(float(squares.mean()))


def _draw(run: VaeRun, heads: HeadSource, step: int) -> tuple[Tensor, Tensor]:
    """Returns the step's pictures [N,3,H,W] and masks [N,1,H,W], which depend on (seed, step) only."""
    rng = np.random.default_rng([run.seed, step])
    whole = step >= run.steps * (1 - run.whole)
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
    """Returns one picture of each of up to 256 heads."""
    rng = np.random.default_rng([run.seed, run.steps])
    rows = []
    for index in range(min(heads.heads, 256)):
        film = heads.pictures(index)
        light = int(rng.integers(2))
        rows.append(film[int(rng.integers(len(film))), ..., 3 * light : 3 * light + 3])
    return _pixels(np.stack(rows))


def _pixels(pictures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0


def _rate(run: VaeRun, step: int) -> float:
    """Returns the learning rate: a warm-up, then half a cosine down to 3 %."""
    if step < run.warmup:
        return run.lr * (step + 1) / run.warmup
    done = (step - run.warmup) / max(run.steps - run.warmup, 1)
    return run.lr * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))


def _cut_log(path: Path, done: int) -> None:
    """Removes log lines after the checkpoint, whose steps run again."""
    lines = path.read_text().splitlines() if path.exists() and done else []
    path.write_text("".join(line + "\n" for line in lines[:done]))
