"""Marks every log line with its session, as text or JSON. Only the CLI configures handlers, through `configure`.

A context variable carries the id through tasks; threads of other packages show "-".
"""

import contextvars
import hashlib
import json
import logging
from datetime import UTC, datetime
from typing import Literal

LogFormat = Literal["text", "json"]

session_id: contextvars.ContextVar[str] = contextvars.ContextVar("relight_session", default="-")

FORMAT = "%(asctime)s %(levelname)-7s %(session)s %(name)s: %(message)s"
# Their INFO speaks of every ICE check and every packet's codec: noise beside one line a session.
NOISY = ("aioice", "aiortc", "websockets", "numba")
TELLTALE = ("httpx", "httpcore")  # they log addresses with sessions' names, and headers, from INFO or DEBUG on


def log_name(session: str) -> str:
    """Returns the name by which the log tells sessions apart; the session's own is a secret of its owner."""
    return hashlib.sha256(session.encode()).hexdigest()[:8] if session != "-" else session


class SessionFilter(logging.Filter):
    """Adds `session` to every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.session = log_name(session_id.get())
        return True


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time (RFC 3339, UTC), level, session, logger, message, and error if any."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "session": getattr(record, "session", "-"),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str = "info", log_format: LogFormat = "text") -> None:
    """Logs to stderr at `level`, third parties from WARNING on (all of it at debug)."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(FORMAT))
    handler.addFilter(SessionFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.INFO if level == "debug" else logging.WARNING)
    for name in TELLTALE:
        logging.getLogger(name).setLevel(logging.WARNING)
