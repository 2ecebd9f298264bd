"""DECA's coarse encoder in plain torch: crops [B,3,224,224] in [0,1] → 236 numbers, with the published key names.

ResNet-50 (He et al. 2015; stride on the 3×3 convolution) without its classifier, then 2048 → 1024 → 236, as DECA
(Feng et al. 2021, section 4.1) saves it under `E_flame` in deca_model.tar: `encoder.conv1.weight` … `layers.2.bias`,
25,848,108 parameters. Narrower copies with the same keys are read too, for tests. Needs torch.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from lcvd.errors import ModelUnavailable
from lcvd.weights.foreign import load_checked, read_checkpoint

OUTPUTS = 236  # shape 100, texture 50, expression 50, pose 6, camera 3, light 27
BLOCKS = (3, 4, 6, 3)
WIDTH = 64
REMEDY = "get deca_model.tar from DECA's README, github.com/yfeng95/DECA (docs/deca.md)"
GROUP = "E_flame"


class Bottleneck(nn.Module):
    """1×1 to `width`, 3×3 with the stride, 1×1 to 4·`width`, plus the input."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet50(nn.Module):
    """[B,3,224,224] → [B,32·width] features, averaged over the last 7×7 map."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, count in enumerate(BLOCKS):
            inner = width * 2**stage
            blocks = []
            for block in range(count):
                blocks.append(Bottleneck(channels, inner, 2 if stage and not block else 1))
                channels = 4 * inner
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        for stage in range(len(BLOCKS)):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x.mean((2, 3))


class CoarseEncoder(nn.Module):
    """ResNet-50 and the two-layer regressor."""

    def __init__(self, width: int = WIDTH, hidden: int = 1024, outputs: int = OUTPUTS) -> None:
        super().__init__()
        self.encoder = ResNet50(width)
        self.layers = nn.Sequential(nn.Linear(32 * width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, crops: Tensor) -> Tensor:  # [B,3,224,224] -> [B,236]
        return self.layers(self.encoder(crops))


def load_encoder(path: Path) -> nn.Module:
    """Load the coarse encoder of `path` (deca_model.tar) on the CPU, in eval mode. Raises ModelUnavailable.

    An installed `decalib` provides the module (the weights are ours to read either way); see `encoder_source`.
    """
    state = read_encoder_state(path)
    width, hidden = state["encoder.conv1.weight"].shape[0], state["layers.0.weight"].shape[0]
    theirs = _decalib_encoder() if width == WIDTH else None
    model = theirs or CoarseEncoder(width, hidden)
    load_checked(model, state, path.name, REMEDY)
    return model.eval().requires_grad_(False)


def encoder_source() -> str:
    """Name the module that `load_encoder` builds, for a note to the user."""
    return "decalib's ResnetEncoder" if _decalib_encoder() is not None else "our ResNet-50 (decalib is not installed)"


def _decalib_encoder() -> nn.Module | None:
    # decalib's FLAME and renderer are left alone: they unpickle without restraint and want CUDA to import.
    try:
        from decalib.models.encoders import ResnetEncoder
    except (ImportError, OSError):
        return None
    return ResnetEncoder(outsize=OUTPUTS)


def read_encoder_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors under `E_flame` of deca_model.tar (nested, or flat with that prefix), float32."""
    saved = read_checkpoint(path, REMEDY)
    state = saved.get(GROUP)
    if state is None:
        state = {k.removeprefix(f"{GROUP}."): v for k, v in saved.items() if str(k).startswith(f"{GROUP}.")}
    if not isinstance(state, Mapping) or not state:
        keys = ", ".join(sorted(map(str, saved)))[:200]
        raise ModelUnavailable(f"{path.name} has no '{GROUP}' (it has {keys or 'nothing'})", REMEDY)
    tensors = {str(k): v.float() if v.is_floating_point() else v for k, v in state.items() if isinstance(v, Tensor)}
    for key in ("encoder.conv1.weight", "layers.0.weight"):
        if key not in tensors or tensors[key].ndim < 2:
            raise ModelUnavailable(f"{path.name}: {GROUP} lacks {key}", REMEDY)
    return tensors
