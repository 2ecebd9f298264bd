"""The parts of a front that need no process: states on the wire, the directory, what is said where Ray is missing."""

import asyncio
import json
import sys

import numpy as np
import pytest

from server.cluster.directory import Directory
from server.cluster.forward import SESSION_FIELD, SESSION_JSON
from server.cluster.hang import Hang
from server.cluster.launcher import Launched
from server.cluster.state_message import decoded, encoded, merged
from server.cluster.worker import Worker
from server.cluster.worker_app import WorkerStatus
from server.errors import WorkersUnavailable
from server.session.saved_state import SavedState
from server.settings import Settings
from tests.server.session.test_resume import PORTRAIT, chosen, comparable


def worker(number: int = 0) -> Worker:
    """Returns a worker that nobody runs."""
    return Worker(number, Launched("http://127.0.0.1:9", "0", lambda: None, lambda: None), "secret")


def test_a_state_goes_to_another_worker_whole() -> None:
    """Light, portrait and all else are what they were; a later message without pictures keeps those of before."""
    state = SavedState(chosen(), "a-view")
    first = merged(None, encoded(state))
    assert comparable(decoded(first)) == comparable(state)
    renamed = SavedState(state.requested, "another-view")
    message = encoded(renamed, pictures=False)
    assert len(message) < len(encoded(state)) - PORTRAIT.nbytes
    second = decoded(merged(first, message))
    assert second.view == "another-view"
    assert np.array_equal(second.requested.avatar.portrait_rgb, PORTRAIT)


@pytest.mark.parametrize("message", [b"[1]", b"{", b'{"view": 3}', b"\xff"])
def test_what_is_no_state_raises_a_value_error(message: bytes) -> None:
    """A worker's broken message is a fault that is named, never half a state."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        decoded(merged(None, message))


async def test_lost_sessions_are_kept_for_a_while_and_within_bytes() -> None:
    """A session that left is forgotten at once, a lost one after its time; the oldest make room for newer portraits."""
    directory = Directory(keep_s=60, max_bytes=3 * PORTRAIT.nbytes)
    one = worker()
    known = [directory.add(name, one, f"view-{name}") for name in "abc"]
    assert one.sessions == {"a", "b", "c"}
    assert directory.find("view-b") is known[1]
    directory.leave(known[0], lost=False)
    assert directory.get("a") is None
    for each in known[1:]:
        await each.update(encoded(SavedState(chosen(), each.view)))
        directory.leave(each, lost=True)
    assert directory.get("b") is None, "two portraits do not fit"
    assert directory.get("c") is known[2]
    assert not one.sessions
    brief = Directory(keep_s=0.01)
    gone = brief.add("d", one, "view-d")
    brief.leave(gone, lost=True)
    async with asyncio.timeout(5):
        while brief.get("d") is not None:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ['"session"', "'session'"])
def test_the_session_is_found_in_bodies(name: str) -> None:
    """Multipart forms and JSON name it; a picture that happens to hold such bytes later does not win."""
    form = (
        b'--b\r\nContent-Disposition: form-data; name="session"\r\n\r\nabc123\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        b'name="session"\r\n\r\nother\r\n--b--\r\n'
    )
    assert SESSION_FIELD.search(form)[1] == b"abc123"
    assert SESSION_JSON.search(json.dumps({"for_s": 60, "session": "abc123"}).encode())[1] == b"abc123"
    assert SESSION_JSON.search(name.encode()) is None


def test_without_ray_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is asked for workers and has no Ray says what to install."""
    from server.cluster.ray_launcher import RayLauncher

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkersUnavailable, match="Ray is not installed") as refused:
        RayLauncher(Settings(workers="2"), "secret")
    assert refused.value.hint == "pip install -e '.[cluster]'"


def test_a_busy_worker_is_not_taken_for_one_that_hangs() -> None:
    """Silence with CPU time used is borne five times longer than silence without; an answer begins anew."""
    hang = Hang(timeout_s=1.0, now_s=0.0)
    assert not hang.silent(10.0, 0.5)
    assert hang.silent(10.0, 1.0), "stopped"
    hang.answered(2.0)
    assert not hang.silent(10.0, 2.5)
    looks = [(10.0 + t / 2, 2.0 + t) for t in (1.0, 2.0, 3.0, 4.0, 4.9)]
    assert not any(hang.silent(*look) for look in looks), "busy"
    assert hang.silent(12.5, 7.0), "busy for too long"
    unknown = Hang(timeout_s=1.0, now_s=0.0)
    assert [unknown.silent(None, t) for t in (1.0, 2.0, 4.9, 5.0)] == [False, False, False, True]


def test_a_body_that_nearly_names_a_session_costs_no_time() -> None:
    """The search is bounded, else a few megabytes stop the front for hours."""
    assert SESSION_FIELD.search(b'name="session"\r\n' * 2**17) is None


async def test_publications_that_ended_by_themselves_are_forgotten() -> None:
    """The worker's status says so; one that began after the question was asked stays."""
    directory, one = Directory(keep_s=60), worker()
    directory.add("ended", one, "v1", published=True)
    directory.add("alive", one, "v2", published=True)
    asked = set(one.sessions)
    directory.add("newer", one, "v3", published=True)
    directory.add("socket", one, "v4")
    one.status = WorkerStatus(sessions=["alive"])
    directory.prune(one, asked)
    assert one.sessions == {"alive", "newer", "socket"}
    one.gone.set()
    directory.prune(one, set(one.sessions))
    assert one.sessions == {"socket"}


async def test_a_session_is_taken_once() -> None:
    """Of two who resume the same name one gets it; what was taken in vain is kept again."""
    directory, one = Directory(keep_s=60), worker()
    known = directory.add("a", one, "view")
    assert directory.take("a") is known
    assert directory.take("a") is None
    directory.put_back(known)
    assert directory.take("a") is known
