"""Every HTTP request passes the upload limit and the access check; responses carry security headers, errors a hint."""

import logging
from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from engine.errors import EngineError
from lcvd.errors import LcvdError
from server.errors import Busy, Problem, ServerError, explain
from server.http import uploads
from server.http.access import AccessControl
from server.http.cors import PREFLIGHT, cors_headers, is_preflight
from server.http.scopes import needed

logger = logging.getLogger(__name__)

REFUSALS = (401, 403, 429, 503)  # statuses of who is turned away, rather than wrong

# Only our own files; blob: for the pictures the page makes itself, ws: for browsers whose 'self' leaves it out.
CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob: mediastream:; connect-src 'self' ws://{host} wss://{host}; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


def install_middleware(app: FastAPI) -> None:
    """Gives `app` its AccessControl, its upload limit, its error handlers and the middleware `guard`.

    Raises StateError where the key of its tokens cannot be kept.
    """
    settings = app.state.server.settings
    app.state.access = AccessControl(settings)
    app.add_middleware(uploads.UploadLimit, limit=settings.max_upload_bytes, time_limit_s=settings.upload_timeout_s)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    for kind in (ServerError, LcvdError, EngineError):
        app.add_exception_handler(kind, on_error)
    app.middleware("http")(guard)


async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuses who may not ask, answers any exception, and adds the headers of security and CORS to every response."""
    settings, path = request.app.state.server.settings, request.url.path
    # Nobody reads a part of our small files, and starlette answers a range that is none in a form of its own.
    request.scope["headers"] = [(name, value) for name, value in request.scope["headers"] if name != b"range"]
    try:
        # Before anything of a body is read.
        scope, view = needed(request.app.routes, request.scope)
        if scope is not None:
            access: AccessControl = request.app.state.access
            address = request.client.host if request.client is not None else ""
            access.check(request.headers, scope, address=address, view=view)
        response = await call_next(request)
    except HTTPException as error:
        response = await on_http_exception(request, error)
    except Exception as error:  # the boundary of HTTP: the client gets {code, message, hint} whatever happened
        response = await on_error(request, error)
    response.headers.update(cors_headers(request.headers, path, settings))
    if is_preflight(request.method, request.headers):
        response = _preflight(response)
    host = request.headers.get("host", "")
    safe_host = host if all(c.isalnum() or c in ".-:[]" for c in host) else ""
    response.headers["content-security-policy"] = CSP.format(host=safe_host)
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["referrer-policy"] = "no-referrer"
    response.headers["permissions-policy"] = "camera=(self), microphone=(self)"
    return response


def _preflight(response: Response) -> Response:
    """Returns the answer to a preflight: what a route says to OPTIONS, else 204; the browser takes no other status."""
    if response.status_code >= 300:
        kept = {name: value for name, value in response.headers.items() if name.startswith("access-control-")}
        response = Response(status_code=204, headers={**kept, "vary": "origin"})
    if "access-control-allow-origin" in response.headers:
        response.headers.update(PREFLIGHT)
    return response


async def on_error(request: Request, error: Exception) -> Response:
    """Answers an error of this project, counts it, and logs what the client did not cause."""
    problem = explain(error)
    request.app.state.server.metrics.errors.labels(problem.code).inc()
    if problem.status in REFUSALS and request.method == "POST":
        request.app.state.server.metrics.refused.labels(problem.code).inc()
    if problem.status == 500:
        route = getattr(request.scope.get("route"), "path", "a page")  # the path itself may hold a session's name
        logger.error("%s %s failed", request.method, route, exc_info=error)
    return _response(problem, {"retry-after": str(error.retry_after_s)} if isinstance(error, Busy) else None)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answers what HTTP itself has to say, such as 404, and uploads that were refused while they came in."""
    assert isinstance(error, HTTPException)
    if isinstance(error, uploads.UploadRefused):
        return JSONResponse(error.problem.as_dict(), error.status_code, headers={"connection": "close"})
    status, told = error.status_code, str(error.detail)
    hint = "see /docs for what there is" if status in (404, 405) else "see /docs"
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if status == 405 and "allow" in headers:
        hint = f"use {headers['allow']}; see /docs"
    if status == 400:  # of the parsers of bodies, which know no field
        told, hint = f"the body cannot be read: {told}", "send whole JSON, or a form as multipart/form-data; see /docs"
    return _response(Problem(f"http_{status}", told, hint, status), headers)


async def on_invalid_request(request: Request, error: Exception) -> Response:
    """Answers a request without its parts; the message names the first that is missing or wrong."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(step) for step in first["loc"])
    if first["loc"][0] in ("query", "path") and first["type"] != "missing":
        where += f"={str(first['input'])[:80]!r}"
    return _response(Problem("bad_request", f"{where}: {first['msg']}", "see /docs", 422))


def _response(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    more = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "60"}, 503: {"retry-after": "10"}}.get(
        problem.status, {}
    )
    return JSONResponse(problem.as_dict(), problem.status, headers={**more, **(headers or {})})
