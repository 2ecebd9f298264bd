"""Training for the staggered mode uses the engine's own rows, counts only noisy ones, and marks the weights."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lcvd extra is not installed")
pytest.importorskip("accelerate", reason="the lcvd extra is not installed")

from engine.diffusion.sampler import SamplerPlan  # noqa: E402
from engine.diffusion.staggered import CHUNK_FRAMES, StaggeredDenoising, StaggeredShape  # noqa: E402
from engine.diffusion.window import WINDOW  # noqa: E402
from lcvd.model import load_lcvd  # noqa: E402
from lcvd.networks.precond import region_means  # noqa: E402
from lcvd.networks.schedule import (  # noqa: E402
    SIGMA_MIN,
    SamplerName,
    staggered_sigmas,
)
from tests.training.tiny_run import tiny_config  # noqa: E402
from training.config import NoiseConfig, StaggeredConfig  # noqa: E402
from training.data.noise import counted_rows, draw_sigma  # noqa: E402
from training.errors import ConfigError  # noqa: E402
from training.loop.train import train  # noqa: E402


def rows_of_the_engine(sampler: SamplerName, levels: int) -> list[np.ndarray]:
    """Returns σ of every row in the calls of a live stream: its start, then two more."""
    shape, plan = StaggeredShape(levels), SamplerPlan(sampler=sampler, guidance="none")
    noise = torch.randn(WINDOW, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    kept, seen = None, []
    for _ in range(3):
        denoising, rows = StaggeredDenoising(noise, plan, shape, kept), None
        while rows is None:
            x, sigma = denoising.input()
            seen.append(np.asarray(sigma))
            rows = denoising.advance(None, torch.zeros_like(x))
        kept = rows[shape.kept]
    return seen


@pytest.mark.parametrize("sampler", ["euler", "ddim"])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_rows_are_those_the_engine_asks_for(sampler: SamplerName, levels: int) -> None:
    """The levels agree call by call from the start of a stream, to the bit."""
    seen = rows_of_the_engine(sampler, levels)
    assert len(seen) == levels + 2
    for call, sigma in enumerate(seen):
        np.testing.assert_array_equal(staggered_sigmas(sampler, levels, call, WINDOW, CHUNK_FRAMES), sigma)


def test_training_draws_every_call_of_a_stream_and_nothing_else() -> None:
    """Without jitter, half of the draws are of the steady state, the rest of the start-up."""
    config = StaggeredConfig(share=1.0, steps=(2, 3), jitter=0.0)
    generator = torch.Generator().manual_seed(0)
    drawn = Counter(tuple(draw_sigma(NoiseConfig(), config, WINDOW, generator).tolist()) for _ in range(400))
    rows, chunk = WINDOW, CHUNK_FRAMES
    legal = {
        tuple(torch.from_numpy(staggered_sigmas("euler", levels, call, rows, chunk)).float().tolist()): (levels, call)
        for levels in (2, 3)
        for call in range(levels + 1)
    }
    assert {legal[rows] for rows in drawn} == set(legal.values())
    under_way = sum(count for rows, count in drawn.items() if legal[rows][0] == legal[rows][1])
    assert 150 < under_way < 250


def test_jitter_keeps_rows_of_a_level_together_and_clean_rows_clean() -> None:
    """Each level has one factor; a clean row keeps the level it has live."""
    config = StaggeredConfig(share=1.0, steps=(3,), jitter=0.3)
    generator = torch.Generator().manual_seed(1)
    seen = set()
    for _ in range(50):
        sigma = draw_sigma(NoiseConfig(), config, WINDOW, generator)
        counted = counted_rows(sigma)
        clean = WINDOW - 3 * CHUNK_FRAMES
        for chunk in sigma[clean:].split(CHUNK_FRAMES):
            assert len(chunk.unique()) == 1
        assert len(sigma[:clean].unique()) == 1
        assert bool((counted[clean:] == 1).all())
        assert bool((counted[:clean] == float(sigma[0] > SIGMA_MIN * 1.01)).all())
        seen.add(float(sigma[-1]))
    assert len(seen) > 40


def test_rows_of_one_level_all_count() -> None:
    """A sequence with one σ is the plain loss, however small σ is."""
    for sigma in (SIGMA_MIN, 1e-4, 3.0):
        assert counted_rows(torch.full((5,), sigma)).tolist() == [1.0] * 5


def test_means_are_over_the_rows_that_count() -> None:
    """Errors of a clean row change neither term and do not dilute them."""
    generator = torch.Generator().manual_seed(2)
    errors = torch.rand(2, 3, 4, 5, 5, generator=generator)
    mask = (torch.rand(2, 3, 1, 5, 5, generator=generator) > 0.5).float()
    rows = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    got = region_means(errors, mask, rows)
    for b, kept in enumerate((slice(1, None), slice(None))):
        each, inside = errors[b, kept], mask[b, kept].expand(-1, 4, -1, -1) > 0
        torch.testing.assert_close(got[b], torch.stack([each.mean(), each[inside].mean()]))
    assert region_means(errors, torch.zeros_like(mask), rows)[:, 1].tolist() == [0.0, 0.0]


def test_weights_say_that_they_were_trained_for_it(tmp_path: Path) -> None:
    """The manifest of such a run has `staggered: true`, and no other's has."""
    given = {"share": 1.0, "chunk": 1, "steps": [1, 2]}
    for name, staggered in (("yes", given), ("no", None)):
        config = tiny_config(tmp_path / name, steps=1, staggered=staggered, data__latents="fresh")
        weights = train(config).weights
        assert weights is not None
        assert load_lcvd(weights).staggered is (name == "yes")


def test_either_steps_or_levels() -> None:
    """Both or neither, rising levels and more frames than there are raise ConfigError."""
    for table, said in (
        ({"share": 1.0}, "either steps or levels"),
        ({"steps": [2], "levels": [3.0]}, "either steps or levels"),
        ({"levels": [1.0, 2.0]}, "smaller than the one before"),
        ({"steps": [2], "chunk": 4}, "8 frames under way"),
    ):
        with pytest.raises(ConfigError, match=said):
            tiny_config(Path("x"), staggered=table)
