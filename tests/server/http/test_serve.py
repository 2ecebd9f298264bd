"""`relight serve`: what it refuses, what it says once it runs, and how it ends while still warming up."""

import asyncio
import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from server.http import announcement
from server.http.access import AccessControl
from server.http.serve import run
from server.settings import Settings

SERVING = """
import sys, time
from engine.errors import EngineUnavailable
from engine.passthrough import PassthroughEngine
from server.http.serve import run


class Slow(PassthroughEngine):
    name = "ratio"

    def warmup(self):
        print("compiling", flush=True)
        time.sleep(60)


def slow(name):
    return Slow()


def broken(name):
    if name == "ratio":
        raise EngineUnavailable("the [models] are missing", "relight doctor --download")
    return PassthroughEngine()


sys.exit(run({"port": int(sys.argv[2])}, globals()[sys.argv[1]]))
"""


@contextlib.contextmanager
def serving(maker: str, port: int = 0) -> Iterator[subprocess.Popen]:
    """Runs `relight serve` in a process of its own, with the engines of `maker`."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVING, maker, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "60"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_announcement_names_the_engine_that_runs_and_why() -> None:
    """The fallback for an engine that cannot run, and the reason, are printed, each on one line."""
    with serving("broken") as process:
        assert process.stdout is not None
        why, ready = process.stdout.readline(), process.stdout.readline()
    assert "ratio cannot run: the [models] are missing" in why
    assert "engine passthrough ready at http://localhost:" in ready
    assert "ratio" not in ready


async def test_sigterm_ends_a_server_that_is_still_warming_up() -> None:
    """A warm-up takes as long as a compiler or a download; the end does not wait for it."""
    with serving("slow") as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "compiling\n"
        then = time.monotonic()
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 20)
        assert time.monotonic() - then < 5  # the promise itself, not a measure of speed
        assert "ready" not in process.stdout.read()


def test_a_port_is_taken_from_the_first_moment_on() -> None:
    """A second server hears of the first even while that one is only warming up."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with serving("slow", port) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert run({"port": port}) == 2


def test_an_engine_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt engine is an error with the legal names, not a silent fallback."""
    assert run({"engine": "ration", "port": 0}) == 2
    assert "ratio, avatar, lcvd, passthrough" in capsys.readouterr().err


def test_a_list_that_is_no_json_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A variable that should be JSON is an error with the remedy."""
    monkeypatch.setenv("RELIGHT_ALLOWED_ORIGINS", "https://meet.example.org")
    assert run({}) == 2
    shown = capsys.readouterr().err
    assert "allowed_origins" in shown
    assert '["https://example.org"]' in shown


def test_a_misspelt_variable_is_warned_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """RELIGHT_PROT changes nothing, and says so instead of nothing."""
    monkeypatch.setenv("RELIGHT_PROT", "9000")
    monkeypatch.setenv("RELIGHT_LOG_LEVEL", "info")
    assert run({"host": "192.0.2.1"}) == 2  # an address that is not ours: it ends there
    shown = capsys.readouterr().err
    assert "RELIGHT_PROT is no setting of the server" in shown
    assert "RELIGHT_LOG_LEVEL" not in shown


def test_the_avatars_weights_and_backend_are_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """`relight serve --engine lcvd --weights … --backend …` overrides the settings of these names."""
    from typer.testing import CliRunner

    from server.cli.main import app

    given: list[dict] = []
    monkeypatch.setattr("server.http.serve.run", lambda overrides, front: given.append(overrides) or 0)
    result = CliRunner().invoke(app, ["serve", "--engine", "lcvd", "--weights", "tiny", "--backend", "eager"])
    assert result.exit_code == 0, result.output
    assert given == [{"engine": "lcvd", "lcvd_weights": "tiny", "lcvd_backend": "eager"}]
    assert Settings(**given[0]).lcvd_backend == "eager"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "relight.example"])
def test_beyond_loopback_it_must_be_told_who_may_come_in(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The host, and all ways to go on, are named; nothing was bound or warmed up."""
    assert run({"host": host, "port": 0}) == 2
    shown = capsys.readouterr().err
    assert f"host {host!r} admits other machines" in shown
    assert all(way in shown for way in ("--private", "RELIGHT_TOKEN", "--open"))
    assert "warming up" not in shown


@pytest.mark.parametrize("way", [{"private": True}, {"open": True}, {"token": ["t"]}, {"secret": "s" * 32}])
def test_each_way_of_saying_so_is_enough(way: dict, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The server gets as far as an address that is not ours."""
    assert run({"host": "192.0.2.1", "state_dir": tmp_path, **way}) == 2
    assert "cannot listen on 192.0.2.1" in capsys.readouterr().err


def test_open_and_private_contradict_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither wins by accident."""
    assert run({"open": True, "token": ["hush"]}) == 2
    shown = capsys.readouterr().err
    assert "choose one" in shown
    assert "hush" not in shown


def test_a_short_secret_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """HS256 wants as many bytes as its hash has."""
    monkeypatch.setenv("RELIGHT_SECRET", "hush-hush")
    assert run({}) == 2
    shown = capsys.readouterr().err
    assert "setting secret" in shown
    assert "32" in shown
    assert "hush" not in shown


def test_a_state_folder_or_certificate_that_cannot_be_used_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Before anything is bound; in words."""
    (tmp_path / "file").touch()
    assert run({"private": True, "state_dir": tmp_path / "file"}) == 2
    assert "RELIGHT_STATE_DIR" in capsys.readouterr().err
    assert run({"tls": ["no.pem", "no.key"]}) == 2
    assert "no.pem is no file" in capsys.readouterr().err


def test_the_announcement_has_the_link_for_one_use_and_the_certificate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of all addresses: this machine's own first, then one for another device, and a QR code on a terminal alone."""
    monkeypatch.setattr(announcement, "lan_addresses", lambda: ["192.168.1.5", "10.0.0.1"])
    settings = Settings(host="0.0.0.0", private=True, tls=["self-signed"], state_dir=tmp_path)
    access = AccessControl(settings)
    shown = []
    for terminal in (False, True):
        console = Console(
            file=io.StringIO(), force_terminal=terminal, soft_wrap=True, highlight=False, color_system=None
        )
        announcement.Announcement(settings, 8080, "AB:CD").show(console, access)
        shown.append(console.file.getvalue())
    assert re.search(r"within 60 minutes: https://localhost:8080/#join=[\w.-]+\n", shown[0])
    assert re.search(r"from another device: https://192\.168\.1\.5:8080/#join=[\w.-]+\n", shown[0])
    assert "SHA-256 AB:CD" in shown[0]
    assert "█" not in shown[0]
    assert "█" in shown[1]
    token = shown[0].split("#join=")[1].split()[0]
    access.check({"authorization": f"Bearer {token}"}, "join")


def test_without_signed_tokens_the_announcement_has_no_link() -> None:
    """A shared secret is known to whoever set it, and is not printed."""
    settings = Settings(host="::1", token=["hush-hush"])
    console = Console(file=io.StringIO())
    made = announcement.Announcement(settings, 8080)
    made.show(console, AccessControl(settings))
    assert console.file.getvalue() == ""
    assert made.urls == ["http://localhost:8080"]
