"""server.camera.inspection: `relight doctor` says which camera is there and what the virtual one lacks."""

from pathlib import Path

import pytest

from server.camera import inspection
from server.camera.inspection import Finding, inspect_cameras
from tests.server.camera.fake_v4l2 import plug_in
from tests.server.camera.test_devices import LOOPBACK, WEBCAM


def found(name: str) -> Finding:
    return next(each for each in inspect_cameras() if name in each.what)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The module's folder in /sys, with one device."""
    plug_in(monkeypatch, tmp_path, {0: WEBCAM, 9: LOOPBACK})
    monkeypatch.setattr("server.camera.remedies.this_system", lambda: "debian")
    folder = tmp_path / "v4l2loopback"
    (folder / "parameters").mkdir(parents=True)
    (folder / "version").write_text("0.15.0\n")
    (folder / "parameters" / "exclusive_caps").write_text("Y,N,N\n")
    monkeypatch.setattr(inspection, "MODULE", folder)
    return folder


def test_a_machine_with_everything_is_ready(module: Path) -> None:
    """Each line says how to name the thing."""
    assert found("HD Webcam") == (f"HD Webcam: HD Webcam ({module.parent}/video0)", True, "--camera 0")
    assert found("v4l2loopback").remark == "version 0.15.0, loaded"
    assert found("virtual camera 'Relight'") == ("virtual camera 'Relight'", True, f"--to {module.parent}/video9")


def test_a_device_that_browsers_do_not_see_is_told(module: Path) -> None:
    """Without exclusive_caps Chromium takes it for no camera; an old module counts readers otherwise."""
    (module / "parameters" / "exclusive_caps").write_text("N,N\n")
    (module / "version").write_text("0.12.7\n")
    line = found("virtual camera 'Relight'")
    assert not line.ready
    assert "exclusive_caps=1" in line.remark
    assert "0.13" in found("v4l2loopback").remark


def test_a_machine_with_nothing_gets_the_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No camera, no module."""
    plug_in(monkeypatch, tmp_path, {})
    monkeypatch.setattr(inspection, "MODULE", tmp_path / "nothing")
    monkeypatch.setattr("server.camera.remedies.this_system", lambda: "arch")
    assert not found("camera").ready
    assert "pacman -S v4l2loopback-dkms" in found("v4l2loopback").remark


def test_macos_and_windows_are_asked_for_obs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """FFmpeg lists the cameras there; here it knows neither device."""
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr(inspection, "OBS_APP", tmp_path)
    assert found("OBS").ready
    monkeypatch.setattr(inspection, "OBS_APP", tmp_path / "nothing")
    assert "brew install --cask obs" in found("OBS").remark
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert "winget install" in found("OBS").remark
