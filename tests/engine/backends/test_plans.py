"""engine.backends.plans: keys, the store, what is refused and why. Needs no torch."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import fields, replace

import pytest

pytest.importorskip("filelock", reason="comes with torch")

from engine.backends.plans import (
    PlanKey,
    PlanMismatch,
    PlanMissing,
    PlanStore,
    Verification,
    read_plan,
)

KEY = PlanKey(
    module="unet",
    inputs=(("sample", (2, 16, 8, 64, 64)), ("ids", (2, 3))),
    precision="fp8",
    dtype="fp16",
    runtime="tensorrt",
    weights="0123456789abcdef",
    runtime_version="11.0.0",
    arch="sm_90 NVIDIA H200",
    torch="2.13.0",
    diffusers="0.42.1",
)
SEEN = Verification(0.9999, 0.01, 2.0, 0.999, 0.05)
OTHER = {"inputs": (("sample", (1, 16, 8, 64, 64)),), "recipe": 99}


def written(store: PlanStore, key: PlanKey = KEY, content: bytes = b"engine"):
    with store.writing(key) as draft:
        (draft.folder / "plan.engine").write_bytes(content)
        return draft.finish(SEEN)


def test_a_name_is_deterministic_and_readable() -> None:
    """The same key gives the same folder in every process, and a person can read what it is for."""
    assert KEY.stem == "unet-2x16x8x64x64-fp8-fp16-tensorrt"
    assert KEY.name == "unet-2x16x8x64x64-fp8-fp16-tensorrt-" + KEY.name[-12:]
    code = f"from engine.backends.plans import PlanKey; print({KEY!r}.name)"
    seen = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert seen.stdout.strip() == KEY.name


@pytest.mark.parametrize("name", [field.name for field in fields(PlanKey)])
def test_every_field_counts(name: str) -> None:
    """A key that differs in one field has another name, and says which field."""
    other = replace(KEY, **{name: OTHER.get(name, "another")})
    assert other.name != KEY.name
    (difference,) = other.differences(KEY)
    assert difference.startswith(f"{name} is ")


def test_a_plan_is_found_as_it_was_written(tmp_path) -> None:
    """Record and files come back."""
    store = PlanStore(tmp_path)
    plan = written(store)
    found = store.find(KEY)
    assert found == plan
    assert (found.folder / "plan.engine").read_bytes() == b"engine"
    assert (found.bytes, found.verification) == (6, SEEN)
    assert store.plans() == [plan]


def test_a_missing_plan_is_named(tmp_path) -> None:
    """Nothing of this module, shape and precision."""
    with pytest.raises(PlanMissing, match=KEY.stem):
        PlanStore(tmp_path / "never made").find(KEY)


@pytest.mark.parametrize("name", ["weights", "runtime_version", "arch", "torch", "recipe"])
def test_a_plan_for_something_else_says_for_what(tmp_path, name: str) -> None:
    """The field that differs, with both values."""
    store = PlanStore(tmp_path)
    other = replace(KEY, **{name: OTHER.get(name, "another")})
    written(store, other)
    with pytest.raises(PlanMismatch, match=f"{name} is .*{OTHER.get(name, 'another')}.*here it is") as caught:
        store.find(KEY)
    assert str(getattr(KEY, name)) in caught.value.message


@pytest.mark.parametrize("damage", ["changed", "deleted", "record cut", "record of another"])
def test_a_damaged_plan_is_refused(tmp_path, damage: str) -> None:
    """A changed byte, a lost file, half a record."""
    store = PlanStore(tmp_path)
    plan = written(store)
    file, record = plan.folder / "plan.engine", plan.folder / "plan.json"
    if damage == "changed":
        file.write_bytes(b"enginf")
    elif damage == "deleted":
        file.unlink()
    elif damage == "record cut":
        record.write_text(record.read_text()[:100])
    else:
        other = written(store, replace(KEY, arch="sm_89 NVIDIA GeForce RTX 4090"))
        record.write_text((other.folder / "plan.json").read_text())
    with pytest.raises(PlanMismatch, match=r"sha256 of plan\.engine|not readable|arch is"):
        store.find(KEY)


def test_an_error_while_building_leaves_nothing(tmp_path) -> None:
    """No plan, no draft."""
    store = PlanStore(tmp_path)

    def fail() -> None:
        with store.writing(KEY) as draft:
            (draft.folder / "plan.engine").write_bytes(b"half")
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    assert store.folders() == []
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_kill_leaves_no_half_plan(tmp_path) -> None:
    """SIGKILL in the middle of a build: nothing to find, the lock is free, and the next build clears the draft away."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from engine.backends.plans import PlanKey, PlanStore\n"
        f"with PlanStore(Path(sys.argv[1])).writing({KEY!r}) as draft:\n"
        "    (draft.folder / 'plan.engine').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60)
    assert ended.returncode == -signal.SIGKILL
    store = PlanStore(tmp_path)
    drafts = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(drafts) == 1
    assert store.folders() == []
    with pytest.raises(PlanMissing):
        store.find(KEY)
    written(store)
    assert store.find(KEY).bytes == 6
    assert not drafts[0].exists()


def test_one_builder_at_a_time(tmp_path) -> None:
    """A second one of the same plan waits for the first, and then finds it; another plan's does not wait."""
    store, first_in, let_go, found = PlanStore(tmp_path), threading.Event(), threading.Event(), []

    def first() -> None:
        with store.writing(KEY) as draft:
            first_in.set()
            let_go.wait(20)
            (draft.folder / "plan.engine").write_bytes(b"first")
            draft.finish(SEEN)

    def second() -> None:
        with PlanStore(tmp_path).writing(KEY):
            found.append(store.find(KEY))

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert first_in.wait(20)
    threads[1].start()
    written(store, replace(KEY, arch="sm_89"))
    assert found == []
    let_go.set()
    for thread in threads:
        thread.join(20)
    assert [(plan.folder / "plan.engine").read_bytes() for plan in found] == [b"first"]


def test_a_finished_plan_replaces_a_damaged_one(tmp_path) -> None:
    """Building again repairs."""
    store = PlanStore(tmp_path)
    (written(store).folder / "plan.engine").unlink()
    written(store, content=b"again!")
    assert (store.find(KEY).folder / "plan.engine").read_bytes() == b"again!"


def test_remove_takes_the_name_first(tmp_path, monkeypatch) -> None:
    """Nobody finds half a plan, even if the files outlive the deletion."""
    store = PlanStore(tmp_path)
    plan = written(store)
    monkeypatch.setattr("engine.backends.plans.shutil.rmtree", lambda *_a, **_k: None)
    store.remove(plan.folder)
    assert store.folders() == []
    assert not plan.folder.exists()


@pytest.mark.parametrize(
    ("seen", "good"),
    [
        (SEEN, True),
        (replace(SEEN, cosine=0.998), False),
        (replace(SEEN, max_error=0.11), False),
        (replace(SEEN, cosine=float("nan")), False),
        (replace(SEEN, max_error=float("nan")), False),
    ],
)
def test_verification_passes_within_both_limits(seen: Verification, good: bool) -> None:
    """Cosine and largest error; a nan never passes."""
    assert seen.passed is good


def test_plans_listing_passes_over_an_unreadable_record(tmp_path) -> None:
    """One broken folder does not hide the others."""
    store = PlanStore(tmp_path)
    plan = written(store)
    (tmp_path / "stray").mkdir()
    assert store.plans() == [plan]
    assert [folder.name for folder in store.folders()] == ["stray", plan.folder.name]
    with pytest.raises(PlanMismatch, match="stray"):
        read_plan(tmp_path / "stray")
    assert os.listdir(tmp_path / "stray") == []
