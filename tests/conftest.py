"""Shared by every test: the public-domain sample portrait as a real face; and which tests stay together.

`make test` runs two workers. A file stays with one (its fixtures are made once), and so do all that drive the browser:
two Chromiums at once would leave neither a frame rate.
"""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The group of each test, for `--dist loadgroup`."""
    for item in items:
        browser = "client_web" in item.path.parts
        item.add_marker(pytest.mark.xdist_group("browser" if browser else item.path.stem))
