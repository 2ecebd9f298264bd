"""Equirectangular panoramas: bytes → linear RGB → SH, or a Lighting with its brightest regions as directional lights.

Orientation: the participant sits in the middle and looks at the centre column, over the camera. So the centre is
+z (a front light), the top row +y, and what lies to the right in the panorama is on the participant's right hand: the
left of an unmirrored picture, -x, and the right of a mirrored self-view. `rotation_deg` turns the participant to the
right: that many degrees right of the centre becomes the front. Untrusted input: sizes are read from headers first.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcvd.errors import ImageError, LightError, ShapeError
from lcvd.image_header import Header, is_complete, is_panorama, read_header
from lcvd.lighting.colour import LUMA, linear_from_srgb, rgb_tuple
from lcvd.lighting.directions import unit
from lcvd.lighting.exr import decode_exr
from lcvd.lighting.lighting import scaled, shading
from lcvd.lighting.radiance import decode_radiance
from lcvd.lighting.sh import sh_basis
from lcvd.types import Background, DirectionalLight, FloatArray, Lighting

MAX_UPLOAD_BYTES = 32 * 1024 * 1024
MAX_PIXELS = 40_000_000
MAX_SIDE = 16384
GRID = (64, 128)  # finer than SH of order 2 and a directional light can tell apart
MAX_KEYS = 2
# Sun discs reach 1e9 in half a pixel; the sum over the sphere must stay in float32.
MAX_RADIANCE = 1e6


def decode_equirect(data: bytes, filename: str = "") -> FloatArray:
    """Panorama file → linear RGB float32 [H,W,3], finite and not negative, at most 1024 rows.

    The content decides, not the name: Radiance .hdr, OpenEXR, JPEG, PNG. 8-bit files are sRGB, and their clipped
    whites are taken for light sources (6 to 500 times brighter). Raises ImageError for other kinds, for files cut off,
    over MAX_UPLOAD_BYTES or MAX_PIXELS (read from the header, before a pixel is decoded), or not about 2:1.
    """
    label = filename or "the file"
    if len(data) > MAX_UPLOAD_BYTES:
        size, limit = len(data) / 2**20, MAX_UPLOAD_BYTES // 2**20
        raise ImageError(f"{label} has {size:.1f} MiB", f"at most {limit} MiB; a 2K panorama is plenty")
    header = read_header(data, label)
    _check_size(header, label)
    cut_off = ImageError(f"{label} cannot be decoded", "the file may be cut off; export it again")
    if not is_complete(data, header):
        raise cut_off
    try:
        if header.kind == "exr":
            image = decode_exr(data, _cleaned)
        elif header.kind == "hdr":
            image = _cleaned(decode_radiance(data))
        else:
            image = _decode_8bit(data)
    except (ImageError, LightError):
        raise
    except (cv2.error, RuntimeError, ValueError, KeyError, MemoryError, OSError, EOFError):
        raise cut_off from None
    if not is_panorama(image.shape[1], image.shape[0]):  # of several parts another one had the colours
        raise ImageError(f"{label} has its colours in a part of {image.shape[1]}×{image.shape[0]}", "export that alone")
    if not image.any():
        raise ImageError(f"{label} is black", "a light needs some light in it")
    return image


def _check_size(header: Header, label: str) -> None:
    width, height = header.width, header.height
    if width < 8 or height < 4 or max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 10**6
        raise ImageError(
            f"{label} is {width}×{height} pixels", f"8×4 up to {limit} megapixels; a 2048×1024 panorama is plenty"
        )
    if not is_panorama(width, height):
        raise ImageError(
            f"{label} is {width}×{height}, not a panorama", "an equirectangular picture is twice as wide as high"
        )
    if header.values > 4 * MAX_PIXELS:
        raise ImageError(
            f"{label} stores {header.values:,} values in all pixels of its {header.channels} channels",
            "export red, green and blue only, without what lies outside the picture",
        )


def _decode_8bit(data: bytes) -> FloatArray:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    bgr: NDArray | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if bgr is None:
        raise ValueError("not decoded")
    # Averaged before linearisation: an eighth of the memory, and light sources are larger than a pixel.
    rgb = _at_most_rows(bgr, 1024)[..., ::-1]
    return _expand_whites(linear_from_srgb(rgb if rgb.dtype == np.uint8 else rgb.astype(np.float32) / 65535))


def _cleaned(image: NDArray) -> FloatArray:
    """Clip finite values to 0 … MAX_RADIANCE and make rows at most 1024; changes the given array."""
    if not image.flags.writeable:
        image = image.copy()
    np.clip(image, 0, MAX_RADIANCE, out=image)
    return _at_most_rows(image, 1024)


def _at_most_rows(image: NDArray, rows: int) -> NDArray:
    height, width = image.shape[:2]
    if height <= rows:
        return image
    return cv2.resize(image, (max(1, width * rows // height), rows), interpolation=cv2.INTER_AREA)


def _expand_whites(linear: FloatArray) -> FloatArray:
    """Inverse tone mapping: an 8-bit white is taken for a light source, a window or the sky, brighter than paper.

    Together the whites are given the irradiance of a key of about 0.6, at 6 to 500 times: a few white pixels must be
    the sun, a white ceiling is only bright. Blue sky is left alone, since luminance decides.
    """
    t = np.clip((linear @ LUMA.astype(np.float32) - 0.8) / 0.2, 0, 1)
    white = t * t * (3 - 2 * t)
    share = float((white * _solid_angles(*white.shape)).sum()) / (4 * np.pi)
    gain = float(np.clip(0.15 / max(share, 1e-6), 6, 500))
    return linear * (1 + (gain - 1) * white.astype(np.float32))[..., None]


def equirect_directions(height: int, width: int, rotation_deg: float = 0.0) -> FloatArray:
    """Direction [H,W,3] seen at the centre of every pixel, in the axes of `lcvd.__init__`."""
    azimuth = (np.arange(width) + 0.5) / width * 2 * np.pi - np.pi - np.radians(rotation_deg)
    elevation = np.pi / 2 - (np.arange(height) + 0.5) / height * np.pi
    a, e = np.meshgrid(azimuth, elevation)
    return np.stack([-np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)], -1).astype(np.float32)


def _solid_angles(height: int, width: int) -> NDArray[np.float64]:
    """Steradians of every pixel, [H,1]; exact, so that they sum to 4π."""
    edges = np.sin(np.pi / 2 - np.arange(height + 1) / height * np.pi)
    return ((edges[:-1] - edges[1:]) * 2 * np.pi / width)[:, None]


def _reduced(image: ArrayLike) -> FloatArray:
    image = np.asarray(image, np.float32)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ShapeError(f"a panorama has shape [H,W,3], got {image.shape}")
    if image.shape[0] > GRID[0] or image.shape[1] > GRID[1]:
        return np.asarray(cv2.resize(image, GRID[::-1], interpolation=cv2.INTER_AREA), np.float32)
    return image


def sh_from_equirect(image: ArrayLike, rotation_deg: float = 0.0) -> FloatArray:
    """Linear RGB [H,W,3] → radiance coefficients [9,3]: ∫ L Y dω, summed over exact solid angles."""
    image = _reduced(image)
    h, w = image.shape[:2]
    basis = sh_basis(equirect_directions(h, w, rotation_deg).astype(np.float64))
    return np.einsum("hwc,hwk->kc", image * _solid_angles(h, w)[..., None], basis).astype(np.float32)


def lighting_from_equirect(image: ArrayLike, name: str = "environment", rotation_deg: float = 0.0) -> Lighting:
    """Panorama [H,W,3] → a Lighting with its contrast: directional lights that cast shadows, the rest as SH.

    SH of order 2 alone shows every place as overcast, so up to two compact bright regions are cut out, each becoming
    a directional light of the same irradiance. Exposure is normalised: luminance 1 on average over the front of a face,
    and never above 2 on its brightest side. A panorama without a compact light (a white sky) stays SH alone.
    """
    radiance = _reduced(image).astype(np.float64)
    h, w = radiance.shape[:2]
    directions = equirect_directions(h, w, rotation_deg).astype(np.float64)
    solid = np.broadcast_to(_solid_angles(h, w), (h, w))
    directionals = []
    for _ in range(MAX_KEYS):
        directional = _cut_directional(radiance, directions, solid)
        if directional is None:
            break
        directionals.append(directional)
    light = Lighting(
        name,
        (0.0, 0.0, 0.0),
        tuple(directionals),
        sh_from_equirect(radiance, rotation_deg),
        0.2,
        1.0,
        Background("dim", 0.7),
    )
    return _exposed(light)


def _cut_directional(
    radiance: NDArray[np.float64], directions: NDArray[np.float64], solid: NDArray[np.float64]
) -> DirectionalLight | None:
    """Cut the strongest compact light out of `radiance` (changed in place); None when nothing stands out."""
    luma = radiance @ LUMA
    # Windows of about 20° (a softbox, the sun with its glow) compete by the flux they would send to a facing surface.
    candidates = np.unravel_index(np.argsort(_glow(luma * solid), axis=None)[-1], luma.shape)
    centre = directions[candidates]
    near = directions @ centre > np.cos(np.radians(28))
    around = (directions @ centre > np.cos(np.radians(60))) & ~near
    background = np.minimum(np.median(radiance[around], axis=0), np.percentile(radiance[near], 50, axis=0))
    excess = np.where(near[..., None], np.maximum(radiance - background, 0), 0)
    flux = np.einsum("hwc,hw->c", excess, solid) / np.pi
    diffuse_level = float((luma * solid).sum() / (4 * np.pi))
    if flux @ LUMA < 0.2 * max(diffuse_level, 1e-12) or flux @ LUMA <= 1e-9:
        return None
    weight = (excess @ LUMA) * solid
    mean = np.einsum("hw,hwc->c", weight, directions) / weight.sum()
    direction = np.array(unit(mean))
    # Mean of sin² over a disc of half-angle a is about sin²a / 2: gives back the wrap the shading formula means.
    spread = float((weight * (1 - np.clip(directions @ direction, -1, 1) ** 2)).sum() / weight.sum())
    wrap = float(np.clip(np.sqrt(2 * spread), 0.08, 0.9))
    radiance -= excess
    return DirectionalLight(unit(direction), rgb_tuple(flux), wrap, float(np.clip(0.85 - 0.9 * wrap, 0.15, 0.8)))


def _glow(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum the flux within about ±10° of every pixel; the panorama wraps round at its sides."""
    h, w = weight.shape
    pad = w // 4
    wide = np.concatenate([weight[:, -pad:], weight, weight[:, :pad]], 1)
    sigma = h / 18
    blurred: NDArray = cv2.GaussianBlur(wide, (0, 0), sigmaX=sigma, sigmaY=sigma, borderType=cv2.BORDER_REFLECT)
    return blurred[:, pad : pad + w]


def _exposed(light: Lighting) -> Lighting:
    """Scale the light to show luminance 1 on average over the front of a face, and 2 at most."""
    grid = np.linspace(-0.8, 0.8, 17, dtype=np.float32)
    x, y = np.meshgrid(grid, grid)
    front = x * x + y * y < 0.65
    normals = np.stack([x, y, np.sqrt(np.maximum(1 - x * x - y * y, 0))], -1)[front]
    shade = shading(light, normals) @ LUMA
    mean, peak = float(shade.mean()), float(shade.max())
    if peak <= 1e-9:
        # All of the light is behind: expose for the whole sphere instead.
        mean = peak = float(np.abs(light.sh[0] @ LUMA) if light.sh is not None else 1.0) or 1.0
    light = scaled(light, min(1 / max(mean, 1e-9), 2 / max(peak, 1e-9)))
    # A light behind the head escapes that scale, and the protocol allows channels up to 8.
    directionals = tuple(
        replace(d, rgb=rgb_tuple(np.multiply(d.rgb, min(1, 4 / max(d.rgb))))) for d in light.directionals
    )
    return replace(light, directionals=directionals)
