"""Names of the backends, and what those that run plans are told. Needs no torch."""

from dataclasses import dataclass
from pathlib import Path

BACKENDS = ("auto", "eager", "compiled", "tensorrt", "torch-tensorrt", "onnx")


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Where the backends that run plans find them, and which they take."""

    folder: Path | None = None  # None: the user's cache
    precision: str | None = None  # None: the model's own; "fp8" where such plans were built
    rebuild: bool = False  # build at warm-up what is missing or does not match
    weights: str = "NAME"  # what the build command shall say
