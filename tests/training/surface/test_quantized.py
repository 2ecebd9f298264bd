"""The surface network in 8 bits says what the floating one says, and can be trained on."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra lcvd")

from engine.surface.crop import SIDE  # noqa: E402
from engine.surface.network import WEIGHTS  # noqa: E402
from training.heads.scanned.parts import Part  # noqa: E402
from training.surface.network import INPUTS, OUTPUTS, SurfaceNetwork  # noqa: E402
from training.surface.quantized import quantize, run_tflite, value_ranges, write_quantized  # noqa: E402
from training.surface.tflite import read_tflite, write_tflite  # noqa: E402


def given(seed: int, count: int = 2) -> torch.Tensor:
    """Returns inputs with areas of one colour in them, as pictures have."""
    small = torch.rand((count, INPUTS, SIDE // 8, SIDE // 8), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(2 * small - 1, size=(SIDE, SIDE), mode="bilinear")


def said(network: SurfaceNetwork, inputs: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return network(inputs).numpy().transpose(0, 2, 3, 1)


def test_it_says_nearly_the_same(tmp_path: Path) -> None:
    """On inputs that the ranges have not seen, the error is within a fiftieth of what there is to say."""
    network = SurfaceNetwork(read_tflite(WEIGHTS)).eval()
    write_quantized(network, SIDE, tmp_path / "int8.tflite", value_ranges(network, given(1, 4)))
    expected = said(network, given(2))
    found = run_tflite(tmp_path / "int8.tflite", given(2).permute(0, 2, 3, 1).numpy())
    assert found.shape == (2, SIDE, SIDE, OUTPUTS)
    error = np.sqrt(np.square(found - expected).mean((0, 1, 2)))
    assert (error < 0.1 * expected.std((0, 1, 2)) + 0.005).all()


def test_training_can_go_on_from_it(tmp_path: Path) -> None:
    """Its weights are read back to half a step of their scale."""
    torch.manual_seed(4)
    network = SurfaceNetwork().eval()
    torch.nn.init.normal_(network.convolutions["out"].weight, 0, 0.1)
    write_tflite(network, SIDE, tmp_path / "float.tflite", half=False)
    write_quantized(network, SIDE, tmp_path / "int8.tflite", value_ranges(network, given(1)))
    before, after = read_tflite(tmp_path / "float.tflite"), read_tflite(tmp_path / "int8.tflite")
    for name, (weight, bias) in before.items():
        limit = weight.abs().amax((1, 2, 3), keepdim=True) / 127 * 0.51 + 1e-3 * weight.abs().max()
        assert ((after[name][0] - weight).abs() <= limit).all()
        assert (after[name][1] - bias).abs().max() < 1e-2 * (1 + bias.abs().max())


def test_the_command_tells_what_it_costs(tmp_path: Path) -> None:
    """Normals of the two are compared on samples, with each other and with the truth; the file is the smaller one."""
    rng = np.random.default_rng(0)
    normal = np.zeros((6, SIDE, SIDE, 3), np.int8)
    normal[..., 2] = 127
    columns = {
        "rgb": rng.integers(0, 255, (6, SIDE, SIDE, 3)).astype(np.uint8), "mesh": normal, "normal": normal,
        "mask": np.full((6, SIDE, SIDE), 255, np.uint8), "cover": np.full((6, SIDE, SIDE), 255, np.uint8),
        "light": np.zeros((6, SIDE, SIDE, 3), np.float16), "part": np.full((6, SIDE, SIDE), Part.SKIN, np.uint8),
    }  # fmt: skip
    columns["part"][:, : SIDE // 2] = Part.CLOTH
    np.savez(tmp_path / "samples.npz", **columns)
    network = SurfaceNetwork(read_tflite(WEIGHTS)).eval()
    write_tflite(network, SIDE, tmp_path / "float.tflite")
    told = quantize(tmp_path / "float.tflite", tmp_path / "samples.npz", tmp_path / "int8.tflite")
    assert (tmp_path / "int8.tflite").stat().st_size < 0.6 * (tmp_path / "float.tflite").stat().st_size
    assert 0 < told["apart_deg"] < 3
    for where in ("skin", "rest"):
        assert told[f"quantized_{where}_deg"] == pytest.approx(told[f"floating_{where}_deg"], abs=told["apart_deg"])
