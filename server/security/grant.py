"""The scopes of this server, and what one request was granted by the token that it carried."""

from dataclasses import dataclass
from typing import Literal, get_args

from server.errors import Forbidden

Scope = Literal["control", "view", "publish", "operate", "join"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
# Of the tokens that people hold; `join` is the link printed at the start, which is exchanged for one of these.
GRANTABLE: tuple[Scope, ...] = ("control", "view", "publish", "operate")

WORDS: dict[Scope, str] = {
    "control": "use this server",
    "view": "view on this server",
    "publish": "publish to this server",
    "operate": "look into other people's sessions",
    "join": "join with it",
}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request may do. `view`: of all viewing names only this one, where it is given."""

    scopes: frozenset[Scope]
    view: str | None = None

    def require(self, scope: Scope, view: str | None = None) -> None:
        """Raises Forbidden unless this covers `scope`, and, where one is asked for, the viewing name `view`."""
        if scope not in self.scopes:
            raise Forbidden(
                f"the token does not admit you to {WORDS[scope]}",
                f"its scope is {' '.join(sorted(self.scopes))}; ask for a token with the scope {scope}",
            )
        if view is not None and self.view is not None and view != self.view:
            raise Forbidden("the token is for another picture", "open the link as it was given to you")


EVERYTHING = Grant(frozenset(SCOPES))
