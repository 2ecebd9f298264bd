"""Unit vectors toward a light: from angles, the shortest rotation between two, and interpolation."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Direction = tuple[float, float, float]


def unit(vector: ArrayLike) -> Direction:
    """Normalise the vector [3] to length 1, as plain floats."""
    v = np.asarray(vector, np.float64)
    x, y, z = v / np.linalg.norm(v)
    return float(x), float(y), float(z)


def direction_from_angles(azimuth_deg: float, elevation_deg: float) -> tuple[float, float, float]:
    """Return the unit vector to a light: azimuth 0 camera, +90 picture right, ±180 behind; elevation +90 above."""
    az, el = np.radians(azimuth_deg), np.radians(elevation_deg)
    return unit((np.sin(az) * np.cos(el), np.sin(el), np.cos(az) * np.cos(el)))


def rotation_between(start: ArrayLike, end: ArrayLike) -> NDArray[np.float64]:
    """Shortest rotation [3,3] with R start = end (unit vectors); opposite vectors turn about the vertical."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    v, c = np.cross(a, b), float(a @ b)
    if c < -1 + 1e-9:
        # Any axis across `a` does; the vertical keeps the floor down, unless `a` itself is vertical.
        axis = np.cross(a, (1.0, 0, 0)) if abs(a[1]) > 0.9 else np.array([0.0, 1, 0]) - a[1] * a
        axis /= np.linalg.norm(axis)
        return 2 * np.outer(axis, axis) - np.eye(3)
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + k + k @ k / (1 + c)


_WAYPOINT = (0.0, 0.35, 1.0)  # a little above the camera


def interpolate_direction(start: Direction, end: Direction, v: float) -> Direction:
    """Direction at v in [0,1] on the great circle; nearly opposite ends have no shortest one and pass by the camera."""
    if start == end:
        return end
    if np.dot(start, end) > -0.94:  # within 160°
        return _slerp(start, end, v)
    middle = unit(_WAYPOINT)
    first = np.arccos(np.clip(np.dot(start, middle), -1, 1))
    second = np.arccos(np.clip(np.dot(middle, end), -1, 1))
    turn = first / (first + second)
    return _slerp(start, middle, v / turn) if v < turn else _slerp(middle, end, (v - turn) / (1 - turn))


def _slerp(start: Direction, end: Direction, v: float) -> Direction:
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    angle = np.arccos(np.clip(a @ b, -1, 1))
    if angle < 1e-4:
        return unit(lerp(a, b, v))
    return unit((np.sin((1 - v) * angle) * a + np.sin(v * angle) * b) / np.sin(angle))


def lerp(a: ArrayLike, b: ArrayLike, v: float) -> NDArray[np.float64]:
    """Interpolate linearly: a at v = 0, b at v = 1; any shape."""
    return np.asarray(a, np.float64) * (1 - v) + np.asarray(b, np.float64) * v
