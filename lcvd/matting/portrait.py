"""Reference portrait → mask of the portrait, which LCVD removes from the reference latent (times 1 − mask).

As released: person map at the network's own size, min-max per image, threshold 0.5, bilinear to the picture, 7×7
dilation; `lcvd.sampling.conditions.latent_mask` takes it to the latent, soft. The map is U²-Net's human segmentation
where its file is given (fed with RGB/255 at 320²; the release means to normalise by mean and deviation too, but its
indexing does not reach the picture), MediaPipe's selfie segmentation otherwise. Needs torch for U²-Net only.
"""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.protocols import Matte
from lcvd.tracking.crop import require_rgb
from lcvd.types import FloatArray

U2NET_FILE = "u2net_human_seg.pth"
U2NET_PX = 320
THRESHOLD = 0.5
DILATION_PX = 7  # at the published 512²
MIN_PERSON = 0.5  # a calibrated map that stays below shows no person


class U2NetMatte:
    """Matte (protocol): the authors' network. float32 [320,320]. Raises ModelUnavailable."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        try:
            from lcvd.matting.u2net import load_u2net
        except ImportError as error:
            raise ModelUnavailable(f"U²-Net needs torch: {error}", "pip install -e '.[lcvd]'") from error
        self._net = load_u2net(path).to(device)
        self._device = device

    def __call__(self, rgb: NDArray[np.uint8]) -> FloatArray:
        """Return the fused map of rgb uint8 [H,W,3], as the network gives it. Raises ShapeError."""
        import torch

        require_rgb(rgb)
        small = cv2.resize(rgb, (U2NET_PX, U2NET_PX), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
        with torch.inference_mode():
            out = self._net(torch.from_numpy(small.transpose(2, 0, 1)[None].copy()).to(self._device))
        return out[0, 0].float().cpu().numpy()


class CalibratedMatte:
    """Matte (protocol) around one that gives probabilities; without a person it gives zeros, which min-max keeps."""

    def __init__(self, matte: Matte) -> None:
        self._matte = matte

    def __call__(self, rgb: NDArray[np.uint8]) -> FloatArray:
        """Return the inner matte's map, or zeros where it finds no person."""
        out = self._matte(rgb)
        return out if out.max() >= MIN_PERSON else np.zeros_like(out)


def make_matte(u2net: Path | None, *, device: str = "cpu") -> tuple[Matte, str]:
    """Choose the person map for `portrait_mask`; return it and a note that gives the reason.

    U²-Net where its file (or a folder with it) is given and torch is installed; MediaPipe otherwise. A file that is
    there but damaged raises ModelUnavailable.
    """
    if u2net is None:
        return _selfie(), f"Portrait mask from MediaPipe: no {U2NET_FILE} was given (docs/deca.md)."
    path = u2net / U2NET_FILE if u2net.is_dir() else u2net
    if not path.is_file():
        return _selfie(), f"Portrait mask from MediaPipe: {path} does not exist (docs/deca.md)."
    if any(importlib.util.find_spec(name) is None for name in ("torch", "safetensors")):
        return _selfie(), "Portrait mask from MediaPipe: U²-Net needs torch; pip install -e '.[lcvd]'."
    return U2NetMatte(path, device), f"Portrait mask from U²-Net in {path}."


def _selfie() -> Matte:
    from lcvd.matting.selfie import SelfieMatte

    return CalibratedMatte(SelfieMatte())


def portrait_mask(rgb: NDArray[np.uint8], matte: Matte, *, dilation_px: int = DILATION_PX) -> FloatArray:
    """Return float32 [H,W] in [0,1], 1 = portrait, of rgb uint8 [H,W,3]. Edges are soft where the map was enlarged.

    A map of one value has no minimum and maximum to stretch: it is portrait everywhere above the threshold, else
    nowhere. Raises ShapeError.
    """
    require_rgb(rgb)
    if dilation_px < 1:
        raise ShapeError(f"dilation_px is {dilation_px}", "1 leaves the mask as it is")
    height, width = rgb.shape[:2]
    raw = np.asarray(matte(rgb), np.float32)
    if raw.ndim != 2 or not np.isfinite(raw).all():
        raise ShapeError(f"the matte gave {list(raw.shape)}, or numbers that are not finite", "expected [h,w] in [0,1]")
    low, high = float(raw.min()), float(raw.max())
    stretched = (raw - low) / (high - low) if high - low > 1e-6 else raw
    hard = (stretched > THRESHOLD).astype(np.float32)
    soft = cv2.resize(hard, (width, height), interpolation=cv2.INTER_LINEAR)
    grown = cv2.dilate(soft, np.ones((dilation_px, dilation_px), np.uint8))
    return np.clip(grown, 0, 1).astype(np.float32)
