"""Webcam models what a cheap camera makes of light: exposure, white balance, noise, sharpening, compression."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.lighting.colour import srgb_from_linear
from lcvd.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Webcam:
    """Holds the faults of one camera."""

    exposure: float  # linear value of a face of luminance 1
    balance: FloatArray  # [3]
    contrast: float  # exponent on the code values
    noise: float  # of a pixel at full light, linear; shot noise grows with the root of the light
    read: float  # noise in the dark, linear
    blur_px: float
    sharpen: float
    quality: int  # JPEG

    def shot(self, linear: FloatArray, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Returns the picture [S,S,3] of linear light [S,S,3]."""
        light = cv2.GaussianBlur(linear, (0, 0), self.blur_px) * self.exposure * self.balance
        grain = rng.standard_normal(light.shape, np.float32)
        light = light + grain * np.sqrt(self.read**2 + self.noise**2 * np.maximum(light, 0))
        code = np.asarray(srgb_from_linear(np.clip(light, 0, 1).astype(np.float32)), np.float32) ** self.contrast
        if self.sharpen > 0:
            code = code + self.sharpen * (code - cv2.GaussianBlur(code, (0, 0), 1.2))
        rgb = np.clip(np.round(255 * code), 0, 255).astype(np.uint8)
        done, stored = cv2.imencode(".jpg", rgb[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, self.quality))
        shown = cv2.imdecode(stored, cv2.IMREAD_COLOR) if done else None
        return rgb if shown is None else np.ascontiguousarray(shown[..., ::-1], np.uint8)


def random_webcam(rng: np.random.Generator) -> Webcam:
    """Draws a camera."""
    return Webcam(
        exposure=float(np.exp(rng.uniform(np.log(0.12), np.log(0.5)))),
        balance=np.exp(rng.normal(0, 0.08, 3)).astype(np.float32),
        contrast=float(rng.uniform(0.85, 1.2)),
        noise=float(np.exp(rng.uniform(np.log(0.004), np.log(0.05)))),
        read=float(np.exp(rng.uniform(np.log(0.0008), np.log(0.012)))),
        blur_px=float(rng.uniform(0.3, 1.1)),
        sharpen=float(rng.uniform(0, 0.8)) * float(rng.random() < 0.5),
        quality=int(rng.integers(45, 96)),
    )
