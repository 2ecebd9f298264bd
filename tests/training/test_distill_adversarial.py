"""The adversarial student of one step: who learns from what, what is drawn, and a run that resumes exactly."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the lcvd extra is not installed")
pytest.importorskip("accelerate", reason="the lcvd extra is not installed")

from safetensors.torch import load_file  # noqa: E402

from lcvd.model import load_lcvd  # noqa: E402
from lcvd.networks.student import Student  # noqa: E402
from lcvd.weights.tiny import write_tiny  # noqa: E402
from tests.training.run_log import read_log  # noqa: E402
from tests.training.tiny_run import tiny_config  # noqa: E402
from training.config import TrainConfig, load_config  # noqa: E402
from training.data.batch import Batch, collate, make_row  # noqa: E402
from training.data.encoder import FrozenEncoder  # noqa: E402
from training.distill import distill, student_config  # noqa: E402
from training.errors import ConfigError, TrainingStopped  # noqa: E402
from training.loop.adversary import AdversarialDistiller, Opponent  # noqa: E402
from training.loop.distiller import load_teacher  # noqa: E402
from training.loop.networks import TrainableModel, load_networks  # noqa: E402
from training.loop.runtime import make_accelerator  # noqa: E402
from training.loop.train import WEIGHTS, make_stream  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"
RECIPE: dict[str, Any] = {
    "steps": [1],
    "omega": 1.0,
    "teacher_steps": 4,
    "heads": 0,
    "adversarial": {"width": 8, "lr": 1e-2, "weight": 0.5, "r1": 0.1},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns one folder for the module: the teacher `tiny`, heads, runs."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("adversarial")
    write_tiny(folder / "tiny")
    return folder


def config_of(place: Path, name: str, **changes: Any) -> TrainConfig:
    """Returns a tiny run of the recipe; changes are of any table."""
    given = {"model": {"source": "weights", "path": str(place / "tiny")}, "distill": RECIPE}
    return tiny_config(place / name, **given | changes)


class Made:
    """A student, its teacher and two clips, outside of any run."""

    def __init__(self, place: Path, **changes: Any) -> None:
        distilled = RECIPE | {"adversarial": RECIPE["adversarial"] | changes}
        config = config_of(place, "made", distill=distilled)
        self.config = student_config(config, 1, place / "tiny")
        device = torch.device("cpu")
        self.accelerator = make_accelerator(self.config)
        parts, model = load_networks(self.config.model, device, 0)
        self.teacher = load_teacher(self.config, device)
        student = TrainableModel(parts["unet"], parts["adapters"], "portrait").requires_grad_(True)
        self.student = AdversarialDistiller(student, self.teacher, self.config)
        stream = make_stream(self.config, self.accelerator)
        encoder = FrozenEncoder(model, self.config.data.model_copy(update={"latents": "fresh"}))
        self.rows = [make_row(next(stream), slot, self.config, encoder, device) for slot in range(2)]

    @property
    def batch(self) -> Batch:
        """Returns both clips."""
        return collate(self.rows)


@pytest.fixture(scope="module")
def made(place: Path) -> Made:
    """Returns the student that the tests of one step share; none of them changes its weights."""
    return Made(place)


def gradients(module: Any) -> list[bool]:
    """Returns for each parameter whether it got a gradient other than zero."""
    return [value.grad is not None and bool(value.grad.abs().sum() > 0) for value in module.parameters()]


def test_a_student_takes_its_one_step_from_pure_noise(made: Made) -> None:
    """Every clip is shown at the level from which the live engine takes its single step."""
    assert made.config.noise.levels == pytest.approx((700.0,))
    assert made.batch.sigma.flatten().tolist() == pytest.approx([700.0] * made.batch.sigma.numel())


def test_each_player_moves_alone(made: Made) -> None:
    """The student's loss trains the student, the heads' loss the heads; nothing trains the frozen encoder."""
    student, heads = made.student, made.student.discriminator
    student.zero_grad()
    heads.zero_grad()
    student(made.batch)[:, 2].sum().backward()
    ends = ("unet.svd.conv_in.weight", "unet.svd.conv_out.weight", "light.final_proj.weight", "ref.final_proj.weight")
    reached = [value for name, value in student.named_parameters() if name.endswith(ends)]
    assert len(reached) == 4
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in reached)
    assert not any(gradients(heads))
    mine = {name: value.grad.clone() for name, value in student.named_parameters() if value.grad is not None}
    pair = student.take_pair()
    heads(pair.real, pair.fake, pair.embedding)[0].backward()
    moved = dict(zip((name for name, _ in heads.named_parameters()), gradients(heads), strict=True))
    # A bias of the logits gets -1 from real clips and +1 from others while all lie within the hinge's margin.
    assert all(got for name, got in moved.items() if not name.endswith("logit.bias")), moved
    assert all(torch.equal(value.grad, mine[name]) for name, value in student.named_parameters() if name in mine)
    assert not any(value.requires_grad or value.grad is not None for value in made.teacher.parameters())
    assert set(student.state_dict()) == set(made.teacher.state_dict()), "heads and teacher are not exported"


def test_the_discriminator_sees_both_clips_under_the_same_noise(made: Made) -> None:
    """A student that gave the clip itself could not be told from it; noise depends on seed and slot, not on batches."""
    student = made.student
    sigma, noise = student._noise(made.batch)
    for place, row in enumerate(made.rows):
        alone_sigma, alone_noise = student._noise(row)
        assert float(alone_sigma[0]) == float(sigma[place])
        assert torch.equal(alone_noise[0], noise[place])
    assert float(sigma[0]) != float(sigma[1])
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    with torch.no_grad():
        student._judged(made.batch.target, made.batch)
        pair = student.take_pair()
        assert all(torch.equal(a, b) for a, b in zip(pair.real, pair.fake, strict=True))
        student._judged(made.batch.target + 1, made.batch)
        pair = student.take_pair()
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(pair.real, pair.fake, strict=True))


def test_noise_levels_are_lognormal(place: Path) -> None:
    """ln σ has the mean and the deviation of the configuration."""
    made = Made(place, p_mean=-1.0, p_std=0.5)
    row = made.rows[0]
    batch = Batch(**{name: getattr(row, name) for name in row.__slots__} | {"slots": tuple(range(400))})
    logs = made.student._noise(batch)[0].log()
    assert float(logs.mean()) == pytest.approx(-1.0, abs=0.1)
    assert float(logs.std()) == pytest.approx(0.5, abs=0.08)


def test_evaluation_leaves_the_heads_out(made: Made) -> None:
    """A validation compares the student with the clip alone, which means the same at every step."""
    made.student.eval()
    try:
        with torch.no_grad():
            held = made.student(made.batch)
    finally:
        made.student.train()
    assert held.shape == (2, 2)
    assert not made.student._pairs
    torch.testing.assert_close(made.student(made.batch)[:, :2], held)
    made.student.take_pair()


def test_the_heads_learn_to_tell_the_clips_apart(place: Path) -> None:
    """Against a student that stands still, the hinge loss falls well below the 2 that a blind judge gets."""
    made = Made(place, lr=2e-3)
    opponent = Opponent(made.student, 2e-3, 1.0, made.accelerator)
    for _ in range(40):
        with torch.no_grad():
            made.student(made.batch)
        opponent.accumulate()
        report = opponent.step(opponent.clipped_norm(), update=True)
    assert report.hinge < 1.2
    assert report.real > report.fake + 0.5


class Cut(Exception):
    """A run that is cut off."""


def test_a_run_resumes_exactly_and_its_weights_load(place: Path) -> None:
    """A run interrupted and repeated gives equal losses, heads and student; the manifest says what it is."""
    steady = {"steps": 4, "checkpoint": {"every": 2, "export": False}}
    (whole,) = distill(config_of(place, "whole", **steady)).students

    def cut(steps: int, report: Any, rate: float) -> None:
        if report.step == 3:
            raise Cut

    with pytest.raises(Cut):
        distill(config_of(place, "cut", **steady), on_step=cut)
    (again,) = distill(config_of(place, "cut", **steady)).students
    assert again.resumed_at == 2
    kept = ("step", "loss", "adversarial", "heads_hinge", "heads_r1", "heads_real", "heads_fake")
    logs = [read_log(each.output / "log.jsonl") for each in (whole, again)]
    rows = [[[row[name] for name in kept] for row in log if row["kind"] == "train"] for log in logs]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 4
    for name in ("model.safetensors", "model_1.safetensors", "ema.safetensors"):
        a, b = (load_file(each.output / "checkpoints" / "step-00000004" / name) for each in (whole, again))
        assert a
        assert all(torch.equal(a[key], b[key]) for key in a)
    model = load_lcvd(again.output / WEIGHTS)
    assert model.student == Student(1.0, 1, "euler")
    card = (again.output / WEIGHTS / "README.md").read_text()
    assert "recipe: adversarial" in card
    assert "a student of 1 step" in card
    other = RECIPE | {"adversarial": RECIPE["adversarial"] | {"weight": 0.1}}
    with pytest.raises(TrainingStopped, match=r"another \[distill\] table"):
        distill(config_of(place, "cut", distill=other, **steady))


def test_mistakes_are_told(place: Path) -> None:
    """The error names the field, its value and what to set."""
    for change, told in (
        ({"steps": [2, 1]}, r"distill: steps is \[2, 1\].*set steps = \[1\]"),
        ({"omega": 4.5}, "distill: omega is 4.5.*set omega = 1.0"),
        ({"adversarial": {"weight": 0}}, "distill.adversarial.weight is 0: .*greater than 0"),
        ({"adversarial": {"width": 6}}, "distill.adversarial.width is 6: .*multiple of 4"),
        ({"adversarial": {"gamma": 1}}, "distill.adversarial.gamma: unknown name; legal here: weight, lr, width, r1"),
    ):
        with pytest.raises(ConfigError, match=told):
            config_of(place, "bad", distill=RECIPE | change)
    with pytest.raises(ConfigError, match=r'precision is .fp16.*"bf16" or "no"'):
        config_of(place, "bad", precision="fp16")


def test_the_shipped_configuration_is_legal() -> None:
    """It teaches one step of the packaged nano model."""
    config = load_config(CONFIGS / "adversarial_nano.toml")
    assert config.distill is not None
    assert config.distill.adversarial is not None
    assert (config.distill.steps, config.distill.omega) == ((1,), 1.0)
