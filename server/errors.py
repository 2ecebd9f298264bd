"""Errors of the server; each becomes {code, message, hint} for the client.

ServerError (HintedError)
├── BadMessage          the message is not one of docs/protocol.md
├── BadOffer            the SDP cannot be answered
│   └── UnusableOffer   it is understood and offers nothing that can be used
├── NoSession           nothing of that name is being published or viewed
├── Conflict            the name is taken, or the ICE session is another one
├── WrongType           the content type is another one
├── Busy                no room for another participant
├── TooFast             the client floods
├── TooLarge            a message or upload is over its limit
├── TooSlow             an upload trickles
├── BadUpload           an uploaded file is not what it should be
├── BadModule           a script of ours cannot be joined with others
├── ForeignOrigin       another site's page tries to drive this server
├── Unauthorized        a token is needed, or is wrong
├── Forbidden           the token is right and does not reach so far
├── StateError          the folder with the server's secrets, or a certificate, cannot be used
├── WorkersUnavailable  Ray is missing, or worker processes cannot be started
├── NoWorker            there is no such worker, or it is the only one
├── CameraError         a camera, or what its picture goes to, cannot be used
└── NotReady            warming up or shutting down

`explain` turns any exception of this project into a Problem.
"""

from dataclasses import asdict, dataclass

from pydantic import ValidationError

from engine.errors import EngineError, EngineUnavailable, FrameError
from lcvd.errors import HintedError, ImageError, LcvdError, LightError, ModelUnavailable


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as the client gets it: a stable code, what is wrong, what to do."""

    code: str
    message: str
    hint: str
    status: int = 400  # HTTP only

    def as_dict(self) -> dict[str, str]:
        return {key: value for key, value in asdict(self).items() if key != "status"}


class ServerError(HintedError):
    """The root of the package's errors."""

    code = "server_error"
    status = 500


class BadMessage(ServerError):
    """The message is not one of docs/protocol.md."""

    code, status = "bad_message", 400


class BadOffer(ServerError):
    """The SDP cannot be answered."""

    code, status = "bad_offer", 400


class UnusableOffer(BadOffer):
    """The SDP is understood, and offers nothing that can be used."""

    status = 422


class NoSession(ServerError):
    """Nothing of that name is being published or viewed."""

    code, status = "no_session", 404


class Conflict(ServerError):
    """The name is taken, or the ICE session is another one. `status`: 409, or 412 and 428 of a precondition."""

    code, status = "conflict", 409

    def __init__(self, message: str, hint: str = "", status: int = 409) -> None:
        super().__init__(message, hint)
        self.status = status


class WrongType(ServerError):
    """The content type is another one."""

    code, status = "wrong_type", 415


class Busy(ServerError):
    """No room for another participant. `retry_after_s`: when there may be."""

    code, status = "busy", 503

    def __init__(self, message: str, hint: str = "", retry_after_s: int = 10) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s


class TooFast(ServerError):
    """The client floods."""

    code, status = "too_fast", 429


class TooLarge(ServerError):
    """A message or upload is over its limit."""

    code, status = "too_large", 413


class TooSlow(ServerError):
    """An upload trickles."""

    code, status = "too_slow", 408


class BadUpload(ServerError):
    """An uploaded file is not what it should be."""

    code, status = "bad_upload", 422


class BadModule(ServerError):
    """A script of ours cannot be joined with others."""

    code = "bad_module"


class ForeignOrigin(ServerError):
    """Another site's page tries to drive this server."""

    code, status = "foreign_origin", 403


class Unauthorized(ServerError):
    """A token is needed, or is wrong."""

    code, status = "unauthorized", 401


class Forbidden(ServerError):
    """The token is right and does not reach so far."""

    code, status = "forbidden", 403


class StateError(ServerError):
    """The folder with the server's secrets, or a certificate, cannot be used."""

    code = "state"


class WorkersUnavailable(ServerError):
    """Ray is missing, or worker processes cannot be started."""

    code, status = "workers_unavailable", 503


class NoWorker(ServerError):
    """There is no such worker, or it is the only one."""

    code, status = "no_worker", 404


class CameraError(ServerError):
    """A camera, or what its picture goes to, cannot be used."""

    code, status = "camera", 503


class NotReady(ServerError):
    """Warming up or shutting down."""

    code, status = "not_ready", 503


_PROBLEMS: tuple[tuple[type[Exception], str, int], ...] = (
    (ImageError, "bad_image", 422),
    (LightError, "bad_light", 422),
    (ModelUnavailable, "model_unavailable", 503),
    (LcvdError, "bad_input", 422),
    (EngineUnavailable, "engine_unavailable", 503),
    (FrameError, "bad_frame", 422),
    (EngineError, "engine_error", 500),
)


def explain(error: Exception) -> Problem:
    """Returns the Problem of `error`. An unforeseen exception does not leak its text."""
    if isinstance(error, ServerError):
        return Problem(error.code, error.message, error.hint, error.status)
    if isinstance(error, ValidationError):
        return _explain_validation(error)
    for kind, code, status in _PROBLEMS:
        if isinstance(error, kind):
            return Problem(code, str(error), getattr(error, "hint", ""), status)
    return Problem("internal", "something went wrong on the server", "the details are in the server's log", 500)


def _explain_validation(error: ValidationError) -> Problem:
    first = error.errors(include_url=False, include_context=False)[0]
    # The first step of the path is the message's own tag, which the sender knows.
    path = [str(step) for step in first["loc"]]
    where = ".".join(path[1:] or path) or "message"
    if first["type"] in ("json_invalid", "json_type") or (not first["loc"] and not first["type"].startswith("union")):
        return Problem("bad_message", f"not JSON: {first['msg']}", "send one JSON object as text")
    if first["type"].startswith("union_tag"):
        return Problem("unknown_type", first["msg"], "docs/protocol.md lists the messages")
    if first["type"] == "missing":
        return Problem("bad_value", f"{where} is missing", "docs/protocol.md lists each message's fields", 422)
    value = repr(first.get("input"))
    shown = value if len(value) <= 80 else value[:77] + "…"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return Problem(
        "bad_value", f"{where}={shown}: {first['msg']}{more}", "docs/protocol.md gives each field's range", 422
    )
