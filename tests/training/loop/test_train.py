"""A whole run learns, is killed and resumes with equal losses, and reports errors."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lcvd extra is not installed")
pytest.importorskip("accelerate", reason="the lcvd extra is not installed")

from lcvd.model import load_lcvd  # noqa: E402
from lcvd.sampling.pipeline import relight_frames  # noqa: E402
from lcvd.weights.convert import verify  # noqa: E402
from lcvd.weights.load import find_weights  # noqa: E402
from tests.training.run_log import read_log  # noqa: E402
from tests.training.synthetic_data import write_synthetic_data  # noqa: E402
from tests.training.tiny_run import SIZE, tiny_config, tiny_table  # noqa: E402
from training.config import config_from  # noqa: E402
from training.data.batch import Batch  # noqa: E402
from training.errors import ConfigError, DataError, DiskFull, TrainingError, TrainingStopped  # noqa: E402
from training.heads import head_clip  # noqa: E402
from training.lock import folder_lock  # noqa: E402
from training.loop import checkpoint, trainer  # noqa: E402
from training.loop.checkpoint import problem_of  # noqa: E402
from training.loop.train import train  # noqa: E402
from training.loop.trainer import StepReport  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the module's runs, so that heads are rendered once."""
    return tmp_path_factory.mktemp("train")


def losses(output: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in read_log(output / "log.jsonl") if row["kind"] == "train"]


def test_two_steps_give_weights_that_the_server_loads(place: Path) -> None:
    """Weights are the average, verified whole; they relight; validation has pictures and a loss for every σ."""
    config = tiny_config(
        place / "export",
        steps=2,
        checkpoint__export=True,
        validation={"every": 2, "clips": 1, "grid": 1, "steps": 1, "sigmas": [0.5, 8.0]},
    )
    result = train(config)
    assert result.weights is not None
    assert (result.step, result.stopped_by, result.skipped) == (2, None, 0)
    found = find_weights(result.weights)
    assert verify(found) == []
    assert found.manifest["training"]["step"] == 2
    model = load_lcvd(result.weights)
    head = head_clip(3, 3, SIZE)
    frames = list(
        relight_frames(model, head.rgb[0], head.hints[0], head.target_hints[1:], head.masks[0], steps=1, omega=1.0)
    )
    assert len(frames) == 2
    assert frames[0].shape == (SIZE, SIZE, 3)
    # decay 0.9 with warm-up: the average is neither the start nor the end
    from safetensors.torch import load_file

    assert result.checkpoint is not None
    live = load_file(result.checkpoint / "model.safetensors")["denoiser.unet.svd.conv_in.weight"]
    assert not torch.equal(model.denoiser.unet.svd.conv_in.weight, live)
    average = load_file(result.checkpoint / "ema.safetensors")["denoiser.unet.svd.conv_in.weight"]
    assert torch.equal(model.denoiser.unet.svd.conv_in.weight, average)
    assert result.validation is not None
    assert list(result.validation.by_sigma) == ["0.5", "8"]
    assert result.validation.grid is not None
    assert result.validation.grid.shape == (2 * SIZE, 4 * SIZE, 3)
    assert (config.output / "samples" / "step-00000002.png").is_file()


def test_the_loss_falls(place: Path) -> None:
    """Thirty steps on one clip with fixed σ at least halve the loss: gradients reach the weights."""
    config = tiny_config(
        place / "falls",
        steps=30,
        data__synthetic__heads=1,
        noise={"p_mean": 0.7, "p_std": 0.0},
        dropout={"keep": 1, "all_dropped": 0, "all_kept": 1, "clip": 0, "latent": 0, "both": 0},
    )
    train(config)
    curve = [loss for _, loss in losses(config.output)]
    assert np.mean(curve[-8:]) < 0.5 * np.mean(curve[:3])


def test_killed_and_resumed_it_ends_as_if_uninterrupted(place: Path) -> None:
    """SIGKILL in the middle of the command; the same command goes on, and every loss is equal to the last digit."""
    steps = 11
    changes: dict[str, Any] = {"steps": steps, "accumulation": 2, "checkpoint__every": 4}
    train(tiny_config(place / "whole", **changes))
    wanted = losses(place / "whole")
    output = place / "killed"
    toml = place / "killed.json"
    toml.write_text(json.dumps(tiny_table(output, **changes)))
    command = [sys.executable, str(Path(__file__).with_name("run_tiny.py")), str(toml)]
    child = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    try:
        deadline = time.monotonic() + 120
        log = output / "log.jsonl"
        while not (log.exists() and len(losses(output)) >= 5):
            assert child.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    reached = len(losses(output))
    assert 5 <= reached < steps
    result = train(tiny_config(output, **changes))
    assert result.resumed_at in (4, 8)
    assert result.resumed_at <= reached
    assert losses(output) == wanted
    final = [
        torch.load(folder / "checkpoints" / f"step-{steps:08d}" / "optimizer.bin", weights_only=True)["state"]
        for folder in (place / "whole", output)
    ]
    assert all(torch.equal(a["exp_avg"], b["exp_avg"]) for a, b in zip(*(s.values() for s in final), strict=True))


def test_eight_bit_adam_learns_and_goes_on_from_a_checkpoint(place: Path) -> None:
    """Large layers have a state of bytes, and it comes back: losses are equal to the last digit."""
    pytest.importorskip("bitsandbytes", reason="pip install -e '.[train]'")
    changes: dict[str, Any] = {"optimizer__name": "adamw8bit", "steps": 4, "checkpoint__every": 2}
    whole = tiny_config(place / "bytes", **changes)
    train(whole)
    half = tiny_config(place / "bytes-half", **changes)
    train(half.model_copy(update={"steps": 2}))
    assert train(half).resumed_at == 2
    assert losses(half.output) == losses(whole.output)
    path = half.output / "checkpoints" / "step-00000004" / "optimizer.bin"
    state = torch.load(path, weights_only=True)["state"]
    kept = [row["__bnb_optimizer_quant_state__"] for row in state.values()]
    assert {row["state1"].dtype for row in kept} == {torch.uint8, torch.float32}  # small layers stay as they are


def test_going_on_follows_the_new_settings(place: Path) -> None:
    """Another accumulation after an odd step still steps; the optimizer has its new numbers, another one is refused."""
    output = place / "other"
    train(tiny_config(output, steps=3))
    result = train(tiny_config(output, steps=5, accumulation=2, optimizer__weight_decay=0.25))
    assert result.resumed_at == 3
    from safetensors.torch import load_file

    before, after = (load_file(output / "checkpoints" / f"step-0000000{n}" / "model.safetensors") for n in (3, 5))
    assert any(not torch.equal(before[key], after[key]) for key in before)
    state = torch.load(output / "checkpoints" / "step-00000005" / "optimizer.bin", weights_only=True)
    assert {group["weight_decay"] for group in state["param_groups"]} == {0.25}
    assert {float(row["step"]) for row in state["state"].values()} == {5.0}
    pytest.importorskip("bitsandbytes", reason="pip install -e '.[train]'")
    with pytest.raises(TrainingStopped, match="trained with AdamW, this run has AdamW8bit"):
        train(tiny_config(output, steps=6, optimizer__name="adamw8bit"))


def test_a_folder_is_one_runs_at_a_time(place: Path) -> None:
    """The second run raises DataError and touches nothing."""
    output = place / "busy"
    output.mkdir()
    with folder_lock(output), pytest.raises(DataError, match="another run is writing here"):
        train(tiny_config(output))
    assert list(output.iterdir()) == []


def test_what_shards_cannot_do_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sharded weights cannot be averaged or validated; fsdp in one process is refused."""
    config = tiny_config(place / "parts", distributed__strategy="fsdp", validation={"every": 5})
    nobody: Any = None
    monkeypatch.setattr(trainer, "sharded", lambda accelerator: False)
    with pytest.raises(TrainingStopped, match="one process has no other"):
        trainer.check_sharding(config, nobody)
    monkeypatch.setattr(trainer, "sharded", lambda accelerator: True)
    with pytest.raises(TrainingStopped, match=r"validation\.every"):
        trainer.check_sharding(config, nobody)
    config = tiny_config(place / "parts", distributed__strategy="fsdp")
    with pytest.raises(TrainingStopped, match=r"ema\.decay"):
        trainer.check_sharding(config, nobody)
    trainer.check_sharding(config.model_copy(update={"ema": config.ema.model_copy(update={"decay": 0.0})}), nobody)


def test_an_adapter_without_its_condition_is_disabled(place: Path) -> None:
    """A run without the reference's adapter writes weights that ignore the reference, which had an effect before."""
    first = train(tiny_config(place / "both", steps=1, checkpoint__export=True))
    changes: dict[str, Any] = {"steps": 1, "conditions": ["shading"], "parts": ["unet", "light"]}
    table = tiny_table(place / "shading", checkpoint__export=True, **changes)
    table["model"] = {"source": "weights", "path": str(first.weights)}
    made = train(config_from(table))
    assert first.weights is not None
    assert made.weights is not None
    before, after = (load_lcvd(folder).adapters for folder in (first.weights, made.weights))
    assert before.ref.final_proj.weight.any()
    assert not after.ref.final_proj.weight.any()
    assert after.light.final_proj.weight.any()


def test_sigterm_saves_and_the_run_goes_on(place: Path) -> None:
    """The step is finished and saved, the result names the signal, and going on equals not having stopped."""
    config = tiny_config(place / "term", steps=4)

    def stop(report: StepReport, rate: float) -> None:
        if report.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    result = train(config, on_step=stop)
    assert (result.step, result.stopped_by) == (2, "SIGTERM")
    assert result.checkpoint is not None
    assert problem_of(result.checkpoint) is None
    assert signal.getsignal(signal.SIGTERM) is before
    assert train(config).resumed_at == 2
    whole = tiny_config(place / "not-stopped", steps=4)
    train(whole)
    assert losses(config.output) == losses(whole.output)


def poison(monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> None:
    """Puts a NaN into the batches of these calls."""
    real, count = trainer.make_batch, [0]

    def poisoned(*args: Any) -> Batch:
        batch = real(*args)
        count[0] += 1
        return replace(batch, target=batch.target * float("nan")) if count[0] in calls else batch

    monkeypatch.setattr(trainer, "make_batch", poisoned)


def test_a_nan_batch_is_skipped_and_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The weights stay as they were, the sample is named, the next step is taken."""
    poison(monkeypatch, {2})
    seen: list[StepReport] = []
    with caplog.at_level(logging.WARNING):
        result = train(tiny_config(place / "nan", ema__decay=0.0), on_step=lambda report, rate: seen.append(report))
    assert [report.finite for report in seen] == [True, False, True]
    assert result.skipped == 1
    (name,) = seen[1].skipped
    assert name.startswith("head")
    assert name in caplog.text
    rows = [row for row in read_log(place / "nan" / "log.jsonl") if row["kind"] == "train"]
    assert rows[1]["loss"] is None
    assert rows[1]["skipped"] == [name]
    assert result.checkpoint is not None
    from safetensors.torch import load_file

    assert all(torch.isfinite(value).all() for value in load_file(result.checkpoint / "model.safetensors").values())


def test_nan_again_and_again_stops_with_the_last_good_checkpoint(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After bad_steps in a row the run raises TrainingStopped, and the saved checkpoints are intact."""
    poison(monkeypatch, {3, 4, 5})
    config = tiny_config(place / "nans", steps=9, bad_steps=3, checkpoint__every=2)
    with pytest.raises(TrainingStopped, match=r"3 times in a row.*last good checkpoint is .*step-00000004") as told:
        train(config)
    assert "optimizer.lr" in told.value.hint
    assert problem_of(config.output / "checkpoints" / "step-00000002") is None


def test_a_full_disk_is_told_and_older_checkpoints_stay(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half-written is left, and with room again the same call goes on from the older checkpoint."""
    config = tiny_config(place / "full", steps=4, checkpoint__every=2)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(report: StepReport, rate: float) -> None:
        if report.step == 3:
            monkeypatch.setattr(checkpoint, "_sync", full)

    with pytest.raises(DiskFull, match="is full") as told:
        train(config, on_step=fill)
    assert "same command" in told.value.hint
    folder = config.output / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["step-00000002"]
    monkeypatch.undo()
    assert problem_of(folder / "step-00000002") is None
    result = train(config)
    assert (result.resumed_at, result.step) == (2, 4)
    assert [step for step, _ in losses(config.output)] == [1, 2, 3, 4]


def test_a_missing_gpu_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """device = "cuda" without one, and fp16 on the CPU, end before anything is loaded."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="no CUDA GPU") as told:
        train(tiny_config(place / "gpu", device="cuda"))
    assert 'device = "cpu"' in told.value.hint
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        train(tiny_config(place / "gpu", precision="fp16"))
    for strategy in ("fsdp", "deepspeed"):
        with pytest.raises(ConfigError, match=f"strategy {strategy} needs a GPU"):
            train(tiny_config(place / "gpu", distributed__strategy=strategy))


def test_prepared_data_with_a_damaged_shard_trains(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A sample that cannot be read is skipped with a warning; another size than the data's is refused."""
    data = write_synthetic_data(place / "data", sources=2, samples=2)
    shard = next(data.glob("*.tar"))
    broken = bytearray(shard.read_bytes())
    broken[3000:9000] = bytes(6000)
    shard.write_bytes(broken)
    folders = {"frames": 4, "size": 64, "threads": 0, "folders": [str(data)]}
    with caplog.at_level(logging.WARNING):
        result = train(tiny_config(place / "shards", steps=4, data=folders))
    assert result.step == 4
    assert "skipped: " in caplog.text
    assert shard.name in caplog.text
    with pytest.raises(ConfigError, match=r"data\.size 32: .* hold 4 frames of 64 px"):
        train(tiny_config(place / "looked", validation={"every": 1, "clips": 1, "folders": [str(data)]}))
    with pytest.raises(ConfigError, match="hold 4 frames of 64 px"):
        train(tiny_config(place / "shards", data=folders | {"size": 32}))


def test_gradient_checkpointing_and_bf16_run(place: Path) -> None:
    """Checkpointing changes no loss; bfloat16 changes it a little; staggered levels train."""
    plain, careful = (
        tiny_config(place / "plain", steps=2),
        tiny_config(place / "gc", steps=2, gradient_checkpointing=True),
    )
    train(plain)
    train(careful)
    assert dict(losses(careful.output)) == pytest.approx(dict(losses(plain.output)), rel=1e-5)
    mixed = tiny_config(
        place / "bf16", steps=2, precision="bf16", staggered={"share": 1.0, "chunk": 1, "levels": [9.0, 1.0]}
    )
    train(mixed)
    assert all(np.isfinite(loss) for _, loss in losses(mixed.output))
    assert losses(mixed.output) != losses(plain.output)


def test_another_configuration_does_not_go_on_silently(place: Path) -> None:
    """A seed that is not the run's is refused; --fresh starts again."""
    train(tiny_config(place / "other", steps=1))
    with pytest.raises(TrainingError, match="seed is 5"):
        train(tiny_config(place / "other", steps=2, seed=5))
    again = train(tiny_config(place / "other", steps=2, seed=5), resume=False)
    assert (again.resumed_at, again.step) == (0, 2)
    assert len(losses(place / "other")) == 2
