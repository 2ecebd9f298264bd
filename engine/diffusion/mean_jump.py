"""The step that a network makes at every join of live windows, learned as a mean and spread over the window's new rows.

With one step nano's first new row differs from the last known one by more than its rows do from each other: the rows of
a window are not alike to the network, and the same part of the step returns in every window. Its running mean becomes a
ramp of mean zero over the new rows. Only what is decoded is changed, not the latents that the next window starts with,
so nothing is handed on and nothing can drift.
"""

import torch
from torch import Tensor

MEAN_WINDOWS = 24  # memory of the mean, in windows
PRIOR_WINDOWS = 4  # windows without a step that are taken as seen: one change of light at the start is no habit


class MeanJump:
    """The running mean of one stream's steps at joins, in latents [4,h,w]."""

    def __init__(self) -> None:
        self._mean: Tensor | None = None
        self._count = PRIOR_WINDOWS

    def spread(self, new: Tensor, before: Tensor | None) -> Tensor:
        """Count the step from `before` [4,h,w] (None: no window) to `new` [F,4,h,w]; return `new` without the mean."""
        hop = len(new)
        if before is None or hop < 2:
            return new
        jump = (new[0] - before) - (new[-1] - new[0]) / (hop - 1)  # motion steps too; what is above it is the join's
        mean = torch.zeros_like(jump) if self._mean is None else self._mean
        self._count = min(self._count + 1, MEAN_WINDOWS)
        self._mean = mean + (jump - mean) / self._count
        ramp = ((hop - 1) / 2 - torch.arange(hop, device=new.device, dtype=new.dtype)) / hop
        return new - ramp[:, None, None, None] * self._mean
