"""Errors of training and data preparation; the command line shows `message` and `hint`.

TrainingError (LcvdError)
├── ConfigError        a training configuration cannot be used
├── TrainingStopped    training cannot go on; what was saved is intact
└── DataError          prepared data, or what it is made from, cannot be used
    ├── FootageError   one video cannot be read: it is listed as rejected, and the others go on
    └── DiskFull       the disk of the output is full; what is finished is kept
"""

from lcvd.errors import LcvdError


class TrainingError(LcvdError):
    """Root of the package's errors; `hint` tells a person the remedy."""


class DataError(TrainingError):
    """Prepared data, or what it is made from, cannot be used."""


class FootageError(DataError):
    """One video cannot be read."""


class DiskFull(DataError):
    """The disk of the output is full."""


class ConfigError(TrainingError):
    """A training configuration cannot be used."""


class TrainingStopped(TrainingError):
    """Training cannot go on; what was saved is intact."""
