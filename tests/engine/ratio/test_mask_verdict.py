"""The second network's mask is believed over regions, not along the contour, and people are lit whole or not at all."""

import numpy as np
import pytest

from engine.ratio.mask_verdict import disagreement, opinion_of

SHAPE = (120, 160)


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.float32)
    mask[top:bottom, left:right] = 1
    return mask


ME, FACE = box(30, 120, 60, 110), np.array([[75, 40], [95, 40], [85, 60], [80, 50]], np.float32)
PASSER = box(50, 120, 5, 40)
PICTURE = np.where((ME > 0)[..., None], [0.7, 0.5, 0.4], [0.3, 0.4, 0.5]).astype(np.float32)
PICTURE[PASSER > 0] = (0.6, 0.1, 0.1)
THEIR_FACE = np.array([[15, 55], [30, 55], [22, 70], [20, 60]], np.float32)


def test_one_who_is_not_seen_makes_the_look_worthless() -> None:
    """Where the second network takes the followed face for the background, there is no opinion."""
    assert opinion_of(PASSER, ME, [FACE]) is None


@pytest.mark.parametrize(("share", "lit"), [(0.3, False), (0.7, True)])
def test_a_passer_by_is_lit_whole_or_left(share: float, lit: bool) -> None:
    """Somebody whom no tracker follows is the person's where the fast mask holds most of them, else nobody's."""
    fast = ME.copy()
    fast[50:120, 5 : 5 + round(35 * share)] = 1
    opinion = opinion_of(np.maximum(ME, PASSER), fast, [FACE])
    assert opinion is not None
    assert (opinion[PASSER > 0] == (1 if lit else 0)).all()
    said = disagreement(opinion, fast, PICTURE)
    wrong = (fast == 1) & (PASSER > 0) if not lit else (fast == 0) & (PASSER > 0)
    assert (said[wrong] == (1 if lit else -1)).mean() > 0.9


def test_one_whom_the_tracker_follows_is_lit() -> None:
    """A second followed face makes its whole person the fast mask's, of whom it holds a third."""
    fast = ME.copy()
    fast[50:120, 5:16] = 1
    opinion = opinion_of(np.maximum(ME, PASSER), fast, [FACE, THEIR_FACE])
    assert opinion is not None
    assert (disagreement(opinion, fast, PICTURE)[60:110, 20:36] == 1).all()


def test_a_followed_face_that_is_no_person_is_left_to_the_fast_mask() -> None:
    """A poster that the tracker follows and the second network calls a wall is as it is without that network."""
    fast = np.maximum(ME, PASSER)
    opinion = opinion_of(ME, fast, [FACE, THEIR_FACE])
    assert opinion is not None
    assert (disagreement(opinion, fast, PICTURE)[50:80, 10:35] == 0).all()


def test_crumbs_are_nobody() -> None:
    """A piece of a few cells says nothing."""
    crumb = box(10, 15, 20, 25)
    opinion = opinion_of(np.maximum(ME, crumb), ME, [FACE])
    assert opinion is not None
    assert not disagreement(opinion, ME, PICTURE).any()


@pytest.mark.parametrize("width", [4, 5])
def test_what_is_narrow_is_the_contours(width: int) -> None:
    """A strip of four cells along the contour is no region, one of five is."""
    fast = np.maximum(ME, box(30, 120, 110, 110 + width))
    assert disagreement(ME, fast, PICTURE).any() == (width == 5)


def test_clothes_of_the_persons_colour_stay_and_walls_of_the_walls_colour_are_not_added() -> None:
    """Where the second network errs, colours that both networks agree on tell."""
    sleeve, corner = box(80, 110, 112, 130), box(5, 25, 120, 150)
    picture = PICTURE.copy()
    picture[sleeve > 0] = picture[60, 70]
    fast = np.maximum(ME, sleeve)
    assert not disagreement(np.maximum(ME, corner), fast, picture).any()
    picture[sleeve > 0] = picture[0, 0]
    picture[corner > 0] = PICTURE[60, 70]
    said = disagreement(np.maximum(ME, corner), fast, picture)
    assert (said[85:105, 115:127] == -1).all()
    assert (said[8:22, 123:147] == 1).all()


def test_the_chest_below_a_face_is_not_taken_away() -> None:
    """A black apron that the second network calls background stays the person's."""
    picture, torn = PICTURE.copy(), ME.copy()
    picture[75:110, 78:92] = 0
    torn[75:110, 78:92] = 0
    opinion = opinion_of(torn, ME, [FACE])
    assert opinion is not None
    assert not disagreement(opinion, ME, picture).any()
