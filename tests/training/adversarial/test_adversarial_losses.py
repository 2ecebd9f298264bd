"""The losses are what the formulas say, and what they are for: a student that does not settle on the mean."""

import pytest

torch = pytest.importorskip("torch", reason="the lcvd extra is not installed")

from torch import Tensor, nn  # noqa: E402

from training.adversarial.discriminator import Discriminator  # noqa: E402
from training.adversarial.heads import Heads  # noqa: E402
from training.adversarial.losses import gradient_penalty, hinge_discriminator, hinge_generator  # noqa: E402
from training.loop.phases import pseudo_huber  # noqa: E402


def test_hinge_losses_by_hand() -> None:
    """Logits beyond the margin cost the discriminator nothing; the generator's loss has no margin."""
    real = [torch.tensor([[2.0, 0.5]]), torch.tensor([[-1.0]])]
    fake = [torch.tensor([[-3.0, 0.0]]), torch.tensor([[0.5]])]
    # (0 + 0.5)/2 + (0 + 1)/2 = 0.75 and 2 + 1.5 = 3.5
    assert float(hinge_discriminator(real, fake)) == pytest.approx((0.75 + 3.5) / 2)
    # 1.5 and -0.5
    assert hinge_generator(fake).tolist() == pytest.approx([(1.5 - 0.5) / 2])


def test_r1_agrees_with_finite_differences() -> None:
    """The squared gradient of a clip's mean logit, numerically, over all numbers that a head gets."""
    torch.manual_seed(0)
    heads = Heads([4], embedding=3, width=4, seed=1).double()
    level = torch.randn(1, 2, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    token = torch.randn(1, 1, 3, dtype=torch.float64)
    logits = heads([level], token)
    found = float(gradient_penalty(logits, [level, level]).detach())
    step, numeric = 1e-5, torch.zeros(2)
    with torch.no_grad():
        for place in range(level.numel()):
            moved = []
            for sign in (1, -1):
                other = level.detach().clone()
                other.view(-1)[place] += sign * step
                moved.append(torch.stack([each.mean() for each in heads([other], token)]))
            numeric += ((moved[0] - moved[1]) / (2 * step)).float() ** 2
    assert found > 1e-4
    assert found == pytest.approx(float((numeric * logits[0].shape[1]).mean()), rel=1e-4)


def test_r1_reaches_the_heads_only() -> None:
    """The penalty's gradient trains the heads; the features it is taken at stay as they are."""
    heads = Heads([4], embedding=3, width=4, seed=1)
    judge = Discriminator(heads, r1=1.0)
    given = torch.randn(2, 3, 4, 2, 2, requires_grad=True)
    token = torch.randn(2, 1, 3)
    values = judge([given], [torch.randn(2, 3, 4, 2, 2)], token)
    loss, hinge, penalty, *_ = values.tolist()
    assert penalty > 0
    assert loss == pytest.approx(hinge + 0.5 * penalty)
    values[0].backward()
    assert given.grad is None
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in heads.parameters())


def test_r1_does_not_depend_on_the_size_of_the_picture() -> None:
    """A picture repeated to twice its size gives the same penalty for a head that looks at single places."""
    weight = torch.randn(4)

    def penalty(side: int) -> float:
        level = torch.ones(1, 1, 4, side, side, requires_grad=True)
        logits = (level * weight[:, None, None]).sum(2).flatten(1)
        return float(gradient_penalty([logits], [level]).detach())

    assert penalty(4) == pytest.approx(penalty(2))
    assert penalty(2) == pytest.approx(float(weight.square().sum()))


class Toy(nn.Module):
    """Makes clips of 2 frames, 4 × 4, whose quadrants have one level each, out of four numbers of noise."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Sequential(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 4))

    def forward(self, noise: Tensor) -> Tensor:
        return clips(self.levels(noise))


def clips(levels: Tensor) -> Tensor:
    """Returns [B,2,4,4,4] of levels [B,4]: four equal channels."""
    picture = levels.reshape(-1, 1, 1, 2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    return picture.expand(-1, 2, 4, -1, -1)


def toy_student(adversarial: float, steps: int = 250) -> float:
    """Trains a student of pure noise on clips whose quadrants are -1 or 1, and returns its mean |level|: 1 is sharp."""
    torch.manual_seed(3)
    draws = torch.Generator().manual_seed(4)
    student, judge = Toy(), Discriminator(Heads([4], embedding=1, width=16, seed=5), r1=0.05)
    learning = torch.optim.Adam(student.parameters(), lr=5e-3, betas=(0.5, 0.99))
    judging = torch.optim.Adam(judge.parameters(), lr=5e-3, betas=(0.0, 0.99))
    token = torch.zeros(32, 1, 1)
    for _ in range(steps):
        real = clips(torch.randint(0, 2, (32, 4), generator=draws) * 2.0 - 1)
        fake = student(torch.randn(32, 4, generator=draws))
        blur = 0.2 * torch.randn(real.shape, generator=draws)
        held = pseudo_huber((fake - real).square().flatten(1).mean(1), 0.01).mean()
        still = [value.detach() for value in judge.parameters()]
        loss = held
        if adversarial:
            logits = torch.func.functional_call(
                judge.heads, {f"{n}": v.detach() for n, v in judge.heads.named_parameters()}, ([fake + blur], token)
            )
            loss = held + adversarial * hinge_generator(logits).mean()
        learning.zero_grad()
        loss.backward()
        learning.step()
        assert all(torch.equal(a, b) for a, b in zip(still, judge.parameters(), strict=True))
        if adversarial:
            judging.zero_grad()
            judge([real + blur], [fake.detach() + blur], token)[0].backward()
            judging.step()
    with torch.no_grad():
        return float(student(torch.randn(512, 4, generator=draws)).abs().mean())


def test_the_adversarial_student_is_sharper_than_the_mean() -> None:
    """Held to clips alone, the student settles near their mean, 0; with the discriminator beside it, near -1 and 1."""
    mean_seeking, adversarial = toy_student(0.0), toy_student(1.0)
    assert mean_seeking < 0.3
    assert adversarial > 0.7
