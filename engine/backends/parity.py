"""The parity check: one window through a fast backend and through eager, before the fast one is used."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import EngineUnavailable
from engine.protocols import Backend, DenoiseRequest

# (least cosine, largest error over the largest value). Fused bf16 rounds differently; fp8 may stray as far as its plan
# was allowed to when it was built (`engine.backends.build.TOLERANCES`); a wrong kernel is far beyond either.
TOLERANCE, FP8_TOLERANCE = (0.99, 0.2), (0.95, 0.5)
SIGMA = 2.5  # a level where both the picture and the noise are heard


@dataclass(frozen=True, slots=True)
class Parity:
    """Says how near one stage's output is to the eager backend's."""

    stage: str
    cosine: float  # of all values taken as one vector
    max_error: float  # largest difference over the largest absolute value

    def within(self, tolerance: tuple[float, float]) -> bool:
        """True where it is near enough to be used; NaN is not."""
        return self.cosine >= tolerance[0] and self.max_error <= tolerance[1]


def parity(stage: str, got: NDArray[np.generic], expected: NDArray[np.generic]) -> Parity:
    """Compare two arrays of one shape; two arrays of zeros agree."""
    a, b = got.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    size = float(np.sqrt((a @ a) * (b @ b)))
    cosine = float(a @ b) / size if size else float((a == b).all())
    return Parity(stage, cosine, float(np.abs(a - b).max()) / max(float(np.abs(b).max()), 1e-12))


def require_parity(backend: Backend, eager: Backend, size: int, frames: int) -> list[Parity]:
    """Run all stages of `backend` on one window beside `eager`. Raises EngineUnavailable where one differs too much."""
    found = [
        parity(stage, got, expected)
        for (stage, got), (_, expected) in zip(
            _stages(backend, size, frames), _stages(eager, size, frames), strict=True
        )
    ]
    tolerance = FP8_TOLERANCE if getattr(backend, "precision", "") == "fp8" else TOLERANCE
    for each in found:
        if not each.within(tolerance):
            raise EngineUnavailable(
                f"backend {backend.name}: its {each.stage} differs from eager's "
                f"(cosine {each.cosine:.4f}, largest error {each.max_error:.3g} of the largest value)",
                "use backend eager, and report the GPU and the versions of torch and TensorRT",
            )
    return found


@torch.inference_mode()
def _stages(backend: Backend, size: int, frames: int) -> list[tuple[str, NDArray[np.generic]]]:
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    picture, hints = (rng.integers(0, 256, (n, size, size, 3), np.uint8) for n in (1, frames))
    noise = torch.randn(1, 3, size, size, generator=generator)
    x = torch.randn(frames, 4, size // 8, size // 8, generator=generator) * (SIGMA**2 + 1) ** 0.5
    reference = backend.encode(picture[0], np.ones((size, size), np.float32), noise)
    features = backend.features(hints)
    x = x.to(features.device)
    ((v1, v2),) = backend.denoise([DenoiseRequest(x, SIGMA, reference, features, 2)])
    pictures = backend.decode(x[:2] / (SIGMA**2 + 1) ** 0.5)
    return [
        ("features", features.float().cpu().numpy()),
        ("denoiser", torch.stack([v1, v2]).float().cpu().numpy()),
        ("decoder", pictures),
    ]
