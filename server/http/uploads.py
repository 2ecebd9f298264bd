"""Uploaded files → Lighting: a limit that holds while the bytes stream in, then the photo and panorama readers.

`UploadLimit` is ASGI middleware: too large a Content-Length is refused unread, and without one the bytes are counted
as they come, before the form parser keeps any of them. Sizes are read from headers before a pixel is decoded.
"""

import asyncio
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lcvd.errors import ImageError
from lcvd.types import Face, Lighting
from server.errors import BadUpload, Problem, TooLarge, TooSlow, explain
from server.settings import Settings

WORK_SIDE_PX = 1280  # a larger photo says nothing more about its light
PLACEHOLDER_PX = 512  # of the CPU avatar, which shows it beside itself; a smaller LCVD scales it down
RIVAL_WIDTH = 0.5  # of the largest face; a smaller one is in the background
JPEG = b"\xff\xd8"  # its first bytes
GROUND = 128  # grey, under a portrait's transparent parts
GROUND_ROWS = 256  # laid over it at a time
PHOTO_HINT = "send a JPEG, PNG or WebP; it may be cut off"
PANORAMA_HINT = "give a .hdr, .exr, .jpg or .png file; it may be cut off"
MULTIPART_SLACK = 4096  # boundaries and headers around the file


class UploadRefused(HTTPException):
    """The upload was refused inside the form parser, which lets an HTTPException through."""

    def __init__(self, reason: TooLarge | TooSlow) -> None:
        self.problem: Problem = explain(reason)
        super().__init__(self.problem.status, self.problem.message)


def too_large(limit: int) -> TooLarge:
    """Returns the error of an upload over `limit` bytes."""
    return TooLarge(f"the upload is over {limit / 2**20:.0f} MiB", "send a smaller copy; 2048 pixels wide is plenty")


class UploadLimit:
    """ASGI middleware that refuses bodies over `limit` bytes (and a little for the form), and slower than allowed."""

    def __init__(self, app: ASGIApp, limit: int, time_limit_s: float) -> None:
        self.app = app
        self.limit = limit
        self.time_limit_s = time_limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        allowed = self.limit + MULTIPART_SLACK
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > allowed:
            problem = explain(too_large(self.limit))
            response = JSONResponse(problem.as_dict(), problem.status, headers={"connection": "close"})
            await response(scope, receive, send)
            return
        seen = 0
        more = True
        deadline_s = asyncio.get_running_loop().time() + self.time_limit_s

        async def counted() -> Message:
            nonlocal seen, more
            try:
                # Only while the body comes: afterwards, `receive` waits for the client to hang up.
                async with asyncio.timeout_at(deadline_s if more else None):
                    message = await receive()
            except TimeoutError:
                reason = TooSlow(f"the upload took more than {self.time_limit_s:.0f} s", "send a smaller copy")
                raise UploadRefused(reason) from None
            seen += len(message.get("body", b""))
            more = message.get("more_body", False)
            if seen > allowed:
                raise UploadRefused(too_large(self.limit))
            return message

        await self.app(scope, counted, send)


class PhotoLight(NamedTuple):
    """The light of a photo, and the box of its face: x, y, w, h in px of the photo."""

    lighting: Lighting
    face: tuple[int, int, int, int]


def light_of_panorama(data: bytes, filename: str, settings: Settings) -> Lighting:
    """Returns an .hdr, .exr, .jpg or .png panorama as a light. Raises LcvdError. Takes up to a second."""
    from lcvd.lighting.environment import decode_equirect, lighting_from_equirect

    _not_empty(data)
    _check_pixels(data, filename, settings.max_image_pixels, PANORAMA_HINT)
    return lighting_from_equirect(decode_equirect(data, filename), name="from-hdri")


def light_of_photo(data: bytes, filename: str, settings: Settings) -> PhotoLight:
    """Returns the light on the face in a JPEG, PNG or WebP. Raises LcvdError, BadUpload. Takes up to a second."""
    from lcvd.lighting.estimate import estimate_lighting

    rgb, scale = open_photo(data, filename, settings.max_image_pixels)
    face = _face_in(rgb, settings)
    return PhotoLight(estimate_lighting(rgb, face), _box(face, scale))


class Portrait(NamedTuple):
    """A picture with one face in it, ready to be animated: at most WORK_SIDE_PX long."""

    rgb: NDArray[np.uint8]  # [H,W,3]
    placeholder: NDArray[np.uint8]  # [S,S,3] its head and shoulders, as avatars are cut
    face: tuple[int, int, int, int]  # x, y, w, h in px of the photo as it was sent


def portrait_of(data: bytes, filename: str, settings: Settings) -> Portrait:
    """Returns the portrait in a JPEG, PNG or WebP. Raises LcvdError, BadUpload."""
    from engine.reference import square_around
    from lcvd.tracking.crop import crop

    rgb, scale = open_photo(data, filename, settings.max_image_pixels)
    face = _face_in(rgb, settings)
    _require_one_person(rgb, settings)
    square = square_around(face, (rgb.shape[0], rgb.shape[1]))
    placeholder = crop(rgb, square, max(PLACEHOLDER_PX, settings.lcvd_size or 0))
    return Portrait(rgb, placeholder, _box(face, scale))


def open_photo(
    data: bytes, filename: str, max_pixels: int, side_px: int = WORK_SIDE_PX
) -> tuple[NDArray[np.uint8], float]:
    """Runs `decode_photo` once the header was found to be within the limit. Raises BadUpload, ImageError."""
    _not_empty(data)
    _check_pixels(data, filename, max_pixels)
    return decode_photo(data, filename, side_px)


def decode_photo(data: bytes, filename: str, side_px: int = WORK_SIDE_PX) -> tuple[NDArray[np.uint8], float]:
    """Returns RGB uint8 [H,W,3], turned as EXIF says, at most `side_px` long, and the photo's px per px of it.

    Transparent parts show a calm ground and not the colours that were cut away. Raises ImageError.
    """
    encoded = np.frombuffer(data, np.uint8)
    try:
        bgr: Any = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        if bgr is not None and not data.startswith(JPEG):  # which has no alpha
            bgr = _over_ground(bgr, cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED))
    except cv2.error:
        bgr = None
    if bgr is None:
        raise ImageError(f"{filename or 'the file'} cannot be decoded", PHOTO_HINT)
    scale = max(1.0, max(bgr.shape[:2]) / side_px)
    if scale > 1:
        bgr = cv2.resize(bgr, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8), scale


def _over_ground(bgr: NDArray[np.uint8], whole: NDArray[Any] | None) -> NDArray[np.uint8]:
    """Lays `bgr` [H,W,3] over the ground by the alpha of `whole`, the same picture with its fourth channel.

    Only `bgr` was turned as EXIF says: the turn that makes the two agree is found by trying.
    """
    if whole is None or whole.ndim != 3 or whole.shape[2] != 4:
        return bgr
    if whole.dtype != np.uint8:
        whole = (whole >> 8).astype(np.uint8)
    if whole[..., 3].min() == 255:
        return bgr
    turns = [np.rot90(each, k) for each in (whole, whole[:, ::-1]) for k in range(4)]
    fitting = [turned for turned in turns if turned.shape[:2] == bgr.shape[:2]]
    turned = next((each for each in fitting if np.array_equal(each[..., :3], bgr)), fitting[0])
    out = np.empty_like(bgr)
    for top in range(0, len(bgr), GROUND_ROWS):  # floats of 40 megapixels are half a gigabyte
        rows = slice(top, top + GROUND_ROWS)
        alpha = turned[rows, :, 3:].astype(np.float32) / 255
        out[rows] = np.rint(bgr[rows] * alpha + np.float32(GROUND) * (1 - alpha))
    return out


def _face_in(rgb: NDArray[np.uint8], settings: Settings) -> Face:
    from lcvd.tracking.mesh import MeshTracker

    tracker = MeshTracker(directory=settings.models_dir)
    try:
        face = tracker.track(rgb, 0.0)
    finally:
        tracker.close()
    if face is None:
        raise BadUpload("no face was found in the photo", "choose a photo where one face is seen well from the front")
    return face


def _require_one_person(rgb: NDArray[np.uint8], settings: Settings) -> None:
    """Raises BadUpload where another face is about as large as the largest: it is not clear whose avatar is meant."""
    from lcvd.tracking.detector import BlazeFace
    from lcvd.tracking.models import model_path

    # The full-range network: the short-range one draws small faces all alike.
    found = BlazeFace.full_range(model_path("face_detection_full_range", directory=settings.models_dir))(rgb)
    widest = max((face.width_px for face in found), default=0.0)
    persons = sum(face.width_px > RIVAL_WIDTH * widest for face in found)
    if persons > 1:
        raise BadUpload(f"{persons} faces were found in the photo", "choose one of yourself alone, or cut it out")


def _box(face: Face, scale: float) -> tuple[int, int, int, int]:
    """Returns x, y, w, h of the face in the photo; `scale` is the photo's px per px of the decoded picture."""
    low, high = face.vertices_px[:, :2].min(0) * scale, face.vertices_px[:, :2].max(0) * scale
    x, y = (round(float(v)) for v in low)
    w, h = (round(float(v)) for v in high - low)
    return x, y, w, h


def _not_empty(data: bytes) -> None:
    if not data:
        raise BadUpload("the file is empty", "choose another file")


def _check_pixels(data: bytes, filename: str, max_pixels: int, hint: str = PHOTO_HINT) -> None:
    """Raises ImageError for a decompression bomb, which its header gives away; `hint` says what can be read."""
    from lcvd.image_header import read_header

    label = filename or "the file"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        width, height = webp_size(data, label)
    else:
        try:
            header = read_header(data, label)
        except ImageError as error:
            raise ImageError(error.message, hint) from None
        width, height = header.width, header.height
    if width * height > max_pixels or min(width, height) < 1:
        raise ImageError(f"{label} is {width}×{height} pixels", f"send at most {max_pixels / 1e6:.0f} megapixels")


def webp_size(data: bytes, label: str) -> tuple[int, int]:
    """Returns width and height as a WebP file claims them (RFC 9649, sections 2.5 to 2.7). Raises ImageError."""
    chunk, body = data[12:16], data[20:30]
    if len(body) == 10:
        if chunk == b"VP8X":
            return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
        if chunk == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
            return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
        if chunk == b"VP8L" and body[0] == 0x2F:
            bits = int.from_bytes(body[1:5], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ImageError(f"{label} has a broken header", "the file may be cut off; export it again")
