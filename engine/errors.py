"""Errors of the live engines.

EngineError (HintedError)
├── UnknownEngine (ValueError)  there is no engine of this name
├── EngineUnavailable           this engine cannot run here (missing extra, weights or device); hint names the remedy
├── FrameError (ValueError)     a frame has an impossible size or type
├── ClipError (ValueError)      a video file cannot be read or written
├── PortraitError (ValueError)  a reference or driver cannot be animated
└── StreamClosed                the stream was closed
"""

from lcvd.errors import HintedError


class EngineError(HintedError):
    """Root of the package's errors."""


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
