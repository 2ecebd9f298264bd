"""Finds the cameras of this machine, by name, index or path. Linux by V4L2, macOS and Windows by FFmpeg's own list."""

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from server.camera import v4l2
from server.camera.remedies import get_permission
from server.errors import CameraError


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """One camera as the user names it and as FFmpeg opens it."""

    index: int  # N of /dev/videoN on Linux, else its place in FFmpeg's list
    name: str
    address: str  # what FFmpeg opens
    format: str  # FFmpeg's input device
    modes: tuple[v4l2.Mode, ...] = ()  # empty where the system does not tell
    virtual: bool = False  # fed by another program


def video_nodes() -> list[tuple[int, str]]:
    """Returns number and path of every /dev/videoN."""
    nodes = [(int(match[1]), str(path)) for path in Path("/dev").glob("video*") if (match := _NODE.match(path.name))]
    return sorted(nodes)


_NODE = re.compile(r"video(\d+)$")


def list_cameras() -> list[CameraInfo]:
    """Lists the cameras; one that this user may not open is there without its modes."""
    system = platform.system()
    if system == "Linux":
        return [camera for number, path in video_nodes() if (camera := _linux_camera(number, path)) is not None]
    return _ffmpeg_cameras("avfoundation" if system == "Darwin" else "dshow")


def _linux_camera(number: int, path: str) -> CameraInfo | None:
    """Returns the camera at `path`; None where it gives no pictures (metadata nodes, decoders)."""
    try:
        with v4l2.Device(path) as device:
            capability = device.capability()
            if not capability.captures or (capability.outputs and not capability.loopback):
                return None
            return CameraInfo(number, capability.card, path, "v4l2", tuple(device.modes()), capability.loopback)
    except OSError:
        label = Path(f"/sys/class/video4linux/video{number}/name")
        name = label.read_text().strip() if label.is_file() else path
        return CameraInfo(number, name, path, "v4l2")


def _ffmpeg_cameras(kind: str) -> list[CameraInfo]:
    enumerate_devices = getattr(av, "enumerate_input_devices", None)  # PyAV 17 and newer
    if enumerate_devices is None:
        return []
    try:
        found = enumerate_devices(kind)
    except (ValueError, OSError):
        return []
    cameras: list[CameraInfo] = []
    for device in found:
        name = device.description or device.name
        if "video" not in (device.media_types or ["video"]) or name.startswith("Capture screen"):
            continue
        address = f"video={device.name}" if kind == "dshow" else device.name
        cameras.append(CameraInfo(len(cameras), name, address, kind, virtual="virtual" in name.lower()))
    return cameras


def find_camera(text: str, cameras: Sequence[CameraInfo] | None = None) -> CameraInfo:
    """Returns the camera that `text` means: "" the first real one, a path, an index, or a part of one name.

    Raises CameraError with the cameras there are.
    """
    cameras = list_cameras() if cameras is None else cameras
    if not text:
        real = [camera for camera in cameras if not camera.virtual]
        if not real:
            raise CameraError(
                "no camera was found", f"plug one in, or name a clip: --camera clip.mp4{_listed(cameras)}"
            )
        return real[0]
    exact = [camera for camera in cameras if text in (camera.address, str(camera.index), camera.name)]
    found = exact or [camera for camera in cameras if text.lower() in camera.name.lower()]
    if len(found) == 1 or len(exact) > 1:
        return found[0]
    if len(found) > 1:
        names = ", ".join(f"{camera.index} {camera.name!r}" for camera in found)
        raise CameraError(f"camera={text!r} could be any of {names}", "give the number in front")
    if text.startswith("/dev/") and Path(text).exists():
        return CameraInfo(0, text, text, "v4l2")  # a by-id link, say; FFmpeg tells what is wrong with it
    raise CameraError(f"camera={text!r} does not exist", f"relight camera --list shows what there is{_listed(cameras)}")


def _listed(cameras: Sequence[CameraInfo]) -> str:
    return "; here: " + ", ".join(f"{each.index} {each.name!r}" for each in cameras) if cameras else ""


def explain(error: Exception, camera: CameraInfo) -> CameraError:
    """Returns the sentence and the remedy for what FFmpeg, or the system, said of `camera`."""
    from server.camera.remedies import find_holder

    code = getattr(error, "errno", None)
    name = f"camera {camera.name!r}"
    if isinstance(error, FileNotFoundError):
        return CameraError(f"{name} is not there", "plug it in; relight camera --list shows what there is")
    if isinstance(error, PermissionError):
        return CameraError(f"{name} may not be opened by this user", get_permission(camera.address))
    if code == 16:  # EBUSY
        return CameraError(f"{name} is in use by another program", find_holder(camera.address))
    if code in (5, 19):  # EIO, ENODEV
        return CameraError(f"{name} was unplugged or does not answer", "plug it in again")
    if code == 25:  # ENOTTY
        return CameraError(f"{camera.address} is no camera", "relight camera --list shows what there is")
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return CameraError(f"{name} cannot be read: {text}", "choose another --size or --fps of relight camera --list")
