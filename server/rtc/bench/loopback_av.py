"""Measures lip sync: numbered pictures and beeps through a real server and WebRTC, at several delays and between them.

The client sends as a browser does (a camera, a microphone, sender reports that tie both to one clock) and receives as
one: a picture and a sound are together when their RTP timestamps, through the server's sender reports, name the same
time. What came when is told beside it, for receivers that line up nothing.
"""

import asyncio
import fractions
import time
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import av
import numpy as np
from aiortc import RTCPeerConnection
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from numpy.typing import NDArray

from engine.bench.beeps import PERIOD_S, PITCHES, RATE, beeps, clicks, find_beeps, silences
from engine.bench.delayed import engine_name
from engine.bench.throughput import BUDGET_FPS, commit, machine
from engine.bench.timecode import VALUE_BITS, read, stamp
from engine.errors import EngineError
from server.rtc.bench.loopback import server_process
from server.rtc.bench.loopback_client import Client, picture_array
from server.rtc.codecs import tune
from server.rtc.jitter import LiveReceiver
from server.rtc.pictures.frames import TIME_BASE, VIDEO_CLOCK_HZ
from server.rtc.sender import LiveSender

FRAME = 960
SETTLE_S = 3.0  # after an engine's first picture
HOLD_S = 4.0  # of an engine while switching
SHOWN_LIMIT_S = 30.0
PAIR_S = 1.0  # a beep further from its picture than this belongs to another one
MINUTE_S = 60.0


class SharedClock:
    """The moment at which both tracks begin; `media_s` is what their sender reports tell."""

    def __init__(self) -> None:
        self.start_s: float | None = None

    def started(self) -> float:
        if self.start_s is None:
            self.start_s = time.monotonic()
        return self.start_s

    def media_s(self, now_s: float) -> float | None:
        return None if self.start_s is None else now_s - self.start_s


class Camera(MediaStreamTrack):
    """Gives numbered pictures; picture n is taken n / 30 s after the start."""

    kind = "video"

    def __init__(self, loop: list[NDArray[np.uint8]], clock: SharedClock) -> None:
        super().__init__()
        self._pictures, self._shared, self._number = loop, clock, -1

    async def recv(self) -> av.VideoFrame:
        start_s = self._shared.started()
        self._number = max(self._number + 1, int((time.monotonic() - start_s) * BUDGET_FPS))
        await asyncio.sleep(max(0.0, start_s + self._number / BUDGET_FPS - time.monotonic()))
        if self.readyState != "live":
            raise MediaStreamError
        rgb = self._pictures[self._number % len(self._pictures)].copy()
        stamp(rgb, self._number)
        picture = av.VideoFrame.from_numpy_buffer(rgb, format="rgb24")
        picture.pts, picture.time_base = round(self._number * VIDEO_CLOCK_HZ / BUDGET_FPS), TIME_BASE
        return picture


class Microphone(MediaStreamTrack):
    """Gives the beeps, 20 ms each time and when they are over, as a microphone does."""

    kind = "audio"

    def __init__(self, clock: SharedClock) -> None:
        super().__init__()
        self._shared, self._frames = clock, 0

    async def recv(self) -> av.AudioFrame:
        ready_s = self._shared.started() + (self._frames + 1) * FRAME / RATE
        await asyncio.sleep(max(0.0, ready_s - time.monotonic()))
        if self.readyState != "live":
            raise MediaStreamError
        sound = av.AudioFrame.from_ndarray(beeps(self._frames * FRAME, FRAME)[None], format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = RATE, self._frames * FRAME, fractions.Fraction(1, RATE)
        self._frames += 1
        return sound


class Picture(NamedTuple):
    number: int
    came_s: float  # time.monotonic
    shown_s: float | None  # by RTP timestamp and sender reports; None before the first report


class Sound(NamedTuple):
    pts: int  # of its first sample
    came_s: float
    heard_s: float | None  # of its first sample, on the clock of `Picture.shown_s`
    samples: NDArray[np.int16]  # [n]


class AvClient(Client):
    """A participant with a camera and a microphone, who notes all that comes back."""

    def __init__(self, url: str, loop: list[NDArray[np.uint8]], codec: str) -> None:
        super().__init__(url, loop, codec)
        self.pictures: list[Picture] = []
        self.sounds: list[Sound] = []
        self._clock = SharedClock()
        self._camera = Camera(loop, self._clock)  # type: ignore[assignment]
        self._microphone = Microphone(self._clock)

    async def use(self, engine: str) -> None:
        """Switches to `engine` and waits until it is shown. Raises EngineError where it never is."""
        await self._send(type="set_engine", engine=engine)
        try:
            async with asyncio.timeout(SHOWN_LIMIT_S):
                while self.counts.stats.get("engine", {}).get("showing") != engine:
                    self.check()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise EngineError(f"engine {engine} was never shown", "look at the server's log") from None

    async def close(self) -> None:
        self._microphone.stop()
        await super().close()

    def _add_sound(self, pc: RTCPeerConnection) -> None:
        pc.addTransceiver(self._microphone, "sendrecv")
        for sender in pc.getSenders():
            if isinstance(sender, LiveSender):
                sender.media_s = self._clock.media_s

    async def _read(self, track: MediaStreamTrack) -> None:
        receiver: Any = next(r for r in self._pc.getReceivers() if r.track is track)
        assert isinstance(receiver, LiveReceiver)
        newest, span = 0, 1 << VALUE_BITS
        while True:
            try:
                frame: Any = await track.recv()
            except MediaStreamError:
                return
            now_s, capture_s = time.monotonic(), receiver.capture_s
            tied_s = None if capture_s is None else float(frame.pts * frame.time_base) + capture_s
            if track.kind == "audio":
                samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0]
                self.sounds.append(Sound(frame.pts, now_s, tied_s, samples))
                continue
            self.counts.first.set()
            value = read(picture_array(frame))
            if value is None:
                self.counts.unreadable += 1
                continue
            newest += (value - newest + span // 2) % span - span // 2
            self.pictures.append(Picture(newest, now_s, tied_s))


@dataclass(slots=True)
class Offsets:
    """Sound − picture in ms, positive where the sound is late: median, and of the absolute values p95 and greatest."""

    name: str
    beeps: int  # that were heard with their picture
    alone: int  # pictures with a beep that was not heard
    p50_ms: float
    p95_ms: float
    max_ms: float
    arrival_p50_ms: float  # the same by arrival
    arrival_p95_ms: float
    first_minute_ms: float | None = None  # medians; of two minutes or more
    last_minute_ms: float | None = None


@dataclass(slots=True)
class AvResult:
    """Holds what was measured: offsets at each delay and while switching, and the sound's faults over all of it."""

    codec: str
    seconds: float
    offsets: list[Offsets]
    sound_s: float  # that was listened to
    gaps: int
    longest_gap_ms: float
    clicks: int
    commit: str
    machine: dict[str, str]
    mode: str = "av"

    @property
    def p95_ms(self) -> float:
        return max(offsets.p95_ms for offsets in self.offsets)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Pair:
    """One beep and its picture."""

    at_s: float  # the picture came; time.monotonic
    offset_s: float | None  # None: not heard
    arrival_s: float | None


@dataclass(slots=True)
class Recorded:
    """The sound as one piece, lost packets as silence, with its times."""

    samples: NDArray[np.int16]
    came_s: NDArray[np.float64]  # of each FRAME
    heard_s: NDArray[np.float64]  # NaN: not known
    pairs: list[Pair] = field(default_factory=list)

    def at(self, position: float, times: NDArray[np.float64]) -> float:
        """Returns the time of a position, of `came_s` or `heard_s`."""
        frame = min(int(position) // FRAME, len(times) - 1)
        return float(times[frame]) + (position - frame * FRAME) / RATE


def recorded(sounds: list[Sound]) -> Recorded:
    """Joins what came by PTS."""
    frames = (sounds[-1].pts - sounds[0].pts) // FRAME + 1
    out = Recorded(np.zeros(frames * FRAME, np.int16), np.full(frames, np.nan), np.full(frames, np.nan))
    for sound in sounds:
        frame = (sound.pts - sounds[0].pts) // FRAME
        out.samples[frame * FRAME : frame * FRAME + FRAME] = sound.samples[:FRAME]
        out.came_s[frame] = sound.came_s
        out.heard_s[frame] = np.nan if sound.heard_s is None else sound.heard_s
    return out


def pairs_of(pictures: list[Picture], sound: Recorded) -> list[Pair]:
    """Returns each picture at which a beep began, with that beep; of several the nearest (a jump repeats some)."""
    every = round(PERIOD_S * BUDGET_FPS)
    shown: dict[int, Picture] = {}
    for picture in pictures:
        shown.setdefault(picture.number, picture)
    heard = find_beeps(sound.samples)
    times = [
        (beep.pitch, sound.at(beep.position, sound.heard_s), sound.at(beep.position, sound.came_s)) for beep in heard
    ]
    found = []
    for number in sorted(n for n in shown if n % every == 0):
        picture = shown[number]
        if picture.shown_s is None:
            continue
        mine = [(t - picture.shown_s, c - picture.came_s) for p, t, c in times if p == number // every % PITCHES]
        near = min((pair for pair in mine if abs(pair[0]) < PAIR_S), key=lambda pair: abs(pair[0]), default=None)
        found.append(Pair(picture.came_s, None, None) if near is None else Pair(picture.came_s, *near))
    return found


def offsets_of(name: str, pairs: list[Pair]) -> Offsets:
    """Sums up the pairs of one phase. Raises EngineError where there is none."""
    heard = [
        (p.at_s, 1e3 * p.offset_s, 1e3 * p.arrival_s)
        for p in pairs
        if p.offset_s is not None and p.arrival_s is not None
    ]
    if not heard:
        raise EngineError(f"no beep came back at {name}", "measure longer, on a quieter machine")
    times, offsets, arrivals = (np.array(column) for column in zip(*heard, strict=True))
    minutes: dict[str, float] = {}
    if times[-1] - times[0] > 2 * MINUTE_S - 10:
        minutes["first_minute_ms"] = round(float(np.median(offsets[times < times[0] + MINUTE_S])), 2)
        minutes["last_minute_ms"] = round(float(np.median(offsets[times > times[-1] - MINUTE_S])), 2)
    return Offsets(
        name,
        len(heard),
        len(pairs) - len(heard),
        round(float(np.median(offsets)), 2),
        round(float(np.percentile(np.abs(offsets), 95)), 2),
        round(float(np.abs(offsets).max()), 2),
        round(float(np.median(arrivals)), 2),
        round(float(np.percentile(np.abs(arrivals), 95)), 2),
        **minutes,
    )


def bench_av(delays: list[float], loop: list[NDArray[np.uint8]], seconds: float, codec: str = "vp8") -> AvResult:
    """Measures `seconds` at each of `delays` (s), and as long while switching between them where there are several.

    Raises EngineError where the server does not start or nothing comes back.
    """
    tune()
    with server_process(["server.cli.delayed_server", *(f"{delay:g}" for delay in delays)]) as (url, _):
        return asyncio.run(_measure(url, delays, loop, seconds, codec))


async def _measure(
    url: str, delays: list[float], loop: list[NDArray[np.uint8]], seconds: float, codec: str
) -> AvResult:
    client = AvClient(url, loop, codec)
    phases: list[tuple[str, float, float]] = []
    try:
        await client.start("original")
        for delay in delays:
            await client.use(engine_name(delay))
            await asyncio.sleep(SETTLE_S + delay)
            start_s = time.monotonic()
            await asyncio.sleep(seconds)
            phases.append((f"{delay:g} s", start_s, time.monotonic()))
        if len(delays) > 1:
            start_s, turn = time.monotonic(), 0
            while time.monotonic() < start_s + seconds or turn < len(delays):
                await client.use(engine_name(_order(delays)[turn % len(delays)]))
                await asyncio.sleep(HOLD_S)
                turn += 1
            phases.append(("switching", start_s, time.monotonic()))
        client.check()
        await asyncio.sleep(1.0)
    finally:
        await client.close()
    if not client.sounds:
        raise EngineError("no sound came back", "look at the server's log")
    sound = recorded(client.sounds)
    pairs = await asyncio.to_thread(pairs_of, client.pictures, sound)
    gaps = silences(sound.samples[RATE:])  # the first second fades in
    return AvResult(
        codec=codec,
        seconds=seconds,
        offsets=[offsets_of(name, [p for p in pairs if start <= p.at_s < end]) for name, start, end in phases],
        sound_s=round(len(sound.samples) / RATE, 1),
        gaps=len(gaps),
        longest_gap_ms=round(1e3 * max(gaps, default=0.0), 1),
        clicks=len(clicks(sound.samples[RATE:])),
        commit=commit(),
        machine=machine(),
    )


def _order(delays: list[float]) -> list[float]:
    """Returns the delays so that short and long ones follow each other."""
    ranked = sorted(delays)
    half = (len(ranked) + 1) // 2
    return [
        d for pair in zip(ranked[:half], [*reversed(ranked[half:]), None], strict=False) for d in pair if d is not None
    ]
