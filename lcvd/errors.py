"""Errors of the model and geometry package; each says what came, and what to do about it.

LcvdError
├── ShapeError (ValueError)        an array has the wrong rank, size or dtype
├── LightError (ValueError)        a light, preset or environment map is not usable
├── ImageError (ValueError)        an image cannot be decoded or is over a limit
└── ModelUnavailable               a model file cannot be found or fails its hash
    └── WeightsError               LCVD's weights are incomplete, damaged or not LCVD's
"""


class LcvdError(Exception):
    """Root of the package's errors. `hint` is the remedy, in words for a person."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


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
