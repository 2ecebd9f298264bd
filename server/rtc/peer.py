"""Runs one RTCPeerConnection of one session: offer → answer → pictures both ways → everything freed.

Owns the connection, its LiveStream and the tasks that drain its tracks. `on_end` tells the session that the connection
is over (ICE failed, consent lost, no media in time). aiortc does not trickle: the answer has all our candidates.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from aiortc import (
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcicetransport import RTCIceParameters

from engine.live.controls import Controls
from engine.live.stream import LiveStream, OutputFrame
from server.errors import BadOffer
from server.protocol import IceCandidate, Sync
from server.rtc.audio_delay import AudioDelay
from server.rtc.candidates import parsed_candidate, parsed_candidates, with_first_candidate
from server.rtc.hub import Hub, TappedTrack
from server.rtc.jitter import LiveReceiver
from server.rtc.lip_sync import LipSync
from server.rtc.offer import checked_offer, is_ffmpeg, rejected_sections, with_rejected
from server.rtc.pictures import hardware
from server.rtc.pictures.codec_timer import CodecTimer, untimed
from server.rtc.pictures.frames import VIDEO_CLOCK_HZ
from server.rtc.pictures.picture_cap import CapSource, uncapped
from server.rtc.report import ConnectionReport, report_of
from server.rtc.sender import LiveSender
from server.rtc.sound.delay_line import OUT_RATE
from server.rtc.sound.reported_way import ReportedWay
from server.rtc.transport.dtls import LiveDtlsTransport
from server.rtc.transport.ice import LiveIceConnection
from server.rtc.transport.peer_connection import LivePeerConnection, configuration
from server.rtc.video_input import VideoInput
from server.rtc.video_output import VideoOutput
from server.settings import FrameLimits, Settings

logger = logging.getLogger(__name__)

REST_S = 2.0  # how long a source of impossible pictures is not even decoded
GATHER_LIMIT_S = 6.0
SILENCE_CHECK_S = 1.0


class Peer:
    """One connection and its live stream. All methods on the event loop."""

    def __init__(
        self,
        controls: Controls,
        settings: Settings,
        *,
        on_end: Callable[[str], None],
        on_bad_size: Callable[[int, int], None],
        on_sent: Callable[[OutputFrame, float], None],
        hub: Hub | None = None,
        ends_silent: bool = False,
        on_coded: CodecTimer = untimed,
        cap: CapSource = uncapped,
        goes_on: bool = False,
    ) -> None:
        """`hub` gets what leaves; `ends_silent` ends a connection whose pictures stop, not only one that never sent.

        `cap` is the size and rate at which pictures are handled. A connection that `goes_on` follows another one, whose
        last pictures were relit: so is its first.
        """
        self._settings = settings
        self._limits: FrameLimits = settings.frame_limits
        self._media_timeout_s = settings.media_timeout_s
        self._on_end = on_end
        self._on_bad_size = on_bad_size
        self._tasks: set[asyncio.Task[None]] = set()
        self._input: VideoInput | None = None
        self._audio: AudioDelay | None = None
        self._sender: RTCRtpSender | None = None  # of the picture; a LiveSender, once `tune` was called
        self._sound_sender: RTCRtpSender | None = None
        self._hub = hub or Hub()
        self._ends_silent = ends_silent
        self._on_coded = on_coded
        self._cap = cap
        self.was_connected = False
        self._closed = False
        self._resting = False
        self.output = VideoOutput(on_sent)
        if goes_on:
            self.output.hold_untouched()
        self.live = LiveStream(controls, self.output.wake)
        self.output.attach(self.live)
        self._pc = LivePeerConnection(configuration(settings))
        self._pc.on("track", self._on_track)
        self._pc.on("connectionstatechange", self._on_state)

    @property
    def frames_in(self) -> int:
        return self._input.frames if self._input else 0

    @property
    def source_pixels(self) -> int:
        """The pixels of the largest picture that the participant has sent; 0 before the first."""
        return self._input.source_pixels if self._input else 0

    @property
    def decode_s(self) -> float:
        """The time from a picture's last packet to the picture, in seconds; 0 unknown."""
        return self._input.decode_s if self._input else 0.0

    def report(self) -> ConnectionReport:
        """Returns the state of the connection, for the operator."""
        return report_of(self._pc)

    @property
    def state(self) -> str:
        return self._pc.connectionState

    async def answer(self, sdp: str, near: str = "") -> str:
        """Returns the answer to an offer with a video section, candidates at our address `near` first. Raises BadOffer.

        What the offer does not take back goes to the hub all the same.
        """
        sdp = checked_offer(sdp)
        try:
            async with asyncio.timeout(GATHER_LIMIT_S):
                if hardware.chosen() is not None:
                    self._prefer_h264()
                await self._pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="offer"))
                if is_ffmpeg(sdp):
                    self._allow_for_ffmpeg()
                self._hub.has_sound = self._audio is not None
                self._sender = self._pc.addTrack(TappedTrack(self.output, self._hub.show))
                if isinstance(self._sender, LiveSender):
                    self._sender.on_coded = self._on_coded
                self._tie_sound()
                await self._pc.setLocalDescription(await self._pc.createAnswer())
        except TimeoutError as error:
            raise BadOffer("no network address could be gathered in time", "check the STUN/TURN servers") from error
        except Exception as error:  # aiortc raises a dozen kinds on hostile SDP; none of them is ours
            logger.info("offer refused: %r", error)
            raise BadOffer(
                f"the offer cannot be answered: {error}", "offer sendrecv video with VP8 or H.264"
            ) from error
        for transceiver in self._pc.getTransceivers():
            if transceiver.sender.track is not None and transceiver.currentDirection in ("recvonly", "inactive"):
                self._spawn(_drain(transceiver.sender.track))
        return with_first_candidate(with_rejected(self._pc.localDescription.sdp, rejected_sections(sdp)), near)

    async def add_candidate(self, candidate: IceCandidate | None) -> None:
        """Adds a trickled candidate; None comes after the last. Raises BadMessage."""
        if (parsed := parsed_candidate(candidate)) is not None:
            await self._pc.addIceCandidate(parsed)

    async def restart_ice(self, ufrag: str, password: str, candidates: list[IceCandidate | None]) -> str:
        """Returns our side of an ICE restart as a fragment of SDP. Raises BadMessage, Conflict, UnusableOffer."""
        known, remote = parsed_candidates(candidates), RTCIceParameters(ufrag, password)
        return await self._pc.restart_ice(remote, known, configuration(self._settings))

    def sync(self) -> Sync | None:
        """Returns what ties the RTP timestamps of the returned picture to this server's clock; None before one left."""
        if self.output.sent is None or not isinstance(self._sender, LiveSender):
            return None
        pts, arrived_s = self.output.sent
        if (rtp := self._sender.rtp_of(pts)) is None:
            return None
        wall_s = time.time() - time.monotonic() + arrived_s
        return Sync(
            rtp=rtp,
            arrived_s=round(wall_s, 6),
            decode_ms=round(self.decode_s * 1e3, 3),
            sound_rtp=self._sound_rtp(pts / VIDEO_CLOCK_HZ),
        )

    def _sound_rtp(self, media_s: float) -> int | None:
        """Returns the RTP timestamp of the sound that leaves at `media_s`; None without sound, or before it began."""
        if self._audio is None or not isinstance(self._sound_sender, LiveSender):
            return None
        pts_s = self._audio.media_s(media_s)
        return None if pts_s is None else self._sound_sender.rtp_of(round(pts_s * OUT_RATE))

    async def close(self) -> None:
        """Frees the connection, its threads and its stream. Again: nothing happens."""
        if self._closed:
            return
        self._closed = True
        self._pc.remove_all_listeners()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        self.output.stop()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._pc.close()
        finally:
            await asyncio.to_thread(self.live.close)

    # ---- inside

    def _prefer_h264(self) -> None:
        """Answers with H.264 first, where the offer has it: its encoder takes no time of the CPU."""
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver = self._pc.addTransceiver("video", "sendrecv")  # which the offer's section will be
        transceiver.setCodecPreferences(sorted(codecs, key=lambda codec: codec.mimeType.lower() != "video/h264"))

    def _allow_for_ffmpeg(self) -> None:
        """Takes the certificate that an FFmpeg built with GnuTLS shows, and its media for consent."""
        for transceiver in self._pc.getTransceivers():
            transport = transceiver.receiver.transport
            if isinstance(transport, LiveDtlsTransport):
                transport.old_curves = True
            if isinstance(connection := transport.transport._connection, LiveIceConnection):
                connection.answers_checks = False

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a track's task failed", exc_info=error)
            self._end("the picture could not be read")

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "video" and self._input is None:
            self._input = VideoInput(track, self.live, self._limits, self._bad_size, self._on_coded)
            self._spawn(self._input.run())
            if isinstance(receiver := self._receiver("video"), LiveReceiver):
                receiver.handle(self._cap, lambda: self.source_pixels)
            self._spawn(self._watch())
        elif track.kind == "audio" and self._audio is None:
            self._audio = AudioDelay(track)
            self._spawn(self._audio.run())
            sender = self._pc.addTrack(TappedTrack(self._audio, self._hub.hear))
            if isinstance(sender, LiveSender):
                sender.media_s = self._audio.media_s
            self._sound_sender = sender

    def _tie_sound(self) -> None:
        """Keeps the sound, where there is one, in step with the picture; both tracks are known by now."""
        if self._audio is None or self._input is None:
            return
        pictures = self._input
        video = ReportedWay(pictures.arrivals, lambda: pictures.shift_s)
        audio = ReportedWay(self._audio.line.arrivals)
        for kind, way in (("video", video), ("audio", audio)):
            if isinstance(receiver := self._receiver(kind), LiveReceiver):
                receiver.on_report = way.report
        self.output.lip_sync = LipSync(self._audio, pictures.arrivals, lambda: video.way_s, lambda: audio.way_s)
        if isinstance(self._sender, LiveSender):
            self._sender.media_s = lambda now_s: now_s
        self._hub.tie(lambda now_s: now_s, self._audio.media_s)

    def _receiver(self, kind: str) -> RTCRtpReceiver | None:
        return next((r for r in self._pc.getReceivers() if r.track is not None and r.track.kind == kind), None)

    def _on_state(self) -> None:
        state = self._pc.connectionState
        logger.debug("connection %s", state)
        self.was_connected |= state == "connected"
        if state in ("failed", "closed"):
            self._end("the connection was lost")

    def _end(self, reason: str) -> None:
        if not self._closed:
            self._on_end(reason)

    async def _watch(self) -> None:
        """Ends a connection that brings no media in time. Muted video still brings (black) pictures."""
        await asyncio.sleep(self._media_timeout_s)
        if self._pc.connectionState != "connected":
            self._end("no connection came about in time")
        elif self._input is not None and self._input.last_s == float("-inf"):
            self._end("no picture came in time")
        while self._ends_silent and self._input is not None:
            await asyncio.sleep(SILENCE_CHECK_S)
            if time.monotonic() - self._input.last_s > self._media_timeout_s:
                self._end(f"no picture came for {self._media_timeout_s} s")
                return

    def _bad_size(self, width: int, height: int) -> None:
        self._on_bad_size(width, height)
        if width * height > self._limits.max_pixels and not self._resting:
            self._resting = True
            self._spawn(self._rest())

    async def _rest(self) -> None:
        """Stops decoding for a while: an 8K source would starve everyone else."""
        receivers = [r for r in self._pc.getReceivers() if r.track is not None and r.track.kind == "video"]
        for receiver in receivers:
            receiver._enabled = False
        await asyncio.sleep(REST_S)
        for receiver in receivers:
            receiver._enabled = True
        self._resting = False


async def _drain(track: MediaStreamTrack) -> None:
    """Asks for what nobody takes back, so that its tap sees it."""
    with suppress(MediaStreamError):
        while True:
            await track.recv()
