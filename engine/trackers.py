"""The face trackers a live engine can run on, by name: frames → `lcvd.types.Face`.

`mesh` is this project's own and needs no further package; `mediapipe` is the same Face from the package of that name
(docs/tracking.md). Heavy imports happen inside the branches.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from lcvd.protocols import Tracker

TrackerName = Literal["mesh", "mediapipe"]
TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)


def tracker_maker(
    name: TrackerName,
    models_dir: Path | None = None,
    download: bool = True,
    others: bool = False,
    rests: Literal["never", "light", "expression"] = "never",
) -> Callable[[], Tracker]:
    """Returns a function that makes one participant's tracker; networks are looked for in `models_dir` first.

    `others`: it also follows further faces where it can (lcvd.protocols.GroupTracker); `mediapipe` cannot. `rests`: its
    network rests in frames in which the pixels tell where the mesh is, as far as that light or an expression needs no
    more; the same.

    Raises ModelUnavailable where the tracker `mediapipe` cannot be made here, ValueError for an unknown name.
    """
    if name == "mesh":
        from lcvd.tracking.mesh import FOR_EXPRESSION, FOR_LIGHT, NEVER, MeshTracker

        when = {"never": NEVER, "light": FOR_LIGHT, "expression": FOR_EXPRESSION}[rests]
        return partial(MeshTracker, directory=models_dir, download=download, others=others, rests=when)
    if name == "mediapipe":
        from lcvd.tracking.mediapipe import MediaPipeTracker

        make = partial(MediaPipeTracker, directory=models_dir, download=download)
        make().close()  # a missing package is an error of the server's start, not of its first participant
        return make
    raise ValueError(f"tracker={name!r} does not exist; choose one of {', '.join(TRACKERS)}")
