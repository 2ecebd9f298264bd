"""engine.backends: eager against lcvd's own conditions, compiled against eager."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.backends.compiled import CompiledBackend  # noqa: E402
from engine.backends.eager import EagerBackend  # noqa: E402
from engine.backends.make_backend import make_backend  # noqa: E402
from engine.protocols import DenoiseRequest  # noqa: E402
from lcvd.networks.vae import rgb_from_latents  # noqa: E402
from lcvd.sampling.conditions import ClipConditions  # noqa: E402
from lcvd.sampling.pipeline import predictor  # noqa: E402
from tests.rounding import rounding  # noqa: E402

SIZE, FRAMES = 64, 16
RNG = np.random.default_rng(0)
PORTRAIT = RNG.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
HINTS = RNG.integers(0, 256, (FRAMES, SIZE, SIZE, 3), np.uint8)
MASK = np.linspace(0, 1, SIZE, dtype=np.float32)[None].repeat(SIZE, 0)


def noises():
    generator = torch.Generator().manual_seed(3)
    picture = torch.randn(1, 3, SIZE, SIZE, generator=generator)
    return picture, torch.randn(FRAMES, 4, SIZE // 8, SIZE // 8, generator=generator)


def branches_of(backend, branches=2, sigma=2.5):
    picture, x = noises()
    with torch.inference_mode():
        reference = backend.encode(PORTRAIT, MASK, picture)
        (answer,) = backend.denoise([DenoiseRequest(x, sigma, reference, backend.features(HINTS), branches)])
    return answer


def test_both_branches_are_the_offline_pipelines(tiny_lcvd) -> None:
    """The same window through lcvd.sampling.pipeline's own conditions and predictor gives the same v1 and v2."""
    picture, x = noises()
    with torch.inference_mode():
        conditions = ClipConditions(tiny_lcvd, PORTRAIT, MASK, HINTS[0], HINTS[1:], noise=picture)
        expected = predictor(tiny_lcvd, conditions)(x, 2.5, range(FRAMES))
    got = branches_of(EagerBackend(tiny_lcvd))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert (got[0] - got[1]).abs().max() > 1e-3  # the hint is heard


def test_one_branch_is_c2(tiny_lcvd) -> None:
    """One branch is v2 of two, and no v1 comes."""
    backend = EagerBackend(tiny_lcvd)
    v1, v2 = branches_of(backend, 1)
    assert v1 is None
    both = branches_of(backend)[1]
    torch.testing.assert_close(v2, both, atol=rounding(tiny_lcvd.denoiser, both), rtol=0)


def test_decode_rounds_what_the_vae_gives(tiny_lcvd) -> None:
    """uint8 [n,S,S,3] of every latent, whatever the chunk."""
    latents = noises()[1][:7]
    with torch.inference_mode():
        got = EagerBackend(tiny_lcvd).decode(latents)
        expected = rgb_from_latents(tiny_lcvd.vae, latents).permute(0, 2, 3, 1).numpy() * 255
    assert got.shape == (7, SIZE, SIZE, 3)
    assert got.dtype == np.uint8
    assert np.abs(got - expected).max() <= 0.51


class Counted:
    """A compiler for torch.compile that changes nothing and counts the graphs it is given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph, example_inputs):
        self.graphs += 1
        return graph.forward


def test_compiled_agrees_with_eager_and_compiles_nothing_after_the_warm_up(tiny_lcvd) -> None:
    """Encoding, features, both branches, decoding: eager's numbers, and no new graph for any stride or level shape, nor
    for two requests of one branch after one request of two.

    Inductor's own code is a GPU machine's business; here the traced graphs run.
    """
    compiler = Counted()
    torch._dynamo.reset()
    compiled, eager = CompiledBackend(tiny_lcvd, compiler=compiler), EagerBackend(tiny_lcvd)
    frames = 4  # as good as 16 here, and traced as slowly
    compiled.warmup(SIZE, frames, (2,), (1,))
    graphs = compiler.graphs
    assert graphs >= 3  # denoiser, adapter, decoder
    picture, x = noises()
    x = x[:frames]
    with torch.inference_mode():
        references = [backend.encode(PORTRAIT, MASK, picture) for backend in (compiled, eager)]
        for a, b in (
            (getattr(reference, name) for reference in references) for name in ("features", "clip", "latents")
        ):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        for stride in (4, 8, 10):
            torch.testing.assert_close(compiled.features(HINTS[:stride]), eager.features(HINTS[:stride]))
            latents = noises()[1][:stride]
            assert np.abs(compiled.decode(latents).astype(int) - eager.decode(latents)).max() <= 1
        features = eager.features(HINTS[:frames])
        for branches in (1, 2):
            for sigma in (2.5, np.linspace(0.1, 3.0, frames)):
                requests = [DenoiseRequest(x, sigma, references[1], features, branches)] * (
                    3 - branches
                )  # two rows either way
                for got, expected in zip(compiled.denoise(requests), eager.denoise(requests), strict=True):
                    torch.testing.assert_close(got[1], expected[1], atol=1e-5, rtol=1e-5)
                    if branches == 2:
                        torch.testing.assert_close(got[0], expected[0], atol=1e-5, rtol=1e-5)
    assert compiler.graphs == graphs


def test_backends_are_made_by_name(tiny_lcvd) -> None:
    """An unknown name is refused with the legal ones."""
    assert make_backend("eager", tiny_lcvd).name == "eager"
    with pytest.raises(ValueError, match="eager, compiled"):
        make_backend("tensorrt-llm", tiny_lcvd)
