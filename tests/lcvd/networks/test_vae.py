"""Latents and pixels by hand on the tiny VAE, CLIP's picture, and decoding in chunks."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from lcvd.errors import ShapeError  # noqa: E402
from lcvd.networks.image_encoder import embed_image, encoder_pixels, resize_antialiased  # noqa: E402
from lcvd.networks.vae import decode_batches, latents_from_rgb, place_vae, reference_latents, rgb_from_latents  # noqa: E402
from tests.rounding import rounding  # noqa: E402


@pytest.fixture
def pictures():
    return torch.rand(5, 3, 32, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_reference_is_the_unscaled_mode(tiny_model, pictures) -> None:
    """Encoder and quant_conv by hand: the first four channels, of the picture plus 0.02 noise, not scaled."""
    noise = torch.randn(1, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    vae = tiny_model.vae
    with torch.no_grad():
        moments = vae.quant_conv(vae.encoder(pictures[:1] + 0.02 * noise))
        got = reference_latents(vae, pictures[:1], noise)
        clean = reference_latents(vae, pictures[:1])
    torch.testing.assert_close(got, moments[:, :4], atol=1e-5, rtol=0)
    assert (got - clean).abs().max() > 1e-4


def test_target_latents_are_scaled_samples(tiny_model, pictures) -> None:
    """Training targets are a posterior sample times 0.18215; without a generator, its mode."""
    with torch.no_grad():
        mode = latents_from_rgb(tiny_model.vae, pictures)
        sample = latents_from_rgb(tiny_model.vae, pictures, torch.Generator().manual_seed(1))
        plain = torch.cat([reference_latents(tiny_model.vae, picture[None]) for picture in pictures])
    torch.testing.assert_close(mode, plain * 0.18215, atol=1e-5, rtol=0)
    assert (mode - sample).abs().max() > 1e-3


def test_decoding_by_hand(tiny_model) -> None:
    """decode(latents/0.18215)/2 + 0.5, clamped to [0,1]."""
    latents = torch.randn(2, 4, 4, 5, generator=torch.Generator().manual_seed(2)) * 0.3
    vae = tiny_model.vae
    with torch.no_grad():
        raw = vae.decoder(vae.post_quant_conv(latents / 0.18215))
        got = rgb_from_latents(vae, latents)
    torch.testing.assert_close(got, (raw / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=0)
    assert got.min() >= 0
    assert got.max() <= 1


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_chunks_do_not_change_the_image_vae(tiny_model, chunk: int) -> None:
    """Frame by frame or together, the image VAE says the same, in order."""
    latents = torch.randn(5, 4, 4, 4, generator=torch.Generator().manual_seed(3)) * 0.3
    with torch.no_grad():
        parts = list(decode_batches(tiny_model.vae, latents, chunk))
        whole = rgb_from_latents(tiny_model.vae, latents)
    assert [len(part) for part in parts[:-1]] == [chunk] * (len(parts) - 1)
    torch.testing.assert_close(torch.cat(parts), whole, atol=rounding(tiny_model.vae.decoder, whole), rtol=0)


def test_temporal_decoder_sees_its_chunk(tiny_model) -> None:
    """SVD's decoder mixes the frames of a chunk: alone, a frame comes out otherwise than beside others."""
    latents = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(4)) * 0.3
    with torch.no_grad():
        together = torch.cat(list(decode_batches(tiny_model.temporal_vae, latents, 3)))
        alone = torch.cat(list(decode_batches(tiny_model.temporal_vae, latents, 1)))
    assert together.shape == (3, 3, 32, 32)
    assert (together - alone).abs().max() > 1e-4


def test_encoder_keeps_fp32_in_fp16(tiny_weights, pictures) -> None:
    """In fp16 only the decoder is halved; encoding is exact."""
    from lcvd.weights.load import find_weights, load_part

    cpu = torch.device("cpu")
    exact = load_part(find_weights(tiny_weights), "vae", cpu, torch.float32)
    half = place_vae(load_part(find_weights(tiny_weights), "vae", cpu, torch.float32), cpu, torch.float16)
    assert next(half.decoder.parameters()).dtype == torch.float16
    with torch.no_grad():
        assert torch.equal(reference_latents(half, pictures[:1]), reference_latents(exact, pictures[:1]))


def test_antialiased_resize_by_hand() -> None:
    """A 1-D ramp and a step along one axis: Gaussian of σ = (f - 1)/2 in numpy, then aligned-corner bicubic samples."""
    width, target = 64, 16
    rng = np.random.default_rng(0)
    row = rng.normal(size=width)
    sigma = (width / target - 1) / 2
    taps = int(max(4 * sigma, 3)) | 1
    kernel = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * sigma**2))
    padded = np.pad(row, taps // 2, mode="reflect")
    smooth = np.convolve(padded, kernel / kernel.sum(), mode="valid")

    def cubic(t: float, a: float = -0.75) -> float:
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0

    expected = []
    for i in range(target):
        where = i * (width - 1) / (target - 1)
        base = int(np.floor(where))
        near = range(base - 1, base + 3)
        expected.append(sum(cubic(where - j) * smooth[min(max(j, 0), width - 1)] for j in near))
    picture = torch.from_numpy(np.broadcast_to(row, (1, 1, 16, width)).copy()).float()
    got = resize_antialiased(picture, (16, target))
    np.testing.assert_allclose(got[0, 0, 5].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(512, 512), (96, 300)])
def test_resize_equals_diffusers(size: tuple[int, int]) -> None:
    """SVD's pipeline in diffusers resizes to the same pixels, shrinking or enlarging."""
    theirs = pytest.importorskip("diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion")
    picture = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = theirs._resize_with_antialiasing(picture, (224, 224))
    torch.testing.assert_close(resize_antialiased(picture), expected, atol=1e-5, rtol=0)


def test_clip_sees_normalised_pixels(tiny_model) -> None:
    """A white picture is (1 - mean)/std everywhere; the embedding is one token of the encoder's width."""
    white = torch.ones(2, 3, 64, 64)
    shown = encoder_pixels(white)
    np.testing.assert_allclose(shown[0, :, 100, 100], [1.9303, 2.0749, 2.1459], atol=1e-3)
    with torch.no_grad():
        token = embed_image(tiny_model.image_encoder, white)
        expected = tiny_model.image_encoder(shown).image_embeds
    assert token.shape == (2, 1, 32)
    torch.testing.assert_close(token[:, 0], expected, atol=1e-5, rtol=0)


def test_shapes_are_checked(tiny_model) -> None:
    """Sizes that are no multiple of 8, and latents of another rank, are refused with what came."""
    with pytest.raises(ShapeError, match=r"\(1, 3, 30, 40\)"):
        reference_latents(tiny_model.vae, torch.zeros(1, 3, 30, 40))
    with pytest.raises(ShapeError, match="latents"):
        rgb_from_latents(tiny_model.vae, torch.zeros(4, 4, 4))
    with pytest.raises(ShapeError, match="pixels"):
        resize_antialiased(torch.zeros(3, 32, 32))


def test_taesd_takes_latents_as_the_denoiser_leaves_them(tiny_weights, tmp_path) -> None:
    """No 0.18215 for TAESD, and [-1,1] to [0,1]; frame by frame; beside the image VAE, which still encodes."""
    from shutil import copytree

    from lcvd.errors import ModelUnavailable
    from lcvd.model import load_lcvd
    from lcvd.weights.convert import convert, describe, verify
    from lcvd.weights.load import find_weights
    from lcvd.weights.tiny import write_tiny

    write_tiny(tmp_path / "tiny", taesd=True)
    model = load_lcvd(tmp_path / "tiny", decoder="tiny")
    assert model.picture_vae is model.tiny_vae
    latents = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        got = rgb_from_latents(model.tiny_vae, latents)
        expected = (model.tiny_vae.decoder(latents) / 2 + 0.5).clamp(0, 1)
        alone = torch.cat(list(decode_batches(model.tiny_vae, latents, 1)))
    assert got.shape == (3, 3, 32, 32)
    torch.testing.assert_close(got, expected, atol=0, rtol=0)
    torch.testing.assert_close(got, alone, atol=rounding(model.tiny_vae.decoder, got), rtol=0)
    assert got.std() > 0.01
    found = find_weights(tmp_path / "tiny")
    assert "tiny_vae" in [report.name for report in describe(found)]
    assert verify(found) == []
    out = convert(tmp_path / "tiny", tmp_path / "converted")
    assert load_lcvd(out, decoder="tiny").tiny_vae is not None
    # without its files: the image decoder works as ever, the tiny one says what to do
    plain = load_lcvd(tiny_weights)
    assert plain.picture_vae is plain.vae
    with pytest.raises(ModelUnavailable, match="decoder tiny") as caught:
        load_lcvd(tiny_weights, decoder="tiny")
    assert "madebyollin/taesd" in caught.value.hint
    with pytest.raises(ValueError, match="decoder='huge'"):
        load_lcvd(tiny_weights, decoder="huge")  # type: ignore[arg-type]
    # or anywhere else, when its folder is named
    copytree(tmp_path / "tiny" / "taesd", tmp_path / "elsewhere")
    assert load_lcvd(tiny_weights, decoder="tiny", taesd=tmp_path / "elsewhere").tiny_vae is not None
    # damaged files are told by verify
    (tmp_path / "tiny" / "taesd" / "diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 100)
    assert any("taesd" in problem for problem in verify(find_weights(tmp_path / "tiny")))
