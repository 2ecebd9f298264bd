"""The iris network's file is looked for once per engine; where it cannot be had, portraits keep their gaze."""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

from lcvd.errors import ModelUnavailable
from lcvd.tracking.iris import IrisNetwork
from lcvd.tracking.models import model_path

log = logging.getLogger(__name__)


def iris_finder(directory: Path | None = None, download: bool = True) -> Callable[[], IrisNetwork | None]:
    """Return a function that makes a network, or None where its file cannot be had.

    `directory` and `download` are those of `lcvd.tracking.models.model_path`. A file that is not there is not looked
    for again, because fetching may take long and a stream waits for it.
    """

    @cache
    def found() -> Path | None:
        try:
            return model_path("iris_landmark", directory=directory, download=download)
        except ModelUnavailable as error:
            log.warning("portraits keep their gaze: %s", error)
            return None

    def make() -> IrisNetwork | None:
        path = found()
        return IrisNetwork(path, rests=True) if path is not None else None

    return make
