"""The surface network: its file says what torch says, training writes one, and samples are what the engine sees."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra lcvd")

from ai_edge_litert.interpreter import Interpreter  # noqa: E402

from engine.surface.crop import SIDE  # noqa: E402
from engine.surface.network import SurfaceNetwork as Runner  # noqa: E402
from lcvd.face.neutral import centred_face  # noqa: E402
from tests.training.heads.tiny_kit import write_kit  # noqa: E402
from training.errors import DataError  # noqa: E402
from training.heads.scanned.clip import scanned_clip  # noqa: E402
from training.heads.scanned.facekit import load_facekit  # noqa: E402
from training.heads.scanned.parts import Part  # noqa: E402
from training.surface.network import INPUTS, OUTPUTS, SurfaceNetwork  # noqa: E402
from training.surface.sample import Maker, SurfaceSample  # noqa: E402
from training.surface.samples import FIELDS, Samples, smoothed  # noqa: E402
from training.surface.tflite import read_tflite, write_tflite  # noqa: E402
from training.surface.train import SurfaceRun, train_surface  # noqa: E402


def trained_a_little() -> SurfaceNetwork:
    """Returns a network whose every part has an effect."""
    torch.manual_seed(3)
    network = SurfaceNetwork()
    torch.nn.init.normal_(network.convolutions["out"].weight, 0, 0.1)
    for norm in network.norms.values():
        torch.nn.init.normal_(norm.weight, 1, 0.2)
        torch.nn.init.normal_(norm.bias, 0, 0.2)
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize(("half", "tolerance"), [(False, 2e-5), (True, 5e-3)])
def test_the_file_says_what_torch_says(tmp_path: Path, half: bool, tolerance: float) -> None:
    """To float32, and with weights of 11 bits to what 18 layers of them leave."""
    network = trained_a_little()
    write_tflite(network, SIDE, tmp_path / "net.tflite", half=half)
    given = torch.rand((1, INPUTS, SIDE, SIDE), generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        expected = network(given).numpy().transpose(0, 2, 3, 1)
    runner = Interpreter(model_path=str(tmp_path / "net.tflite"), num_threads=1)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], given.numpy().transpose(0, 2, 3, 1).copy())
    runner.invoke()
    found = runner.get_tensor(runner.get_output_details()[0]["index"])
    assert found.shape == (1, SIDE, SIDE, OUTPUTS)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_an_untrained_network_gives_back_the_engines_normals(tmp_path: Path) -> None:
    """Training starts from what the engine has: no change, no light, and an expected error of one."""
    write_tflite(SurfaceNetwork().eval(), SIDE, tmp_path / "net.tflite")
    normal = np.zeros((SIDE, SIDE, 3), np.float32)
    normal[..., :] = (0.6, 0, 0.8)
    said = Runner(tmp_path / "net.tflite")(
        np.full((SIDE, SIDE, 3), 90, np.uint8), normal, np.ones((SIDE, SIDE), np.float32)
    )
    np.testing.assert_allclose(said.normal, normal, atol=1e-6)
    np.testing.assert_allclose(said.light, 0, atol=1e-6)
    np.testing.assert_allclose(said.confidence, 0)


class _FoundFace:
    """A tracker that finds the face in the middle."""

    def track(self, rgb: np.ndarray, t_s: float):
        return centred_face(rgb.shape[:2], t_s)

    def reset(self) -> None: ...

    def close(self) -> None: ...


class _Blind(_FoundFace):
    def track(self, rgb: np.ndarray, t_s: float):
        return None


def samples(tmp_path: Path, seeds: range) -> list[SurfaceSample]:
    kit = load_facekit(write_kit(tmp_path / "facekit.npz"))
    maker = Maker(_FoundFace(), lambda rgb: np.ones((36, 36), np.float32))
    found = [maker.sample(scanned_clip(kit, seed, 1, 96)[0]) for seed in seeds]
    return [each for each in found if each is not None]


def stored(found: list[SurfaceSample], folder: Path) -> Path:
    """Writes the samples into two files of `folder`."""
    folder.mkdir()
    for name in ("000000", "000100"):
        stacked = {field: np.stack([getattr(s, field) for s in found]) for field in SurfaceSample._fields}
        np.savez(folder / f"{name}.npz", **stacked)
    return folder


def test_a_frame_without_a_face_gives_no_sample(tmp_path: Path) -> None:
    """What the tracker does not find cannot be refined."""
    kit = load_facekit(write_kit(tmp_path / "facekit.npz"))
    assert Maker(_Blind(), lambda rgb: np.ones((36, 36), np.float32)).sample(scanned_clip(kit, 1, 1, 96)[0]) is None


def test_training_learns_and_writes_weights_that_the_engine_reads(tmp_path: Path) -> None:
    """Twelve steps on few samples bring the normals nearer; the file runs in the engine's wrapper."""
    found = samples(tmp_path, range(6))
    folder = stored(found, tmp_path / "samples")
    figures = train_surface(SurfaceRun(folder, tmp_path / "out", steps=12, batch=4, lr=3e-3))
    places = ("skin", "hair", "smooth_hair", "cloth", "rest")
    assert set(figures) == {f"{who}_{where}_deg" for who in ("mesh", "network") for where in places} | {"light"}
    assert figures["network_skin_deg"] != figures["mesh_skin_deg"]
    assert (tmp_path / "out" / "log.jsonl").read_text().count("\n") == 1
    said = Runner(tmp_path / "out" / "surface.tflite")(
        found[0].rgb, found[0].mesh / np.float32(127), found[0].mask / np.float32(255)
    )
    np.testing.assert_allclose(np.linalg.norm(said.normal, axis=2), 1, atol=1e-4)


@pytest.mark.parametrize(("half", "tolerance"), [(False, 2e-5), (True, 5e-3)])
def test_training_goes_on_from_a_file(tmp_path: Path, half: bool, tolerance: float) -> None:
    """A network of a file's weights says what the one that was written says, and is trained from there."""
    network = trained_a_little()
    write_tflite(network, SIDE, tmp_path / "start.tflite", half=half)
    again = SurfaceNetwork(read_tflite(tmp_path / "start.tflite"))
    given = torch.rand((1, INPUTS, SIDE, SIDE), generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        expected = network(given)
        assert (again(given) - expected).abs().max() < tolerance * expected.abs().max()
    folder = stored(samples(tmp_path, range(3)), tmp_path / "samples")
    run = SurfaceRun(folder, tmp_path / "out", minutes=0, batch=2, lr=0, start=tmp_path / "start.tflite")
    train_surface(run)  # no time: one step, at no rate
    kept = SurfaceNetwork(read_tflite(tmp_path / "out" / "surface.tflite"))
    with torch.no_grad():
        assert (kept(given) - expected).abs().max() < 2 * 5e-3 * expected.abs().max()


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x00" * 64])
def test_a_file_without_weights_is_told(tmp_path: Path, content: bytes) -> None:
    """The message names the file."""
    (tmp_path / "wrong.tflite").write_bytes(content)
    for name in ("wrong.tflite", "missing.tflite"):
        with pytest.raises(DataError, match=name):
            read_tflite(tmp_path / name)


def test_the_teacher_of_hair_is_smooth() -> None:
    """Strands that lean left and right by turns become a surface that faces the viewer; skin stays as it is."""
    normal = np.zeros((1, 32, 32, 3), np.int8)
    normal[..., 0] = np.where(np.arange(32) % 2, 76, -76)
    normal[..., 2] = 102
    part = np.full((1, 32, 32), Part.HAIR, np.uint8)
    part[:, 16:] = Part.SKIN
    found = smoothed(normal, part, np.full((1, 32, 32), 255, np.uint8))
    np.testing.assert_array_equal(found[:, 16:], normal[:, 16:])
    assert np.abs(found[0, :16, 4:-4, 0]).max() < 8
    assert found[0, :16, 4:-4, 2].min() > 125


def test_files_that_appear_are_taken_in_once(tmp_path: Path) -> None:
    """Rendering may go on while the network is trained."""
    folder = stored(samples(tmp_path, range(2)), tmp_path / "samples")
    paths = sorted(folder.glob("*.npz"))
    held = Samples(paths[:1])
    count = len(held)
    held.take(paths)
    held.take(paths)
    assert len(held) == 2 * count
    batch = held.batch(torch.tensor([0, count - 1, count, 2 * count - 1]))
    assert set(batch) == {*FIELDS, "smooth"}
    for name, values in batch.items():  # both files hold the same samples
        assert torch.equal(values[:2], values[2:]), name
    with np.load(paths[0]) as file:
        np.testing.assert_array_equal(batch["part"][1, 0].numpy(), file["part"][-1])


def test_no_samples_is_told(tmp_path: Path) -> None:
    """An empty folder is a mistake, with its remedy."""
    with pytest.raises(DataError, match="no samples"):
        train_surface(SurfaceRun(tmp_path, tmp_path / "out", steps=1))
