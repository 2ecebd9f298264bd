"""The registry and a run of the metrics: what is asked of whom, and what is said of those that cannot run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lcvd.errors import ModelUnavailable
from lcvd.metrics import metrics_for
from lcvd.metrics.evaluation import evaluate
from lcvd.metrics.metric import FramePair, MetricInfo, Missing, RunningMean, Score
from lcvd.metrics.weight_files import every, find
from lcvd.types import Face
from tests.lcvd.metrics.synthetic_pairs import face_at, request, texture

PAPER = {"LE", "ID", "LPIPS", "IQ", "VQ", "FID", "FVD", "POSE"}


class Still:
    """Tracker and matte stand-in: one face, a person in the left half; counts its calls."""

    def __init__(self, face: Face | None = None) -> None:
        self.face, self.calls = face, 0

    def track(self, rgb: np.ndarray, t_s: float) -> Face | None:
        self.calls += 1
        return self.face

    def reset(self) -> None: ...

    def close(self) -> None: ...

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        self.calls += 1
        mask = np.zeros((8, 8), np.float32)
        mask[:, :4] = 1
        return mask


class Counter:
    """A metric that remembers what it was given."""

    def __init__(self, aligned: bool = False, trouble: str = "") -> None:
        self.info = MetricInfo("counter", "", "lower", "", "a test", "", aligned)
        self.trouble, self.pairs = trouble, list[FramePair]()

    def available(self) -> Missing | None:
        return Missing("never", "nothing") if self.trouble == "unavailable" else None

    def load(self) -> None:
        if self.trouble == "damaged":
            raise ModelUnavailable("the file is damaged", "fetch it again")

    def update(self, pair: FramePair) -> None:
        self.pairs.append(pair)

    def result(self) -> Score | Missing:
        return Score(float(len(self.pairs)), len(self.pairs))


def run(metrics: list, result: np.ndarray, driver: np.ndarray, count: int = 3, **changes: object):  # type: ignore[no-untyped-def]
    trackers = Still(face_at()), Still(None)
    matte = Still()
    pairs = [(result, driver, i / 25) for i in range(count)]
    return evaluate(pairs, metrics, request(**changes), *trackers, matte), trackers, matte


def test_every_column_of_the_paper_is_there_once() -> None:
    """Eight of the paper's, and ours, each with source and direction."""
    infos = [metric.info for metric in metrics_for(request())]
    assert {info.column for info in infos if info.column} == PAPER
    assert len({info.name for info in infos}) == len(infos)
    assert all(info.source and info.better in ("lower", "higher") for info in infos)
    assert {i.name for i in infos if not i.needs} == {"light_error", "flicker", "background_psnr", "pose", "expression"}


def test_without_weights_the_papers_metrics_say_why_not(tmp_path: Path) -> None:
    """An empty folder: reason and remedy for each; ours can all run."""
    for metric in metrics_for(request(files=(str(tmp_path),))):
        missing = metric.available()
        assert (missing is not None) == bool(metric.info.column), metric.info.name
        if missing is not None:
            assert missing.reason
            assert missing.remedy


def test_importing_and_asking_imports_no_torch() -> None:
    """torch costs seconds and gigabytes: it is loaded by a metric that runs, not before."""
    code = (
        "import sys\n"
        "from lcvd.metrics import Request, metrics_for\n"
        "from lcvd.lighting.presets import preset\n"
        "for m in metrics_for(Request(preset('soft-front').lighting, 100)): m.available()\n"
        "assert not {'torch', 'lpips', 'onnxruntime', 'pyiqa'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_trackers_and_matte_are_asked_once_a_frame() -> None:
    """Two metrics share them, and each gets every pair in order."""
    metrics = [Counter(), Counter(aligned=True)]
    report, trackers, matte = run(metrics, texture(64), texture(64))
    assert [t.calls for t in trackers] == [3, 3]
    assert matte.calls == 3
    assert [pair.index for pair in metrics[0].pairs] == [0, 1, 2]
    person = metrics[1].pairs[0].person
    assert person is not None
    assert person.shape == (64, 64)
    assert person[:, :24].min() > 0.9
    assert person[:, 40:].max() < 0.1
    assert (report.frames, report.result_faces, report.driver_faces) == (3, 3, 0)


def test_the_matte_rests_where_no_metric_compares_pixels() -> None:
    """Without an aligned metric the matte does not run."""
    _, _, matte = run([Counter()], texture(64), texture(64))
    assert matte.calls == 0


def test_other_sizes_skip_the_metrics_of_pixels_only() -> None:
    """A square result of a wide driver: the rest still runs."""
    metrics = [Counter(aligned=True), Counter()]
    report, _, _ = run(metrics, texture(64), texture(96))
    assert report.outcomes[0].missing is not None
    assert "64x64 and 96x96" in report.outcomes[0].missing.reason
    assert report.outcomes[1].score is not None
    assert not metrics[0].pairs


def test_another_person_skips_the_metrics_of_pixels() -> None:
    """Cross-identity, as in the paper's Table 3."""
    report, _, _ = run([Counter(aligned=True)], texture(64), texture(64), person="other")
    assert report.outcomes[0].missing is not None


@pytest.mark.parametrize("trouble", ["unavailable", "damaged"])
def test_a_metric_that_cannot_run_stops_no_other(trouble: str) -> None:
    """Its reason is reported, the others have their values."""
    report, _, _ = run([Counter(trouble=trouble), Counter()], texture(64), texture(64))
    assert report.outcomes[0].missing is not None
    assert report.outcomes[0].missing.reason in ("never", "the file is damaged")
    assert report.outcomes[1].score == Score(3.0, 3)


def test_running_mean_equals_numpys() -> None:
    """Mean, deviation and the largest, far from zero too."""
    values = 1e6 + np.random.default_rng(0).normal(size=50)
    mean = RunningMean()
    assert np.isnan(mean.mean)
    for value in values:
        mean.add(float(value))
    assert (mean.mean, mean.std, mean.worst) == pytest.approx((values.mean(), values.std(), values.max()))


def test_files_are_found_in_order(tmp_path: Path) -> None:
    """The first folder wins, then the first name; reasons are collected."""
    folders = tuple(str(tmp_path / name) for name in ("a", "b"))
    for folder in folders:
        Path(folder).mkdir()
    assert find(folders, "x", "y") is None
    (tmp_path / "b" / "x").touch()
    assert find(folders, "x", "y") == tmp_path / "b" / "x"
    (tmp_path / "a" / "y").touch()
    assert find(folders, "x", "y") == tmp_path / "a" / "y"
    assert every(None, None) is None
    assert every(Missing("a", "b"), None, Missing("c", "d")) == Missing("a; c", "b; d")
