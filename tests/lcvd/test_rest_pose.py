"""lcvd.rest_pose: rest is learned from calm faces, hardly from others, and for each person anew.

Every case runs on both motions that use it: LCVD's (lcvd.motion.FaceMotion) and the CPU avatar's.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from engine.avatar.motion import AvatarMotion
from lcvd.face.calm import calmed, calmness
from lcvd.face.neutral import centred_face
from lcvd.motion import FaceMotion
from lcvd.rest_pose import RestCode, RestPose
from lcvd.types import Face
from tests.lcvd.speaking_face import ANNA, BERT, LIPS, Person, lip_gap_cm, lips_off_cm

FPS = 25
PORTRAIT = centred_face((512, 512))
LAUGH = {"open_cm": 3.0, "smile": 0.3}
Motion = Callable[[Face], Face]

both = pytest.mark.parametrize("make", [FaceMotion, AvatarMotion])


def run(motion: Motion, faces: Iterable[Face]) -> list[Face]:
    """The portrait's faces."""
    return [motion(face) for face in faces]


def still(person: Person, start_s: float, seconds: float, fps: float = FPS, **look: object) -> list[Face]:
    return [person.face(start_s + i / fps, **look) for i in range(round(seconds * fps))]  # type: ignore[arg-type]


def talk(person: Person, start_s: float, seconds: float, widest_cm: float = 1.2) -> list[Face]:
    """Four syllables a second; the lips meet between them."""
    times = [start_s + i / FPS for i in range(round(seconds * FPS))]
    return [person.face(t, open_cm=widest_cm * max(math.sin(2 * math.pi * 4 * t), 0.0)) for t in times]


@both
@pytest.mark.parametrize("person", [ANNA, BERT])
@pytest.mark.parametrize("fps", [8, 30])
def test_a_call_that_begins_in_a_laugh(make, person: Person, fps: float) -> None:
    """The laugh opens the portrait's mouth from the first frame, and a calm face closes it as the portrait has it."""
    motion = make(PORTRAIT)
    laughing = run(motion, still(person, 0, 1, fps, **LAUGH))
    assert all(lip_gap_cm(face) > 2.5 for face in laughing)
    calm = run(motion, still(person, 1, 2, fps))
    assert lip_gap_cm(calm[0]) < 0.3
    assert lips_off_cm(calm[-1], PORTRAIT) < 0.12
    again = run(motion, still(person, 3, 0.2, fps, **LAUGH))
    assert lip_gap_cm(again[-1]) > 2.5


@both
def test_a_long_laugh_teaches_nothing_that_two_calm_seconds_do_not_undo(make) -> None:
    """After half a minute of laughing the laugh is still one, and two calm seconds bring the portrait to rest."""
    motion = make(PORTRAIT)
    laughing = run(motion, still(BERT, 0, 30, **LAUGH))
    assert lip_gap_cm(laughing[-1]) > 0.7 * lip_gap_cm(laughing[0])
    assert lips_off_cm(run(motion, still(BERT, 30, 2))[-1], PORTRAIT) < 0.15


@both
def test_a_smile_is_forgotten_too(make) -> None:
    """Ten seconds of smiling with closed lips are less at rest than two calm seconds."""
    motion = make(PORTRAIT)
    run(motion, still(ANNA, 0, 10, smile=0.3))
    assert lips_off_cm(run(motion, still(ANNA, 10, 2))[-1], PORTRAIT) < 0.12


@both
def test_long_talk_does_not_pump(make) -> None:
    """In a minute of talk, which starts the call, the same syllable opens the portrait alike, and it closes alike."""
    faces = run(make(PORTRAIT), talk(BERT, 0, 60))
    cycles = np.array([lip_gap_cm(face) for face in faces]).reshape(60, FPS)
    widest, least = cycles.max(1), cycles.min(1)
    assert widest.min() > 0.9
    assert np.ptp(widest[2:]) < 0.1
    assert np.ptp(least[2:]) < 0.1
    resting = np.array([lips_off_cm(faces[i], PORTRAIT) for i in range(2 * FPS + 4, len(faces), FPS)])
    assert np.abs(np.diff(resting)).max() < 0.02


@both
def test_a_calm_start_rests_at_once_and_later_laughs_do_not_move_it(make) -> None:
    """The first calm face is the portrait's rest within a tenth of a millimetre, also after seconds of laughing."""
    motion = make(PORTRAIT)
    assert lips_off_cm(run(motion, still(BERT, 0, 1))[0], PORTRAIT) < 0.01
    run(motion, still(BERT, 1, 10, **LAUGH))
    assert lips_off_cm(motion(BERT.face(11.0)), PORTRAIT) < 0.1


@both
def test_a_call_that_begins_with_the_head_turned(make) -> None:
    """A driver who first looks 35° aside and then at the camera leaves the portrait's head as it is in its picture."""
    motion = make(PORTRAIT)
    run(motion, still(ANNA, 0, 0.5, yaw_deg=35.0))
    face = run(motion, still(ANNA, 0.5, 2))[-1]
    assert math.degrees(math.acos(min(float(face.rotation[2, 2]), 1.0))) < 4


@both
def test_a_turn_is_held(make) -> None:
    """Looking aside for ten seconds after a frontal start is a turn to the end, within a few degrees."""
    motion = make(PORTRAIT)
    run(motion, still(ANNA, 0, 3))
    turned = run(motion, still(ANNA, 3, 10, yaw_deg=15.0))
    angles = [math.degrees(math.asin(float(face.rotation[0, 2]))) for face in (turned[0], turned[-1])]
    assert angles[1] > 0.7 * angles[0] > 7


@both
@pytest.mark.parametrize("gap_s", [0.04, 3.0])
def test_another_person_in_the_seat(make, gap_s: float) -> None:
    """Whoever comes, after a gap or by a cut, rests in a pose of their own within two seconds."""
    motion = make(PORTRAIT)
    run(motion, still(ANNA, 0, 6))
    first = motion(BERT.face(6 + gap_s))
    assert lips_off_cm(first, PORTRAIT) > 0.3  # BERT's face is measured against ANNA's
    settled = run(motion, still(BERT, 6 + gap_s + 1 / FPS, 2))
    assert lips_off_cm(settled[-1], PORTRAIT) < 0.1
    back = run(motion, still(ANNA, 9 + 2 * gap_s, 2))
    assert lips_off_cm(back[-1], PORTRAIT) < 0.1


@both
def test_a_person_who_comes_laughing(make) -> None:
    """The newcomer laughs for three seconds; their first calm seconds are their rest."""
    motion = make(PORTRAIT)
    run(motion, still(ANNA, 0, 6))
    run(motion, still(BERT, 9, 3, **LAUGH))
    assert lips_off_cm(run(motion, still(BERT, 12, 2))[-1], PORTRAIT) < 0.15


@both
def test_the_same_person_comes_back(make) -> None:
    """After a gap the person is known: back in a laugh, the portrait laughs as much as before the gap."""
    motion = make(PORTRAIT)
    run(motion, still(BERT, 0, 4))
    before = motion(BERT.face(4.0, **LAUGH))
    after = run(motion, still(BERT, 8, 0.5, **LAUGH))
    assert all(abs(lip_gap_cm(face) - lip_gap_cm(before)) < 0.05 for face in after)
    assert all(lips_off_cm(face, before) < 0.05 for face in after)
    assert lips_off_cm(motion(BERT.face(8.6)), PORTRAIT) < 0.05


def test_who_comes_back_elsewhere_is_soon_in_the_middle() -> None:
    """Place and size are the avatar's alone; after a gap they start from where the driver sits now."""
    motion = AvatarMotion(PORTRAIT)
    run(motion, still(ANNA, 0, 10))
    moved = run(motion, still(ANNA, 13, 3, at_px=(230.0, 120.0)))
    steps = [abs(float(face.translation_px[0] - PORTRAIT.translation_px[0])) for face in (moved[0], moved[-1])]
    assert steps[0] > 20
    assert steps[1] < 0.3 * steps[0]


@pytest.mark.parametrize("lids", [0.3, 1.5])
def test_lids_of_a_blink_or_a_stare_at_the_start(lids: float) -> None:
    """A call that begins with shut or wide eyes has the portrait's own eyes after two calm seconds, and blinks."""
    motion = AvatarMotion(PORTRAIT)
    run(motion, still(ANNA, 0, 0.3, lids=lids, open_cm=1.5))
    calm = run(motion, still(ANNA, 0.3, 2))[-1]

    def gap(face: Face) -> float:
        shape = face.identity + face.expression
        return float(np.linalg.norm(shape[159] - shape[145]))

    assert gap(calm) == pytest.approx(gap(PORTRAIT), rel=0.05)
    assert gap(motion(ANNA.face(2.32, lids=0.5))) < 0.4 * gap(PORTRAIT)


def test_noise_is_no_other_person() -> None:
    """Landmarks that tremble by 0.1 cm from frame to frame are still one person's."""
    rng = np.random.default_rng(0)
    rest, bases = RestPose(), []
    for i in range(250):
        face = ANNA.face(i / FPS)
        noise = rng.normal(0, 0.06, face.expression.shape).astype(np.float32)
        vertices = face.vertices_px + ANNA.scale * noise * np.array([1, -1, 1], np.float32)
        driven = rest.update(replace(face, vertices_px=vertices, expression=face.expression + noise))
        bases.append(driven.rest.identity)
    assert all(basis is bases[0] for basis in bases)  # it is taken anew with each person
    lips = (driven.rest.identity + driven.rest.expression - ANNA.shape())[LIPS]
    assert np.linalg.norm(lips, axis=1).mean() < 0.1


def test_a_clock_that_runs_back_goes_on() -> None:
    """A clip that loops teaches as before, and nothing breaks."""
    motion = FaceMotion(PORTRAIT)
    for _ in range(3):
        last = run(motion, still(BERT, 0, 2))[-1]
    assert lips_off_cm(last, PORTRAIT) < 0.05


@pytest.mark.parametrize("person", [ANNA, BERT, Person((0.9, 1.1, 1.0))])
def test_calmness_falls_with_the_mouth(person: Person) -> None:
    """Every person's closed lips are calm; the further open or the wider, the less."""
    values = [calmness(person.shape(open_cm=gap)) for gap in (0.0, 0.5, 0.8, 1.5)]
    assert values[0] > 0.5
    assert values == sorted(values, reverse=True)
    smiles = [calmness(person.shape(smile=share)) for share in (0.0, 0.1, 0.2, 0.3)]
    assert smiles == sorted(smiles, reverse=True)
    assert smiles[-1] < 0.05


@pytest.mark.parametrize("open_cm", [1.0, 2.0, 3.5])
def test_a_mouth_is_closed_where_the_person_has_it(open_cm: float) -> None:
    """The guess at a laughing person's rest has closed lips within a few millimetres of the true ones."""
    guess = calmed(BERT.shape(open_cm, smile=0.3))
    true = BERT.shape()
    assert abs(guess[13, 1] - guess[14, 1]) < 0.15
    assert np.linalg.norm((guess - true)[LIPS], axis=1).mean() < 0.35
    assert np.linalg.norm((guess - true)[152]) < 0.3
    above = face_above(true)
    np.testing.assert_array_equal(guess[above], BERT.shape(open_cm, smile=0.3)[above])


def face_above(shape: np.ndarray) -> np.ndarray:
    return np.flatnonzero(shape[:, 1] > 0.5)


def test_decas_code_has_a_rest_too() -> None:
    """A code that begins with an open jaw and a strong expression is against FLAME's zero; calm codes revise it."""
    rng = np.random.default_rng(1)
    laugh = np.array([0.1, 0, 0, 0.4, 0, 0], np.float32), rng.normal(0, 1, 50).astype(np.float32)
    own = rng.normal(0, 0.1, 50).astype(np.float32)
    calm = np.array([0.1, 0, 0, 0.02, 0, 0], np.float32), own
    rest = RestCode()
    pose, expression = rest.update(*laugh, 0.0)
    np.testing.assert_allclose(pose, [0.1, 0, 0, 0, 0, 0], atol=0.01)
    assert np.abs(expression).max() < 0.1
    for i in range(1, 250):
        pose, expression = rest.update(*laugh, i / FPS)
    assert pose[3] < 0.1
    for i in range(250, 300):
        pose, expression = rest.update(*calm, i / FPS)
    np.testing.assert_allclose(pose, calm[0], atol=0.02)
    assert np.linalg.norm(expression - own) < 0.25 * np.linalg.norm(laugh[1] - own)
