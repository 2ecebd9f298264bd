"""`relight drain` moves everyone off a worker of a running server and ends it; with --all one after another."""

import json
import os
import urllib.error
import urllib.request
from typing import Annotated, Any

import typer
from rich.console import Console

from server.cli.plain import print_plain
from server.errors import BadMessage, NotReady

WAIT_S = 900.0  # a successor warms up first, then participants leave
ADMIN_S = 3600


def drain(
    worker: Annotated[int | None, typer.Argument(min=0, help="The worker's number; none: list them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every worker, one after another: a rolling restart.")] = False,
    retire: Annotated[bool, typer.Option("--retire", help="Without a successor: fewer workers from then on.")] = False,
    server: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8080",
    token: Annotated[str | None, typer.Option(help="Default: RELIGHT_TOKEN, or one made with this user's key.")] = None,
) -> None:
    """Drain workers of `relight serve --workers`: participants go on in others without a gap."""
    if not server.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{server!r} is no address: write http://…", param_hint="--server")
    if every and (worker is not None or retire):
        raise typer.BadParameter("it takes neither a number nor --retire", param_hint="--all")
    base, bearer = server.rstrip("/"), token or _own_token()
    workers = _ask(f"{base}/api/workers", bearer)
    if worker is None and not every:
        for line in workers:
            state = "draining" if line["draining"] else "ready" if line["ready"] else "warming up"
            people = f"{line['sessions']} of {line['max_sessions']} participants"
            print(f"worker {line['worker']}  process {line['place']}  {state}  {people}")
        return
    for number in [line["worker"] for line in workers] if every else [worker]:
        print_plain(Console(stderr=True), f"draining worker {number} …")
        _ask(f"{base}/api/workers/{number}/drain?replace={str(not retire).lower()}", bearer, "POST")
        print(f"worker {number} has ended")


def _own_token() -> str:
    from server.security.secret import lasting_key
    from server.security.tokens import TokenSigner
    from server.settings import Settings

    if not (os.environ.get("RELIGHT_TOKEN") or os.environ.get("RELIGHT_SECRET") or os.environ.get("RELIGHT_PRIVATE")):
        return ""
    settings = Settings()
    if settings.token:
        return settings.token[0].get_secret_value()
    return TokenSigner(lasting_key(settings)).issue(["operate"], ADMIN_S).text


def _ask(url: str, token: str, method: str = "GET") -> Any:
    """Returns the JSON answer. Raises NotReady where nobody answers, BadMessage for a refusal."""
    request = urllib.request.Request(url, method=method, headers={"authorization": f"Bearer {token}"} if token else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=WAIT_S) as answer:
            text = answer.read()
            return json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        raise _refusal(error) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NotReady(f"{url} does not answer: {reason}", "--server ADDRESS of a running relight serve") from error


def _refusal(error: urllib.error.HTTPError) -> BadMessage:
    try:
        told = json.loads(error.read())
        return BadMessage(told["message"], told["hint"])
    except (ValueError, KeyError, TypeError):
        return BadMessage(f"the server answers {error.code}", "is it relight serve --workers?")
