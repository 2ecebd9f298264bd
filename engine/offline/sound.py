"""One sound track goes from a clip into its relit copy: copied where the container takes the codec, else as AAC.

Stamps that repeat or fall are mended, damaged packets are skipped and counted, and the distance to the picture stays.
"""

import itertools
from fractions import Fraction

import av
from av.audio.resampler import AudioResampler
from av.container import OutputContainer
from av.filter import Graph

from lcvd.video.timestamps import RisingStamps

# Sound that every player of MP4 and Matroska knows; the rest (PCM above all) becomes AAC.
COPIED = {"aac", "mp3", "opus", "ac3", "eac3", "alac", "flac"}
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # those that every player takes
AAC_LAYOUTS = {1: "mono", 6: "5.1", 8: "7.1"}  # by channels; anything else is mixed to stereo
GAP_S = 0.03  # a longer hole in the stamps stays a hole, a shorter one is jitter
JUMP_S = 1.0


class SoundTrack:
    """Writes the packets of `source` into `container`, whose header must be written in between.

    `origin_s` is the time of `source` at which the clip begins. Without `copies` everything becomes AAC.
    """

    def __init__(self, container: OutputContainer, source: av.AudioStream, origin_s: float, copies: bool) -> None:
        self._container, self._source, self._origin_s = container, source, origin_s
        self.skipped = 0  # damaged packets
        self.written = 0
        codec = source.codec_context
        self._stamps: RisingStamps | None = None
        self._encoded: EncodedSound | None = None
        if copies and codec.codec.canonical_name in COPIED & container.supported_codecs:
            self._out = container.add_stream_from_template(source)
        else:
            rate = aac_rate(codec.sample_rate)
            self._out = container.add_stream("aac", rate=rate)
            self._out.codec_context.layout = layout = AAC_LAYOUTS.get(codec.channels, "stereo")
            self._encoded = EncodedSound(self._out, layout, rate)
        self._out.disposition = source.disposition
        for key in ("language", "title"):
            if key in source.metadata:
                self._out.metadata[key] = source.metadata[key]

    def write(self, packet: av.Packet) -> None:
        """Write one packet of the source. Raises OSError where the file cannot be written."""
        if self._encoded is None:
            self._copy(packet)
            return
        encoded: list[av.Packet] = []
        try:
            for frame in packet.decode():
                assert isinstance(frame, av.AudioFrame)
                t_s = None if frame.time is None else float(frame.time) - self._origin_s
                encoded += self._encoded.take(frame, t_s)
        except av.FFmpegError:
            self.skipped += 1
        self._mux(encoded)

    @property
    def picks(self) -> bool:
        """True where only the first two of several channels could be kept."""
        return self._encoded is not None and self._encoded.picks

    def close(self) -> None:
        """Write what the encoder holds back."""
        if self._encoded is not None:
            self._mux(self._encoded.rest())

    def _copy(self, packet: av.Packet) -> None:
        if packet.size == 0:  # the demuxer's mark of the end
            return
        ticks = packet.time_base
        if self._stamps is None:
            self._stamps = RisingStamps(int(JUMP_S / ticks))
        stamp = packet.dts if packet.dts is not None else packet.pts
        begin = round(self._origin_s / ticks)
        rising = self._stamps(None if stamp is None else stamp - begin, max(packet.duration or 0, 1))
        packet.dts = packet.pts = int(rising)
        packet.stream = self._out
        self._mux([packet])

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            try:
                self._container.mux_one(packet)
                self.written += 1
            except (av.ArgumentError, av.InvalidDataError):  # the container refuses this packet, not the file
                self.skipped += 1


class EncodedSound:
    """Turns decoded sound into AAC at a rate and a layout that AAC has."""

    def __init__(self, out: av.AudioStream, layout: str, rate: int) -> None:
        self._out, self._layout, self._rate = out, layout, rate
        self._resampler: AudioResampler | FirstTwoChannels | None = None
        self.picks = False  # of channels without a layout only the first two are kept
        self._kind: tuple[str, str, int] | None = None  # format, layout and rate of what came last
        self._next = 0  # in samples of the output

    def take(self, frame: av.AudioFrame, t_s: float | None) -> list[av.Packet]:
        """Return the packets that are ready after `frame`, which is heard from `t_s` on."""
        packets = []
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:  # also in mid-stream
            packets = self._encode(None)
            self._resampler = AudioResampler(format="fltp", layout=self._layout, rate=self._rate)
            self._kind = kind
            try:
                self._resampler.resample(frame)
            except av.FFmpegError:  # channels without a layout, of a number that has no usual one
                self._resampler, self.picks = FirstTwoChannels(frame, self._rate), True
            else:
                self._resampler = AudioResampler(format="fltp", layout=self._layout, rate=self._rate)
        if t_s is not None:
            told = round(t_s * self._rate)
            if told > self._next + GAP_S * self._rate:
                self._next = told
        return packets + self._encode(frame)

    def rest(self) -> list[av.Packet]:
        """Return what resampler and encoder hold back."""
        return self._encode(None) + self._out.encode(None)

    def _encode(self, frame: av.AudioFrame | None) -> list[av.Packet]:
        packets: list[av.Packet] = []
        if self._resampler is None:
            return packets
        for piece in self._resampler.resample(frame):
            piece.pts, piece.time_base = self._next, Fraction(1, self._rate)
            self._next += piece.samples
            packets += self._out.encode(piece)
        return packets


class FirstTwoChannels:
    """Resamples the first two channels of sound like `like`, and drops the others: an AudioResampler to stereo."""

    def __init__(self, like: av.AudioFrame, rate: int) -> None:
        self._graph = Graph()
        source = {"sample_rate": like.sample_rate, "sample_fmt": like.format.name, "channel_layout": like.layout.name}
        chain = [
            self._graph.add("abuffer", **{name: str(value) for name, value in source.items()}),
            self._graph.add("pan", "stereo|c0=c0|c1=c1"),
            self._graph.add("aformat", sample_rates=str(rate), sample_fmts="fltp", channel_layouts="stereo"),
            self._graph.add("abuffersink"),
        ]
        for one, other in itertools.pairwise(chain):
            one.link_to(other)
        self._graph.configure()

    def resample(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
        """Return what is ready after `frame`, or with None the rest."""
        self._graph.push(frame)
        pieces: list[av.AudioFrame] = []
        while True:
            try:
                piece = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return pieces
            assert isinstance(piece, av.AudioFrame)
            pieces.append(piece)


def aac_rate(rate: int) -> int:
    """Return the rate that sound of `rate` Hz is encoded at: its own, the next higher one, or the highest."""
    return next((each for each in AAC_RATES if each >= rate), AAC_RATES[-1])
