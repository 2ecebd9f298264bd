"""No file, output or option of `relight video` gives a traceback: a fast part of tests/server/cli/fuzz_video.py."""

from tests.server.cli.fuzz_video import run_range


def test_odd_files_end_in_a_result_or_a_sentence() -> None:
    """Ninety drawn commands: none crashes, hangs, leaves a part behind or changes its source, and many succeed."""
    statuses, findings = run_range(20_000, 20_090, ("passthrough",))
    assert findings == []
    assert sum(statuses.values()) == 90
    assert statuses["0"] > 20
    assert statuses["2"] > 20
    assert statuses["broken"] == 0
