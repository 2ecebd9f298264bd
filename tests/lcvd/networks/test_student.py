"""lcvd.networks.student: what a manifest says of the steps its weights are made for."""

from pathlib import Path

import pytest

import lcvd
from lcvd.errors import WeightsError
from lcvd.networks.student import least_steps_of, steps_note
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


def test_a_card_says_how_many_steps_its_weights_need() -> None:
    """Published weights are told to need 25, with the numbers of it; a student and live weights name their own."""
    published = steps_note({})
    assert all(word in published for word in ("25", "153", "1,687", "180.9", "2406.04324", "Table 1"))
    assert steps_note({"student": {"omega": 4.5, "steps": 2}}).startswith("Steps: a student of 2 steps")
    assert steps_note({"live": {"steps": 1}}) == "Steps: trained to be shown live in 1 step."


def test_the_demonstrations_card_says_it() -> None:
    """The packaged card holds the sentence that `relight nano` would write today."""
    card = (Path(lcvd.__file__).parent / "data" / "nano" / "README.md").read_text()
    assert steps_note(weights_manifest("nano")) in card
