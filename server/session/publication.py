"""A session published by WHIP: it has no WebSocket, and lives as long as its connection brings pictures."""

from dataclasses import dataclass
from typing import NamedTuple

from server.protocol import AnyClientMessage
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
