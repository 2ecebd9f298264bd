"""Shared by every test: the public-domain sample portrait as a real face."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """The page's sample portrait, RGB uint8 [512,512,3]."""
    import cv2

    path = Path(__file__).resolve().parent.parent / "client_web" / "sample" / "portrait.jpg"
    image = cv2.imread(str(path))
    assert image is not None, f"{path} is missing"
    return np.ascontiguousarray(image[:, :, ::-1])
