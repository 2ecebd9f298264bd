"""Runs a real server in its own process; it can be stopped and started again at the same address."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
UNVERIFIED = ssl._create_unverified_context()
WARM_UP_S = 180.0  # the first start on a fresh machine compiles every kernel


class Serving:
    """Runs `relight serve` on a free port of the loopback, with `environment` added to our own."""

    def __init__(self, log: Path, engine: str, places: int = 6, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"{'https' if 'RELIGHT_TLS' in environment else 'http'}://localhost:{self.port}/"
        self._log, self._engine, self._environment = log, engine, environment
        self._places = places
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once the server admits participants."""
        options = ["--port", str(self.port), "--engine", self._engine, "--max-sessions", str(self._places)]
        command = [sys.executable, "-m", "server.cli.main", "serve", *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "RELIGHT_STEP_DOWN": "false", **self._environment},
                stdout=log,
                stderr=log,
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Returns once the server admits participants; raises RuntimeError where it ended or took too long."""
        assert self._process is not None
        deadline = time.monotonic() + WARM_UP_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}:\n{self._log.read_text()}")
            try:
                with urllib.request.urlopen(f"{self.url}readyz", timeout=2, context=UNVERIFIED):
                    return
            except OSError:
                time.sleep(0.2)
        self.stop()
        raise RuntimeError(f"the server was not ready in {WARM_UP_S:.0f} s:\n{self._log.read_text()}")

    def ask(self, path: str, method: str = "GET") -> Any:
        """Returns the JSON of an answer, None where there is none; raises HTTPError for a refusal."""
        with urllib.request.urlopen(urllib.request.Request(self.url + path, method=method), timeout=300) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def ready_workers(self, count: int) -> list[dict[str, Any]]:
        """Waits until `count` workers are ready; returns them. Raises RuntimeError where there are fewer."""
        deadline = time.monotonic() + WARM_UP_S
        while len(found := [each for each in self.ask("api/workers") if each["ready"]]) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {len(found)} of {count} workers are ready:\n{self._log.read_text()}")
            time.sleep(0.1)
        return found

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class LateServing(Serving):
    """Runs tests.client_web.delayed_server in place of `relight serve`."""

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.client_web.delayed_server", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        self.wait_ready()

    def kill(self) -> None:
        """Ends the server as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None
