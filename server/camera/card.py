"""The card that is shown while there is no camera: a camera crossed out, and one line that says why."""

import cv2
import numpy as np
from numpy.typing import NDArray

GROUND, INK, DIM = (22, 24, 29), (164, 170, 182), (255, 184, 77)  # the page's dark theme and its accent
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_card(width: int, height: int, text: str) -> NDArray[np.uint8]:
    """Returns RGB uint8 [height,width,3]; `text` in ASCII is scaled to fit in one line."""
    scale = 2  # drawn at twice the size, since OpenCV's lines are only then smooth
    card = np.full((height * scale, width * scale, 3), GROUND, np.uint8)
    unit = min(width, height) * scale / 24
    middle = np.array([width * scale / 2, height * scale * 0.43])
    thick = max(1, round(unit / 4))

    def at(x: float, y: float) -> tuple[int, int]:
        return round(middle[0] + x * unit), round(middle[1] + y * unit)

    cv2.rectangle(card, at(-3.4, -2.2), at(1.6, 2.2), INK, thick, cv2.LINE_AA)
    cv2.polylines(
        card, [np.array([at(1.6, -0.8), at(3.6, -1.9), at(3.6, 1.9), at(1.6, 0.8)])], True, INK, thick, cv2.LINE_AA
    )
    cv2.line(card, at(-4.2, 3.2), at(4.2, -3.2), GROUND, 3 * thick, cv2.LINE_AA)
    cv2.line(card, at(-4.2, 3.2), at(4.2, -3.2), DIM, thick, cv2.LINE_AA)
    (wide, _), _ = cv2.getTextSize(text, FONT, 1.0, 1)
    size = min(unit / 22, 0.86 * card.shape[1] / max(1, wide))
    cv2.putText(
        card,
        text,
        at(0, 6.2) if not text else (round(middle[0] - wide * size / 2), at(0, 6.2)[1]),
        FONT,
        size,
        INK,
        max(1, round(size * 1.6)),
        cv2.LINE_AA,
    )
    return np.asarray(cv2.resize(card, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
