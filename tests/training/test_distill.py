"""Students of few steps: their loss is the formula's, runs resume exactly, and the engine loads their weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lcvd extra is not installed")
pytest.importorskip("accelerate", reason="the lcvd extra is not installed")

from safetensors.torch import load_file  # noqa: E402

from engine import EngineConfig, make_engine  # noqa: E402
from engine.diffusion.config import LcvdConfig  # noqa: E402
from engine.diffusion.sampler import SamplerPlan  # noqa: E402
from lcvd.errors import WeightsError  # noqa: E402
from lcvd.model import load_lcvd  # noqa: E402
from lcvd.networks.guidance import guided  # noqa: E402
from lcvd.networks.schedule import x0_from_v  # noqa: E402
from lcvd.networks.student import Student, student_of  # noqa: E402
from lcvd.weights.convert import convert  # noqa: E402
from lcvd.weights.tiny import write_tiny  # noqa: E402
from server.cli.distill import comparison_table  # noqa: E402
from tests.training.run_log import read_log  # noqa: E402
from tests.training.tiny_run import tiny_config  # noqa: E402
from training import comparison  # noqa: E402
from training.config import DistillConfig, TrainConfig, load_config  # noqa: E402
from training.data.batch import Batch, make_row  # noqa: E402
from training.data.dropout import ConditionMask  # noqa: E402
from training.data.encoder import FrozenEncoder  # noqa: E402
from training.distill import NO_DROPOUT, distill, student_config  # noqa: E402
from training.errors import ConfigError, TrainingStopped  # noqa: E402
from training.loop.distiller import Distiller, load_teacher, manifest_notes  # noqa: E402
from training.loop.ema import Ema  # noqa: E402
from training.loop.networks import TrainableModel, load_networks  # noqa: E402
from training.loop.runtime import make_accelerator  # noqa: E402
from training.loop.train import WEIGHTS, make_stream  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns one folder for the module: the teacher `tiny`, heads, runs."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("distill")
    write_tiny(folder / "tiny")
    return folder


def config_of(place: Path, name: str, **changes: Any) -> TrainConfig:
    """Returns a tiny run that starts from the tiny model and learns fast, so that differences show."""
    given: dict[str, Any] = {
        "model": {"source": "weights", "path": str(place / "tiny")},
        "distill": {"steps": [2], "omega": 3.0, "teacher_steps": 8, "heads": 0},
    }
    return tiny_config(place / name, **given | changes)


class Made:
    """A student, its teacher and one clip, outside of any run."""

    def __init__(self, place: Path, steps: int = 2, omega: float = 3.0) -> None:
        given = {"steps": [steps], "omega": omega, "teacher_steps": 8, "heads": 0}
        self.config = student_config(config_of(place, "made", distill=given), steps, place / "tiny")
        device = torch.device("cpu")
        parts, self.model = load_networks(self.config.model, device, 0)
        assert self.config.distill is not None
        self.teacher = load_teacher(self.config, device)
        student = TrainableModel(parts["unet"], parts["adapters"], "portrait").requires_grad_(True)
        self.student = Distiller(student, self.teacher, self.config.distill)
        self.student.use_average(None)
        stream = make_stream(self.config, make_accelerator(self.config))
        self.clip = next(stream)
        self.encoder = FrozenEncoder(self.model, self.config.data.model_copy(update={"latents": "fresh"}))

    def batch(self, sigma: float) -> Batch:
        """Returns the clip at the path's level nearest to σ, with all conditions given."""
        device = torch.device("cpu")
        condition_mask = ConditionMask(1.0, 1.0, 1.0, 1.0)
        return make_row(self.clip, 0, self.config, self.encoder, device, condition_mask=condition_mask, sigma=sigma)


@pytest.fixture(scope="module")
def made(place: Path) -> Made:
    """Returns a student of two steps with ω = 3."""
    return Made(place)


def test_guidance_is_the_teachers_two_branches(made: Made) -> None:
    """At a phase's last level the target is v1 + ω (v2 - v1) with c1 = reference only, written out here."""
    level = float(made.student.phases.levels[7])
    batch = made.batch(level)
    sigma = torch.tensor([level], dtype=torch.float32)
    x = batch.target + level * batch.noise
    seen: list[torch.Tensor] = []
    denoiser, adapters = made.teacher.denoiser, made.teacher.adapters
    with torch.no_grad():
        told = made.teacher.condition(batch)
        frames = batch.target.shape[1]
        reference = adapters.features("reference", batch.reference).expand(-1, frames, -1, -1, -1)
        shading = adapters.features("shading", batch.shading)
        torch.testing.assert_close(told.features, reference + shading)
        v1 = denoiser(
            x, sigma, replace(told, features=reference, image_embedding=torch.zeros_like(told.image_embedding))
        )
        v2 = denoiser(x, sigma, told)
        wanted = x0_from_v(x, guided(v1[0], v2[0], torch.tensor(3.0))[None], level)
        assert (v1 - v2).abs().max() > 1e-2, "the branches must differ"
        x0 = made.student.denoiser.denoised(x, sigma, made.student.condition(batch))
        error = (x0 - wanted) ** 2
        mask = batch.portrait.expand_as(error)
        seen = [error.mean(), (error * mask).sum() / mask.sum()]
        huber = made.config.distill.huber
        losses = made.student(batch)[0]
    expected = [float((each + huber**2).sqrt() - huber) for each in seen]
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-3)


def test_omega_of_one_is_no_guidance(place: Path) -> None:
    """A student that begins as its teacher has no loss where a phase ends, and the teacher answers one branch."""
    made = Made(place, omega=1.0)
    asked: list[int] = []
    made.teacher.denoiser.register_forward_hook(lambda module, given, out: asked.append(len(given[0])))
    with torch.no_grad():
        losses = made.student(made.batch(float(made.student.phases.levels[7])))
    assert asked == [1]
    assert float(losses.abs().max()) < 1e-6


def test_the_target_network_is_the_average(made: Made) -> None:
    """The target changes with the average's weights, not with the student's; without an average it is the student's."""
    student, batch = made.student, made.batch(700.0)
    sigma, x = torch.tensor([700.0]), batch.target + 700 * batch.noise
    named = [(name, value) for name, value in student.named_parameters() if "mix_factor" not in name]
    ema = Ema(named, 0.9, warmup=False)
    student.use_average(ema)
    with torch.no_grad():
        before = student._target_x0(x, sigma, batch)
        torch.testing.assert_close(before, student.denoiser.denoised(x, sigma, student.condition(batch)))
        own = {name: value.clone() for name, value in named}
        for _, value in named:
            value.mul_(1.2)
        torch.testing.assert_close(student._target_x0(x, sigma, batch), before, rtol=0, atol=0)
        ema.update()
        assert (student._target_x0(x, sigma, batch) - before).abs().max() > 1e-4
        student.use_average(None)
        now = student.denoiser.denoised(x, sigma, student.condition(batch))
        torch.testing.assert_close(student._target_x0(x, sigma, batch), now)
        for name, value in named:
            value.copy_(own[name])


def test_only_the_student_learns(made: Made) -> None:
    """Teacher and target network are no part of the module that is wrapped and saved, and get no gradient."""
    made.student.zero_grad()
    made.student(made.batch(700.0)).sum().backward()
    got = [value.grad is not None for name, value in made.student.named_parameters() if ".head." not in name]
    assert all(got)
    assert not any(value.requires_grad or value.grad is not None for value in made.teacher.parameters())
    assert set(made.student.state_dict()) == set(made.teacher.state_dict())


def test_a_students_run_has_the_teachers_levels_and_every_condition(place: Path) -> None:
    """σ is drawn from the path; no condition is dropped; each student keeps the first teacher."""
    config = config_of(place, "any", distill={"steps": [4, 2], "teacher_steps": 8})
    run = student_config(config, 2, Path("four"))
    assert run.noise.levels == pytest.approx(SamplerPlan(8).sigmas[:-1])
    assert run.validation.sigmas == pytest.approx(SamplerPlan(2).sigmas[:-1])
    assert (run.dropout, run.model.path, run.distill.teacher) == (NO_DROPOUT, Path("four"), place / "tiny")
    assert run.output == config.output / "steps-2"


class Cut(Exception):
    """A run that is cut off."""


def test_students_follow_each_other_resume_and_load(place: Path) -> None:
    """A run interrupted in the first student and repeated gives equal weights; the engine recognises students."""
    steady = {"steps": 4, "checkpoint": {"every": 2, "export": False}}
    both = {"steps": [2, 1], "omega": 3.0, "teacher_steps": 4, "heads": 0}
    (one,) = distill(config_of(place, "whole", distill=both | {"steps": [2]}, **steady)).students
    config = config_of(place, "cut", distill=both, **steady)

    def cut(steps: int, report: Any, rate: float) -> None:
        if report.step == 3:
            raise Cut

    with pytest.raises(Cut):
        distill(config, on_step=cut)
    again = distill(config)
    assert [each.resumed_at for each in again.students] == [2, 0]
    with pytest.raises(TrainingStopped, match=r"another \[distill\] table"):
        distill(config_of(place, "cut", distill=both | {"omega": 2.0}, **steady))
    assert again.comparison is None
    logs = [read_log(each.output / "log.jsonl") for each in (one, again.students[0])]
    losses = [[(row["step"], row["loss"]) for row in log if row["kind"] == "train"] for log in logs]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == [1, 2, 3, 4]
    for name in ("unet", "adapters"):
        a, b = (load_file(each.output / WEIGHTS / f"{name}.safetensors") for each in (one, again.students[0]))
        assert all(torch.equal(a[key], b[key]) for key in a)
    for steps, other in zip((2, 1), again.students, strict=True):
        assert other.weights == other.output / WEIGHTS
        model = load_lcvd(other.weights)
        assert model.student == Student(3.0, steps, "euler")
        engine = make_engine("lcvd", EngineConfig(lcvd=LcvdConfig(other.weights, size=64)))
        plan = engine.options.plan
        assert (plan.guidance, plan.steps, plan.branches, plan.sampler) == ("student", steps, 1, "euler")
    teacher = load_lcvd(place / "tiny")
    changed = teacher.denoiser.state_dict()
    assert any(not torch.equal(changed[key], value) for key, value in model.denoiser.state_dict().items())
    convert(other.weights, place / "half", torch.float16)
    assert load_lcvd(place / "half").student == Student(3.0, 1, "euler")


def test_the_table_has_the_teacher_and_its_students(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher is measured at many steps and the students', guided; each student once, with one branch."""
    monkeypatch.setattr(comparison, "TEACHER_STEPS", 3)
    teacher = load_lcvd(place / "tiny")
    students = [replace(teacher, student=Student(3.0, steps)) for steps in (2, 1)]
    config = DistillConfig(steps=(2, 1), omega=3.0, heads=1)
    found = comparison.compare(teacher, students, config, size=64, frames=2)
    assert [(row.name, row.steps, row.calls) for row in found.rows] == [
        ("teacher", 3, 6),
        ("teacher", 2, 4),
        ("teacher", 1, 2),
        ("student", 2, 2),
        ("student", 1, 1),
        ("truth through the VAE", 0, 0),
    ]
    assert all(np.isfinite(row.psnr) and row.ssim <= 1 and set(row.parts) == {"eyes", "mouth"} for row in found.rows)
    assert all(row.seconds > 0 for row in found.rows[:-1])
    assert found.rows[1].psnr != found.rows[3].psnr, "a student of the same weights still goes without guidance"
    table = comparison_table(found)
    assert (table.row_count, len(table.columns)) == (6, 9)
    assert json.loads(json.dumps(found.document()))["rows"][4]["name"] == "student"


def test_a_participant_cannot_ask_a_student_for_other_steps() -> None:
    """A student keeps its plan; others take what is asked; what cannot be is refused of both."""
    student = SamplerPlan.of_weights(Student(3.0, 2, "ddim"))
    assert student == SamplerPlan(2, "ddim", "student", 3.0)
    assert student.asked(25, 8.0) == student
    assert SamplerPlan().asked(25, 8.0) == SamplerPlan(25, omega=8.0)
    for plan in (student, SamplerPlan()):
        with pytest.raises(ValueError, match="steps=3"):
            plan.asked(3, None)


def test_manifests_of_strangers_are_read_with_care() -> None:
    """A malformed student note raises an error; without a note there is no student."""
    assert student_of({}) is None
    assert student_of({"student": {"omega": 2, "steps": 4}}) == Student(2, 4)
    for bad in (
        {"omega": 2},
        {"omega": 2, "steps": 3},
        {"omega": "x", "steps": 1},
        {"omega": 1, "steps": 1, "x": 1},
        7,
    ):
        with pytest.raises(WeightsError, match="student"):
            student_of({"student": bad})


def test_a_toys_student_is_a_toy(place: Path) -> None:
    """The student keeps the label of the weights it started from; its size is its own, the live plan the teacher's."""
    toy = place / "toy"
    toy.mkdir()
    told = {"demonstration": True, "title": "Toy"}
    (toy / "lcvd.json").write_text(json.dumps(told | {"size": 512, "live": {"steps": 2}, "parts": {}}))
    config = config_of(place, "any", model={"source": "weights", "path": str(toy)})
    notes = manifest_notes(config)
    size = config.data.size
    assert notes == told | {"size": size, "student": {"omega": 3.0, "steps": 2, "sampler": "euler"}}
    assert manifest_notes(tiny_config(place / "any")) == {"size": size}


def test_mistakes_are_told(place: Path) -> None:
    """The error says which field cannot be distilled."""
    with pytest.raises(ConfigError, match="teacher_steps is 9"):
        config_of(place, "bad", distill={"teacher_steps": 9})
    with pytest.raises(ConfigError, match="steps: give at least one number, each once"):
        config_of(place, "bad", distill={"steps": [2, 2]})
    with pytest.raises(ConfigError, match="the teacher"):
        tiny_config(place / "bad", distill={})
    with pytest.raises(ConfigError, match="no such table"):
        distill(tiny_config(place / "bad"))
    with pytest.raises(ConfigError, match="whole weights"):
        distill(config_of(place, "bad", distributed={"strategy": "fsdp"}))


def test_the_shipped_configurations_are_legal() -> None:
    """Both files of the nano model parse, and name different runs."""
    students, staggered = (load_config(CONFIGS / f"{name}_nano.toml") for name in ("distill", "staggered"))
    assert students.distill is not None
    assert students.distill.steps == (4, 2, 1)
    assert staggered.staggered is not None
    assert (staggered.staggered.steps, staggered.data.frames) == ((2, 3), 16)
