"""engine.trackers: each name gives its tracker, and one that cannot be made here is an error at once."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.trackers import TRACKERS, tracker_maker
from lcvd.errors import ModelUnavailable


def test_the_names_are_those_of_the_setting() -> None:
    """mesh comes first: it is the default. Any other name is refused with the legal ones."""
    assert TRACKERS == ("mesh", "mediapipe")
    with pytest.raises(ValueError, match="mesh, mediapipe"):
        tracker_maker("guess")  # type: ignore[arg-type]


def test_a_missing_package_is_an_error_before_any_participant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The maker is not even returned; the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ModelUnavailable, match="mediapipe") as caught:
        tracker_maker("mediapipe")
    assert "[mediapipe]" in caught.value.hint


def test_a_missing_model_file_is_an_error_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package is here, its face_landmarker.task is not, and nothing may be fetched."""
    package = SimpleNamespace(__spec__=SimpleNamespace(origin=None, submodule_search_locations=[]))
    monkeypatch.setitem(sys.modules, "mediapipe", package)  # a release without `solutions`
    monkeypatch.setattr("lcvd.tracking.models.default_cache_dir", lambda: tmp_path)
    with pytest.raises(ModelUnavailable, match=r"face_landmarker\.task"):
        tracker_maker("mediapipe", download=False)


def test_each_participant_gets_a_tracker_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The maker makes a new one at each call, in the folder of models; the one made to check is closed."""
    made: list[SimpleNamespace] = []

    def fake(**options: object) -> SimpleNamespace:
        made.append(SimpleNamespace(options=options, closed=False))
        made[-1].close = lambda tracker=made[-1]: setattr(tracker, "closed", True)
        return made[-1]

    for name, path in (("mediapipe", "mediapipe.MediaPipeTracker"), ("mesh", "mesh.MeshTracker")):
        made.clear()
        monkeypatch.setattr(f"lcvd.tracking.{path}", fake)
        make = tracker_maker(name, tmp_path)  # type: ignore[arg-type]
        checked = len(made)
        assert make() is not make()
        assert [tracker.closed for tracker in made] == [True] * checked + [False, False]
        assert all(tracker.options["directory"] == tmp_path for tracker in made)
