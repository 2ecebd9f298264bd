"""OpenEXR bytes → linear Rec. 709 RGB over the display window, whatever the parts, windows, names and colour space.

The display window is the picture; the data window is what the file stores of it (OpenEXR technical introduction,
openexr.com): a crop leaves the rest black, an overscan is cut. Of several parts the first with colour is read.
"""

import io
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ImageError
from lcvd.image_header import is_panorama
from lcvd.lighting.colour import REC709, rec709_from, xyz_from_rgb
from lcvd.lighting.overflow import repaired
from lcvd.types import FloatArray

RGB_NAMES = (("R", "G", "B"), ("RED", "GREEN", "BLUE"))
CHROMA_NAMES = ("Y", "RY", "BY")  # luminance and half-size chroma (Technical introduction, "Luminance/Chroma")


def decode_exr(data: bytes, clean: Callable[[NDArray[Any]], FloatArray]) -> FloatArray:
    """OpenEXR file → linear RGB float32 [h,w,3], each plane [H,W] passed through `clean`, which may make it smaller.

    Raises ImageError where no part has colour or luminance.
    """
    import OpenEXR  # heavy, and only for this format

    with OpenEXR.File(io.BytesIO(data), separate_channels=True, num_threads=0) as file:
        part, planes = _first_with_colour(file.parts)
        if not all(np.isfinite(plane).all() for plane in planes):  # seldom, and it takes all channels to judge
            planes = list(np.moveaxis(repaired(np.stack(planes, -1)), -1, 0))
        white_and_primaries = part.header.get("chromaticities")
        image = np.stack([clean(_on_display(plane, part.header)) for plane in planes], -1)
        if white_and_primaries is None:
            return image
        return clean(image @ rec709_from(np.asarray(white_and_primaries, np.float64).ravel()).T.astype(np.float32))


def _first_with_colour(parts: list[Any]) -> tuple[Any, list[FloatArray]]:
    seen: list[str] = []
    for part in parts:
        # Layers are before the dot; a channel without a layer wins over the others of its name.
        names = {name.rsplit(".", 1)[-1].upper(): name for name in sorted(part.channels, key=_plain_last)}
        seen += part.channels
        planes = {name: part.channels[full].pixels for name, full in names.items()}
        for wanted in RGB_NAMES:
            if all(name in planes for name in wanted):
                return part, [np.asarray(planes[name], np.float32) for name in wanted]
        if all(name in planes for name in CHROMA_NAMES):
            return part, _from_luminance_chroma(planes, part.header)
        if "Y" in planes:
            return part, [np.asarray(planes["Y"], np.float32)] * 3
    raise ImageError(
        f"the OpenEXR file has no colour, but {', '.join(seen) or 'nothing'}", "export red, green and blue"
    )


def _plain_last(name: str) -> tuple[bool, str]:
    return ("." not in name, name)


def _from_luminance_chroma(planes: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> list[FloatArray]:
    """Y, RY = (R-Y)/Y and BY = (B-Y)/Y → R, G, B; Y is the weighted sum that the file's primaries give."""
    y, ry, by = (np.asarray(planes[name], np.float32) for name in CHROMA_NAMES)
    ry, by = (np.asarray(cv2.resize(c, y.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32) for c in (ry, by))
    weights = xyz_from_rgb(np.asarray(header.get("chromaticities", REC709), np.float64).ravel())[1]
    red, blue = (ry + 1) * y, (by + 1) * y
    green = (y - weights[0] * red - weights[2] * blue) / weights[1]
    return [red, np.asarray(green, np.float32), blue]


def _on_display(plane: FloatArray, header: Mapping[str, Any]) -> FloatArray:
    """The plane [h,w] of the data window, laid on the display window [H,W]; black where nothing is stored."""
    (data_low, _), (low, high) = header["dataWindow"], header["displayWindow"]
    width, height = (int(v) for v in high - low + 1)
    if not is_panorama(width, height):  # some writers leave the display window as it was before a crop
        return plane
    left, top = (int(v) for v in data_low - low)
    if (left, top) == (0, 0) and plane.shape == (height, width):
        return plane
    out = np.zeros((height, width), np.float32)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + plane.shape[1], width), min(top + plane.shape[0], height)
    if x1 > x0 and y1 > y0:
        out[y0:y1, x0:x1] = plane[y0 - top : y1 - top, x0 - left : x1 - left]
    return out
