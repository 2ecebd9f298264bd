"""The nano weights that come with the package: whole, honest about themselves, and far better than doing nothing."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine import EngineConfig, available_engines, make_engine  # noqa: E402
from engine.diffusion.config import LcvdConfig  # noqa: E402
from lcvd.model import LcvdModel, load_lcvd  # noqa: E402
from lcvd.networks.schedule import few_step_sigmas  # noqa: E402
from lcvd.sampling.pipeline import relight_frames  # noqa: E402
from lcvd.weights.convert import describe, verify  # noqa: E402
from lcvd.weights.load import find_weights  # noqa: E402
from lcvd.weights.location import PACKAGED, served_size, trained_size, weights_folder, weights_manifest  # noqa: E402
from training.data.synthetic import HELD_OUT  # noqa: E402
from training.heads import head_clip  # noqa: E402

FRAMES = 3
FRESH = HELD_OUT + 1000  # beyond the heads of the run's own validation


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """At most the cores the documentation speaks of."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 2))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> LcvdModel:
    return load_lcvd("nano")


def test_the_packaged_weights_are_whole_small_and_say_what_they_are() -> None:
    """At most 20 MB, 2–6 million parameters, every hash right, and a manifest that calls them a demonstration."""
    folder = weights_folder("nano")
    assert folder == PACKAGED / "nano"
    found = find_weights("nano")
    assert verify(found) == []
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 20_000_000
    assert 2_000_000 <= sum(report.parameters for report in describe(found)) <= 6_000_000
    manifest = weights_manifest("nano")
    assert manifest["demonstration"] is True
    assert "demonstration" in manifest["title"].lower()
    assert {"seed", "step", "data"} <= set(manifest["training"])
    card = (folder / "README.md").read_text()
    assert "not" in card
    assert "synthetic" in card.lower()


def test_the_logs_beside_the_weights_tell_of_the_training() -> None:
    """The logs show as many steps as the manifest says, and a loss that fell."""
    folder = weights_folder("nano")
    rows = [json.loads(line) for line in gzip.decompress((folder / "log.jsonl.gz").read_bytes()).splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert len(losses) == weights_manifest("nano")["training"]["step"]
    tenth = len(losses) // 10
    assert np.mean(losses[-tenth:]) < 0.8 * np.mean(losses[:tenth])
    assert gzip.decompress((folder / "vae-log.jsonl.gz").read_bytes())


def test_held_out_heads_are_relit_better_than_not_at_all(model: LcvdModel) -> None:
    """One step brings people nearer to the true pixels under the other light than the frames as they were filmed."""
    gained = []
    for seed in range(FRESH, FRESH + 8):
        clip = head_clip(seed, FRAMES + 1, 128)
        frames = relight_frames(
            model,
            clip.rgb[0],
            clip.hints[0],
            clip.target_hints[1:],
            clip.masks[0],
            steps=1,
            omega=1.0,
            sigmas=few_step_sigmas("euler", 1).tolist(),
        )
        made = np.stack(list(frames))
        truth, inside = clip.relit[1:], clip.masks[1:] > 0.5
        gained.append(_psnr(made, truth, inside) - _psnr(clip.rgb[1:], truth, inside))
    assert np.mean(gained) > 1.5, gained  # measured 3.9; over more heads see docs/nano/ablation.md
    assert np.sum(np.array(gained) > 0) >= 6, gained


def test_the_hint_decides_the_light(model: LcvdModel) -> None:
    """One person under hints from the left and from the right: the brighter half of the face follows."""
    from lcvd.lighting.lighting import direction_from_angles
    from lcvd.types import DirectionalLight, Lighting

    def lit_from(azimuth_deg: float) -> float:
        directional = DirectionalLight(direction_from_angles(azimuth_deg, 10), (1.0, 1.0, 1.0))
        clip = head_clip(FRESH + 3, 2, 128, target=Lighting("side", (0.1, 0.1, 0.1), (directional,)), still=True)
        (made,) = relight_frames(
            model,
            clip.rgb[0],
            clip.hints[0],
            clip.target_hints[1:],
            clip.masks[0],
            steps=1,
            omega=1.0,
            sigmas=few_step_sigmas("euler", 1).tolist(),
        )
        face = clip.target_hints[1].any(axis=2)
        columns = np.where(face)[1]
        left, right = face.copy(), face.copy()
        left[:, int(columns.mean()) :] = False
        right[:, : int(columns.mean())] = False
        return float(made[right].mean()) - float(made[left].mean())

    assert lit_from(70) > lit_from(-70) + 50  # measured 83


def test_the_live_engine_takes_size_and_label_from_the_manifest(tmp_path: Path) -> None:
    """160 px unless another size is asked for, one branch, few steps, and the menu says demonstration."""
    assert trained_size("nano") == 128
    assert served_size("nano") == 160
    assert trained_size(tmp_path) == 512
    engine: Any = make_engine("lcvd", EngineConfig(lcvd=LcvdConfig("nano", "eager")))
    assert engine.options.size == served_size("nano")
    assert engine.options.plan.steps <= 4
    assert engine.options.plan.branches == 1
    assert engine.quality == "instant"  # what the page's slider stands at
    larger: Any = make_engine("lcvd", EngineConfig(lcvd=LcvdConfig("nano", "eager", size=256)))
    assert larger.options.size == 256
    info = {each.name: each for each in available_engines(EngineConfig(lcvd=LcvdConfig("nano")))}["lcvd"]
    assert info.available
    assert "demonstration" in info.title.lower()
    assert (
        "demonstration"
        not in {each.name: each for each in available_engines(EngineConfig(lcvd=LcvdConfig(tmp_path)))}[
            "lcvd"
        ].title.lower()
    )


def _psnr(made: NDArray[np.uint8], truth: NDArray[np.uint8], inside: NDArray[np.bool_]) -> float:
    error = (made.astype(np.float64) - truth)[inside]
    return float(10 * np.log10(255**2 / np.mean(error**2)))
