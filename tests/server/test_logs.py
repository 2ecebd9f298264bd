"""server.logs: lines of text or of JSON, each with its session's label, none with a secret."""

import json
import logging
import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from server.http.serve import run
from server.logs import configure, log_name, session_id
from tests.server.client import Participant, running
from tests.server.http.test_portrait_upload import jpeg

TOKEN, TURN_SECRET = "the-token-of-everyone", "the-secret-of-the-relay"
CLIENTS = ("httpx", "httpcore", "websockets.client")


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Gives what reads stderr, and puts logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_of_json_has_all_of_a_record(logged: Callable[[], str]) -> None:
    """One object a line, whatever stands in the message; an error comes with its traceback."""
    configure("info", "json")
    session_id.set("abc")
    logger = logging.getLogger("server.somewhere")
    logger.warning('two\nlines and a "quote" of %s', "ü")
    try:
        raise ValueError("wrong")
    except ValueError:
        logger.exception("it failed")
    session_id.set("-")
    logger.debug("not at this level")
    first, second = map(json.loads, logged().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "warning",
        "session": log_name("abc"),
        "logger": "server.somewhere",
        "message": 'two\nlines and a "quote" of ü',
    }
    assert second["error"].endswith("ValueError: wrong")


def test_text_is_the_default(logged: Callable[[], str]) -> None:
    """Without the setting a line is as it was."""
    configure("info")
    logging.getLogger("server").info("hello")
    assert logged().endswith("INFO    - server: hello\n")


def test_a_format_that_does_not_exist_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the setting and what it may be."""
    assert run({"log_format": "xml", "port": 0}) == 2
    assert "log_format = 'xml': Input should be 'text' or 'json'" in capsys.readouterr().err


async def test_no_line_at_any_level_has_a_secret(logged: Callable[[], str]) -> None:
    """A session at debug: its label is on its lines; ids, viewing names, tokens, passwords and pictures are on none."""
    configure("debug", "json")
    settings = {
        "token": TOKEN,
        "turn_urls": "turn:127.0.0.1:9?transport=tcp",
        "turn_secret": TURN_SECRET,
        "log_level": "debug",
    }
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with running(**settings) as server, httpx.AsyncClient(trust_env=False, headers=headers) as client:
        async with Participant(server.ws, **headers) as tab:
            welcome = await tab.wait(type="welcome")
            assert (await tab.offer())["type"] == "answer"
            await tab.pictures(3)
            await tab.ask(type="set_light", preset="nope")
            await client.post(f"{server.http}/whep/{welcome['view']}/nobody", content=b"x")
            await client.delete(f"{server.http}/whep/{welcome['view']}/nobody")
            files = {"file": ("me.png", jpeg(200))}
            await client.post(f"{server.http}/api/portrait", files=files, data={"session": welcome["session"]})
        await tab.until(lambda: not server.server.sessions)
    # The test's own clients log in this process too.
    written = [line for line in logged().splitlines() if line.startswith("{")]
    lines = [line for line in map(json.loads, written) if not line["logger"].startswith(CLIENTS)]
    own = [line["message"] for line in lines if line["session"] == log_name(welcome["session"])]
    assert {"session opened", "connection answered", "session closed"} <= set(own)
    [relay] = [each for each in welcome["ice_servers"] if "credential" in each]
    secrets = [TOKEN, TURN_SECRET, welcome["session"], welcome["view"], relay["credential"], "me.png"]
    for secret in secrets:
        assert secret not in json.dumps(lines)
