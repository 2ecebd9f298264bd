"""server.camera.devices and v4l2: cameras are found by what the kernel says, and errors name the commands."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.camera import v4l2
from server.camera.devices import CameraInfo, explain, find_camera, list_cameras
from server.camera.readers import count_readers
from server.camera.remedies import System, find_holder, get_permission, get_virtual_camera
from server.camera.sources import best_mode
from server.errors import CameraError
from tests.server.camera.fake_v4l2 import FakeDevice, plug_in

WEBCAM = FakeDevice(
    "uvcvideo",
    "HD Webcam: HD Webcam",
    0x04200001,
    {
        "YUYV": {(640, 480): [(1, 30), (1, 15)], (1280, 720): [(1, 10)]},
        "MJPG": {(640, 480): [(1, 30)], (1280, 720): [(1, 30), (1001, 24000)]},
    },
)
METADATA = FakeDevice("uvcvideo", "HD Webcam: HD Webcam", 0x04A00000)
LOOPBACK = FakeDevice(v4l2.LOOPBACK, "Relight", 0x05200003, {}, readers=0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with a webcam (two nodes, as UVC makes them) and a loopback device."""
    plug_in(monkeypatch, tmp_path, {0: WEBCAM, 1: METADATA, 10: LOOPBACK})
    return tmp_path


def test_cameras_are_listed_with_their_modes_and_metadata_nodes_are_not(machine: Path) -> None:
    """Names, formats, sizes and rates are the device's own words."""
    webcam, loopback = list_cameras()
    assert (webcam.index, webcam.name, webcam.virtual) == (0, "HD Webcam: HD Webcam", False)
    assert (loopback.index, loopback.name, loopback.virtual) == (10, "Relight", True)
    assert v4l2.Mode("YUYV", 640, 480, (30.0, 15.0)) in webcam.modes
    assert v4l2.Mode("MJPG", 1280, 720, (30.0, 23.98)) in webcam.modes
    assert len(webcam.modes) == 4


def test_a_camera_is_found_by_nothing_index_path_and_a_part_of_its_name(machine: Path) -> None:
    """Without a name it is the first that is no loopback."""
    for text in ("", "0", "hd web", "HD Webcam: HD Webcam", str(machine / "video0")):
        assert find_camera(text).index == 0
    assert find_camera("10").name == find_camera("relight").name == "Relight"


@pytest.mark.parametrize(
    ("text", "cameras", "words"),
    [
        ("", [], "no camera was found"),
        ("nothing", ["Webcam"], "'nothing' does not exist"),
        ("cam", ["Webcam", "Camlink"], "could be any of 0 'Webcam', 1 'Camlink'"),
        ("/dev/video99", [], "'/dev/video99' does not exist"),
    ],
)
def test_a_camera_that_is_not_there_is_told_with_those_that_are(text: str, cameras: list[str], words: str) -> None:
    """The error says what was asked for and what there is."""
    infos = [CameraInfo(i, name, f"/dev/video{i}", "v4l2") for i, name in enumerate(cameras)]
    with pytest.raises(CameraError, match=words) as found:
        find_camera(text, infos)
    assert all(name in f"{found.value}" + found.value.hint for name in cameras)


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file"), "is not there", "--list"),
        (PermissionError(errno.EACCES, "Permission denied"), "may not be opened", "usermod -aG video"),
        (OSError(errno.EBUSY, "Device or resource busy"), "in use by another program", "fuser -v /dev/video3"),
        (OSError(errno.ENODEV, "No such device"), "unplugged", "plug it in"),
        (OSError(errno.ENOTTY, "Inappropriate ioctl"), "is no camera", "--list"),
        (ValueError("odd"), "cannot be read: odd", "--size"),
    ],
)
def test_each_refusal_of_a_camera_has_its_remedy(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str, hint: str
) -> None:
    """One sentence, and a command where there is one."""
    monkeypatch.setattr("server.camera.remedies.this_system", lambda: "debian")
    told = explain(error, CameraInfo(3, "Cam", "/dev/video3", "v4l2"))
    assert message in told.message
    assert hint in told.hint


@pytest.mark.parametrize(
    ("system", "command"),
    [
        ("debian", "sudo apt install v4l2loopback-dkms"),
        ("fedora", "akmod-v4l2loopback"),
        ("arch", "sudo pacman -S v4l2loopback-dkms"),
        ("macos", "Start Virtual Camera"),
        ("windows", "winget install"),
    ],
)
def test_every_system_has_its_own_commands(system: System, command: str) -> None:
    """Linux loads the module so that Chromium takes the device for a camera."""
    assert command in get_virtual_camera(system)
    linux = system not in ("macos", "windows")
    assert ("sudo modprobe v4l2loopback exclusive_caps=1" in get_virtual_camera(system)) == linux
    assert ("sudo" in get_permission("/dev/video0", system)) == linux
    assert ("fuser" in find_holder("/dev/video0", system)) == linux


def test_the_mode_is_raw_where_the_rate_is_reached_and_motion_jpeg_where_not(machine: Path) -> None:
    """720p raw gives 10 fps; a rate nobody reaches gets the fastest there is; a size that is missing gets none."""
    modes = list_cameras()[0].modes
    assert best_mode(modes, (640, 480), 30).fourcc == "YUYV"
    assert best_mode(modes, (1280, 720), 30).fourcc == "MJPG"
    assert best_mode(modes, (1280, 720), 60).fps[0] == 30
    assert best_mode(modes, (1920, 1080), 30) is None


def test_readers_are_counted_by_the_event_of_the_loopback(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question is asked anew, so no change can be missed."""
    device = str(machine / "video10")
    assert count_readers(device) == 0
    monkeypatch.setattr(LOOPBACK, "readers", 1)
    assert count_readers(device) == 1


def test_readers_of_an_older_loopback_are_counted_by_their_open_files(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that has the device open is one reader; this process is none."""
    device = machine / "video10"
    monkeypatch.setattr(LOOPBACK, "readers", None)
    monkeypatch.setattr(
        v4l2, "_is_device", lambda each, number: os.path.realpath(each) == str(device)
    )  # a file stands in for the device node, whose number it lacks
    with device.open():
        assert count_readers(str(device)) == 0
        holder = subprocess.Popen(
            [sys.executable, "-c", f"f = open({str(device)!r}); print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        holder.stdout.readline()
        assert count_readers(str(device)) == 1
        holder.communicate(b"\n")
        assert count_readers(str(device)) == 0


def test_other_systems_do_not_tell_who_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """OBS's virtual camera counts nobody, nor does a device that is gone."""
    assert count_readers("/dev/does-not-exist") is None
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert count_readers("OBS Virtual Camera") is None
