"""Builds canonical_face.npz: MediaPipe's face topology with a neutral shape of our own making.

    pip download --no-deps mediapipe==0.10.21 …; python -m lcvd.data.build_canonical_face mediapipe-0.10.21-*.whl

Shape: the landmark network's 3D answer to a public-domain portrait (NASA, `skimage.data.astronaut`), its flip and
small rotations and scales, rigidly aligned, averaged and made symmetric; the smile is relaxed first (`relaxed`).
Triangles: the 3-cycles of the wheel's tesselation edges (854, less 2 that enclose a smaller cycle) and a strip over
each eye and the mouth, marked as not skin. Needs scikit-image; run by hand, its result is committed.
"""

import itertools
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.optimize import linear_sum_assignment
from skimage.data import astronaut

from lcvd.data.face_topology import boundary, facets, loops, ordered, outward, read_topology, strip
from lcvd.face.geometry import CANONICAL_FILE, similarity
from lcvd.tracking.crop import roi_around
from lcvd.tracking.detector import BlazeFace
from lcvd.tracking.landmarks import LandmarkNetwork
from lcvd.tracking.models import model_path

EYE_DISTANCE_CM = 6.3  # mean adult interpupillary distance (Dodgson 2004)
NOSE_TIP, FOREHEAD, CHIN = 4, 10, 152
EYE_CORNERS = ((33, 133), (263, 362))
NOSE_TIP_CM = (0.0, -0.5, 7.6)  # puts the origin in the middle of the head
MOUTH_WIDTH_CM = 5.0  # at rest (Farkas 1994)
# Columns of the lips from one corner to the other: outer upper, inner upper, inner lower, outer lower.
LIP_COLUMNS = (
    *((185, 191, 95, 146), (40, 80, 88, 91), (39, 81, 178, 181)),
    *((37, 82, 87, 84), (0, 13, 14, 17), (267, 312, 317, 314)),
    *((269, 311, 402, 405), (270, 310, 318, 321), (409, 415, 324, 375)),
)
LIP_CORNERS = (61, 78, 291, 308)
# Landmarks that a smile does not move: eyes, nose, forehead, the outline.
FIXED = (
    *(10, 152, 148, 377, 150, 379, 172, 397, 58, 288, 132, 361, 93, 323, 234, 454, 127, 356),
    *(1, 2, 4, 98, 327, 33, 133, 263, 362, 145, 374, 117, 346, 168),
)


def main(wheel: Path) -> None:
    """Write the data file beside this script and print what was measured."""
    edges, outlines = read_topology(wheel)
    skin = facets(edges)
    answers = network_answers(np.array(skin, np.int32))
    mirror = mirror_pairs(aligned_mean([points for flip, points in answers if not flip]))
    # The network names points by the person's side, so a flipped portrait answers with left and right exchanged.
    shape = symmetrise(aligned_mean([points[mirror] if flip else points for flip, points in answers]), mirror)
    # The network, having learnt smiles as a whole, still sees a trace of one: relax its answer once more.
    shape[:, :2] = relaxed(shape[:, :2] * (1, -1)) * (1, -1)
    shape = (shape + (shape * (-1, 1, 1))[mirror]) / 2
    inner = next(loop for loop in loops(boundary(skin)) if 13 in loop)
    holes = [t for loop in loops(boundary(skin)) if 10 not in loop for t in strip(loop, shape)]
    triangles = outward(np.array(skin + holes, np.int32), shape)
    regions = {name: ordered(edge_set) for name, edge_set in outlines.items()}
    regions["inner_lips"] = np.array(inner, np.int32)
    np.savez_compressed(
        Path(__file__).with_name(CANONICAL_FILE),
        neutral=shape.astype(np.float32),
        triangles=triangles,
        skin_triangles=np.arange(len(triangles)) < len(skin),
        mirror=mirror,
        **{f"region_{name}": value for name, value in regions.items()},  # type: ignore[arg-type]
    )
    report(shape, triangles)


def network_answers(skin: NDArray[np.int32]) -> list[tuple[bool, NDArray]]:
    """(flipped, [468,3] y up) of every variant of the portrait; the flipped ones are already reflected back."""
    portrait = np.ascontiguousarray(astronaut()[:340, 60:400])
    detect = BlazeFace.short_range(model_path("face_detection_short_range"))
    network = LandmarkNetwork(model_path("face_landmark"))

    def look(image: NDArray) -> NDArray:
        roi = detect(image)[0].roi()
        for _ in range(4):
            points, _ = network(image, roi)
            dx, dy = points[263, :2] - points[33, :2]
            roi = roi_around(points, float(np.arctan2(dy, dx)))
        return points.astype(np.float64)

    points = look(portrait)
    portrait = warp(portrait, points[:, :2], relaxed(points[:, :2]), skin)
    samples: list[tuple[bool, NDArray]] = []
    for flip, angle, zoom in itertools.product((False, True), range(-15, 16, 3), (0.9, 1.0, 1.15, 1.4)):
        image = portrait[:, ::-1] if flip else portrait
        centre = (175.0 if flip else 165.0, 125.0)
        turn = cv2.getRotationMatrix2D(centre, angle, zoom)
        points = look(
            cv2.warpAffine(image, turn, (340, 340), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        ) * (1, -1, 1)
        samples.append((flip, points * (-1, 1, 1) if flip else points))
    return samples


def relaxed(points: NDArray) -> NDArray:
    """Move the landmarks [468,2] of a smile to closed, resting lips (everything above the nose stays)."""
    across = points[263] - points[33]
    unit = np.linalg.norm(across) / 8.8  # px per cm: outer eye corners of the canonical face
    x_axis = across / np.linalg.norm(across)
    axes = np.stack([x_axis, (-x_axis[1], x_axis[0])])  # right, down
    flat = (points - points[0]) @ axes.T / unit
    moves = {v: (0.0, 0.0) for v in FIXED}
    centre = flat[[61, 291], 0].mean()
    squeeze = min(1.0, MOUTH_WIDTH_CM / np.ptp(flat[[61, 291], 0])) - 1
    lip_line = np.mean([flat[up, 1] * 0.75 + flat[low, 1] * 0.25 for _, up, low, _ in LIP_COLUMNS[3:6]])
    for top, upper, lower, bottom in LIP_COLUMNS:
        # The lower lip comes up three times as far as the upper lip down; half of a smile's bow is levelled.
        meet = 0.75 * flat[upper, 1] + 0.25 * flat[lower, 1]
        meet += 0.5 * (lip_line - meet)
        for v, dy in (
            (top, 0.9 * (meet - flat[upper, 1])),
            (upper, meet - flat[upper, 1]),
            (lower, meet - flat[lower, 1] + 0.02),
            (bottom, 0.9 * (meet - flat[lower, 1])),
        ):
            moves[v] = (squeeze * (flat[v, 0] - centre), dy)
    for v in LIP_CORNERS:
        moves[v] = (squeeze * (flat[v, 0] - centre), 0.7 * (lip_line - flat[v, 1]))
    known = np.array(list(moves))
    smooth = RBFInterpolator(flat[known], np.array([moves[v] for v in known]), kernel="thin_plate_spline")
    shift = smooth(flat)
    for v in known:
        shift[v] = moves[v]
    return points + shift @ axes * unit


def warp(image: NDArray[np.uint8], src: NDArray, dst: NDArray, triangles: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Move every triangle of `image` from src to dst points [V,2]; the mouth, which has none, closes."""
    out = image.copy()
    for t in triangles:
        into = cv2.getAffineTransform(src[t].astype(np.float32), dst[t].astype(np.float32))
        x, y, w, h = cv2.boundingRect(np.ceil(dst[t]).astype(np.int32))
        x, y, w, h = x - 1, y - 1, w + 2, h + 2
        into[:, 2] -= (x, y)
        piece = cv2.warpAffine(image, into, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mask = np.zeros((h, w), np.uint8)
        cv2.fillConvexPoly(mask, np.round(dst[t] - (x, y)).astype(np.int32), 1)
        area = out[y : y + h, x : x + w]
        area[mask > 0] = piece[mask > 0]
    return out


def mirror_pairs(shape: NDArray) -> NDArray[np.int32]:
    """Return [V] the vertex across the face, by the cheapest matching of the shape with its reflection.

    By geometry, because a few quads of the tesselation are cut along different diagonals on the two sides.
    """
    ends, others = [33, 61, 234, 10, 152, 4], [263, 291, 454, 10, 152, 4]
    reflected = shape * (-1, 1, 1)
    s = similarity(reflected[ends], shape[others])
    for _ in range(5):
        moved = s.scale * reflected @ s.rotation.T + s.translation
        cost = ((moved[:, None] - shape[None]) ** 2).sum(-1)
        pairs = linear_sum_assignment(cost + cost.T)[1]
        s = similarity(reflected, shape[pairs])
    if not np.array_equal(pairs[pairs], np.arange(len(shape))):
        raise SystemExit("mirror pairs are not an involution")
    return pairs.astype(np.int32)


def aligned_mean(samples: list[NDArray]) -> NDArray:
    """Return the mean after similarity alignment (generalised Procrustes, Gower 1975)."""
    mean = samples[0]
    for _ in range(5):
        moved = []
        for sample in samples:
            s = similarity(sample, mean)
            moved.append(s.scale * sample @ s.rotation.T + s.translation)
        mean = np.mean(moved, 0)
    return mean


def symmetrise(shape: NDArray, mirror: NDArray[np.int32]) -> NDArray:
    """Make the shape symmetric, in the canonical pose and scale (see lcvd.face.geometry)."""
    # Two reflections of one shape: their mean, after alignment, is symmetric about some plane; rotate it to x = 0.
    other = (shape * (-1, 1, 1))[mirror]
    s = similarity(other, shape)
    both = (shape + s.scale * other @ s.rotation.T + s.translation) / 2
    across = (both - both[mirror])[both[mirror][:, 0] < both[:, 0]]
    x_axis = np.linalg.svd(across)[2][0]
    x_axis *= np.sign(x_axis[0])
    up = both[FOREHEAD] - both[CHIN]
    y_axis = up - x_axis * (up @ x_axis)
    y_axis /= np.linalg.norm(y_axis)
    axes = np.stack([x_axis, y_axis, np.cross(x_axis, y_axis)])
    posed = (both - both[NOSE_TIP]) @ axes.T
    posed = (posed + (posed * (-1, 1, 1))[mirror]) / 2
    eyes = [posed[list(pair)].mean(0) for pair in EYE_CORNERS]
    posed *= EYE_DISTANCE_CM / np.linalg.norm(eyes[0] - eyes[1])
    return posed + NOSE_TIP_CM


def report(shape: NDArray, triangles: NDArray[np.int32]) -> None:
    """Print the proportions of the face in cm, for a comparison with published ones."""
    cheek = shape[[205, 425]].mean(0)
    print(f"vertices {len(shape)}, triangles {len(triangles)}")
    print(
        f"width {np.ptp(shape[:, 0]):.1f}, height {shape[FOREHEAD, 1] - shape[CHIN, 1]:.1f}, "
        f"depth {np.ptp(shape[:, 2]):.1f} cm"
    )
    tip = shape[NOSE_TIP, 2]
    print(f"nose tip over cheek {tip - cheek[2]:.2f}, root {tip - shape[168, 2]:.2f}, base {tip - shape[2, 2]:.2f} cm")
    print(f"mouth width {np.ptp(shape[[61, 291], 0]):.2f} cm, opening {shape[13, 1] - shape[14, 1]:.2f} cm")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
