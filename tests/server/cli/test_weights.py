"""`relight weights` on the command line: exit status, messages, files."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")

from typer.testing import CliRunner  # noqa: E402

from lcvd.errors import WeightsError  # noqa: E402
from server.cli.weights import weights  # noqa: E402


def run(*words: str):
    return CliRunner().invoke(weights, list(words))


def test_tiny_show_convert_verify(tmp_path: Path) -> None:
    """The commands work on each other's results, and verify's exit status tells damage."""
    source, out = tmp_path / "tiny", tmp_path / "out"
    assert run("tiny", str(source)).exit_code == 0
    shown = run("show", str(source))
    assert shown.exit_code == 0
    assert "unet.pth" in shown.stdout
    parameters = sum(value.numel() for value in torch.load(source / "unet.pth", weights_only=True).values())
    assert f"{parameters:,}" in shown.stdout
    assert run("convert", str(source), str(out), "--dtype", "fp16").exit_code == 0
    assert run("verify", str(out)).exit_code == 0
    data = bytearray((out / "unet.safetensors").read_bytes())
    data[-1] ^= 1
    (out / "unet.safetensors").write_bytes(data)
    damaged = run("verify", str(out))
    assert damaged.exit_code == 1
    assert "SHA-256" in damaged.output


def test_fetch_needs_consent(tmp_path: Path) -> None:
    """Without consent to the licences nothing is downloaded, and the notice is shown."""
    result = run("fetch", "--to", str(tmp_path / "w"))
    assert isinstance(result.exception, WeightsError)
    assert "licence" in result.output
    assert not (tmp_path / "w").exists()


def test_fetch_with_consent_calls_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With consent, the pins and switches arrive."""
    seen: list = []
    monkeypatch.setattr("lcvd.weights.fetch.fetch", lambda *args, **kwargs: seen.append(args))
    pin = "stabilityai/sd-vae-ft-mse=31f26fd"
    result = run("fetch", "--to", str(tmp_path), "--temporal-vae", "--accept-licences", "--revision", pin)
    assert result.exit_code == 0, result.output
    assert seen == [(tmp_path, True, False, {"stabilityai/sd-vae-ft-mse": "31f26fd"})]
    wrong = run("fetch", "--accept-licences", "--revision", "nonsense")
    assert isinstance(wrong.exception, WeightsError)


def test_show_without_a_name_lists_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`relight weights show` lists what the user's folder has, and what comes with the package."""
    monkeypatch.setattr("lcvd.weights.location.weights_home", lambda: tmp_path)
    assert "relight weights fetch" in run("show").output
    (tmp_path / "mi[n]e").mkdir()
    shown = run("show").output
    assert f"mi[n]e: {tmp_path}" in "".join(shown.split("\n")).replace("  ", " ")
    assert "nano: comes with relight-live" in shown


def test_unknown_precision_is_refused(tmp_path: Path) -> None:
    """A precision that weights cannot have is named, with those they can."""
    result = run("convert", str(tmp_path), str(tmp_path / "out"), "--dtype", "fp8")
    assert isinstance(result.exception, WeightsError)
    assert "'fp8'" in result.exception.message
    assert "bf16" in result.exception.hint


def test_brackets_in_names_are_kept(tmp_path: Path) -> None:
    """rich reads [b] as markup; a path's brackets are part of it."""
    folder = tmp_path / "w[b]"
    made = run("tiny", str(folder))
    assert "w[b]" in made.output.replace("\n", "")
    assert "w[b]" in run("show", str(folder)).output.replace("\n", "")


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch, the error is the pip command."""
    from lcvd.errors import ModelUnavailable

    monkeypatch.setattr("server.cli.weights.importlib.util.find_spec", lambda name: None)
    result = run("show")
    assert isinstance(result.exception, ModelUnavailable)
    assert "-e '.[lcvd]'" in result.exception.hint
