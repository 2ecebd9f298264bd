"""Everything that a participant chose, to go on with elsewhere: a new socket, or a session in another process.

`to_dict` gives plain JSON types and bytes, so that the state can be pickled without this package's classes. It holds
the participant's portrait and choices: it stays in memory and is gone with whoever keeps it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.live.overlay import View
from lcvd.types import Background, DirectionalLight, Lighting
from server.light_message import Adjust, RequestedLight
from server.session.avatar_settings import AvatarSettings
from server.session.requested import Requested

Rgb = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class SavedState:
    """The choices of one session, its portrait among them, and the name under which it is viewed."""

    requested: Requested
    view: str

    @property
    def nbytes(self) -> int:
        """The bytes that its pictures take."""
        return sum(rgb.nbytes for rgb in _pictures(self.requested) if rgb is not None)

    def to_dict(self, pictures: bool = True) -> dict[str, Any]:
        """Returns it as plain types, with its pictures or without; `from_dict` is the way back of the whole."""
        requested, light = self.requested, self.requested.light
        portrait, crop = _pictures(requested)
        return {
            "view": self.view,
            "engine": requested.engine,
            "light": {
                "base": _lighting_dict(light.base),
                "adjust": None if light.adjust is None else light.adjust.model_dump(mode="json"),
                "strength": light.strength,
                "background": None if light.background is None else asdict(light.background),
            },
            "shown": asdict(requested.view),
            "mirror": requested.mirror,
            "paused": requested.paused,
            "avatar_settings": asdict(requested.avatar_settings),
        } | ({"portrait": _picture_dict(portrait), "placeholder": _picture_dict(crop)} if pictures else {})

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "SavedState":
        """Returns what `to_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        light, background = saved["light"], saved["light"]["background"]
        requested = Requested(
            engine=saved["engine"],
            light=RequestedLight(
                base=_lighting(light["base"]),
                adjust=_adjust(light["adjust"]),
                strength=light["strength"],
                background=None if background is None else Background(**background),
            ),
            view=View(**saved["shown"]),
            mirror=saved["mirror"],
            paused=saved["paused"],
            avatar_settings=AvatarSettings(**saved["avatar_settings"]),
        )
        portrait = _picture(saved["portrait"])
        if portrait is not None:
            requested = requested.with_portrait(portrait, _picture(saved["placeholder"]))
        return cls(requested, saved["view"])


def _pictures(requested: Requested) -> tuple[Rgb | None, Rgb | None]:
    """Returns the portrait [H,W,3] and its placeholder crop [S,S,3]."""
    portrait = None if requested.avatar is None else requested.avatar.portrait_rgb
    return portrait, None if requested.placeholder is None else requested.placeholder.rgb


def _picture_dict(rgb: Rgb | None) -> dict[str, Any] | None:
    return None if rgb is None else {"shape": list(rgb.shape), "rgb": rgb.tobytes()}


def _picture(saved: Mapping[str, Any] | None) -> Rgb | None:
    return None if saved is None else np.frombuffer(saved["rgb"], np.uint8).reshape(saved["shape"])


def _adjust(saved: Mapping[str, Any] | None) -> Adjust | None:
    """Returns it as it was: validated once more, a direction would be made a unit vector once more."""
    if saved is None:
        return None
    direction = saved["direction"]
    return Adjust.model_construct(**{**saved, "direction": None if direction is None else tuple(direction)})


def _lighting_dict(lighting: Lighting) -> dict[str, Any]:
    """Returns every field of `lighting`: unlike the light on the wire, with its own strength and background."""
    return {**asdict(lighting), "sh": None if lighting.sh is None else lighting.sh.tolist()}


def _lighting(saved: Mapping[str, Any]) -> Lighting:
    directionals = tuple(
        DirectionalLight(**{**each, "direction": tuple(each["direction"]), "rgb": tuple(each["rgb"])})
        for each in saved["directionals"]
    )
    fields = {
        "ambient_rgb": tuple(saved["ambient_rgb"]),
        "directionals": directionals,
        "sh": None if saved["sh"] is None else np.array(saved["sh"], np.float32),
        "background": Background(**saved["background"]),
    }
    return Lighting(**{**saved, **fields})
