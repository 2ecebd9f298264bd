"""engine.diffusion.memory: the formula against the life of every tensor, and what is said where it does not suffice."""

import logging
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.diffusion.engine import DiffusionOptions  # noqa: E402
from engine.diffusion.memory import GIB, MemoryNeed, fit_to_memory, fitting_batch, free_memory, memory_need  # noqa: E402
from engine.errors import EngineUnavailable  # noqa: E402
from lcvd.networks.precond import Condition  # noqa: E402
from lcvd.networks.vae import rgb_from_latents  # noqa: E402
from lcvd.random_model import configs, random_lcvd  # noqa: E402
from tests.engine.live_peak import LivePeak, fused_attention  # noqa: E402

FRAMES = 16


def counted(model, size: int, rows: int, chunk: int, device: str) -> tuple[int, int, int]:
    """(denoiser, decoder, encoder): bytes alive at their peak."""
    side = size // 8

    def zeros(*shape, dtype=torch.float32):
        return torch.zeros(*shape, device=device, dtype=dtype)

    channels, width = model.denoiser.unet.feature_channels, model.image_encoder.config.projection_dim
    condition = Condition(
        zeros(rows, FRAMES, channels, side, side, dtype=model.dtype),
        zeros(rows, 1, width),
        zeros(rows, FRAMES, 4, side, side),
        zeros(rows, 3),
    )
    x = zeros(rows, FRAMES, 4, side, side)
    with torch.inference_mode():
        with LivePeak() as unet:
            model.denoiser(x, zeros(rows) + 1, condition)
        with LivePeak() as decode:
            rgb_from_latents(model.vae, zeros(chunk, 4, side, side))
        with LivePeak() as encode:
            model.vae.encode(zeros(1, 3, size, size, dtype=model.vae.dtype))
    return unet.peak, decode.peak, encode.peak


@pytest.mark.parametrize(("size", "rows"), [(256, 1), (512, 2)])
def test_the_formula_is_what_the_published_size_holds(size: int, rows: int) -> None:
    """Within 5 % of the tensors alive at once, full size in bf16; the VAE's stages at 4 pictures and 1."""
    model, parts = random_lcvd("full", "meta", "bf16"), configs("full")
    with fused_attention():
        unet, decode, encode = counted(model, size, rows, 4, "meta")
    need = memory_need(0, parts["unet"], parts["vae"], size, rows)
    assert need.unet == pytest.approx(unet, rel=0.05)
    assert need.decode == pytest.approx(decode, rel=0.05)
    assert need.encode == pytest.approx(encode * 2, rel=0.05)  # in bf16 half of what fp16's encoder takes


def test_the_formula_holds_for_real_tensors() -> None:
    """The tiny model on the CPU, really run: the same count of the denoiser, never less than what is held."""
    model, parts = random_lcvd("tiny"), configs("tiny")
    unet, decode, _ = counted(model, 128, 2, 4, "cpu")
    need = memory_need(0, parts["unet"], parts["vae"], 128, 2, bytes_each=4)
    assert unet <= need.unet <= 1.1 * unet
    assert decode <= need.decode <= 1.3 * decode  # its VAE has one width, the published one doubles it


def gib(size: int, batch: int) -> MemoryNeed:
    return MemoryNeed(4 * GIB, int(2 * GIB * batch * (size / 512) ** 2), GIB, GIB)


def test_a_smaller_batch_is_tried_first() -> None:
    """Two windows a call where they fit, else one."""
    assert gib(512, 1).total == pytest.approx((4 + 1.15 * 2 + 0.5) * GIB)
    assert fitting_batch(gib, 512, 2, 10 * GIB) == 2
    assert fitting_batch(gib, 512, 2, 8 * GIB) == 1
    assert fitting_batch(gib, 512, 4, 12 * GIB) == 3


def test_what_does_not_fit_is_refused_with_the_remedy() -> None:
    """Needed, free, and a size that would fit; none is proposed where none does."""
    with pytest.raises(EngineUnavailable, match=r"at 512 px needs 6.8 GiB .* 6.0 GiB are free") as caught:
        fitting_batch(gib, 512, 2, 6 * GIB)
    assert "RELIGHT_LCVD_SIZE=384" in caught.value.hint
    assert gib(384, 1).total <= 6 * GIB < gib(448, 1).total
    with pytest.raises(EngineUnavailable) as caught:
        fitting_batch(gib, 512, 2, 2 * GIB)
    assert "RELIGHT_LCVD_SIZE" not in caught.value.hint


def test_options_are_fitted_to_the_device(tiny_lcvd_folder, caplog) -> None:
    """On a GPU the batch shrinks or the engine is refused; on a CPU it is only said."""
    options = DiffusionOptions(64, batch=2)
    assert fit_to_memory(options, tiny_lcvd_folder, "cuda", "bf16", lambda device: 8 * GIB) == options
    need = memory_need(0, configs("tiny")["unet"], configs("tiny")["vae"], 64, 2).total
    fitted = fit_to_memory(options, tiny_lcvd_folder, "cuda", "bf16", lambda device: need + 5 * 2**20)
    assert fitted == replace(options, batch=1)
    with pytest.raises(EngineUnavailable, match="GPU memory"):
        fit_to_memory(options, tiny_lcvd_folder, "cuda", "bf16", lambda device: 2**20)
    with caplog.at_level(logging.WARNING):
        assert fit_to_memory(options, tiny_lcvd_folder, "cpu", "float32", lambda device: 2**20) == options
    assert "GiB of memory are free" in caplog.text
    assert free_memory("cpu") > 2**20
