"""U²-Net: pictures [B,3,H,W] → portrait maps [B,1,H,W] in (0,1), with the published key names. Needs torch.

Qin et al. 2020, "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection" (figures 2 and 5): a U of
residual U-blocks (RSU), six side maps and their fusion. The LCVD authors load `u2net_human_seg.pth` (44,009,869
parameters) and use the fused map. Narrower copies with the same keys are read too, for tests.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcvd.errors import ModelUnavailable
from lcvd.weights.foreign import load_checked, read_checkpoint

REMEDY = "get u2net_human_seg.pth from github.com/xuebinqin/U-2-Net (human segmentation; docs/deca.md)"
WIDTH = 64


class ConvNormReLU(nn.Module):
    """3×3 convolution with dilation, batch norm, ReLU."""

    def __init__(self, channels: int, out: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(channels, out, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn_s1(self.conv_s1(x)).relu()


class ResidualU(nn.Module):
    """RSU-`depth`: a U of `depth` levels inside one block, plus its own input convolution.

    `flat` is RSU-4F: dilations 1, 2, 4, 8 instead of pooling.
    """

    def __init__(self, depth: int, channels: int, inner: int, out: int, flat: bool = False) -> None:
        super().__init__()
        self.depth, self.flat = depth, flat
        self.rebnconvin = ConvNormReLU(channels, out)
        for level in range(1, depth + 1):
            dilation = 2 ** (level - 1) if flat else (2 if level == depth else 1)
            self.add_module(f"rebnconv{level}", ConvNormReLU(out if level == 1 else inner, inner, dilation))
        for level in range(depth - 1, 0, -1):
            dilation = 2 ** (level - 1) if flat else 1
            self.add_module(f"rebnconv{level}d", ConvNormReLU(2 * inner, out if level == 1 else inner, dilation))

    def forward(self, x: Tensor) -> Tensor:
        entry = x = self.rebnconvin(x)
        levels = []
        for level in range(1, self.depth + 1):
            # The deepest level is a dilated convolution at the size of the one above it.
            if 1 < level < self.depth and not self.flat:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = self.get_submodule(f"rebnconv{level}")(x)
            levels.append(x)
        for level in range(self.depth - 1, 0, -1):
            side = levels[level - 1]
            x = self.get_submodule(f"rebnconv{level}d")(torch.cat([_like(x, side), side], 1))
        return x + entry


def _like(x: Tensor, other: Tensor) -> Tensor:
    if x.shape[2:] == other.shape[2:]:
        return x
    return F.interpolate(x, other.shape[2:], mode="bilinear", align_corners=False)


class U2Net(nn.Module):
    """The U²-Net network; `width` 64 is the published size."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        w = width
        # (depth, channels in, inner, out, flat): the paper's table of configurations.
        self.stage1 = ResidualU(7, 3, w // 2, w)
        self.stage2 = ResidualU(6, w, w // 2, 2 * w)
        self.stage3 = ResidualU(5, 2 * w, w, 4 * w)
        self.stage4 = ResidualU(4, 4 * w, 2 * w, 8 * w)
        self.stage5 = ResidualU(4, 8 * w, 4 * w, 8 * w, flat=True)
        self.stage6 = ResidualU(4, 8 * w, 4 * w, 8 * w, flat=True)
        self.stage5d = ResidualU(4, 16 * w, 4 * w, 8 * w, flat=True)
        self.stage4d = ResidualU(4, 16 * w, 2 * w, 4 * w)
        self.stage3d = ResidualU(5, 8 * w, w, 2 * w)
        self.stage2d = ResidualU(6, 4 * w, w // 2, w)
        self.stage1d = ResidualU(7, 2 * w, w // 4, w)
        for level, channels in enumerate([w, w, 2 * w, 4 * w, 8 * w, 8 * w], 1):
            self.add_module(f"side{level}", nn.Conv2d(channels, 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)

    def forward(self, rgb: Tensor) -> Tensor:  # [B,3,H,W] -> [B,1,H,W]
        encoded = []
        x = rgb
        for level in range(1, 7):
            if level > 1:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = self.get_submodule(f"stage{level}")(x)
            encoded.append(x)
        decoded = [x]
        for level in range(5, 0, -1):
            side = encoded[level - 1]
            x = self.get_submodule(f"stage{level}d")(torch.cat([_like(x, side), side], 1))
            decoded.insert(0, x)
        maps = [_like(self.get_submodule(f"side{k}")(y), rgb) for k, y in enumerate(decoded, 1)]
        return self.outconv(torch.cat(maps, 1)).sigmoid()


def load_u2net(path: Path) -> U2Net:
    """Load the network of a bare state dict file, on the CPU, in eval mode. Raises ModelUnavailable with the fault."""
    state = read_checkpoint(path, REMEDY)
    first = state.get("stage1.rebnconvin.conv_s1.weight")
    if not isinstance(first, Tensor) or first.ndim != 4 or first.shape[0] < 4 or first.shape[0] % 4:
        raise ModelUnavailable(f"{path.name} is no U²-Net: stage1.rebnconvin.conv_s1.weight is missing", REMEDY)
    model = U2Net(first.shape[0])
    load_checked(model, state, path.name, REMEDY)
    return model.eval().requires_grad_(False)
