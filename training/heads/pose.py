"""random_motion draws the pose of head, eyes and shoulders in every frame, smooth in time.

A signal is its own mean and two sines of random period; amplitudes shrink with the period's speed, so that no frame
jumps. Angles: yaw about +y (positive turns the face to the right of the picture), pitch about +x (positive looks
down), roll about +z; head_rotation = roll · yaw · pitch.
"""

from dataclasses import dataclass

import numpy as np

from lcvd.types import FloatArray
from training.heads.expression import NAMES

YAW_DEG, PITCH_DEG, ROLL_DEG = 30.0, 15.0, 10.0
FRAME_RATE = 25.0
FACE_WIDTH_CM = 13.9
PERIODS = (16.0, 70.0)  # frames
BLINK = np.array([0.35, 0.9, 1.0, 0.75, 0.3])  # lid closure of consecutive frames: 0.2 s at 25 frames/s


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Holds everything that changes over F frames. Lengths are in units of the picture's side."""

    rotation: FloatArray  # [F,3,3] viewer_from_canonical
    translation: FloatArray  # [F,2] canonical origin in the picture, x right, y down
    scale: FloatArray  # [F] picture sides per cm
    expression: FloatArray  # [F,E] weights of training.heads.expression.NAMES
    gaze: FloatArray  # [F,2] iris offset in cm
    torso_rotation: FloatArray  # [F,3,3]
    torso_translation: FloatArray  # [F,2]


def random_motion(rng: np.random.Generator, frames: int, still: bool = False) -> Motion:
    """Draws the motion of a clip; `still` holds pose, expression and gaze at their first frame."""
    liveliness = rng.uniform(0.25, 1.0)
    yaw, pitch, roll = (_signal(rng, frames, limit, liveliness * 0.6) for limit in (YAW_DEG, PITCH_DEG, ROLL_DEG))
    shift_x, shift_y = (_signal(rng, frames, limit, 0.5 * liveliness) for limit in (0.06, 0.045))
    width = rng.uniform(0.34, 0.46) * (1 + _signal(rng, frames, 0.05, 0.8))
    talk = _rectified(_signal(rng, frames, 0.75, 1.0, (7.0, 16.0))) * rng.uniform(0.3, 1.0)
    weights = {
        "jaw": talk,
        "smile": _signal(rng, frames, 0.9, 0.6) * 0.55 + 0.35,
        "pucker": np.maximum(_signal(rng, frames, 0.8, 0.8, (9.0, 20.0)), 0),
        "brows": _signal(rng, frames, 0.7, 0.8, (12.0, 40.0)) + 0.1,
        "blink": _blinks(rng, frames),
    }
    gaze = np.stack([_signal(rng, frames, 0.35, 0.8), _signal(rng, frames, 0.12, 0.8)], 1)
    body_yaw = rng.uniform(-20, 20)
    motion = Motion(
        rotation=_rotations(yaw, pitch, roll),
        translation=np.stack([0.5 + shift_x, rng.uniform(0.48, 0.55) + shift_y], 1).astype(np.float32),
        scale=(width / FACE_WIDTH_CM).astype(np.float32),
        expression=np.stack([weights[name] for name in NAMES], 1).astype(np.float32),
        gaze=gaze.astype(np.float32),
        torso_rotation=_rotations(body_yaw + 0.25 * yaw, 0.15 * pitch, 0.25 * roll),
        torso_translation=np.zeros((frames, 2), np.float32),
    )
    # Shoulders follow the head by half; the neck stretches over the rest.
    centre = motion.translation.mean(0)
    motion.torso_translation[:] = centre + 0.5 * (motion.translation - centre)
    return _held(motion) if still else motion


def _held(motion: Motion) -> Motion:
    return Motion(*(np.repeat(getattr(motion, name)[:1], len(motion.scale), 0) for name in Motion.__slots__))


def _rectified(x: np.ndarray) -> np.ndarray:
    """Returns max(0, x) with a soft knee, so that a mouth does not snap shut."""
    return 0.5 * (x + np.sqrt(x * x + 0.02)) - 0.07


def _signal(
    rng: np.random.Generator,
    frames: int,
    limit: float,
    swing: float,
    periods: tuple[float, float] = PERIODS,
) -> np.ndarray:
    """Returns [F] within ±limit: a mean and two sines that take `swing` (0…1) of the range between them."""
    t = np.arange(frames)
    mean = rng.uniform(-1, 1) * (1 - swing)
    share = rng.uniform(0.5, 0.9)
    out = np.full(frames, mean)
    for part in (share, 1 - share):
        period = np.exp(rng.uniform(*np.log(periods)))
        # Fast swings are small: their speed stays below what the shortest period gives a third of the range.
        reach = swing * part * min(1.0, period / (2.2 * periods[0]))
        out += reach * np.sin(2 * np.pi * (t / period + rng.uniform()))
    return limit * out


def _blinks(rng: np.random.Generator, frames: int) -> np.ndarray:
    out = np.full(frames, rng.uniform(0, 0.22))  # some lids hang
    at = int(rng.integers(0, 70))  # a blink every 3 s or so: seen in one clip of 16 in four
    while at < frames:
        end = min(at + len(BLINK), frames)
        out[at:end] = np.maximum(out[at:end], BLINK[: end - at])
        at += int(rng.integers(40, 110))
    return out


def _rotations(yaw_deg: np.ndarray, pitch_deg: np.ndarray, roll_deg: np.ndarray) -> FloatArray:
    """Returns [F,3,3] = roll · yaw · pitch."""
    a, b, c = (np.radians(v) for v in (yaw_deg, pitch_deg, roll_deg))
    zero, one = np.zeros_like(a), np.ones_like(a)

    def matrix(*rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    yaw = matrix((np.cos(a), zero, np.sin(a)), (zero, one, zero), (-np.sin(a), zero, np.cos(a)))
    pitch = matrix((one, zero, zero), (zero, np.cos(b), -np.sin(b)), (zero, np.sin(b), np.cos(b)))
    roll = matrix((np.cos(c), -np.sin(c), zero), (np.sin(c), np.cos(c), zero), (zero, zero, one))
    return (roll @ yaw @ pitch).astype(np.float32)
