"""Puts the session's id on every log line. Only the CLI configures handlers, through `configure`.

A context variable carries the id through tasks; threads of other packages show "-".
"""

import contextvars
import logging

session_id: contextvars.ContextVar[str] = contextvars.ContextVar("relight_session", default="-")

FORMAT = "%(asctime)s %(levelname)-7s %(session)s %(name)s: %(message)s"
# Their INFO speaks of every ICE check and every packet's codec: noise beside one line a session.
NOISY = ("aioice", "aiortc", "websockets", "httpx", "numba")


class SessionFilter(logging.Filter):
    """Adds `session` to every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.session = session_id.get()
        return True


def configure(level: str = "info") -> None:
    """Logs to stderr at `level`, third parties from WARNING on (all of it at debug)."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(SessionFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.INFO if level == "debug" else logging.WARNING)
