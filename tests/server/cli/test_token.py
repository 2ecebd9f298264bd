"""`relight token`: what it prints is what a server with the same key admits."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli.main import app
from server.errors import BadMessage, Forbidden
from server.http.access import AccessControl
from server.settings import Settings

SECRET = "0123456789abcdef0123456789abcdef"


def ask(*arguments: str) -> str:
    """The standard output of the command."""
    result = CliRunner().invoke(app, ["token", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_a_server_with_the_kept_key_admits_what_was_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The key is made by whichever comes first; a token of one scope does not reach further."""
    monkeypatch.setenv("RELIGHT_STATE_DIR", str(tmp_path))
    headers = {"authorization": f"Bearer {ask('--scope', 'publish', '--for', '5m')}"}
    access = AccessControl(Settings(private=True))
    access.check(headers, "publish")
    with pytest.raises(Forbidden):
        access.check(headers, "control")


def test_a_link_is_to_the_page_or_to_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token stands in the fragment, which no server and no proxy sees."""
    monkeypatch.setenv("RELIGHT_SECRET", SECRET)
    assert ask("--link", "https://r.example").startswith("https://r.example/#token=ey")
    view = ask("--scope", "view", "--view", "a b", "--link", "https://r.example/live")
    assert view.startswith("https://r.example/live/view/a%20b#token=ey")


@pytest.mark.parametrize(
    "arguments",
    [("--scope", "admin"), ("--scope", "join"), ("--scope", ""), ("--for", "forever"), ("--link", "r.example")],
)
def test_what_cannot_be_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, str]) -> None:
    """Exit status 2, the option and its value."""
    monkeypatch.setenv("RELIGHT_SECRET", SECRET)
    result = CliRunner().invoke(app, ["token", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert arguments[0] in result.output
    assert repr(arguments[1]) in result.output


def test_a_secret_that_cannot_be_used_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is named."""
    monkeypatch.setenv("RELIGHT_SECRET", "hush")
    error = CliRunner().invoke(app, ["token"]).exception
    assert isinstance(error, BadMessage)
    assert "secret" in error.message
    assert "hush" not in str(error)
