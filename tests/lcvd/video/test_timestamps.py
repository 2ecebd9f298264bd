"""Stamps that repeat, fall or are missing become stamps that rise."""

import math

import pytest

from lcvd.video.timestamps import RisingStamps


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 10, 20], [0, 10, 20]),
        ([5, 10, 10, 30], [5, 10, 20, 30]),
        ([0, 10, 4, 30], [0, 10, 20, 30]),
        ([None, None, None], [0, 10, 20]),
        ([7, None, math.nan, 40], [7, 17, 27, 40]),
        ([-20, -10, 0], [-20, -10, 0]),
        ([0, 500, 0, 15, 90], [0, 500, 510, 525, 600]),  # a second recording begins: its own rhythm is kept
        ([0, 500, 0, 10, 0, 10], [0, 500, 510, 520, 530, 540]),
        ([0, 900, 20, 30], [0, 900, 910, 920]),
    ],
)
def test_stamps_rise(stamps: list, expected: list) -> None:
    """Steps of 10, jumps beyond 100."""
    rising = RisingStamps(100)
    assert [rising(stamp, 10) for stamp in stamps] == expected
