"""Makes the front of `relight serve --workers`, with Ray behind it."""

import secrets

from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape

from server.cluster.front import Front, create_front
from server.cluster.ray_launcher import RayLauncher
from server.http.serve import Service
from server.security.secret import lasting_key
from server.settings import Settings


def front_service(settings: Settings) -> Service:
    """Returns the front. Raises WorkersUnavailable without Ray, StateError where no key can be kept."""
    secret = secrets.token_urlsafe(32)
    shared = with_key(settings)
    launcher = RayLauncher(shared.model_copy(update={"tls": []}), secret)  # the front ends TLS
    app = create_front(shared, launcher, secret)
    front: Front = app.state.server

    def greet(console: Console, url: str) -> None:
        engine, count = front.health.engine, len(front.pool)
        console.print(
            f"relight-live: engine [bold]{escape(engine)}[/] in {count} worker{'s' if count != 1 else ''} "
            f"ready at [bold]{escape(url)}[/]"
        )

    return Service(app, greet, front.pool.give_up)


def with_key(settings: Settings) -> Settings:
    """Returns `settings` with the key that signs tokens in them, so that front and workers have the same."""
    if not settings.asks_for_tokens or settings.secret is not None:
        return settings
    key = lasting_key(settings).decode() if settings.private else secrets.token_hex(32)
    return settings.model_copy(update={"secret": SecretStr(key)})
