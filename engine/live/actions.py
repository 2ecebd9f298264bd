"""Actions that `engine.live.state` asks its owner to perform; frozen."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.frames import Frame
from engine.live.controls import Device
from engine.live.output import OutputFrame


@dataclass(frozen=True, slots=True, eq=False)
class LaneRef:
    """Names one lane: one stream on one engine. Two lanes on one engine are two refs."""

    device: Device


@dataclass(frozen=True, slots=True)
class Open:
    """Start the lane's thread; it opens its stream after `wait_s` seconds."""

    lane: LaneRef
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Feed:
    """Give `frame` to the lane's engine."""

    lane: LaneRef
    frame: Frame


@dataclass(frozen=True, slots=True)
class Reset:
    """Let the lane's engine begin anew with the next frame; frames it has not taken are forgotten."""

    lane: LaneRef


@dataclass(frozen=True, slots=True)
class Close:
    """End the lane as soon as its present call returns."""

    lane: LaneRef


@dataclass(frozen=True, slots=True)
class Show:
    """Schedule `frames` for sending."""

    frames: Sequence[OutputFrame]


@dataclass(frozen=True, slots=True)
class Clear:
    """Forget every frame that is scheduled and was not sent."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Count `frames` rendered pictures that are not shown: something newer was."""

    frames: int


Action = Open | Feed | Reset | Close | Show | Clear | Discard
