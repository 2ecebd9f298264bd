"""No upload, offer, message or request gets anything but a proper answer: a fast part of `tests.server.fuzz.run`."""

import pytest

from tests.server.fuzz.run import run, run_order

CASES = {"portrait": 60, "photo": 60, "hdri": 80, "offer": 150, "whip": 150, "whep": 60, "message": 800, "api": 400}


# starlette leaves the file of a form that ends in the middle of it to the garbage collector, which closes it.
@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")
@pytest.mark.parametrize("kind", CASES)
async def test_odd_requests_get_a_proper_answer(kind: str) -> None:
    """Nothing crashes, hangs, blames the server or disturbs the bystander; some are answered and some refused."""
    came, findings = await run(kind, 1_000_000, 1_000_000 + CASES[kind])
    assert findings == []
    assert sum(came.values()) == CASES[kind]
    refused = sum(count for what, count in came.items() if what.startswith(("4", "error")))
    assert 0 < refused < CASES[kind]


def test_what_several_tabs_do_in_any_order_stays_their_own() -> None:
    """They come, speak, offer, resume and go; a model of it agrees with the server after every step."""
    steps = run_order(stories=10, seed=2)
    assert sum(steps.values()) > 100
    assert {"come", "go", "publish", "offer: answer"} <= steps.keys()
