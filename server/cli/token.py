"""`relight token` makes a signed token, or a link with one, for somebody who is to come in."""

from datetime import datetime
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from server.cli.plain import print_plain


def token(
    scope: Annotated[
        str, typer.Option(help="What it admits to, with commas between: control, view, publish, operate.")
    ] = "control,view,publish",
    lasts: Annotated[str, typer.Option("--for", help="How long it is valid: 90s, 30m, 12h or 7d.")] = "1h",
    view: Annotated[str | None, typer.Option(help="Viewing name: of all pictures it shows only this one.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the person it is for; stands in the token.")] = None,
    link: Annotated[
        str | None, typer.Option(help="Address of the server (https://…): print a link to it instead.")
    ] = None,
) -> None:
    """Make a token for a server that runs with --private or RELIGHT_SECRET, under the same user."""
    from server.errors import BadMessage
    from server.http.links import link_to
    from server.security.grant import GRANTABLE
    from server.security.secret import lasting_key
    from server.security.tokens import TokenSigner, seconds_of
    from server.settings import Settings

    scopes = [known for part in scope.split(",") for known in GRANTABLE if known == part.strip()]
    if len(scopes) != len(scope.split(",")):
        raise typer.BadParameter(f"{scope!r} is none: use {', '.join(GRANTABLE)}", param_hint="--scope")
    if link is not None and not link.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{link!r} is no address: write https://…", param_hint="--link")
    try:
        for_s = seconds_of(lasts)
    except BadMessage as error:
        raise typer.BadParameter(f"{error.message}: {error.hint}", param_hint="--for") from None
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = error.errors()[0]  # whose input may be a secret, and is not repeated
        raise BadMessage(
            f"setting {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}", "see docs/settings.md"
        ) from None
    made = TokenSigner(lasting_key(settings)).issue(scopes, for_s, view=view, name=name)
    until = datetime.fromtimestamp(made.expires_s).astimezone().isoformat(" ", "minutes")
    print_plain(Console(stderr=True), f"admits to {', '.join(scopes)} until {until}")
    print(made.text if link is None else link_to(link, made.text, view if scopes == ["view"] else None))
