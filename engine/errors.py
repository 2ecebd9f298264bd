"""Errors of the live engines.

EngineError
├── UnknownEngine (ValueError)  there is no engine of this name
├── EngineUnavailable           this engine cannot run here (missing extra, weights or device); hint names the remedy
├── FrameError (ValueError)  a frame has an impossible size or type
└── StreamClosed                the stream was closed
"""


class EngineError(Exception):
    """Root of the package's errors. `hint` is the remedy, in words for a person."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UnknownEngine(EngineError, ValueError):
    """There is no engine of this name."""


class EngineUnavailable(EngineError):
    """This engine cannot run here."""


class FrameError(EngineError, ValueError):
    """A frame has an impossible size or type."""


class ClipError(EngineError, ValueError):
    """A video file cannot be read or written."""


class PortraitError(EngineError, ValueError):
    """A reference or driver cannot be animated."""


class StreamClosed(EngineError):
    """The stream was closed."""
