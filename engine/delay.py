"""What a windowed engine will cost in delay and frame rate, from the time a window takes. Pure arithmetic.

A window cannot start before its last fresh frame came, and frames leave with the spacing they came with: so every one
of them is as late as the first of its window.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a participant is told before a setting is chosen."""

    delay_s: float  # from a frame's arrival to its avatar, encoders and network not counted
    fps: float  # of the output
    keeps_up: bool  # the device finishes a window before the next is full


@dataclass(frozen=True, slots=True)
class WindowCost:
    """What the device was seen to take, in seconds; measured by the engine's warm-up."""

    forward_s: tuple[float, float]  # one call of the denoiser: with one branch, with both
    decode_s: float  # a frame, hint features included

    def window_s(self, steps: int, branches: int, fresh: int) -> float:
        """One window of `fresh` new frames."""
        return steps * self.forward_s[branches - 1] + fresh * self.decode_s


def predicted(
    source_fps: float,
    fresh: int,  # frames a window
    window_s: float,  # time the device takes for one: features, denoising, decoding
    streams: int = 1,  # participants who take turns on the device
    flying: int = 1,  # chunks under way at once (engine.staggered); frames leave flying - 1 chunks after they came
) -> Prediction:
    """Delay and rate of `fresh`-frame windows, or staggered chunks, at `source_fps`. Raises ValueError for values at or
    below 0."""
    if source_fps <= 0 or fresh < 1 or window_s < 0 or streams < 1 or flying < 1:
        raise ValueError(
            f"source_fps={source_fps}, fresh={fresh}, window_s={window_s}, streams={streams}, flying={flying}:"
            " too small"
        )
    fill_s = (flying * fresh - 1) / source_fps
    turn_s = window_s * streams  # at worst every other participant's window comes first
    most = fresh / turn_s if turn_s > 0 else float("inf")
    return Prediction(fill_s + turn_s, min(source_fps, most), source_fps <= most)
