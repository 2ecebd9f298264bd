"""The coach says one calm word: limits have a band, and a word holds before it is shown."""

from dataclasses import replace

import numpy as np
import pytest

from engine.live.face_advice import HOLD_S, MIN_WIDTH, FaceAdvice, FaceState, face_state
from lcvd.types import Face, MeshTopology

SIZE = (480, 640)
STEP = 1 / 30


def a_face(width_px: float = 120.0, yaw_deg: float = 0.0) -> Face:
    """An oval of ten points, as wide as asked, turned as asked."""
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    neutral = np.stack([7 * np.cos(angles), 9 * np.sin(angles), 0 * angles], 1).astype(np.float32)
    extent = float(np.ptp(neutral[:, 0]))
    yaw = np.deg2rad(yaw_deg)
    rotation = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]], np.float32)
    mesh = MeshTopology(
        "oval", neutral, np.zeros((1, 3), np.int32), np.ones(1, bool), {"face_oval": np.arange(10, dtype=np.int32)}
    )
    return Face(
        t_s=0.0,
        mesh=mesh,
        vertices_px=neutral * np.float32(width_px / extent),
        rotation=rotation,
        translation_px=np.zeros(3, np.float32),
        scale_px_per_cm=width_px / extent,
        identity=neutral,
        expression=np.zeros_like(neutral),
        score=1.0,
    )


@pytest.mark.parametrize(
    ("face", "word"),
    [
        (None, "no_face"),
        (a_face(), "ok"),
        (a_face(width_px=30), "move_closer"),
        (a_face(yaw_deg=40), "ok"),
        (a_face(yaw_deg=-40), "ok"),
        (a_face(yaw_deg=70), "turn_to_camera"),
        (a_face(yaw_deg=-70), "turn_to_camera"),
    ],
)
def test_one_frame(face: Face | None, word: FaceState) -> None:
    """Absent, far, turned away and fine are told apart."""
    assert face_state(face, SIZE) == word


def test_limits_scale_with_the_picture() -> None:
    """What counts is the share of the picture, portrait or landscape."""
    assert face_state(a_face(60), SIZE) == face_state(a_face(60), SIZE[::-1]) == "ok"
    assert face_state(a_face(60), (1080, 1920)) == "move_closer"


def test_a_limit_is_crossed_back_only_beyond_its_band() -> None:
    """A face on the limit does not make the word change with every breath."""
    limit = MIN_WIDTH * 480
    assert face_state(a_face(limit * 1.05), SIZE, "ok") == "ok"
    assert face_state(a_face(limit * 1.05), SIZE, "move_closer") == "move_closer"
    assert face_state(a_face(limit * 1.3), SIZE, "move_closer") == "ok"


def test_a_word_holds_before_it_is_shown() -> None:
    """A face lost for half a second is not mentioned; lost for longer it is, and good news comes quickly."""
    coach = FaceAdvice()
    t = 0.0
    shown = []
    for face in [a_face()] * 10 + [None] * 15 + [a_face()] * 10 + [None] * 40 + [a_face()] * 20:
        shown.append(coach.update(face, SIZE, t))
        t += STEP
    assert set(shown[:35]) == {"ok"}
    lost = shown.index("no_face")
    assert lost * STEP == pytest.approx(35 * STEP + HOLD_S["no_face"], abs=2 * STEP)
    assert shown[75] == "no_face"
    back = shown.index("ok", lost)
    assert back * STEP == pytest.approx(75 * STEP + HOLD_S["ok"], abs=2 * STEP)


def test_no_flicker_between_two_complaints() -> None:
    """A tracker that finds and loses the face every other frame leaves the word alone."""
    coach = FaceAdvice()
    words = {coach.update(None if i % 2 else a_face(30), SIZE, i * STEP) for i in range(300)}
    assert words == {"ok"}


def test_held_faces_are_faces() -> None:
    """A face bridged over a short loss is still there."""
    assert face_state(replace(a_face(), held=True), SIZE) == "ok"
