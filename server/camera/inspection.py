"""The lines of `relight doctor` on cameras: those there are, and what a virtual one lacks. Opens no camera's stream."""

import importlib.util
import os
import platform
from pathlib import Path
from typing import NamedTuple

from server.camera import v4l2
from server.camera.devices import list_cameras, video_nodes
from server.camera.remedies import PIP, RELOAD, get_permission, get_virtual_camera

MODULE = Path("/sys/module/v4l2loopback")
OBS_FILTER = r"CLSID\{A3FCE0F5-3493-419F-958A-ABA1250EC20B}\InprocServer32"  # of OBS's virtual camera on Windows
OBS_APP = Path("/Applications/OBS.app")
TELLS_READERS = (0, 13)  # v4l2loopback's version


class Finding(NamedTuple):
    """One line: a thing, whether it is well, and what to know or to do."""

    what: str
    ready: bool
    remark: str


def inspect_cameras() -> list[Finding]:
    """Returns the findings, cameras first; takes some milliseconds."""
    linux = platform.system() == "Linux"
    found = []
    for each in list_cameras():
        usable = not linux or os.access(each.address, os.R_OK | os.W_OK)
        remark = f"--camera {each.index}" if usable else get_permission(each.address)
        found.append(Finding(f"{each.name} ({each.address})", usable, remark))
    if not found:
        found.append(Finding("camera", False, "none was found; relight camera also takes a clip"))
    has_package = importlib.util.find_spec("pyvirtualcam") is not None
    found.append(Finding("pyvirtualcam", has_package, "for a virtual camera" if has_package else PIP))
    return [*found, *(_loopback() if linux else [_obs()])]


def _loopback() -> list[Finding]:
    """Returns what there is of v4l2loopback."""
    if not MODULE.exists():
        return [Finding("v4l2loopback", False, get_virtual_camera())]
    version = _first_line(MODULE / "version")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    remark = f"version {version or 'unknown'}, loaded" + (
        ""
        if numbers >= TELLS_READERS
        else "; readers are counted by their open files, from 0.13 on it tells them itself"
    )
    found = [Finding("v4l2loopback", True, remark)]
    exclusive = _first_line(MODULE / "parameters" / "exclusive_caps").split(",")
    for place, (name, path) in enumerate(_loopback_devices()):
        # Chromium lists a device that also takes pictures as no camera.
        well = exclusive[min(place, len(exclusive) - 1)].strip() in ("Y", "1")
        remark = f"--to {path}" if well else f"browsers do not see it without exclusive_caps=1: {RELOAD}"
        found.append(Finding(f"virtual camera {name!r}", well, remark))
    if len(found) == 1:
        found.append(Finding("virtual camera", False, f"the module has no device: {RELOAD}"))
    return found


def _loopback_devices() -> list[tuple[str, str]]:
    """Returns name and path of each device of v4l2loopback."""
    found = []
    for _, path in video_nodes():
        try:
            with v4l2.Device(path) as device:
                capability = device.capability()
        except OSError:
            continue
        if capability.loopback:
            found.append((capability.card, path))
    return found


def _obs() -> Finding:
    """Returns whether OBS's virtual camera is installed (macOS, Windows)."""
    there = OBS_APP.exists() if platform.system() == "Darwin" else _in_registry(OBS_FILTER)
    return Finding("OBS Virtual Camera", there, "--to camera" if there else get_virtual_camera())


def _in_registry(key: str) -> bool:
    try:
        import winreg

        winreg.CloseKey(winreg.OpenKey(winreg.HKEY_CLASSES_ROOT, key))  # type: ignore[attr-defined,unused-ignore]
    except (ImportError, OSError):
        return False
    return True


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
