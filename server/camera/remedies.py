"""Says the exact commands for this system: to get a virtual camera, a permission, or a camera that another has."""

import platform
from typing import Literal

System = Literal["debian", "fedora", "arch", "linux", "macos", "windows"]

MODPROBE = "sudo modprobe v4l2loopback exclusive_caps=1 card_label=Relight"
RELOAD = f"sudo modprobe -r v4l2loopback, then {MODPROBE}"
PIP = "pip install -e '.[camera]'"
_MODULE: dict[System, str] = {
    "debian": f"sudo apt install v4l2loopback-dkms linux-headers-$(uname -r), then {MODPROBE}",
    "fedora": "sudo dnf install https://mirrors.rpmfusion.org/free/fedora/rpmfusion-free-release-$(rpm -E %fedora)"
    f".noarch.rpm, then sudo dnf install akmod-v4l2loopback, then {MODPROBE}",
    "arch": f"sudo pacman -S v4l2loopback-dkms linux-headers, then {MODPROBE}",
    "linux": f"install v4l2loopback (github.com/umlaeute/v4l2loopback) and run {MODPROBE}",
    "macos": "brew install --cask obs, open OBS, click Start Virtual Camera and allow its system extension, then click "
    "Stop Virtual Camera and quit OBS",
    "windows": "winget install OBSProject.OBSStudio, open OBS, click Start Virtual Camera, then Stop Virtual Camera",
}
_PERMISSION: dict[System, str] = {
    "macos": "allow this terminal in System Settings → Privacy & Security → Camera, then start it again",
    "windows": "allow desktop apps in Settings → Privacy & security → Camera",
}
_HOLDER: dict[System, str] = {
    "macos": "close the program that shows the green camera light",
    "windows": "close the program that Settings → Privacy & security → Camera lists as using it",
}


def this_system() -> System:
    """Returns the system as far as its commands differ."""
    name = platform.system()
    if name == "Darwin":
        return "macos"
    if name == "Windows":
        return "windows"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "linux"
    names = f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".split()
    families: dict[str, System] = {"debian": "debian", "ubuntu": "debian", "fedora": "fedora", "arch": "arch"}
    return next((families[each] for each in names if each in families), "linux")


def get_virtual_camera(system: System | None = None) -> str:
    """Returns the commands that give this system a virtual camera."""
    return _MODULE[system or this_system()]


def get_permission(address: str, system: System | None = None) -> str:
    """Returns what lets this user open the camera at `address`."""
    return _PERMISSION.get(
        system or this_system(), f"sudo usermod -aG video $USER, then log out and in; ls -l {address} shows the group"
    )


def find_holder(address: str, system: System | None = None) -> str:
    """Returns what shows the program that has the camera at `address`."""
    return _HOLDER.get(system or this_system(), f"close the program that fuser -v {address} names")
