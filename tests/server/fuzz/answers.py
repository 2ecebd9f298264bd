"""A proper answer says what is wrong in three parts and blames nobody else; the log has no error of its own."""

import logging
from typing import Any

import httpx

BLAMED = ("internal", "server_error", "engine_error")
PARTS = ("code", "message", "hint")


def improper(error: dict[str, Any]) -> str:
    """Returns why an error, as a message or a body, is none that a client can use; else ""."""
    lacking = [name for name in PARTS if not isinstance(error.get(name), str)]
    if lacking or not error["message"]:
        return f"an error without {', '.join(lacking) or 'a message'}: {error}"
    return f"the server is blamed: {error}" if error["code"] in BLAMED else ""


def judged(answer: httpx.Response) -> tuple[str, str]:
    """Returns what came, and why it is no proper answer, else ""."""
    status = answer.status_code
    if status < 300:
        return str(status), ""
    try:
        body = answer.json()
        what, finding = f"{status} {body.get('code')}", improper(body)
    except (ValueError, AttributeError):
        return str(status), f"{status} without JSON: {answer.text[:200]!r}"
    return what, f"{status} {finding or answer.text[:300]}" if finding or status == 500 else ""


class ErrorLog(logging.Handler):
    """Keeps what the server logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("websockets.client"):  # the tests' own end, torn off while it was reading
            return
        self._told.append(logging.Formatter("%(name)s: %(message)s").format(record)[-1500:])

    def take(self) -> list[str]:
        """Returns what was told since the last time."""
        told, self._told = self._told, []
        return told
