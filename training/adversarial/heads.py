"""Heads judge what a frozen encoder sees of a clip: at each level one looks at frames, one along time.

As in SF-V (Zhang et al. 2024, Sec. 3 and Fig. 3): the spatial head gets every frame by itself, frames merged with the
batch; the temporal head gets every place by itself over all frames, places merged with the batch. Both know the image
embedding and the frame's index, by projection (Miyato & Koyama 2018). The layers themselves are ours.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

GROUPS = 4  # of the normalisation; `width` is a multiple
INDEX_CHANNELS = 8  # of the frame's index, as sines and cosines
SLOPE = 0.2


class Head(nn.Module):
    """Two convolutions and a logit at each place, along the last axes of its input: 2 for a picture, 1 for time."""

    def __init__(self, channels: int, condition: int, width: int, axes: int) -> None:
        super().__init__()
        convolution: Any = nn.Conv2d if axes == 2 else nn.Conv1d
        self.enter = convolution(channels, width, 1)
        self.look = convolution(width, width, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, width) for _ in range(2))
        self.logit = nn.Linear(width, 1)
        self.project = nn.Linear(condition, width)
        self.act = nn.LeakyReLU(SLOPE)

    def forward(
        self,
        x: Tensor,  # [N,C,h,w] or [N,C,F]
    ) -> Tensor:
        """Returns what it sees, with channels last: [N,h,w,width] or [N,F,width]."""
        x = self.act(self.norms[0](self.enter(x)))
        x = x + self.act(self.norms[1](self.look(x)))
        return x.movedim(1, -1)

    def judge(
        self,
        seen: Tensor,  # [B,F,h,w,width]
        condition: Tensor,  # [B,F,K]
    ) -> Tensor:
        """Returns the logits, [B,F·h·w]: one for the clip alone, plus its agreement with the condition."""
        wanted = self.project(condition)[:, :, None, None]
        agreement = (seen * wanted).mean(-1)
        logits: Tensor = self.logit(seen)[..., 0] + agreement
        return logits.flatten(1)


class Heads(nn.Module):
    """Holds a spatial and a temporal head for each level of the encoder."""

    def __init__(self, channels: Sequence[int], embedding: int, width: int, seed: int) -> None:
        super().__init__()
        condition = embedding + INDEX_CHANNELS
        with torch.random.fork_rng(devices=[]):  # the same heads in every process
            torch.manual_seed(seed)
            self.spatial = nn.ModuleList(Head(each, condition, width, 2) for each in channels)
            self.temporal = nn.ModuleList(Head(each, condition, width, 1) for each in channels)

    def forward(
        self,
        levels: Sequence[Tensor],  # [B,F,C_i,h_i,w_i]
        embedding: Tensor,  # [B,1,D]
    ) -> list[Tensor]:
        """Returns the logits of each head, [B,N_i]: the spatial one of every level, then the temporal ones."""
        condition = _condition(embedding, levels[0].shape[1])
        spatial, temporal = [], []
        for level, *heads in zip(levels, self.spatial, self.temporal, strict=True):
            in_space, in_time = (cast(Head, head) for head in heads)
            batch, frames, _, height, width = level.shape
            seen = in_space(level.flatten(0, 1)).unflatten(0, (batch, frames))
            spatial.append(in_space.judge(seen, condition))
            along = level.permute(0, 3, 4, 2, 1).flatten(0, 2)  # [B·h·w,C,F]
            seen = in_time(along).unflatten(0, (batch, height, width)).movedim(3, 1)
            temporal.append(in_time.judge(seen, condition))
        return spatial + temporal


def _condition(embedding: Tensor, frames: int) -> Tensor:
    """Returns [B,F,D + INDEX_CHANNELS]: the image embedding beside the index of each frame."""
    index = torch.arange(frames, device=embedding.device, dtype=torch.float32)
    turns = 2.0 ** -torch.arange(INDEX_CHANNELS // 2, device=embedding.device, dtype=torch.float32)
    angles = index[:, None] * turns
    index_channels = torch.cat([angles.sin(), angles.cos()], 1).to(embedding).expand(len(embedding), -1, -1)
    return torch.cat([embedding.expand(-1, frames, -1), index_channels], 2)
