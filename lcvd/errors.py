"""Errors of the model and geometry package, and `HintedError`, the base of every package's.

LcvdError (HintedError)
├── ShapeError (ValueError)        an array has the wrong rank, size or dtype
├── LightError (ValueError)        a light, preset or environment map is not usable
├── ImageError (ValueError)        an image cannot be decoded or is over a limit
└── ModelUnavailable               a model file cannot be found or fails its hash
    └── WeightsError               LCVD's weights are incomplete, damaged or not LCVD's
"""


class HintedError(Exception):
    """Base of every error of this project: `message` names the field and the value, `hint` the remedy."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class LcvdError(HintedError):
    """Root of the package's errors."""


class ShapeError(LcvdError, ValueError):
    """An array has the wrong rank, size or dtype."""


class LightError(LcvdError, ValueError):
    """A light, preset or environment map is not usable."""


class ImageError(LcvdError, ValueError):
    """An image cannot be decoded or is over a limit."""


class ModelUnavailable(LcvdError):
    """A model file cannot be found or fails its hash."""


class WeightsError(ModelUnavailable):
    """LCVD's weights are incomplete, damaged or not LCVD's."""
