"""Every route says by `needs` which scope a request must have; a route that says nothing is closed to all but control.

The declaration stands at the route's function (or at the application that is mounted), so that the table of what needs
what is the application itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.routing import BaseRoute, Match

from server.security.grant import Scope

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

Endpoint = TypeVar("Endpoint")


@dataclass(frozen=True, slots=True)
class Needs:
    """The scope that a route needs, None for anybody; `view` names the part of its path that is a viewing name."""

    scope: Scope | None
    view: str | None = None


def needs(scope: Scope | None, view: str | None = None) -> Callable[[Endpoint], Endpoint]:
    """Returns a decorator that declares what the route of a function, or a mounted application, needs."""

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.relight_needs = Needs(scope, view)  # type: ignore[attr-defined]
        return endpoint

    return declare


def declared(route: BaseRoute) -> Needs | None:
    """Returns what `route` declares; None where it was forgotten."""
    return getattr(getattr(route, "endpoint", None) or getattr(route, "app", None), "relight_needs", None)


def all_routes(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Gives every route, those of included routers too, in the order in which they are tried."""
    for route in routes:
        # FastAPI since 0.140 keeps an included router as one route.
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from all_routes(included.routes)


def methods_at(routes: Iterable[BaseRoute], request: Mapping[str, Any]) -> list[str]:
    """Returns the methods that the routes take at the path of a request (an ASGI scope) that none of them takes."""
    partial = (route for route in all_routes(routes) if route.matches(dict(request))[0] is Match.PARTIAL)
    return sorted({method for route in partial for method in getattr(route, "methods", None) or ()})


def needed(routes: Iterable[BaseRoute], request: Mapping[str, Any]) -> tuple[Scope | None, str | None]:
    """Returns the scope that a request (an ASGI scope) needs, None for none, and the viewing name in its path.

    What a browser asks beforehand (OPTIONS) is answered for everybody.
    """
    if request["method"] == "OPTIONS":
        return None, None
    for route in all_routes(routes):
        match, found = route.matches(dict(request))
        if match is not Match.FULL:
            continue
        needs = declared(route) or Needs("control")
        # Nothing is changed by whom we do not know, whatever a public route would say to another method.
        scope = needs.scope or (None if request["method"] in SAFE_METHODS else "control")
        return scope, found["path_params"].get(needs.view) if needs.view else None
    return None if request["method"] in SAFE_METHODS else "control", None
