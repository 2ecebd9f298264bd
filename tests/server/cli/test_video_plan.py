"""`relight video --engine lcvd` samples as the weights ask for; what is said on the command line wins."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from typer.testing import CliRunner

from engine.offline.finished_clip import FinishedClip
from engine.offline.options import PortraitOptions
from lcvd.weights.convert import convert
from lcvd.weights.tiny import write_tiny
from server.cli.main import app
from tests.clips import make_clip


def test_the_weights_own_plan_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size, steps and guidance are the manifest's unless said; guidance it does not want is warned about."""
    write_tiny(tmp_path / "published")
    small = convert(tmp_path / "published", tmp_path / "small")
    manifest = json.loads((small / "lcvd.json").read_text())
    manifest |= {"size": 64, "live": {"steps": 2, "guidance": "none", "size": 96}}
    (small / "lcvd.json").write_text(json.dumps(manifest))
    make_clip(tmp_path / "in.mp4", [0.0, 0.1])
    seen: list[PortraitOptions] = []

    def noted(_weights, _reference, _source, _output, _lighting, options: PortraitOptions, *_: object) -> FinishedClip:
        seen.append(options)
        return FinishedClip(2, 2, options.size, options.size, 25.0, 0, ())

    monkeypatch.setattr("engine.offline.animate_clip.animate_clip", noted)

    def run(weights: Path, *words: str) -> str:
        line = ["video", str(tmp_path / "in.mp4"), "-o", str(tmp_path / "out.mp4"), "--engine", "lcvd"]
        result = CliRunner().invoke(app, [*line, "--weights", str(weights), *words])
        assert result.exit_code == 0, result.output
        return result.output

    assert "warning" not in run(small)
    assert (seen[-1].size, seen[-1].steps, seen[-1].omega) == (96, 2, 1.0)
    assert "omega 4.5 exaggerates" in run(small, "--steps", "25", "--omega", "4.5", "--size", "128")
    assert (seen[-1].size, seen[-1].steps, seen[-1].omega) == (128, 25, 4.5)
    run(tmp_path / "published")
    published = PortraitOptions()
    assert (seen[-1].size, seen[-1].steps, seen[-1].omega) == (published.size, published.steps, published.omega)
