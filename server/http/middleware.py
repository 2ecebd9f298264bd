"""What every HTTP request passes: the origin check, the security headers, and errors as {code, message, hint}."""

import logging
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from engine.errors import EngineError
from lcvd.errors import LcvdError
from server.errors import Problem, ServerError, explain
from server.http import uploads
from server.http.origin import check_origin
from server.session.state import Server

logger = logging.getLogger(__name__)

# Only our own files; blob: for the pictures the page makes itself, ws: for browsers whose 'self' leaves it out.
CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob: mediastream:; connect-src 'self' ws://{host} wss://{host}; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


def _problem_response(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.as_dict(), problem.status)


def add_doors(app: FastAPI, server: Server) -> None:
    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if isinstance(error, uploads.UploadRefused):
            return JSONResponse(error.problem.as_dict(), error.status_code, headers={"connection": "close"})
        hint = "see /docs for what there is" if error.status_code in (404, 405) else "see /docs"
        return _problem_response(Problem(f"http_{error.status_code}", str(error.detail), hint, error.status_code))

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        return _problem_response(Problem("bad_request", f"{where}: {first['msg']}", "see /docs", 422))

    async def ours(request: Request, error: Exception) -> Response:
        problem = explain(error)
        server.metrics.errors.labels(problem.code).inc()
        if problem.status == 500:
            logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _problem_response(problem)

    for kind in (ServerError, LcvdError, EngineError):
        app.add_exception_handler(kind, ours)

    @app.middleware("http")
    async def door(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Foreign pages may not post; every answer carries the security headers."""
        try:
            if request.method not in ("GET", "HEAD", "OPTIONS"):
                check_origin(request.headers, server.settings)
            response = await call_next(request)
        except Exception as error:  # the door of HTTP: the client hears {code, message, hint} whatever happened
            response = await ours(request, error)
        host = request.headers.get("host", "")
        safe_host = host if all(c.isalnum() or c in ".-:[]" for c in host) else ""
        response.headers["content-security-policy"] = CSP.format(host=safe_host)
        response.headers["x-content-type-options"] = "nosniff"
        response.headers["referrer-policy"] = "no-referrer"
        response.headers["permissions-policy"] = "camera=(self), microphone=(self)"
        return response
