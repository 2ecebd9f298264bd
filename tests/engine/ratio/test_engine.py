"""The ratio engine lights a stream as requested, leaves the rest unchanged, adds no flicker and does not crash."""

import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest

from engine.errors import FrameError, StreamClosed
from engine.frames import Frame
from engine.protocols import StreamConfig
from engine.ratio.engine import RatioEngine, _shrunk
from lcvd.lighting.colour import LUMA, linear_from_srgb, srgb_from_linear
from lcvd.lighting.presets import PRESETS
from lcvd.lighting.skin_colour import log_tint
from lcvd.types import Background
from tests.engine.synthetic_person import (
    EVEN,
    LEFT,
    ORIGINAL,
    RIGHT,
    DrawnMatte,
    ScriptedTracker,
    engine_of,
    face_halves,
    frames,
    person_mask,
    portrait,
    stream_of,
)


def settled(lighting, count=12, **kwargs):
    """Return the last of a few relit frames, after the fade-in."""
    stream = stream_of(lighting)
    for frame in frames(count, **kwargs):
        (out,) = stream.push(frame)
    return out.rgb


def test_left_key_lights_the_left_side_and_right_the_right():
    """Moving the key from left to right moves the brighter half of the face."""
    left, right = face_halves(settled(LEFT))
    assert left > 1.3 * right
    left, right = face_halves(settled(RIGHT))
    assert right > 1.3 * left


def test_light_goes_beyond_the_face():
    """Shoulders and the side of the head take the light too, although the mesh ends at the face."""
    left, right = settled(LEFT).astype(float), settled(RIGHT).astype(float)
    for row, column in ((215, 110), (215, 210), (88, 118), (88, 202)):  # shoulders; hair beside the face
        patch = np.s_[row - 4 : row + 5, column - 4 : column + 5]
        ratio = left[patch].mean() / right[patch].mean()
        assert ratio > 1.2 if column < 160 else ratio < 1 / 1.2


def test_strength_zero_returns_the_input_frame():
    """At strength 0 the input frame itself goes out, not a copy."""
    stream = stream_of(ORIGINAL)
    for frame in frames(4):
        assert stream.push(frame)[0] is frame


def test_no_face_returns_the_input_frame():
    """Without a face the input frame itself goes out and is reported without one."""
    stream = stream_of(LEFT, ScriptedTracker(blind=tuple(i / 30 for i in range(4))))
    for frame in frames(4):
        work = stream.prepare(frame)
        assert work.faces == (None,)
        assert stream.render(work)[0] is frame


def test_effect_fades_in_and_out():
    """When a face appears or is lost the effect changes in steps and never at once, and ends at none."""
    gone = tuple(i / 30 for i in (*range(2), *range(14, 40)))
    stream = stream_of(LEFT, ScriptedTracker(blind=gone))
    change = [np.abs(stream.push(f)[0].rgb.astype(int) - f.rgb).mean() for f in frames(30)]
    full = change[13]
    assert change[1] == 0
    assert change[29] == 0
    assert full > 10
    assert np.abs(np.diff(change)).max() < 0.45 * full
    assert 0 < change[16] < full


def test_still_frames_stay_still():
    """The same picture again and again gives the same relit picture, so the light does not shimmer."""
    stream = stream_of(LEFT)
    outs = [stream.push(f)[0].rgb.astype(int) for f in frames(24)]
    late = np.stack(outs[14:])
    assert np.abs(np.diff(late, axis=0)).max() <= 1


def test_noise_is_not_amplified():
    """On a still head with camera noise, blocks flicker at most a quarter more than in the input."""
    stream = stream_of(LEFT)
    pictures = [portrait(noise=4.0, seed=i) for i in range(24)]
    outs = [stream.push(Frame(i, i / 30, rgb))[0].rgb for i, rgb in enumerate(pictures)]

    def flicker(sequence):
        blocks = np.stack(sequence[12:]).astype(float).reshape(12, 30, 8, 40, 8, 3).mean((2, 4, 5))
        inside = person_mask()[4::8, 4::8]
        return np.abs(np.diff(blocks, 2, axis=0))[:, inside].mean()

    assert flicker(outs) < 1.25 * flicker(pictures)


def test_even_light_changes_little():
    """An even light of normal exposure gives back an evenly lit person."""
    out, rgb = settled(EVEN).astype(float), portrait().astype(float)
    inside = person_mask()
    assert abs(out[inside].mean() - rgb[inside].mean()) < 12
    np.testing.assert_array_equal(out[:40, :40], rgb[:40, :40])


def test_background_is_kept_dimmed_or_lit():
    """keep leaves the background's bytes, dim makes it darker by its gain, lit follows the light's direction."""
    wall = np.s_[10:60, 10:60]
    other = np.s_[10:60, 260:310]
    rgb = portrait()

    def out(mode, gain):
        return settled(replace(LEFT, background=Background(mode, gain))).astype(float)

    np.testing.assert_array_equal(out("keep", 1.0)[wall], rgb[wall])
    bright, dark = out("dim", 0.9)[wall].mean(), out("dim", 0.4)[wall].mean()
    assert dark < 0.8 * bright
    assert bright < 1.1 * rgb[wall].mean()
    lit = out("lit", 1.0)
    assert lit[wall].mean() > 1.2 * lit[other].mean()


def test_no_halo_beside_the_head():
    """Before a wall dimmed to 0.3 no pixel of the wall near the head stays bright."""
    dim = replace(LEFT, background=Background("dim", 0.3))
    out, rgb = settled(dim, size=(480, 640)).astype(float), portrait((480, 640))
    mask = person_mask((480, 640))
    near = np.zeros_like(mask)
    for shift in range(-6, 7):
        near |= np.roll(mask, shift, 0) | np.roll(mask, shift, 1)
    ring = near & ~mask
    ring[:8] = ring[-8:] = False
    far = ~near
    far_ratio = out[far].mean() / rgb[far].mean()
    ring_ratio = out[ring].mean(-1) / rgb[ring].mean(-1)
    assert np.mean(ring_ratio > 1.35 * far_ratio) < 0.03


def test_every_preset_runs_and_changes_the_picture():
    """Each named light relights; only `original` leaves the picture alone."""
    stream = stream_of(LEFT)
    for f in frames(8):
        work = stream.prepare(f)
    for preset in PRESETS[1:]:
        (out,) = stream.render(replace(work, lightings=(preset.lighting,)))
        assert np.abs(out.rgb.astype(int) - f.rgb).mean() > 3, preset.name


def test_resolution_change_mid_stream():
    """A new frame size is relit at once, with no crash and nothing of the old size."""
    stream = stream_of(LEFT)
    index = 0
    for size in ((240, 320), (480, 640), (123, 97), (180, 320)):
        for _ in range(10):
            (out,) = stream.push(Frame(index, index / 30, portrait(size)))
            assert out.rgb.shape == (*size, 3)
            index += 1
        assert np.abs(out.rgb.astype(int) - portrait(size)).mean() > 3


def test_light_change_is_gradual():
    """A change from left to right takes 250 ms, and every step is smaller than half of it."""
    stream = stream_of(LEFT)
    means = []
    for frame in frames(32):
        if frame.index == 16:
            stream.set_lighting(RIGHT)
        left, right = face_halves(stream.push(frame)[0].rgb)
        means.append(left - right)
    assert means[15] > 20
    assert means[31] < -20
    assert np.abs(np.diff(means[15:])).max() < 0.5 * (means[15] - means[31])


def test_two_threads_equal_one():
    """Frames prepared in one thread and rendered in another equal those of push."""
    pictures = frames(12)
    one = stream_of(LEFT)
    expected = [one.push(f)[0].rgb for f in pictures]
    two = stream_of(LEFT)
    works, got = [], []
    ready = threading.Semaphore(0)

    def render():
        for i in range(len(pictures)):
            ready.acquire()
            got.append(two.render(works[i])[0].rgb)

    thread = threading.Thread(target=render)
    thread.start()
    for f in pictures:
        works.append(two.prepare(f))
        ready.release()
    thread.join()
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a, b)


def test_input_is_never_written():
    """The input frame keeps its bytes."""
    rgb = portrait()
    rgb.setflags(write=False)
    stream = stream_of(LEFT)
    for i in range(8):
        stream.push(Frame(i, i / 30, rgb))
    np.testing.assert_array_equal(rgb, portrait())


def test_still_head_runs_the_matte_every_third_frame():
    """The mask network runs every third frame while the head is still, and every frame while it moves."""
    for speed_px_s, low, high in ((0.0, 4, 5), (300.0, 12, 12)):
        matte = DrawnMatte()
        stream = engine_of(ScriptedTracker(shift_px=speed_px_s), matte).open(StreamConfig(lighting=LEFT))
        for frame in frames(12):
            stream.push(frame)
        assert low <= matte.calls <= high


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((20, 20), np.uint8),
        np.zeros((20, 20, 4), np.uint8),
        np.zeros((20, 20, 3), np.float32),
        np.zeros((16, 9000, 3), np.uint8),
    ],
)
def test_impossible_frames_are_refused(rgb):
    """A frame of impossible size or type raises FrameError, and the stream goes on."""
    stream = stream_of(LEFT)
    with pytest.raises(FrameError, match="frame 0"):
        stream.prepare(Frame(0, 0.0, rgb))
    stream.push(frames(1)[0])


def test_closed_stream_takes_no_frames():
    """After close, prepare raises StreamClosed."""
    stream = stream_of(LEFT)
    stream.close()
    with pytest.raises(StreamClosed):
        stream.prepare(frames(1)[0])


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (123, 97), (1080, 1920), (640, 360), (16, 16)])
def test_shrunk_is_the_area_mean(size):
    """The coarse picture has at most 160 cells a side and the mean of the whole, halved first or not."""
    rgb = portrait(size)
    small = _shrunk(rgb)
    assert max(small.shape[:2]) == min(160, max(size))
    np.testing.assert_allclose(small.mean((0, 1)), rgb.mean((0, 1)) / 255, atol=0.01)
    expected = cv2.resize(rgb, small.shape[1::-1], interpolation=cv2.INTER_AREA) / 255
    assert np.abs(small - expected).mean() < 1 / 255  # a cell that ends inside a halved pixel takes half of it


def test_a_second_network_takes_the_flag_out_of_the_light():
    """A wall that the mask takes for the person is relit, and as it came once the second network has had its looks."""

    class Spilling(DrawnMatte):
        def __call__(self, rgb):
            mask = super().__call__(rgb)
            mask[:25, :20] = 1
            return mask

    dimmed = replace(LEFT, background=Background("keep", 1.0))
    wall = np.s_[8:80, 8:60]
    change = {}
    for slow_work in ("skip", "wait"):
        engine = RatioEngine(ScriptedTracker, Spilling, make_parts=DrawnMatte)
        stream = engine.open(StreamConfig(lighting=dimmed, slow_work=slow_work))
        for frame in frames(40):
            (out,) = stream.push(frame)
        stream.close()
        engine.close()
        change[slow_work] = np.abs(out.rgb[wall].astype(int) - frame.rgb[wall]).mean()
    assert change["skip"] > 5
    assert change["wait"] < 0.2


@pytest.mark.parametrize("room", [(0.5, 1.3, 0.6), (0.35, 0.7, 2.2)])
def test_a_coloured_room_does_not_stay_on_the_face(room):
    """Relit by white light, a face from a green or blue room comes nearer to the white room's; the wall stays."""
    white, lamp = portrait(), np.array(room) / (np.array(room) @ LUMA)
    coloured = np.round(255 * srgb_from_linear(linear_from_srgb(white) * lamp)).astype(np.uint8)

    def relit(rgb):
        stream = stream_of(EVEN)
        return [stream.push(Frame(i, i / 30, rgb))[0].rgb for i in range(12)][-1]

    def tint(rgb):
        return log_tint(linear_from_srgb(rgb[90:150, 130:190]).mean((0, 1)))

    one, other = relit(white), relit(coloured)

    apart = np.linalg.norm(tint(coloured) - tint(white))
    assert np.linalg.norm(tint(other) - tint(one)) < 0.7 * apart
    assert np.abs(other[:20].astype(int) - coloured[:20]).max() <= 1
