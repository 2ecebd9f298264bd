"""A session published by WHIP: it has no WebSocket, and lives as long as its connection brings pictures."""

from dataclasses import dataclass
from typing import NamedTuple

from server.errors import NoSession
from server.protocol import AnyClientMessage, IceCandidate
from server.session.ice_session import IceSession
from server.session.session import Session


class PublishRequest(NamedTuple):
    """An offer with what the publisher asks for beside it."""

    sdp: str
    wishes: list[AnyClientMessage]  # carried out before the offer
    view: str = ""  # the viewing name; "": a random one
    near: str = ""  # our address at which the publisher reached us


@dataclass
class Publication:
    """One publisher."""

    session: Session
    ice: IceSession

    async def add_candidate(self, candidate: IceCandidate | None) -> None:
        """Passes on a trickled candidate. Raises BadMessage."""
        await self.session.add_candidate(candidate)

    async def restart_ice(self, ufrag: str, password: str, candidates: list[IceCandidate | None]) -> str:
        """Returns our side of an ICE restart as a fragment of SDP. Raises BadMessage, Conflict, UnusableOffer."""
        if self.session.peer is None:
            raise NoSession("the connection has ended", "POST an offer to /whip")
        return await self.session.peer.restart_ice(ufrag, password, candidates)
