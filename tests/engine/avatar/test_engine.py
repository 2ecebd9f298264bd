"""The avatar moves the drawn portrait as its driver moves and lights it as requested."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from engine.avatar.engine import SIZE, AvatarEngine
from engine.avatar.motion import EYES
from engine.errors import ClipError, FrameError, PortraitError, StreamClosed
from engine.frames import Frame
from engine.live.device import DeviceThread
from engine.offline.relight_clip import relight_clip
from engine.protocols import Avatar, StreamConfig
from lcvd.types import Face
from tests.engine.avatar.synthetic_portrait import (
    BACKGROUND,
    DRIVER,
    avatar_engine,
    avatar_stream,
    drawn_portrait,
    driver_frame,
    matte,
    turned,
)
from tests.engine.fakes import is_open, live_stream, until
from tests.engine.synthetic_person import LEFT, ORIGINAL, RIGHT, face_halves


def shown(stream, count: int = 1) -> np.ndarray:
    """Return the last of `count` frames."""
    for index in range(count):
        (out,) = stream.push(driver_frame(index))
    return out.rgb


def closed_eyes(face: Face) -> np.ndarray:
    """Return the expression [V,3] of the neutral face with shut lids."""
    shape = face.identity.copy()
    for upper, lower, _ in EYES:
        shape[list(upper)] = shape[list(lower)]
    return shape - face.identity


def test_still_driver_shows_the_portrait() -> None:
    """A driver that does not move, under the portrait's own light, gives the portrait back within a few grey levels."""
    stream = avatar_stream(ORIGINAL)
    gap = np.abs(shown(stream).astype(int) - stream.reference.rgb).max(-1)
    assert gap.mean() < 1.5
    assert np.percentile(gap, 95) <= 4


def test_brighter_side_follows_the_key() -> None:
    """A key from the left brightens the left of the picture's face, one from the right the right."""
    left, right = face_halves(shown(avatar_stream(LEFT)))
    assert left > 1.3 * right
    left, right = face_halves(shown(avatar_stream(RIGHT)))
    assert right > 1.3 * left


def test_turning_driver_turns_the_avatar() -> None:
    """The irises move the way the driver's nose moves, and the background stays."""
    pictures = []
    for yaw in (-10.0, 10.0):
        stream = avatar_stream(ORIGINAL, lambda face, yaw=yaw: turned(face, yaw * (face.t_s > 0)))
        pictures.append(shown(stream, 2).astype(int))
    across = np.arange(SIZE)[None]
    columns = [((p.sum(-1) < 220) * across).sum() / (p.sum(-1) < 220).sum() for p in pictures]
    assert columns[1] - columns[0] > 8
    corner = np.s_[:40, :40]
    np.testing.assert_array_equal(pictures[0][corner], pictures[1][corner])
    assert abs(pictures[0][corner].mean((0, 1)) - np.multiply(BACKGROUND, 1.1)).max() < 8


def test_blink_covers_the_eyes() -> None:
    """With the driver's lids shut the white of the portrait's eyes is gone, and comes back."""

    def play(face: Face) -> Face:
        return turned(face, expression=closed_eyes(face)) if 0.05 < face.t_s < 0.15 else face

    stream = avatar_stream(ORIGINAL, play)
    white = [
        int((shown_rgb.min(-1) > 200).sum()) for shown_rgb in (stream.push(driver_frame(i))[0].rgb for i in range(6))
    ]
    assert white[0] > 150
    assert white[3] < 0.1 * white[0]
    assert white[5] > 0.9 * white[0]


def test_lost_face_holds_the_pose_while_the_light_goes_on() -> None:
    """Without a face the avatar keeps its last pose; a new light still reaches it."""
    stream = avatar_stream(LEFT, lambda face: turned(face, 8.0 * (face.t_s > 0)) if face.t_s < 0.08 else None)
    before = stream.prepare(driver_frame(2))
    stream.render(before)
    lost = stream.prepare(driver_frame(3))
    np.testing.assert_array_equal(lost.payload.uv_map, before.payload.uv_map)
    stream.set_lighting(RIGHT)
    picture = shown_from(stream, 4, 20)
    left, right = face_halves(picture)
    assert right > left


def shown_from(stream, first: int, last: int) -> np.ndarray:
    for index in range(first, last):
        (out,) = stream.push(driver_frame(index))
    return out.rgb


def test_two_streams_know_nothing_of_each_other() -> None:
    """A stream gives the same pictures whether or not another one runs between its frames."""
    engine = avatar_engine(lambda face: turned(face, 40 * face.t_s))
    config = StreamConfig(LEFT, avatar=Avatar(drawn_portrait()))
    alone, interleaved, other = (engine.open(config) for _ in range(3))
    other.set_lighting(RIGHT)
    for index in range(4):
        expected = alone.push(driver_frame(index))[0].rgb
        other.push(driver_frame(index + 5))
        np.testing.assert_array_equal(interleaved.push(driver_frame(index))[0].rgb, expected)


def test_live_equals_offline() -> None:
    """Through threads, mailbox and pacer every picture equals the one that push gives."""
    engine = avatar_engine(lambda face: turned(face, 60 * face.t_s))
    portrait = Avatar(drawn_portrait())
    offline = engine.open(StreamConfig(LEFT, avatar=portrait))
    expected = [offline.push(driver_frame(i))[0].rgb for i in range(6)]
    host = DeviceThread(engine)
    assert host.wait_ready(120)
    stream = live_stream(host, LEFT, threading.Event().set, stall_s=60.0, avatar=portrait)
    until(lambda: is_open(stream))
    got: list[np.ndarray] = []

    def collect() -> None:
        while (frame := stream.next_output(time.monotonic())[0]) is not None:
            if frame.relit:  # before the first picture the portrait itself is shown
                got.append(frame.rgb)

    for i in range(6):
        stream.submit(driver_frame(i).rgb, i / 30)
        until(lambda n=i: collect() or len(got) > n)
    stream.close()
    host.close()
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a, b)


def test_portrait_is_required() -> None:
    """A missing portrait, or one without a face, raises PortraitError."""
    with pytest.raises(PortraitError, match="needs a portrait"):
        avatar_engine().open(StreamConfig(LEFT))

    class Blind:
        def track(self, rgb: np.ndarray, t_s: float) -> None: ...

        def reset(self) -> None: ...

        def close(self) -> None: ...

    with pytest.raises(PortraitError, match="no face"):
        AvatarEngine(Blind, lambda: matte).open(StreamConfig(LEFT, avatar=Avatar(drawn_portrait())))


def test_bad_frames_and_closed_streams_are_refused() -> None:
    """A frame that is no picture raises FrameError, and a frame after close StreamClosed."""
    stream = avatar_stream(LEFT)
    with pytest.raises(FrameError):
        stream.prepare(Frame(0, 0.0, np.zeros((48, 64), np.uint8)))
    stream.close()
    with pytest.raises(StreamClosed):
        stream.prepare(driver_frame(0))


def test_camera_that_changes_its_size_leaves_the_avatar() -> None:
    """Frames of another size drive the same portrait, and every picture is 512 × 512."""
    stream = avatar_stream(replace(LEFT, strength=0.5))
    for index, size in enumerate([(240, 320), (320, 240), (100, 100)]):
        (out,) = stream.push(Frame(index, index / 30, np.zeros((*size, 3), np.uint8)))
        assert out.rgb.shape == (SIZE, SIZE, 3)


def test_clip_is_made_offline(tmp_path: Path) -> None:
    """A driver's clip gives as many avatar frames, beside the driver's if requested; no portrait raises ClipError."""
    source, target = tmp_path / "driver.mp4", tmp_path / "out.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = DRIVER[1], DRIVER[0], "yuv420p"
        for index in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(driver_frame(index).rgb, "rgb24")))
        container.mux(stream.encode())
    engine = avatar_engine()
    with pytest.raises(ClipError, match="animates a portrait"):
        relight_clip(engine, LEFT, source, target)
    assert relight_clip(engine, LEFT, source, target, compare=True, avatar=Avatar(drawn_portrait())).frames == 4
    with av.open(str(target)) as container:
        shapes = [frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)]
    assert shapes == [(SIZE, 2 * SIZE, 3)] * 4
