"""LCVD offline: a driver clip and a portrait go through a tiny random model in the published layout, end to end."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
pytest.importorskip("diffusers", reason="pip install -e '.[lcvd]'")

from engine.errors import PortraitError  # noqa: E402
from engine.offline.animate_clip import PortraitOptions, animate_clip  # noqa: E402
from engine.offline.clip_writer import ClipWriter  # noqa: E402
from engine.offline.video_file import ClipReader  # noqa: E402
from engine.reference import make_reference, square_around  # noqa: E402
from lcvd.errors import LcvdError  # noqa: E402
from lcvd.face.raster import rasterize  # noqa: E402
from lcvd.lighting.presets import preset  # noqa: E402
from lcvd.matting.selfie import SelfieMatte  # noqa: E402
from lcvd.tracking.deca import DecaTracker  # noqa: E402
from lcvd.tracking.flame_files import load_flame  # noqa: E402
from lcvd.tracking.mesh import MeshTracker  # noqa: E402
from lcvd.weights.tiny import write_tiny  # noqa: E402
from tests.lcvd.tracking.synthetic_flame import write_folder  # noqa: E402

SIZE = 64
OPTIONS = PortraitOptions(size=SIZE, steps=2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    write_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, portrait: np.ndarray) -> Path:
    """The sample portrait nodding for 18 frames (more than one window), with a second of sound."""
    path = tmp_path_factory.mktemp("driver") / "driver.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=15)
        sound = container.add_stream("aac", rate=16000)
        video.width = video.height = 256
        video.pix_fmt = "yuv420p"
        for index in range(18):
            turn = cv2.getRotationMatrix2D((256, 256), 6 * np.sin(index / 3), 1.0)
            frame = cv2.resize(cv2.warpAffine(portrait, turn, (512, 512)), (256, 256), interpolation=cv2.INTER_AREA)
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
        for start in range(0, 16000, 1000):
            piece = av.AudioFrame.from_ndarray(np.full((1, 1000), 2000, np.int16), format="s16", layout="mono")
            piece.sample_rate, piece.pts = 16000, start
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
    return path


def pictures(path: Path) -> list[np.ndarray]:
    with ClipReader(path) as reader:
        return [frame.rgb for frame in reader.frames()]


def test_a_portrait_follows_the_driver_with_its_sound(
    tmp_path: Path, weights: Path, driver: Path, portrait: np.ndarray
) -> None:
    """As many frames as the driver, its rate and sound; the comparison shows reference, hint, result and driver."""
    stages: dict[str, tuple[int, int | None]] = {}
    notes: list[str] = []
    written = animate_clip(
        weights,
        portrait,
        driver,
        tmp_path / "out.mp4",
        preset("split-left").lighting,
        OPTIONS,
        tmp_path / "state",
        compare=True,
        on_progress=lambda stage, done, total: stages.__setitem__(stage, (done, total)),
        on_note=notes.append,
    )
    assert written.frames == written.faces == 18
    frames = pictures(tmp_path / "out.mp4")
    assert len(frames) == 18
    assert frames[0].shape == (SIZE, 4 * SIZE, 3)
    with ClipReader(tmp_path / "out.mp4") as reader:
        assert reader.info.has_audio
        assert float(reader.info.fps) == pytest.approx(15)
    assert stages["hints"][0] == stages["decode"][0] == 18
    assert stages["denoise"][0] == stages["denoise"][1]
    assert any("MediaPipe" in note for note in notes)
    hint = frames[9][:, SIZE : 2 * SIZE].astype(float)
    assert hint[:, : SIZE // 2].sum() > 1.3 * hint[:, SIZE // 2 :].sum()  # lit from the left
    assert hint[:4].mean() < 8  # black outside the face
    assert frames[9][:, 2 * SIZE : 3 * SIZE].std() > 5


def test_an_interrupted_run_goes_on_and_ends_the_same(
    tmp_path: Path, weights: Path, driver: Path, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of the steps, the second run does the rest and gives the same clip."""
    light = preset("rembrandt-right").lighting
    whole = tmp_path / "whole.mp4"
    drawn: list[np.ndarray] = []
    write = ClipWriter.write

    def recorded(writer: ClipWriter, rgb: np.ndarray, t_s: float) -> None:
        drawn.append(rgb.astype(int))
        write(writer, rgb, t_s)

    monkeypatch.setattr(ClipWriter, "write", recorded)
    animate_clip(weights, portrait, driver, whole, light, OPTIONS, tmp_path / "state1")
    done: list[int] = []

    def stop(stage: str, count: int, total: int | None) -> None:
        if stage == "denoise":
            done.append(count)
            if count == 2:
                raise KeyboardInterrupt

    target = tmp_path / "resumed.mp4"
    with pytest.raises(KeyboardInterrupt):
        animate_clip(weights, portrait, driver, target, light, OPTIONS, tmp_path / "state2", on_progress=stop)
    assert not target.exists()
    before = done.copy()
    done.clear()
    animate_clip(
        weights,
        portrait,
        driver,
        target,
        light,
        OPTIONS,
        tmp_path / "state2",
        on_progress=lambda stage, count, total: done.append(count) if stage == "denoise" else None,
    )
    assert done[0] > before[0]
    for name in ("latents_0.f32", "latents_1.f32"):
        assert (tmp_path / "state1" / name).read_bytes() == (tmp_path / "state2" / name).read_bytes()
    # What was handed to the encoder: x264 codes the first picture a little differently from run to run.
    assert len(drawn) == 36
    assert max(np.abs(one - other).max() for one, other in zip(drawn[:18], drawn[18:], strict=True)) <= 1
    assert len(pictures(target)) == 18


def test_without_a_reference_the_clip_relights_itself(tmp_path: Path, weights: Path, driver: Path) -> None:
    """The first face of the clip is the portrait, and the hints lie where the driver's face is."""
    animate_clip(
        weights,
        None,
        driver,
        tmp_path / "out.mp4",
        preset("soft-front").lighting,
        OPTIONS,
        tmp_path / "s",
        compare=True,
    )
    frame = pictures(tmp_path / "out.mp4")[0]
    reference, hint, driven = frame[:, :SIZE], frame[:, SIZE : 2 * SIZE], frame[:, 3 * SIZE :]
    assert np.abs(reference.astype(int) - driven).mean() < 8
    skin = hint.mean(-1) > 60
    assert 0.05 < skin.mean() < 0.6
    # Skin is redder than what surrounds the face: the hint covers it.
    redness = driven[..., 0].astype(float) - driven[..., 2]
    assert redness[skin].mean() > redness[~skin].mean() + 10


@pytest.mark.parametrize("motion", ["relative", "scale"])
def test_deca_moves_the_reference_and_takes_nothing_of_the_drivers_shape(
    tmp_path: Path, weights: Path, driver: Path, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch, motion: str
) -> None:
    """With FLAME the hints turn with the driver, are those of the reference's shape alone, and pytorch3d may draw."""
    (tmp_path / "deca").mkdir()
    write_folder(tmp_path / "deca")
    flame = load_flame(tmp_path / "deca")
    drawn: list[tuple[int, int]] = []

    def counted(vertices, triangles, size):
        drawn.append(size)
        return rasterize(vertices, triangles, size)

    monkeypatch.setattr("engine.offline.animate_clip.make_rasterizer", lambda device: (counted, "a rasteriser"))
    monkeypatch.setattr("lcvd.sampling.pipeline.load_lcvd", lambda *given, **named: SimpleNamespace(student=None))
    monkeypatch.setattr(
        "lcvd.sampling.pipeline.relight_frames",
        lambda model, rgb, hint, hints, mask, **named: (np.array(h) for h in hints),
    )

    def hints(name: str, driver_shape: float) -> np.ndarray:
        turned = itertools.count()

        def encoder(crops: np.ndarray) -> np.ndarray:
            code = np.zeros((1, 236), np.float32)
            code[0, 206] = 8.0  # the camera's scale
            code[0, 209:212] = 3.0  # ambient light
            if crops.mean() > 0.25:  # the reference is the darker one
                code[0, :100] = driver_shape
                code[0, 201] = 0.04 * next(turned)  # a head that turns about the vertical
            return code

        tracker = DecaTracker(tmp_path / "deca", flame=flame, encoder=encoder)
        monkeypatch.setattr("engine.offline.animate_clip.make_tracker", lambda folder, device: (tracker, "DECA"))
        state, light = tmp_path / name, preset("split-left").lighting
        options = replace(OPTIONS, motion=motion)
        animate_clip(weights, portrait // 3, driver, tmp_path / f"{name}.mp4", light, options, state)
        return np.fromfile(state / "hints.u8", np.uint8).reshape(18, SIZE, SIZE, 3).astype(int)

    plain, other = hints("plain", 0.0), hints("other", 3.0)
    assert (plain.max(axis=(1, 2, 3)) > 60).all()
    np.testing.assert_array_equal(plain, other)
    assert np.abs(plain[17] - plain[0]).max() > 10
    assert len(drawn) == 2 * 19


def test_errors_come_before_the_work(tmp_path: Path, weights: Path, driver: Path, portrait: np.ndarray) -> None:
    """No face in the reference, an impossible size, missing weights: each says what to do."""
    light = preset("soft-front").lighting
    flat = np.full((128, 128, 3), 90, np.uint8)
    with pytest.raises(PortraitError, match="no face") as caught:
        animate_clip(weights, flat, driver, tmp_path / "o.mp4", light, OPTIONS, tmp_path / "s")
    assert "portrait" in caught.value.hint
    with pytest.raises(PortraitError, match="size=100"):
        animate_clip(weights, portrait, driver, tmp_path / "o.mp4", light, PortraitOptions(size=100), tmp_path / "s")
    options = PortraitOptions(size=SIZE, motion="driver")
    with pytest.raises(PortraitError, match="driver"):
        animate_clip(weights, portrait, driver, tmp_path / "o.mp4", light, options, tmp_path / "s")
    with pytest.raises(LcvdError, match="no such folder"):
        animate_clip(tmp_path / "absent", portrait, driver, tmp_path / "o.mp4", light, OPTIONS, tmp_path / "s")
    assert not (tmp_path / "o.mp4").exists()


def test_the_square_holds_head_and_shoulders(portrait: np.ndarray) -> None:
    """It lies inside the picture, holds the face and is as large as asked."""
    tracker = MeshTracker()
    try:
        face = tracker.track(portrait, 0.0)
        assert face is not None
        square = square_around(face, (512, 512))
        low, high = face.vertices_px[:, :2].min(0), face.vertices_px[:, :2].max(0)
        half = square.size_px / 2
        assert square.x_px - half >= -1e-3
        assert square.y_px + half <= 512 + 1e-3
        assert square.x_px - half < low[0] < high[0] < square.x_px + half
        assert square.y_px - half < low[1] < high[1] < square.y_px + half
        reference = make_reference(portrait, 128, tracker, SelfieMatte())
    finally:
        tracker.close()
    assert reference.rgb.shape == (128, 128, 3)
    assert reference.mask.shape == (128, 128)
    assert reference.mask[64, 64] == 1
    assert reference.hint.max() > 60
