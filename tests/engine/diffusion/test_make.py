"""engine.diffusion.make: LCVD from its configuration, or the reason why not."""

import threading

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from engine import EngineConfig, available_engines, make_engine  # noqa: E402
from engine.diffusion.config import LcvdConfig  # noqa: E402
from engine.errors import EngineUnavailable  # noqa: E402
from tests.engine.fakes import until  # noqa: E402


def test_the_engine_of_the_menu_runs_a_chain(tiny_lcvd_folder) -> None:
    """make_engine("lcvd") on a CPU: eager, no reasons, a warm-up limit of the whole chain, and nothing left behind."""
    before = threading.active_count()
    engine = make_engine("lcvd", EngineConfig(lcvd=LcvdConfig(tiny_lcvd_folder, size=64)))
    assert engine.traits.batch_limit == (2 if torch.cuda.is_available() else 1)
    engine.warmup()
    if not torch.cuda.is_available():
        assert (engine.backend, engine.reasons) == ("eager", [])
        compiled = make_engine("lcvd", EngineConfig(lcvd=LcvdConfig(tiny_lcvd_folder, "compiled")))
        assert engine.traits.warmup_limit_s < compiled.traits.warmup_limit_s
    engine.close()
    until(lambda: threading.active_count() <= before)
    with pytest.raises(ValueError, match="backend='fastest'"):
        make_engine("lcvd", EngineConfig(lcvd=LcvdConfig(tiny_lcvd_folder, "fastest")))


def test_the_menu_says_why_lcvd_cannot_run(tiny_lcvd_folder, tmp_path, monkeypatch) -> None:
    """Without weights it is greyed out with the reason; with a tiny model's folder it can be made."""
    monkeypatch.setattr("lcvd.weights.location.weights_home", lambda: tmp_path)
    info = {i.name: i for i in available_engines()}["lcvd"]
    assert not info.available
    assert "weights" in info.reason
    with pytest.raises(EngineUnavailable, match="weights"):
        make_engine("lcvd")
    (tmp_path / "lcvd-published").symlink_to(tiny_lcvd_folder)
    monkeypatch.setattr("lcvd.weights.load.weights_home", lambda: tmp_path)
    assert {i.name: i for i in available_engines()}["lcvd"].available
    assert make_engine("lcvd", EngineConfig(lcvd=LcvdConfig(tiny_lcvd_folder))).name == "lcvd"
