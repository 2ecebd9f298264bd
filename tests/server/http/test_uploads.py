"""server.http.uploads: lights from files, and files that are refused before they cost anything."""

import asyncio
import json
import struct
import zlib
from types import SimpleNamespace

import cv2
import httpx
import numpy as np
import pytest

from lcvd.errors import ImageError
from server.http import uploads
from server.light_message import Light
from server.settings import Settings
from tests.server.client import Running, running

SETTINGS = Settings()


def png_header(width: int, height: int) -> bytes:
    """Returns a PNG that claims a size, and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def panorama() -> np.ndarray:
    """Returns BGR [64,128,3]: one light in a dim room, left of the camera as the participant sees it."""
    image = np.full((64, 128, 3), 40, np.uint8)
    image[20:28, 84:92] = 255
    return image


def file_of(image: np.ndarray, kind: str) -> bytes:
    return cv2.imencode(kind, image)[1].tobytes()


async def post(server: Running, path: str, data: bytes, name: str = "file") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(f"{server.http}/api/lights/{path}", files={"file": (name, data)})


async def test_a_panorama_becomes_a_light_that_can_be_set() -> None:
    """Radiance and 8-bit panoramas give a full light in the ranges of the protocol."""
    async with running() as server:
        for data, name in (
            (file_of(panorama(), ".png"), "room.png"),
            (file_of(panorama().astype(np.float32) / 40, ".hdr"), "room.hdr"),
        ):
            answer = await post(server, "from-hdri", data, name)
            assert answer.status_code == 200, answer.text
            Light.model_validate_json(json.dumps(answer.json()["lighting"]))
            assert len(answer.json()["lighting"]["sh"]) == 9


async def test_the_operators_pixel_limit_holds_for_panoramas_too() -> None:
    """RELIGHT_MAX_IMAGE_PIXELS speaks of photos and HDRIs."""
    async with running(max_image_pixels=1000) as server:
        answer = await post(server, "from-hdri", file_of(panorama(), ".png"), "room.png")
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_image")


async def test_uploads_beyond_the_queue_are_busy_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """While others are being read, one more is refused before its bytes are taken into memory."""

    async def read(self: object, size: int = -1) -> bytes:
        raise AssertionError("taken into memory")

    monkeypatch.setattr("starlette.datastructures.UploadFile.read", read)
    async with running() as server:
        monkeypatch.setattr(server.server, "_waiting", 4)
        for path in ("from-photo", "from-hdri"):
            answer = await post(server, path, b"x" * 100)
            assert (answer.status_code, answer.json()["code"]) == (503, "busy")


async def test_a_photo_without_a_face_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is another photo."""
    tracker = SimpleNamespace(track=lambda rgb, t_s: None, close=lambda: None)
    monkeypatch.setattr("lcvd.tracking.mesh.MeshTracker", lambda **kwargs: tracker)
    async with running() as server:
        answer = await post(server, "from-photo", file_of(panorama(), ".jpg"))
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_upload")
        assert "face" in answer.json()["hint"]


async def test_a_photo_gives_its_light_and_face_in_its_own_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large photo is looked at smaller; the face's box comes in the photo's pixels."""
    from lcvd.types import Lighting

    seen = []

    def track(rgb, t_s):
        seen.append(rgb.shape)
        return SimpleNamespace(vertices_px=np.array([[100.0, 50, 0], [300, 250, 5]], np.float32))

    monkeypatch.setattr(
        "lcvd.tracking.mesh.MeshTracker", lambda **kwargs: SimpleNamespace(track=track, close=lambda: None)
    )
    monkeypatch.setattr("lcvd.lighting.estimate.estimate_lighting", lambda rgb, face: Lighting("from-photo"))
    async with running() as server:
        for kind in (".jpg", ".png", ".webp"):
            photo = cv2.resize(panorama(), (2560, 1280))
            answer = await post(server, "from-photo", file_of(photo, kind))
            assert answer.status_code == 200, answer.text
            assert answer.json()["face"] == [200, 100, 400, 400]
            assert answer.json()["lighting"]["name"] == "from-photo"
        assert set(seen) == {(640, 1280, 3)}


@pytest.mark.parametrize("path", ["from-hdri", "from-photo"])
@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "empty.hdr"),
        (b"dear diary, today the sun was nice\n" * 50, "diary.hdr"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 99999 +X 999999\n", "huge.hdr"),
        (b"#?RADIANCE\n" + bytes(range(256)), "broken.hdr"),
        (png_header(50_000, 50_000), "bomb.png"),
        (png_header(0, 0), "zero.png"),
        (png_header(2000, 1000), "hollow.png"),
        (b"\xff\xd8\xff" + b"\0" * 200, "broken.jpg"),
        (b"v/1\x01" + b"\0" * 500, "broken.exr"),
        (b"RIFF\x10\0\0\0WEBPVP8X", "short.webp"),
        (b"RIFF\x10\0\0\0WEBPVP8X\x0a\0\0\0" + b"\0" * 4 + b"\xff" * 6, "bomb.webp"),
    ],
)
async def test_files_that_are_no_lights_are_refused(path: str, data: bytes, name: str) -> None:
    """Text, broken headers, empty files and decompression bombs: 422 with {code, message, hint}, and no crash."""
    async with running() as server:
        answer = await post(server, path, data, name)
        assert answer.status_code == 422, answer.text
        assert set(answer.json()) == {"code", "message", "hint"}
        assert answer.json()["hint"]
        assert (await post(server, "from-hdri", file_of(panorama(), ".png"))).status_code == 200


async def test_a_request_without_a_file_says_what_is_missing() -> None:
    """Not a form, or a form without `file`: 422 that names it."""
    async with running() as server, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(server.http + "/api/lights/from-hdri", data={"other": "x"})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_request")
        assert "file" in answer.json()["message"]


async def test_a_declared_giant_is_refused_before_it_is_read() -> None:
    """100 MB by Content-Length: 413 although not a byte of the body was sent."""
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /api/lights/from-hdri HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 104857600\r\n\r\n"
        )
        status = await asyncio.wait_for(reader.readline(), 10)
        assert b"413" in status
        writer.close()


async def test_an_undeclared_giant_is_cut_off_while_it_streams() -> None:
    """100 MB in chunks: 413 long before its end, and nothing of it is kept."""
    sent = 0

    async def giant():
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.hdr"\r\n\r\n'
        for _ in range(100):
            sent += 1
            yield bytes(2**20)

    async with running(max_upload_bytes=2**20) as server, httpx.AsyncClient(trust_env=False) as client:
        try:
            answer = await client.post(
                server.http + "/api/lights/from-hdri",
                content=giant(),
                headers={"content-type": "multipart/form-data; boundary=x"},
            )
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        except (httpx.WriteError, httpx.ReadError):
            pass  # the server hung up while we were still pushing, which is just as clear to a program
        assert sent < 60
        assert (await client.get(server.http + "/healthz")).status_code == 200


async def test_an_upload_that_trickles_is_ended() -> None:
    """Half a form and then nothing: 408 after the time allowed, and the server serves on."""
    async with running(upload_timeout_s=0.4) as server, httpx.AsyncClient(trust_env=False) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /api/lights/from-hdri HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n--x\r\n"
        )
        answer = await asyncio.wait_for(reader.read(4096), 10)
        assert b"408" in answer
        assert b"too_slow" in answer
        writer.close()
        assert (await client.get(server.http + "/healthz")).status_code == 200


async def test_a_file_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    """The limit is of the file, not of the form around it."""
    async with running(max_upload_bytes=50_000) as server:
        assert (await post(server, "from-hdri", b"x" * 50_000)).json()["code"] == "bad_image"
        assert (await post(server, "from-hdri", b"x" * 60_000)).json()["code"] == "too_large"


@pytest.mark.parametrize("size", [(5, 7), (300, 200), (1, 1), (1000, 16)])
def test_webp_sizes_are_read_from_the_header(size: tuple[int, int]) -> None:
    """Lossy and lossless files tell their size as the decoder finds it."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    for quality in (50, 101):  # above 100 OpenCV writes lossless
        data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        assert uploads.webp_size(data, "x") == size


def test_the_refusal_of_a_photo_says_what_a_photo_is() -> None:
    """The remedy for a photo does not speak of panoramas."""
    with pytest.raises(ImageError) as caught:
        uploads.open_photo(b"some text", "note.jpg", 1000)
    assert "WebP" in caught.value.hint
    assert ".hdr" not in caught.value.hint


def test_a_photo_that_is_cut_off_is_an_image_error() -> None:
    """Half a JPEG does not pass for a photo."""
    data = file_of(np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8), ".jpg")
    with pytest.raises(ImageError):
        uploads.light_of_photo(data[: len(data) // 3], "half.jpg", SETTINGS)
