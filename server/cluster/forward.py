"""Passes HTTP requests on to the worker that has the session, or to any: which one, by method and path.

What has no rule here the front answers itself, by the same routes as a single server.
"""

import json
import re
from collections.abc import Awaitable, Callable

import httpx
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.routing import compile_path

from server.cluster.directory import Directory
from server.cluster.front_header import HOP_BY_HOP, passed_on
from server.cluster.pool import WorkerPool
from server.cluster.worker import Worker
from server.errors import NoSession, NotReady

# Bounded, since anybody who is admitted may send megabytes of what nearly matches.
SESSION_FIELD = re.compile(rb'name="session"[^\r\n]{0,200}\r\n(?:[^\r\n]{1,200}\r\n){0,4}\r\n([^\r\n]{1,64})\r\n')
SESSION_JSON = re.compile(rb'"session"\s*:\s*"([^"\\]{1,64})"')
PUBLICATION = re.compile(r"/whip/([^/?#]+)$")

Next = Callable[[Request], Awaitable[Response]]
Find = Callable[["Forwarder", Request, str], Awaitable[Worker]]


class Forwarder:
    """The inner middleware of a front."""

    def __init__(self, pool: WorkerPool, directory: Directory) -> None:
        self._pool = pool
        self._directory = directory

    async def __call__(self, request: Request, call_next: Next) -> Response:
        """Passes a request on where a rule says so. Raises NotReady and NoSession."""
        for methods, pattern, find in RULES:
            if request.method in methods and (found := pattern.fullmatch(request.scope["path"])) is not None:
                worker = await find(self, request, found.groupdict().get("name", ""))
                return await self.forward(request, worker)
        return await call_next(request)

    async def forward(self, request: Request, worker: Worker) -> Response:
        """Returns the worker's answer. Raises NotReady where it gives none."""
        path, query = request.scope["raw_path"].partition(b"?")[0], request.scope.get("query_string", b"")
        target = path + b"?" + query if query else path
        headers = passed_on(request.scope, worker.secret)
        content = await request.body()
        begins = request.method == "POST" and path == b"/whip"
        if begins:
            worker.coming.add(request)
        try:
            answer = await worker.request(request.method, target, headers=headers, content=content)
        except httpx.HTTPError as error:
            raise NotReady("the worker of this session has ended", "try again in a few seconds") from error
        finally:
            worker.coming.discard(request)
        self._note(request, worker, answer)
        dropped = HOP_BY_HOP | {"content-length", "content-encoding", "server", "date"}
        response = Response(answer.content, answer.status_code)
        for name, value in answer.headers.multi_items():
            if name.lower() not in dropped:
                response.headers.append(name, value)
        return response

    def _note(self, request: Request, worker: Worker, answer: httpx.Response) -> None:
        """Keeps track of the sessions that WHIP begins and ends."""
        path, status = request.scope["path"], answer.status_code
        if request.method == "POST" and path == "/whip" and status == 201:
            name = PUBLICATION.search(answer.headers.get("location", ""))
            if name is not None:
                view = answer.headers.get("relight-view", "").removeprefix("/view/")
                self._directory.add(name[1], worker, view, published=True)
        elif (ended := PUBLICATION.search(path)) and (status == 404 or (request.method == "DELETE" and status == 200)):
            self._directory.forget(ended[1])

    async def everywhere(self, request: Request) -> list[tuple[Worker, Response]]:
        """Returns the answers of all workers that give one."""
        answers = []
        for worker in self._pool:
            try:
                answers.append((worker, await self.forward(request, worker)))
            except NotReady:
                continue
        return answers

    # ---- rules

    async def of_body(self, request: Request, _: str) -> Worker:
        """Returns the worker of the session that the body names; without one any worker says what is wrong."""
        body = await request.body()
        form = request.headers.get("content-type", "").startswith("multipart/")
        found = (SESSION_FIELD if form else SESSION_JSON).search(body)
        known = self._directory.get(found[1].decode(errors="replace")) if found is not None else None
        if known is None:
            return self._pool.any()
        if known.worker.gone.is_set():
            raise NotReady("the worker of this session has ended", "connect again and send it once more")
        return known.worker

    def owner(self, name: str) -> Worker:
        """Returns the worker of the session, or viewing name, `name`. Raises NoSession."""
        known = self._directory.find(name)
        if known is None or known.worker.gone.is_set():
            raise NoSession(f"nothing of the name {name[:80]!r} is here", "it may have ended; ask for a new one")
        return known.worker

    async def of_name(self, request: Request, name: str) -> Worker:
        """Returns the worker of the session that the path names. Raises NoSession."""
        return self.owner(name)

    async def placed(self, request: Request, _: str) -> Worker:
        """Returns the worker for a new publication: where its viewing name is in use, the one that will say so."""
        known = self._directory.find(request.query_params.get("view", ""))
        return known.worker if known is not None and known.worker.available else self._pool.choose()

    async def whichever(self, request: Request, _: str) -> Worker:
        """Returns a worker that has time."""
        return self._pool.any()


RULES: list[tuple[tuple[str, ...], re.Pattern[str], Find]] = [
    (methods, compile_path(path)[0], find)
    for methods, path, find in (
        (("POST",), "/api/portrait", Forwarder.of_body),
        (("POST",), "/api/links", Forwarder.of_body),
        (("POST",), "/api/lights/from-photo", Forwarder.whichever),
        (("POST",), "/api/lights/from-hdri", Forwarder.whichever),
        (("GET",), "/api/avatar", Forwarder.whichever),
        (("POST",), "/whip", Forwarder.placed),
        (("PATCH", "DELETE"), "/whip/{name}", Forwarder.of_name),
        (("POST",), "/whep/{name}", Forwarder.of_name),
        (("PATCH", "DELETE"), "/whep/{name}/{viewer}", Forwarder.of_name),
    )
]


def merged_lists(answers: list[tuple[Worker, Response]]) -> JSONResponse:
    """Returns the JSON lists of several workers as one, each line with its worker's number."""
    lines = [
        {**line, "worker": worker.number}
        for worker, answer in answers
        if answer.status_code == 200
        for line in json.loads(bytes(answer.body))
    ]
    return JSONResponse(lines)
