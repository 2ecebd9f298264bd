"""Shared by every test: the public-domain sample portrait as a real face."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest

with contextlib.suppress(ImportError):  # Windows has no such limits
    import resource

    # Janus and Chromium may crash when a test stops them: what tests start leaves no core file in the checkout.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

# Servers of the tests fetch nothing beside the frames, and pictures do not depend on when a second look ends.
os.environ["RELIGHT_PARTS"] = "off"


@pytest.fixture(autouse=True)
def _unforeseen_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line puts what it did not foresee into a sentence; in tests it comes through and fails them."""
    monkeypatch.setenv("RELIGHT_TRACEBACK", "1")


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """The page's sample portrait, RGB uint8 [512,512,3]."""
    import cv2

    path = Path(__file__).resolve().parent.parent / "client_web" / "sample" / "portrait.jpg"
    image = cv2.imread(str(path))
    assert image is not None, f"{path} is missing"
    return np.ascontiguousarray(image[:, :, ::-1])
