"""The kept key: made once, for its owner alone, and refused where others can read it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.errors import StateError
from server.security.secret import FILE, kept_key, lasting_key, signing_key
from server.settings import Settings


def test_the_key_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    """Several processes that start at the same moment agree on one; folder and file are nobody else's."""
    folder = tmp_path / "new" / "folder"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: kept_key(folder / FILE), range(16)))
    assert len(keys) == 1
    assert len(keys.pop()) == 64
    assert [path.name for path in folder.iterdir()] == [FILE]
    if os.name == "posix":
        assert (folder / FILE).stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700


def test_which_key_signs(tmp_path: Path) -> None:
    """One's own secret first, then the kept one; without either, another one for each process, and no file."""
    settings = Settings(state_dir=tmp_path)
    assert signing_key(settings) != signing_key(settings)
    assert not list(tmp_path.iterdir())
    private = Settings(private=True, state_dir=tmp_path)
    assert signing_key(private) == signing_key(private) == lasting_key(settings)
    own = Settings(private=True, secret="s" * 32, state_dir=tmp_path)
    assert signing_key(own) == b"s" * 32
    assert "sss" not in repr(own)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The file, its mode and the remedy are named."""
    kept_key(tmp_path / FILE)
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(StateError, match=r"signing-secret can be read by others \(mode 644\)") as found:
        kept_key(tmp_path / FILE)
    assert "chmod 600" in found.value.hint


def test_a_key_that_was_cut_off_and_a_folder_that_is_a_file_are_errors(tmp_path: Path) -> None:
    """Both say what to do; a short key signs nothing."""
    path = tmp_path / FILE
    path.touch(0o600)
    path.write_bytes(b"short")
    with pytest.raises(StateError, match="holds no key"):
        kept_key(path)
    with pytest.raises(StateError, match="cannot be") as found:
        kept_key(path / FILE)
    assert "RELIGHT_STATE_DIR" in found.value.hint
