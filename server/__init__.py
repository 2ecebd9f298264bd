"""The server: HTTP, one WebSocket for each participant, and the only aiortc in the project.

`http.app` serves the page and opens a `session` for each WebSocket; `rtc` moves pictures between aiortc and the
live core.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("relight-live")
except PackageNotFoundError:  # run from a bare checkout
    VERSION = "0"
