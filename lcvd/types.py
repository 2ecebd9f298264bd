"""The data types that all stages share: MeshTopology, Face, DirectionalLight, Background, Lighting, Hints (frozen).

They hold numbers and no behaviour: trackers make a Face, `lcvd.lighting.lighting` makes a Lighting, `lcvd.hints` turns
the two into Hints. Axes and units are those of `lcvd.__init__`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BackgroundMode = Literal["keep", "dim", "lit"]
HintStyle = Literal["solid", "deca"]
MAX_DIRECTIONALS = 4


@dataclass(frozen=True, slots=True, eq=False)
class MeshTopology:
    """A MeshTopology describes a tracker's mesh; it is the same for every person that the mesh shows."""

    name: str
    neutral: FloatArray  # [V,3] canonical space, cm, +y up, +z to the viewer, origin inside the head
    triangles: NDArray[np.int32]  # [M,3] counter-clockwise seen from outside
    skin_triangles: NDArray[np.bool_]  # [M] what LCVD's hint renders: no eyes, no mouth interior
    regions: Mapping[str, NDArray[np.int32]]  # vertex indices: face_oval, lips, left_eye, right_eye, *_brow, nose …
    hint_style: HintStyle = "solid"  # how lcvd.hints draws it; "deca" as the release LCVD was trained with does


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A Face is one tracked face in one frame: `vertices_px` is drawn, the other fields decompose it.

    Weak-perspective model: with C = identity + expression (canonical cm, y up),
    vertices ≈ scale_px_per_cm · rotation @ C + translation_px, then y flipped into the picture.
    """

    t_s: float
    mesh: MeshTopology
    vertices_px: FloatArray  # [V,3] x right, y DOWN, z to the viewer; all in pixels of the frame, smoothed
    rotation: FloatArray  # [3,3] viewer_from_canonical, y-up axes
    translation_px: FloatArray  # [3] canonical origin in the picture: x right, y down, z to the viewer
    scale_px_per_cm: float
    identity: FloatArray  # [V,3] stable neutral shape of this person, canonical cm
    expression: FloatArray  # [V,3] displacement from `identity`, canonical cm
    score: float  # presence probability in [0,1]
    held: bool = False  # True while a short loss is bridged with the last pose

    width_px: float = field(init=False)  # width of the face in pixels, which is the unit of every image-space radius

    def __post_init__(self) -> None:
        oval = self.mesh.regions["face_oval"]
        # The oval's largest extent in its own plane, so that a turned head keeps its scale.
        width = self.scale_px_per_cm * np.ptp(self.identity[oval, 0]) or np.ptp(self.vertices_px[oval, 0])
        object.__setattr__(self, "width_px", float(width))


@dataclass(frozen=True, slots=True)
class DirectionalLight:
    """A distant light source, from which a surface of normal n receives rgb · wrapped(n·direction)."""

    direction: tuple[float, float, float]  # unit, from the face to the light
    rgb: tuple[float, float, float]  # linear; 1 exposes a facing surface normally
    wrap: float = 0.2  # softness in [0,1]: 0 a bare bulb, 1 a wall-sized softbox
    shadow: float = 0.0  # strength of the shadow it casts, [0,1]


@dataclass(frozen=True, slots=True)
class Background:
    """The picture behind the person is kept, dimmed to `gain`, or lit by the scene's light times `gain`."""

    mode: BackgroundMode = "dim"
    gain: float = 0.7  # [0.3, 1]; ignored by keep
    mix: float = 1.0  # lit only: the background is times gain·(1 - mix + mix·shade); below 1 only in a transition


@dataclass(frozen=True, slots=True, eq=False)
class Lighting:
    """A complete light: ambient + at most four directional lights + optional environment, and how it is applied.

    Total irradiance/π at normal n (the value 1 = normal exposure of a facing surface) =
    ambient_rgb + Σ directionals + irradiance of `sh` (see `lcvd.lighting.sh`).
    """

    name: str
    ambient_rgb: tuple[float, float, float] = (0.3, 0.3, 0.3)
    directionals: tuple[DirectionalLight, ...] = ()
    sh: FloatArray | None = None  # [9,3] environment radiance, real SH of order 2
    specular: float = 0.0  # [0,1] strength of the specular term on skin
    strength: float = 1.0  # [0,1]: 0 is the original picture, bit for bit
    background: Background = Background()


@dataclass(frozen=True, slots=True, eq=False)
class Hints:
    """LCVD's shading hint: grey face skin under the light, black elsewhere."""

    rgb: NDArray[np.uint8]  # [H,W,3]
    mask: NDArray[np.bool_]  # [H,W] where skin was drawn
