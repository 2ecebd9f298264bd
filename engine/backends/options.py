"""Names of the backends, and the options of those that run plans. Needs no torch."""

from dataclasses import dataclass
from pathlib import Path

BACKENDS = ("auto", "eager", "compiled", "tensorrt", "torch-tensorrt", "onnx")


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Tells the backends that run plans where they find them, and which they take."""

    folder: Path | None = None  # None: the user's cache
    precision: str | None = None  # None: the model's own; "fp8" where such plans were built
    rebuild: bool = False  # build at warm-up what is missing or does not match
    weights: str = "NAME"  # what the build command shall say
