"""The paper's tracker turns frames into DECA's coefficients, FLAME and a Face, from the user's own licensed files.

Feng et al. 2021, "Learning an Animatable Detailed 3D Face Model from In-The-Wild Images": 68 landmarks (ours come from
the MediaPipe mesh instead of FAN) → upright square, 1.25 × 1.1 × the mean side of their box → 224² → ResNet-50 → shape
100, texture 50, expression 50, pose 6, camera 3, light 27. Per frame, unsmoothed, as the released code has it. The
crop and its way back follow DECA to the pixel, its half-pixel shift included (docs/deca.md). Needs torch.
"""

import dataclasses
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ModelUnavailable, ShapeError
from lcvd.lighting.sh import sh_from_deca
from lcvd.protocols import Tracker
from lcvd.tracking.crop import require_rgb
from lcvd.tracking.flame import ROOT, Flame
from lcvd.tracking.flame_files import DECA_MODEL, N_EXPRESSION, N_SHAPE, load_flame, require_files
from lcvd.types import Face, FloatArray

CROP_PX = 224
CROP_SCALE = 1.25  # DECA's margin …
LANDMARK_BOX = 1.1  # … after enlarging a box of landmarks by this
PARTS = {"shape": N_SHAPE, "texture": 50, "expression": N_EXPRESSION, "pose": 6, "camera": 3, "light": 27}
# MediaPipe mesh vertices at the 68 points: jaw from the person's right ear, brows, nose, eyes, lips.
MESH_68 = (
    *(127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
Encoder = Callable[[FloatArray], NDArray[np.floating]]  # [1,3,224,224] in [0,1] -> [1,236]


@dataclass(frozen=True, slots=True)
class DecaCrop:
    """DECA's upright square: pixel (column 0, row 0) of the crop is frame pixel (left, top), its last is + size."""

    left: float
    top: float
    size: int

    @property
    def zoom(self) -> float:
        """Frame pixels per crop pixel."""
        return self.size / (CROP_PX - 1)


@dataclass(frozen=True, slots=True, eq=False)
class DecaCode:
    """DECA's coefficients of one frame, float32."""

    shape: FloatArray  # [100]
    texture: FloatArray  # [50]
    expression: FloatArray  # [50]
    pose: FloatArray  # [6] axis-angle: head 3, jaw 3
    camera: FloatArray  # [3] scale, tx, ty (orthographic)
    light: FloatArray  # [9,3] SH in DECA's convention; `lcvd.lighting.sh.sh_from_deca` makes it ours
    crop: DecaCrop


class DecaTracker:
    """Tracker (protocol). Not for two threads at once.

    `folder` holds deca_model.tar, generic_model.pkl, landmark_embedding.npy and FLAME_masks.pkl. `landmarker` finds
    the face (default: the MediaPipe mesh tracker). `flame` and `encoder` replace what the folder would give.
    Raises ModelUnavailable naming every missing or wrong file and where it comes from.
    """

    def __init__(
        self,
        folder: Path,
        *,
        landmarker: Tracker | None = None,
        device: str = "cpu",
        flame: Flame | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        if flame is None or encoder is None:
            require_files(folder)
        self.flame = flame or load_flame(folder)
        self._encoder = encoder or torch_encoder(folder / DECA_MODEL, device)
        if landmarker is None:
            from lcvd.tracking.mesh import MeshTracker

            landmarker = MeshTracker()
        self._landmarker = landmarker
        self._face: Face | None = None
        self.code: DecaCode | None = None  # of the last tracked frame

    def track(self, rgb: NDArray[np.uint8], t_s: float) -> Face | None:
        """The face in rgb uint8 [H,W,3] at t_s as a FLAME mesh, or None. Raises ShapeError."""
        seen = self._landmarker.track(rgb, t_s)
        if seen is None:
            self._face, self.code = None, None
            return None
        if seen.held and self._face is not None:
            return dataclasses.replace(self._face, t_s=t_s, held=True)
        self.code = self.encode(rgb, landmarks_68(seen))
        self._face = face_from_code(self.flame, self.code, t_s, seen.score)
        return self._face

    def encode(self, rgb: NDArray[np.uint8], landmarks_px: FloatArray) -> DecaCode:
        """Coefficients of the face whose 68 landmarks [68,≥2] (pixels, y down) are given. Raises ShapeError."""
        crop = deca_crop(landmarks_px)
        numbers = np.asarray(self._encoder(cut(rgb, crop)[None]), np.float32)
        return split_code(numbers[0], crop)

    def light(self) -> FloatArray | None:
        """SH radiance [9,3] in our convention of the last tracked frame's light."""
        return None if self.code is None else sh_from_deca(self.code.light)

    def reset(self) -> None:
        """Forget the face."""
        self._landmarker.reset()
        self._face, self.code = None, None

    def close(self) -> None:
        """Forget everything."""
        self._landmarker.close()
        self._face, self.code = None, None


def landmarks_68(face: Face) -> FloatArray:
    """Return the 68 points [68,2] px of a MediaPipe mesh by `MESH_68`. Raises ShapeError for another mesh."""
    if len(face.vertices_px) < 468:
        raise ShapeError(
            f"mesh {face.mesh.name} has {len(face.vertices_px)} vertices", "landmarks need MediaPipe's 468"
        )
    return face.vertices_px[list(MESH_68), :2]


def deca_crop(landmarks_px: FloatArray) -> DecaCrop:
    """Return DECA's square around 68 landmarks [N,≥2] (its `kpt68` box). Raises ShapeError."""
    points = np.asarray(landmarks_px, np.float64)
    if points.ndim != 2 or points.shape[1] < 2 or not np.isfinite(points).all():
        raise ShapeError(f"landmarks have shape {list(points.shape)}", "give finite [68,2] pixels")
    (left, top), (right, bottom) = points[:, :2].min(0), points[:, :2].max(0)
    size = int((right - left + bottom - top) / 2 * LANDMARK_BOX * CROP_SCALE)
    if size < 1:
        raise ShapeError(f"the landmarks' box is {right - left:.1f} × {bottom - top:.1f} px", "the face is too small")
    return DecaCrop(float((left + right) / 2 - size / 2), float((top + bottom) / 2 - size / 2), size)


def cut(rgb: NDArray[np.uint8], crop: DecaCrop) -> FloatArray:
    """Resample the crop to [3,224,224] in [0,1]: bilinear, black outside, no prefilter (as DECA's `warp`)."""
    require_rgb(rgb)
    height, width = rgb.shape[:2]
    steps = np.arange(CROP_PX) * crop.zoom
    x0, fx = _split(crop.left + steps)
    y0, fy = _split(crop.top + steps)
    columns = _mix(rgb, x0, fx, width, axis=1)
    out = _mix(columns, y0, fy, height, axis=0)
    return np.ascontiguousarray(out.transpose(2, 0, 1) / 255, np.float32)


def _split(at: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    low = np.floor(at)
    return low.astype(np.int64), at - low


def _mix(
    image: NDArray, low: NDArray[np.int64], part: NDArray[np.floating], size: int, axis: int
) -> NDArray[np.float64]:
    shape = (1, -1, 1) if axis else (-1, 1, 1)
    out: NDArray[np.float64] | float = 0.0
    for index, weight in ((low, 1 - part), (low + 1, part)):
        inside = (index >= 0) & (index < size)
        out = out + np.take(image, np.clip(index, 0, size - 1), axis) * (weight * inside).reshape(shape)
    return np.asarray(out)


def split_code(numbers: FloatArray, crop: DecaCrop) -> DecaCode:
    """Split the encoder's [236] into a DecaCode; the light's 27 are 9 coefficients × RGB. Raises ShapeError."""
    if numbers.shape != (sum(PARTS.values()),):
        raise ShapeError(f"the encoder gave {list(numbers.shape)}", f"expected [{sum(PARTS.values())}]")
    cuts = np.cumsum(list(PARTS.values()))[:-1]
    shape, texture, expression, pose, camera, light = np.split(numbers.astype(np.float32), cuts)
    return DecaCode(shape, texture, expression, pose, camera, light.reshape(9, 3), crop)


def face_from_code(flame: Flame, code: DecaCode, t_s: float, score: float = 1.0) -> Face:
    """Make the Face of DECA's coefficients, in pixels of the frame the crop was cut from.

    FLAME turns the head about its root joint j: v = R(c − j) + j with c posed by the jaw alone. Then DECA's camera,
    s·(x + tx), its crop (p/2 + ½)·224 and the crop's place in the frame. All of it is Face's weak perspective.
    """
    turns = flame.rotations(code.pose)
    rotation, turns = turns[ROOT], np.concatenate([np.eye(3, dtype=turns.dtype)[None], turns[1:]])
    shaped = flame.shaped(code.shape, code.expression)
    observed = 100 * flame.skin(shaped, turns)  # cm
    identity = 100 * flame.shaped(code.shape, np.zeros(0))
    pivot = 100 * flame.joints(shaped)[ROOT]
    s, tx, ty = (float(n) for n in code.camera)
    half = CROP_PX / 2 * code.crop.zoom  # frame pixels for half a crop
    scale = s * half / 100  # px per cm
    stay = scale * (pivot - rotation @ pivot)
    translation = np.array(
        [code.crop.left + half * (1 + s * tx) + stay[0], code.crop.top + half * (1 - s * ty) - stay[1], stay[2]]
    )
    vertices = scale * observed @ rotation.T * np.array([1, -1, 1]) + translation
    return Face(
        t_s=t_s,
        mesh=flame.mesh,
        vertices_px=vertices.astype(np.float32),
        rotation=rotation.astype(np.float32),
        translation_px=translation.astype(np.float32),
        scale_px_per_cm=scale,
        identity=identity.astype(np.float32),
        expression=(observed - identity).astype(np.float32),
        score=score,
    )


def torch_encoder(path: Path, device: str = "cpu") -> Encoder:
    """Load the network of deca_model.tar as a function of numpy arrays. Raises ModelUnavailable."""
    try:
        import torch

        from lcvd.tracking.deca_encoder import load_encoder
    except ImportError as error:
        raise ModelUnavailable(f"DECA needs torch: {error}", "pip install -e '.[lcvd]'") from error
    model = load_encoder(path).to(device)

    def encode(crops: FloatArray) -> NDArray[np.floating]:
        with torch.inference_mode():
            return model(torch.from_numpy(crops).to(device)).cpu().numpy()

    return encode


def make_tracker(deca_dir: Path | None, *, device: str = "cpu") -> tuple[Tracker, str]:
    """Choose the tracker that gives the hints; return it and a note that gives the reason.

    DECA where `deca_dir` has its files and torch is installed; MediaPipe's mesh otherwise. Files that are there but
    damaged raise ModelUnavailable, because falling back would hide the damage.
    """
    from lcvd.tracking.mesh import MeshTracker

    if deca_dir is None:
        return MeshTracker(), "Hints from the MediaPipe mesh: no DECA folder was given (docs/deca.md)."
    try:
        require_files(deca_dir)
    except ModelUnavailable as error:
        return MeshTracker(), f"Hints from the MediaPipe mesh: {error.message}; {error.hint}."
    if any(importlib.util.find_spec(name) is None for name in ("torch", "safetensors")):
        return MeshTracker(), "Hints from the MediaPipe mesh: DECA needs torch; pip install -e '.[lcvd]'."
    from lcvd.tracking.deca_encoder import encoder_source

    return DecaTracker(deca_dir, device=device), f"Hints from DECA and FLAME in {deca_dir} through {encoder_source()}."
