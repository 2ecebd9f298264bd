"""One worker as the front knows it: where it is, how full, whether it answers, and what the front asks of it."""

import asyncio
import json
from typing import Any

import httpx

from server.cluster.front_header import INTERNAL, SECRET
from server.cluster.launcher import Launched
from server.cluster.state_message import Message
from server.cluster.worker_app import WorkerStatus

TIMEOUT_S = 30.0  # of what is passed on: an upload may be read for a while


class Worker:
    """A worker process. `gone` is set once it died, hangs, or was ended."""

    def __init__(
        self, number: int, launched: Launched, secret: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.number = number
        self.launched = launched
        self.status = WorkerStatus()
        self.draining = False
        self.gone = asyncio.Event()
        self.sessions: set[str] = set()  # that the front has brought here
        self.coming: set[object] = set()  # who is on the way here and has no session yet
        self.secret = secret
        self._base = httpx.URL(launched.url)
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT_S,
            transport=transport,
            limits=httpx.Limits(max_connections=None),
            trust_env=False,  # no proxy stands between
        )

    @property
    def free(self) -> int:
        """The places that nobody has; who is on the way and sessions that are about to connect count."""
        return self.status.limit - max(self.status.inside, len(self.sessions)) - len(self.coming)

    @property
    def available(self) -> bool:
        """True where it takes another participant."""
        return self.status.ready and not self.draining and not self.gone.is_set()

    async def request(self, method: str, target: bytes | str, **options: Any) -> httpx.Response:
        """Sends a request to `target`, a path with its query. Raises httpx.HTTPError, also once the worker is gone."""
        raw = target.encode() if isinstance(target, str) else target
        try:
            return await self._http.request(method, self._base.copy_with(raw_path=raw), **options)
        except RuntimeError as error:  # of a client that was closed meanwhile
            raise httpx.TransportError("the worker has ended") from error

    async def ask(self, timeout_s: float) -> None:
        """Reads `status`. Raises httpx.HTTPError where the worker does not answer."""
        answer = await self.request("GET", f"{INTERNAL}/status", headers=self._secret, timeout=timeout_s)
        answer.raise_for_status()
        self.status = WorkerStatus.model_validate(answer.json())

    async def put_lost(self, name: str, state: Message) -> None:
        """Gives it a session's choices, to be resumed there. Raises httpx.HTTPError."""
        body = await asyncio.to_thread(json.dumps, state)
        answer = await self.request("PUT", f"{INTERNAL}/lost/{name}", content=body, headers=self._secret)
        answer.raise_for_status()

    async def release(self, name: str) -> None:
        """Ends a session there that goes on elsewhere. Raises httpx.HTTPError."""
        (await self.request("POST", f"{INTERNAL}/release/{name}", headers=self._secret)).raise_for_status()

    async def end(self) -> None:
        """Ends the process."""
        self.gone.set()
        await asyncio.to_thread(self.launched.kill)
        await self._http.aclose()

    @property
    def _secret(self) -> dict[str, Any]:
        return {SECRET: self.secret}
