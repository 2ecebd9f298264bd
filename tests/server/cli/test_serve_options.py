"""`relight serve`: what its options say to the server."""

from typing import Any

import pytest
from typer.testing import CliRunner

from server.cli.main import app
from server.http import serve


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], {}),
        (["--private"], {"private": True}),
        (["--open", "--host", "::"], {"open": True, "host": "::"}),
        (["--tls", "self-signed"], {"tls": ["self-signed"]}),
        (["--tls", "cert.pem", "key.pem", "--port", "1"], {"tls": ["cert.pem", "key.pem"], "port": 1}),
        (["--port", "1", "--tls=cert.pem", "key.pem"], {"tls": ["cert.pem", "key.pem"], "port": 1}),
    ],
)
def test_options_become_settings(monkeypatch: pytest.MonkeyPatch, arguments: list[str], given: dict[str, Any]) -> None:
    """What is not given is left to the environment; --tls takes one word or two."""
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr(serve, "run", lambda overrides, front: heard.append(overrides) or 0)
    assert CliRunner().invoke(app, ["serve", *arguments]).exit_code == 0
    assert heard == [given]


def test_a_word_too_many_is_refused() -> None:
    """A key needs its certificate."""
    result = CliRunner().invoke(app, ["serve", "key.pem"], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert "'key.pem' is not expected" in result.output
