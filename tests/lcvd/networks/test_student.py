"""lcvd.networks.student: what a manifest says of the steps its weights are made for."""

import pytest

from lcvd.errors import WeightsError
from lcvd.networks.student import least_steps_of
from lcvd.weights.location import weights_manifest


@pytest.mark.parametrize(
    ("manifest", "steps"),
    [
        ({}, 25),
        ({"format": "lcvd-safetensors"}, 25),
        ({"student": {"omega": 4.5, "steps": 2}}, 2),
        ({"live": {"steps": 1}, "demonstration": True}, 1),
        ({"live": {"steps": "one"}}, 25),
        ({"student": {"omega": 4.5, "steps": 4}, "live": {"steps": 1}}, 4),
    ],
)
def test_the_fewest_steps_are_the_manifest_s(manifest: dict[str, object], steps: int) -> None:
    """Weights without a student need as many as Stable Video Diffusion does."""
    assert least_steps_of(manifest) == steps


def test_the_demonstration_is_made_for_one_step() -> None:
    assert least_steps_of(weights_manifest("nano")) == 1


def test_a_student_that_cannot_be_is_told() -> None:
    with pytest.raises(WeightsError, match="steps 3"):
        least_steps_of({"student": {"omega": 4.5, "steps": 3}})
