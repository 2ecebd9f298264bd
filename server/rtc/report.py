"""Describes a connection for the operator: states, codecs, kinds of candidates, the way media take; no address."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from aiortc import RTCPeerConnection
from pydantic import BaseModel, Field


class PathReport(BaseModel):
    """The pair of candidates that media go by."""

    local: str = Field(description="Kind of our candidate: host, srflx, prflx or relay.")
    remote: str = Field(description="Kind of the other side's.")


class ConnectionReport(BaseModel):
    """One connection of WebRTC."""

    state: str = Field(description="connectionState: new, connecting, connected, failed or closed.")
    ice: str = Field(description="iceConnectionState.")
    sends: list[str] = Field(description="Codecs agreed on, in order of preference; the first is used.")
    receives: list[str]
    local_candidates: dict[str, int] = Field(description="Number of our candidates by kind.")
    remote_candidates: dict[str, int] = Field(description="Number of the other side's by kind.")
    path: PathReport | None = Field(description="Null before one was chosen.")
    bitrate: int | None = Field(description="Of the picture's encoder, bits a second; null without one of its own.")


def report_of(pc: RTCPeerConnection) -> ConnectionReport:
    """Returns the report of a connection that was answered, or is being."""
    senders = [each.sender for each in pc.getTransceivers() if "send" in (each.currentDirection or "")]
    ice: Any = next((each.sender.transport.transport._connection for each in pc.getTransceivers()), None)
    pairs = list(ice._nominated.values()) if ice is not None else []
    encoders: list[Any] = [getattr(sender, "_RTCRtpSender__encoder", None) for sender in senders]
    rates = [encoder.rate.current for encoder in encoders if hasattr(encoder, "rate")]
    return ConnectionReport(
        state=pc.connectionState,
        ice=pc.iceConnectionState,
        sends=_codecs(pc, "send"),
        receives=_codecs(pc, "recv"),
        local_candidates=_kinds(ice.local_candidates if ice is not None else ()),
        remote_candidates=_kinds(ice.remote_candidates if ice is not None else ()),
        path=PathReport(local=pairs[0].local_candidate.type, remote=pairs[0].remote_candidate.type) if pairs else None,
        bitrate=rates[0] if rates else None,
    )


def _codecs(pc: RTCPeerConnection, way: str) -> list[str]:
    """Returns the names of the codecs of all sections that go this `way`, without retransmission."""
    sections = [each for each in pc.getTransceivers() if way in (each.currentDirection or "")]
    names = [codec.name.lower() for each in sections for codec in each._codecs]
    return [name for name in dict.fromkeys(names) if name != "rtx"]


def _kinds(candidates: Iterable[Any]) -> dict[str, int]:
    return dict(Counter(candidate.type for candidate in candidates))
