"""Runs the RTCPeerConnection of one viewer: offer → answer → the session's picture and sound, until either side ends.

A viewer costs packets, no encoding: it prefers a codec that the hub encodes already. `on_end` is told once when the
connection is over.
"""

import asyncio
import logging
from collections.abc import Callable

from aiortc import RTCRtpSender, RTCSessionDescription
from aiortc.codecs import is_rtx
from aiortc.rtcicetransport import RTCIceParameters
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from aiortc.sdp import SessionDescription

from server.errors import BadOffer
from server.protocol import IceCandidate
from server.rtc.candidates import parsed_candidate, parsed_candidates, with_first_candidate
from server.rtc.encoded_track import EncodedTrack
from server.rtc.hub import Hub
from server.rtc.offer import checked_viewer_offer, rejected_sections, with_rejected
from server.rtc.report import ConnectionReport, report_of
from server.rtc.sender import LiveSender, MediaClock
from server.rtc.transport.peer_connection import LivePeerConnection, configuration
from server.settings import Settings

logger = logging.getLogger(__name__)

GATHER_LIMIT_S = 6.0


class Viewer:
    """One viewer of a session. All methods on the event loop."""

    def __init__(self, hub: Hub, settings: Settings, on_end: Callable[["Viewer", str], None]) -> None:
        self._hub = hub
        self._settings = settings
        self._media_timeout_s = settings.media_timeout_s
        self._on_end = on_end
        self._tracks: list[EncodedTrack] = []
        self._watching: asyncio.Task[None] | None = None
        self._closed = False
        self._pc = LivePeerConnection(configuration(settings))
        self._pc.on("connectionstatechange", self._on_state)

    @property
    def packets(self) -> int:
        """Encoded pictures and sounds handed to this viewer's sender."""
        return sum(track.packets for track in self._tracks)

    @property
    def waiting(self) -> int:
        """The number of packets that wait for this viewer's sender."""
        return sum(track.waiting for track in self._tracks)

    def report(self) -> ConnectionReport:
        """Returns the state of the connection, for the operator."""
        return report_of(self._pc)

    async def answer(self, sdp: str, near: str = "") -> str:
        """Returns the answer to an offer that receives video, candidates at `near` first. Raises BadOffer."""
        sdp = checked_viewer_offer(sdp)
        kinds = {media.kind for media in SessionDescription.parse(sdp).media if media.port != 0}
        try:
            async with asyncio.timeout(GATHER_LIMIT_S):
                video = self._pc.addTransceiver("video", "sendonly")
                video.setCodecPreferences(self._preferred())
                audio = None
                if "audio" in kinds and self._hub.has_sound is not False:
                    audio = self._pc.addTransceiver("audio", "sendonly")
                    audio.setCodecPreferences(_codecs("audio", ["audio/opus"]))
                await self._pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="offer"))
                answer = await self._pc.createAnswer()
                await self._pc.setLocalDescription(answer)
        except TimeoutError as error:
            raise BadOffer("no network address could be gathered in time", "check the STUN/TURN servers") from error
        except Exception as error:  # aiortc raises a dozen kinds on hostile SDP; none of them is ours
            logger.info("a viewer's offer was refused: %r", error)
            raise BadOffer(
                f"the offer cannot be answered: {error}", "offer recvonly video with VP8 or H.264, and Opus"
            ) from error
        answered = self._pc.localDescription.sdp
        media = SessionDescription.parse(answered).media
        mime = next(section.rtp.codecs[0].mimeType for section in media if section.kind == "video")
        self._send(video.sender, self._hub.join_video(mime), self._hub.picture_s)
        if audio is not None:
            self._send(audio.sender, self._hub.join_sound(), self._hub.sound_s)
        self._watching = asyncio.ensure_future(self._watch())
        return with_first_candidate(with_rejected(answered, rejected_sections(sdp)), near)

    async def add_candidate(self, candidate: IceCandidate | None) -> None:
        """Adds a trickled candidate. Raises BadMessage."""
        if (parsed := parsed_candidate(candidate)) is not None:
            await self._pc.addIceCandidate(parsed)

    async def restart_ice(self, ufrag: str, password: str, candidates: list[IceCandidate | None]) -> str:
        """Returns our side of an ICE restart as a fragment of SDP. Raises BadMessage, Conflict, UnusableOffer."""
        known, remote = parsed_candidates(candidates), RTCIceParameters(ufrag, password)
        return await self._pc.restart_ice(remote, known, configuration(self._settings))

    async def close(self) -> None:
        """Frees the connection. Again: nothing happens."""
        if self._closed:
            return
        self._closed = True
        self._pc.remove_all_listeners()
        if self._watching is not None:
            self._watching.cancel()
        for track in self._tracks:
            self._hub.leave(track)
        await self._pc.close()

    def _preferred(self) -> list[RTCRtpCodecCapability]:
        """Returns what we can send, those codecs first that are encoded anyway."""
        first = _codecs("video", self._hub.running())
        return first + [codec for codec in _codecs("video") if codec not in first]

    def _send(self, sender: RTCRtpSender, track: EncodedTrack, clock: MediaClock) -> None:
        self._tracks.append(track)
        if isinstance(sender, LiveSender):
            sender.media_s = clock
        sender.replaceTrack(track)

    def _on_state(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            self._end("the connection was lost")

    async def _watch(self) -> None:
        await asyncio.sleep(self._media_timeout_s)
        if self._pc.connectionState != "connected":
            self._end("no connection came about in time")

    def _end(self, reason: str) -> None:
        if not self._closed:
            self._on_end(self, reason)


def _codecs(kind: str, mimes: list[str] | None = None) -> list[RTCRtpCodecCapability]:
    """Returns aiortc's codecs of `kind`, of `mimes` alone where given, in that order; retransmission comes last."""
    known = RTCRtpSender.getCapabilities(kind).codecs
    if mimes is None:
        return known
    chosen = [codec for mime in mimes for codec in known if codec.mimeType.lower() == mime]
    return chosen + [codec for codec in known if is_rtx(codec)]
