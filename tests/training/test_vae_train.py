"""training.vae_train: the small VAE's losses, its normalised latents, and resuming after an interruption."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[train]'")

from safetensors.torch import load_file  # noqa: E402

from lcvd.errors import WeightsError  # noqa: E402
from lcvd.weights.load import build_part  # noqa: E402
from lcvd.weights.tiny import write_tiny  # noqa: E402
from training.data.synthetic import HeadSource  # noqa: E402
from training.vae_train import (  # noqa: E402
    CELL_MEAN,
    CELL_STD,
    CONFIG,
    LOG,
    TERMS,
    WEIGHTS,
    VaeRun,
    further,
    normalise_latents,
    opponent,
    reconstruction_psnr,
    train_vae,
    vae_losses,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Runs torch on one thread, so that numbers are equal whatever else runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> HeadSource:
    return HeadSource(2, 0, 2, 32, tmp_path_factory.mktemp("heads"))


def short(folder: Path) -> VaeRun:
    """Returns a run of a few seconds."""
    return VaeRun(folder, steps=8, batch=2, crop=16, warmup=2, save_every=3)


class Stopped(Exception):
    """Stands for a power cut."""


def test_a_run_cut_off_ends_with_the_same_weights(tmp_path: Path, heads: HeadSource) -> None:
    """Stopped after step 5 and called again, weights and log are equal to the last bit."""

    def stop(step: int, loss: float) -> None:
        if step == 5:
            raise Stopped

    train_vae(short(tmp_path / "whole"), heads)
    with pytest.raises(Stopped):
        train_vae(short(tmp_path / "cut"), heads, on_step=stop)
    train_vae(short(tmp_path / "cut"), heads)
    whole, cut = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    logs = [(tmp_path / name / LOG).read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    assert [json.loads(line)["step"] for line in logs[0].splitlines()] == list(range(1, 9))


def test_the_loss_falls(tmp_path: Path, heads: HeadSource) -> None:
    """On two small heads forty steps are enough to halve L1."""
    run = VaeRun(tmp_path, steps=40, batch=4, crop=32, warmup=5)
    train_vae(run, heads)
    l1 = [json.loads(line)["l1"] for line in (tmp_path / LOG).read_text().splitlines()]
    assert np.mean(l1[-5:]) < 0.5 * np.mean(l1[:5])


def test_normalised_latents_have_unit_spread_and_decode_to_the_same_pictures() -> None:
    """Each channel gets mean 0 and deviation 1; the posterior's spread shrinks with it; pictures stay."""
    torch.manual_seed(0)
    vae = build_part("vae", CONFIG)
    with torch.no_grad():
        vae.quant_conv.bias[:4] += torch.tensor([1.0, -2.0, 3.0, 0.5])
        vae.quant_conv.weight[1] *= 7.0
        pictures = torch.rand(6, 3, 32, 32) * 2 - 1
        before = vae.encode(pictures).latent_dist
        shown = vae.decode(before.mode()).sample
        normalise_latents(vae, pictures)
        after = vae.encode(pictures).latent_dist
        torch.testing.assert_close(vae.decode(after.mode()).sample, shown, rtol=1e-3, atol=1e-4)
    assert after.mean.mean((0, 2, 3)).abs().max() < 1e-4
    torch.testing.assert_close(after.mean.std((0, 2, 3)), torch.ones(4), rtol=1e-3, atol=0)
    spread = before.mean.std((0, 2, 3))[:, None, None]
    torch.testing.assert_close(after.std * spread, before.std, rtol=1e-3, atol=1e-5)


def test_the_losses_of_a_perfect_decoder_are_zero_and_the_person_counts_twice() -> None:
    """An error on the person costs twice what it costs beside it; a smooth offset has no edges."""

    class Posterior:
        mean = torch.zeros(1, 4, 2, 2)
        logvar = torch.zeros(1, 4, 2, 2)

        def sample(self, generator: object) -> object:
            return self.mean

    class Answer:
        def __init__(self, value: object) -> None:
            self.sample, self.latent_dist = value, Posterior()

    class Vae:
        def __init__(self, made: object) -> None:
            self.made = made

        def encode(self, pictures: object) -> Answer:
            return Answer(None)

        def decode(self, latents: object) -> Answer:
            return Answer(self.made)

    pictures, masks = torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    masks[..., :8] = 1
    generator = torch.Generator()
    perfect = {
        name: float(value)
        for name, value in zip(TERMS, vae_losses(Vae(pictures), pictures, masks, generator), strict=True)
    }
    assert perfect.pop("guide") > 0
    assert set(perfect.values()) == {0}
    on, beside = pictures.clone(), pictures.clone()
    on[..., :8], beside[..., 8:] = 0.1, 0.1
    costs = [float(vae_losses(Vae(made), pictures, masks, generator)[0]) for made in (on, beside)]
    assert costs[0] == pytest.approx(2 * costs[1])
    flat = vae_losses(Vae(pictures + 0.1), pictures, masks, generator)
    assert float(flat[0]) == pytest.approx(0.1)
    assert float(flat[1]) == pytest.approx(0, abs=1e-7)
    assert float(flat[2]) == pytest.approx((0.1 / CELL_STD[0]) ** 2 / 3, rel=1e-4)


def test_the_guide_wants_the_cells_colour_on_axes_of_equal_spread() -> None:
    """The mean cell is 0 on all three axes, one deviation of a colour is 1, and a grey step moves lightness alone."""
    grey = opponent(torch.full((1, 3, 1, 1), CELL_MEAN[0]))[0, :, 0, 0]
    assert float(grey[0]) == pytest.approx(0, abs=1e-6)
    lighter = opponent(torch.full((1, 3, 1, 1), CELL_MEAN[0] + CELL_STD[0]))[0, :, 0, 0]
    assert (lighter - grey).tolist() == pytest.approx([1, 0, 0], abs=1e-5)
    rgb = torch.tensor([0.0, CELL_STD[2], 0.0]).reshape(1, 3, 1, 1)
    assert float(opponent(rgb, centred=False)[0, 2]) == pytest.approx(1)
    rgb = torch.tensor([CELL_STD[1] / 2, 0.0, -CELL_STD[1] / 2]).reshape(1, 3, 1, 1)
    assert opponent(rgb, centred=False)[0, :, 0, 0].tolist() == pytest.approx([0, 1, 0], abs=1e-6)


def test_reconstruction_psnr_knows_the_person_from_the_picture() -> None:
    """Errors beside the person do not count inside the mask."""

    class Mode:
        def __init__(self, value: object) -> None:
            self.latent_dist = self.sample = self
            self.value = value

        def mode(self) -> object:
            return self.value

    class Half:
        """Makes everything right of the middle black."""

        def encode(self, pictures: torch.Tensor) -> Mode:
            return Mode(pictures)

        def decode(self, latents: torch.Tensor) -> object:
            made = latents.clone()
            made[..., 8:] = -1
            answer = Mode(None)
            answer.sample = made
            return answer

    pictures = np.full((1, 16, 16, 3), 255, np.uint8)
    masks = np.zeros((1, 16, 16), np.uint8)
    masks[..., 4:12] = 255
    within, whole = reconstruction_psnr(Half(), pictures, masks)
    assert within == pytest.approx(whole, abs=1e-3)
    assert whole == pytest.approx(10 * np.log10(2), abs=1e-3)
    masks[..., 8:] = 0
    masks[..., 8] = 51
    assert reconstruction_psnr(Half(), pictures, masks)[0] > 10


def test_a_vae_is_trained_further(tmp_path: Path) -> None:
    """The packaged one begins with a third of a new one's loss at most; a VAE of another layout is refused."""
    small: dict[str, Any] = {"steps": 1, "batch": 2, "crop": 128}
    heads, first = HeadSource(2, 0, 1, 128), {}
    for name, run in (
        ("new", VaeRun(tmp_path / "new", **small)),
        ("nano", further(tmp_path / "on", Path("nano"), **small)),
    ):
        train_vae(run, heads)
        first[name] = json.loads((run.output / LOG).read_text())["l1"]
    assert first["nano"] < first["new"] / 3
    write_tiny(tmp_path / "tiny")
    with pytest.raises(WeightsError, match="its VAE differs in block_out_channels"):
        train_vae(further(tmp_path / "off", tmp_path / "tiny"), heads)
