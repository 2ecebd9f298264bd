"""The step at the joins of windows: its mean is spread over the rows, what is no habit stays."""

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine.diffusion.mean_jump import MeanJump  # noqa: E402
from engine.diffusion.sampler import SamplerPlan  # noqa: E402
from engine.diffusion.window import WindowShape  # noqa: E402
from tests.engine.diffusion.test_sampler import clip_of, seam, uneven  # noqa: E402


def _clip(hop: int, windows: int, bias: float, slope: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a network that knows a row's place: `bias` from a window's first row to its last, over motion `slope`."""
    jump, before, raw, shown = MeanJump(), None, [], []
    for window in range(windows):
        place = torch.arange(hop, dtype=torch.float64)
        rows = slope * (window * hop + place) + bias * (place / (hop - 1) - 0.5)
        new = rows[:, None, None, None].expand(-1, 4, 2, 2)
        raw.append(new)
        shown.append(jump.spread(new, before))
        before = new[-1]
    return torch.cat(raw)[:, 0, 0, 0], torch.cat(shown)[:, 0, 0, 0]


@pytest.mark.parametrize("hop", [4, 8, 10])
def test_a_step_at_every_join_goes_and_the_level_stays(hop: int) -> None:
    """After 60 windows the join of a row-biased network steps by a tenth of what it did; each window's mean is kept."""
    raw, shown = _clip(hop, 60, 1.0, 0.02)
    last = -hop
    assert abs(raw[last] - raw[last - 1] - 0.02) == pytest.approx(1)
    assert abs(shown[last] - shown[last - 1] - 0.02) < 0.2
    torch.testing.assert_close(shown.view(-1, hop).mean(1), raw.view(-1, hop).mean(1))


def test_motion_alone_is_left_as_it_is() -> None:
    """Steady motion steps as much at a join as elsewhere: nothing is taken from it."""
    raw, shown = _clip(10, 20, 0.0, 0.05)
    torch.testing.assert_close(shown, raw)


@pytest.mark.parametrize(("windows", "share"), [(1, 0.1), (30, 0.02)])
def test_a_change_of_light_at_a_join_is_shown(windows: int, share: float) -> None:
    """A step of 3 that comes once is no habit: the pictures change by it but for a small share, early and late."""
    jump, dark = MeanJump(), torch.zeros(10, 4, 2, 2)
    for number in range(windows):
        jump.spread(dark, dark[-1] if number else None)
    shown = jump.spread(dark + 3, dark[-1])
    assert (shown - 3).abs().max() < 3 * share


@pytest.mark.parametrize("stride", [4, 8, 10])
@pytest.mark.parametrize("steps", [2, 4])
def test_joins_of_a_network_that_knows_a_rows_place_do_not_show(steps: int, stride: int) -> None:
    """A toy prior whose x0 rises with the row's place: shown without its mean step, joins hardly differ from the rest.

    With one step this prior is its bias and nothing else; the first test has that.
    """
    shape, plan, jump = WindowShape(stride), SamplerPlan(steps, guidance="none"), MeanJump()
    raw = clip_of(lambda _: uneven(0.97, 0.5), shape, plan, 80)
    windows = torch.from_numpy(raw).split(stride)
    shown = [jump.spread(new, windows[i - 1][-1] if i else None) for i, new in enumerate(windows)]
    before, after = seam(raw[30 * stride :], stride), seam(torch.cat(shown[30:]).numpy(), stride)
    print(f"steps {steps} stride {stride}: {before:.2f} -> {after:.2f}")
    assert after <= 1.3
    assert before > after + 0.2
