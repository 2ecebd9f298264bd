"""The latents of a clip: bounded memory, interruption and resumption."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from safetensors.torch import save_file  # noqa: E402

from lcvd.errors import LcvdError  # noqa: E402
from lcvd.networks.schedule import karras_sigmas  # noqa: E402
from lcvd.sampling.latent_file import ClipLatents  # noqa: E402
from lcvd.sampling.sampler import sample_clip  # noqa: E402
from tests.lcvd.sampling.toy_denoiser import SHAPE, begun, gaussian  # noqa: E402


def test_few_frames_are_open_at_a_time() -> None:
    """However long the clip, the sums held beside the latents are those of one window and the anchor."""
    most = 0

    class Watched(ClipLatents):
        def blend(self, *given) -> None:
            nonlocal most
            super().blend(*given)
            most = max(most, len(self._open))

    state = Watched(400, SHAPE)
    state.begin(torch.randn(16, *SHAPE))
    sample_clip(lambda x, sigma, frames: (x, x), state, np.array([2.0, 1.0, 0.0]), np.ones(400))
    assert most == 16


class Cut(Exception):
    """The run was interrupted."""


@pytest.mark.parametrize("after", [1, 3, 4, 7, 11])
def test_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, after: int) -> None:
    """Cut off after any window, a run with a folder resumes there and ends in the same bits."""
    frames = 37
    means = np.random.default_rng(6).normal(size=(2, frames, *SHAPE))
    plain = gaussian(means, 0.5, np.linspace(0, 1, 16))
    sigmas, omega = karras_sigmas(3), np.full(frames, 2.0)
    expected = sample_clip(plain, begun(frames, 700)[0], sigmas, omega)
    asked = []

    def predict(x, sigma, indices):
        asked.append(sigma)
        return plain(x, sigma, indices)

    def cut(done: int, total: int) -> None:
        assert total == 12
        if done == after:
            raise Cut

    with pytest.raises(Cut):
        sample_clip(predict, begun(frames, 700, tmp_path)[0], sigmas, omega, on_progress=cut)
    state, _ = begun(frames, 700, tmp_path)
    assert state.resumed
    got = sample_clip(predict, state, sigmas, omega)
    assert torch.equal(got, expected)
    assert len(asked) == 12
    finished = begun(frames, 700, tmp_path)[0]
    assert torch.equal(sample_clip(predict, finished, sigmas, omega), expected)
    assert len(asked) == 12


def test_another_run_is_not_resumed(tmp_path: Path) -> None:
    """A folder of another clip, or with a damaged file, is refused with the remedy."""
    begun(20, 700, tmp_path)
    with pytest.raises(LcvdError, match="another run"):
        begun(21, 700, tmp_path)
    (tmp_path / "latents_1.f32").write_bytes(b"short")
    with pytest.raises(LcvdError, match="wrong size"):
        begun(20, 700, tmp_path)
    (tmp_path / "progress.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(LcvdError, match="cannot be read"):
        begun(20, 700, tmp_path)
    nothing = {name: torch.zeros(0) for name in ("frames", "weights", "v1", "v2")}
    save_file(nothing, tmp_path / "progress.safetensors", {"step": "soon", "window": "0"})
    with pytest.raises(LcvdError, match="cannot be read"):
        begun(20, 700, tmp_path)
