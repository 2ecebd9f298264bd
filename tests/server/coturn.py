"""Runs a real coturn on loopback, with the options of compose.yaml that matter: passwords that expire, one secret."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SECRET = "a-secret-that-two-programs-share"
START_S = 15.0

needs_coturn = pytest.mark.skipif(
    shutil.which("turnserver") is None, reason="coturn is not here: sh tests/install_coturn.sh"
)


@contextlib.contextmanager
def coturn(folder: Path) -> Iterator[str]:
    """Yields the address of a TURN server, turn:127.0.0.1:PORT, that listens on UDP and TCP; files lie in `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--allow-loopback-peers", f"--listening-port={port}"]
    options += ["--use-auth-secret", f"--static-auth-secret={SECRET}", "--realm=relight", "--fingerprint"]
    options += ["--no-tls", "--no-dtls", "--no-cli", "--log-file=stdout", f"--pidfile={folder / 'coturn.pid'}"]
    options += [f"--userdb={folder / 'coturn.sqlite'}", "-c", "/dev/null"]
    with (folder / "coturn.log").open("w") as log:
        process = subprocess.Popen(["turnserver", *options], stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        deadline_s = time.monotonic() + START_S
        while not _listens(port):
            said = (folder / "coturn.log").read_text()
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise AssertionError(f"coturn does not listen:\n{said}")
            time.sleep(0.05)
        yield f"turn:127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True
