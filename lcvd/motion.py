"""A driver's motion on a reference portrait: the paper's two motion alignments, for MediaPipe Faces and DECA codes.

LCVD (arXiv 2502.19894), supplement §8. *Relative displacement*: the reference moves by what the driver has moved since
its first frame, or from a rest pose learned over time (lcvd.rest_pose). *Portrait-scale consistency*: the driver's own
pose and expression on the reference's shape. Shape, camera and crop are always the reference's, so nothing of the
driver's identity can reach the picture. Where text and release differ the release decides: it shifts pose and
expression; the text shifts the pose and takes the driver's expression as it is (`expression="driver"`). The result
keeps the reference's light.
"""

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lcvd.errors import ShapeError
from lcvd.face.geometry import face_mesh
from lcvd.rest_pose import RestCode, RestPose, nearest_rotation
from lcvd.tracking.deca import DecaCode
from lcvd.types import Face, FloatArray

Mode = Literal["relative", "scale"]
Expression = Literal["shift", "driver"]
Camera = Literal["reference", "follow"]
Rest = Literal["learned", "first"]
FRAME_S = 1 / 25
Y_DOWN = np.array([1, -1, 1], np.float32)


def relative_code(
    driver: DecaCode, first: DecaCode, reference: DecaCode, *, expression: Expression = "shift"
) -> DecaCode:
    """Align DECA codes: pose = driver − first + reference, component by component (axis-angle), as the release does.

    `expression` "shift" does the same with the expression; "driver" takes the driver's (the paper's text).
    """
    moved = driver.expression
    if _checked("expression", expression, ("shift", "driver")) == "shift":
        moved = driver.expression - first.expression + reference.expression
    return dataclasses.replace(reference, pose=driver.pose - first.pose + reference.pose, expression=moved)


def scaled_code(driver: DecaCode, reference: DecaCode) -> DecaCode:
    """Return the driver's pose and expression with shape, camera, crop and light of the reference."""
    return dataclasses.replace(reference, pose=driver.pose, expression=driver.expression)


def relative_face(
    driver: Face,
    first: Face,
    reference: Face,
    *,
    expression: Expression = "shift",
    camera: Camera = "reference",
) -> Face:
    """Align faces of one mesh: rotation = R R₁ᵀ R_ref, expression as in `relative_code` (canonical cm).

    `camera` "reference" keeps the reference's place and size, as published; "follow" lets the head also wander and
    come nearer, relative to the first frame and in units of the reference: s = s_ref·s_i/s₁, t = t_ref + (t_i − t₁)·
    s_ref/s₁. Both are ratios or displacements of the driver against itself.
    """
    _same_mesh(driver, first, reference)
    moved = driver.expression
    if _checked("expression", expression, ("shift", "driver")) == "shift":
        moved = driver.expression - first.expression + reference.expression
    scale, translation = reference.scale_px_per_cm, reference.translation_px
    if _checked("camera", camera, ("reference", "follow")) == "follow":
        if first.scale_px_per_cm <= 0:
            raise ShapeError(f"first.scale_px_per_cm is {first.scale_px_per_cm}", "a face has a size above 0")
        scale = reference.scale_px_per_cm * driver.scale_px_per_cm / first.scale_px_per_cm
        step = (driver.translation_px - first.translation_px) / first.scale_px_per_cm
        translation = translation + step * reference.scale_px_per_cm
    rotation = nearest_rotation(driver.rotation @ first.rotation.T @ reference.rotation)
    return _posed(reference, driver, rotation, moved, scale, translation)


def scaled_face(driver: Face, reference: Face) -> Face:
    """Return the driver's rotation and expression with shape, place and size of the reference; both of one mesh."""
    _same_mesh(driver, reference)
    scale, translation = reference.scale_px_per_cm, reference.translation_px
    return _posed(reference, driver, driver.rotation, driver.expression, scale, translation)


class FaceMotion:
    """Transfers the motion of one driver after another to one reference.

    mode "relative" or "scale"; `expression`, `camera` and `rest` belong to "relative". rest "learned" measures the
    driver against a rest pose learned over time (lcvd.rest_pose); "first" against its first face, as published, and the
    only one for meshes other than MediaPipe's. Raises ValueError for another word.
    """

    def __init__(
        self,
        reference: Face,
        mode: Mode = "relative",
        *,
        expression: Expression = "shift",
        camera: Camera = "reference",
        rest: Rest = "learned",
    ) -> None:
        self.reference = reference
        self._mode = _checked("mode", mode, ("relative", "scale"))
        self._expression: Expression = _checked("expression", expression, ("shift", "driver"))  # type: ignore[assignment]
        self._camera: Camera = _checked("camera", camera, ("reference", "follow"))  # type: ignore[assignment]
        _checked("rest", rest, ("learned", "first"))
        self._rest = RestPose() if rest == "learned" and reference.mesh.name == face_mesh().name else None
        self._first: Face | None = None

    def __call__(self, driver: Face) -> Face:
        """Return the reference moved as `driver` moves; time, score and held are the driver's."""
        if self._mode == "scale":
            return scaled_face(driver, self.reference)
        if self._rest is not None:
            _same_mesh(driver, self.reference)
            driven = self._rest.update(driver)
            moved = driven.face
            if self._expression == "driver":
                moved = dataclasses.replace(moved, identity=driver.identity, expression=driver.expression)
            return self._moved(moved, driven.rest)
        self._first = self._first or driver
        if self._expression == "shift":
            # A live tracker learns the driver's shape in time (IdentityAverage): what it once called expression becomes
            # identity. Neither is motion; without this the portrait would take on minus the driver's shape.
            learnt = driver.identity - self._first.identity
            driver = dataclasses.replace(driver, expression=driver.expression + learnt)
        return self._moved(driver, self._first)

    def _moved(self, driver: Face, rest: Face) -> Face:
        return relative_face(driver, rest, self.reference, expression=self._expression, camera=self._camera)

    def reset(self) -> None:
        """Take the next face as the first driving frame."""
        self._first = None
        if self._rest is not None:
            self._rest.reset()


class CodeMotion:
    """`FaceMotion` for DECA's codes: `lcvd.tracking.deca.face_from_code` makes the Face of the result."""

    def __init__(
        self, reference: DecaCode, mode: Mode = "relative", *, expression: Expression = "shift", rest: Rest = "learned"
    ) -> None:
        self.reference = reference
        self._mode = _checked("mode", mode, ("relative", "scale"))
        self._expression: Expression = _checked("expression", expression, ("shift", "driver"))  # type: ignore[assignment]
        self._rest = RestCode() if _checked("rest", rest, ("learned", "first")) == "learned" else None
        self._first: DecaCode | None = None
        self._t_s = 0.0

    def __call__(self, driver: DecaCode, t_s: float | None = None) -> DecaCode:
        """Return the reference's code moved as `driver` moves at `t_s`; None is a 25th of a second after the last."""
        self._t_s = self._t_s + FRAME_S if t_s is None else t_s
        if self._mode == "scale":
            return scaled_code(driver, self.reference)
        self._first = self._first or driver
        rest = self._first
        if self._rest is not None:
            pose, expression = self._rest.update(driver.pose, driver.expression, self._t_s)
            rest = dataclasses.replace(driver, pose=pose, expression=expression)
        return relative_code(driver, rest, self.reference, expression=self._expression)

    def reset(self) -> None:
        """Take the next code as the first driving frame."""
        self._first = None
        if self._rest is not None:
            self._rest.reset()


def _posed(
    reference: Face,
    driver: Face,
    rotation: NDArray[np.floating],
    expression: FloatArray,
    scale: float,
    translation: FloatArray,
) -> Face:
    turned = scale * (reference.identity + expression) @ rotation.T
    return dataclasses.replace(
        reference,
        t_s=driver.t_s,
        vertices_px=(turned * Y_DOWN + translation).astype(np.float32),
        rotation=np.asarray(rotation, np.float32),
        translation_px=np.asarray(translation, np.float32),
        scale_px_per_cm=float(scale),
        expression=np.asarray(expression, np.float32),
        score=driver.score,
        held=driver.held,
    )


def _same_mesh(*faces: Face) -> None:
    names = {face.mesh.name for face in faces}
    if len(names) > 1:
        raise ShapeError(f"faces of different meshes: {', '.join(sorted(names))}", "track all with one tracker")


def _checked(name: str, value: str, legal: tuple[str, ...]) -> str:
    if value not in legal:
        raise ValueError(f"{name} is {value!r}; use one of {', '.join(legal)}")
    return value
