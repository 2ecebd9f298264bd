"""Sockets and people: HTTP, one WebSocket a participant, and the only aiortc in the project.

`app` serves the page and opens a `session` per WebSocket; `tracks` moves pictures between aiortc and the live core.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("relight-live")
except PackageNotFoundError:  # run from a bare checkout
    VERSION = "0"
