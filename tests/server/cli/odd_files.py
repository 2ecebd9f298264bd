"""Draws commands of `relight video` on small odd and damaged files: the same number draws the same command."""

import os
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from tests.engine.offline.odd_clips import restamp_flv, write_clip

# Container → video codecs with a pixel format, and sound codecs that it takes.
CONTAINERS: dict[str, tuple[str, str]] = {
    "mp4": (
        "libx264/yuv420p libx265/yuv420p10le mpeg4/yuv420p mjpeg/yuvj420p",
        "aac libmp3lame ac3 flac alac libopus",
    ),
    "mov": (
        "libx264/yuv420p prores_ks/yuv422p10le png/rgb24 qtrle/rgb24",
        "pcm_s16le pcm_s24be pcm_alaw aac adpcm_ima_qt",
    ),
    "mkv": (
        "libx264/yuv444p libvpx-vp9/yuv420p ffv1/gray ffv1/yuva420p mjpeg/yuvj444p",
        "vorbis flac pcm_f32le libopus aac ac3",
    ),
    "webm": ("libvpx/yuv420p libvpx-vp9/yuva420p", "libopus vorbis"),
    "ts": ("libx264/yuv420p mpeg2video/yuv420p libx265/yuv420p", "aac libmp3lame ac3 mp2"),
    "flv": ("flv1/yuv420p libx264/yuv420p", "aac libmp3lame pcm_s16le"),
    "avi": ("mpeg4/yuv420p mjpeg/yuvj422p rawvideo/bgr24 libx264/yuv420p", "libmp3lame pcm_s16le pcm_u8 adpcm_ms"),
    "mpg": ("mpeg1video/yuv420p mpeg2video/yuv422p", "mp2"),
    "gif": ("gif/rgb8 gif/pal8", ""),
    "h264": ("libx264/yuv420p", ""),
    "hevc": ("libx265/yuv420p", ""),
    "nut": ("ffv1/yuv420p16le rawvideo/yuv410p", "pcm_s32le flac"),
    "asf": ("wmv2/yuv420p msmpeg4v3/yuv420p", "wmav2"),
    "ivf": ("libvpx/yuv420p", ""),
    "y4m": ("wrapped_avframe/yuv420p", ""),
}
FORMATS = {"mkv": "matroska", "ts": "mpegts", "mpg": "mpeg", "y4m": "yuv4mpegpipe"}
SIZES = ((64, 48), (2, 2), (16, 16), (48, 64), (65, 49), (640, 16), (176, 144), (400, 300), (34, 18))
RATES = (8000, 11025, 16000, 22050, 44100, 48000, 96000, 37000, 4000, 192000)
LAYOUTS = ("mono", "stereo", "5.1", "7.1", "quad", "2.1", "hexadecagonal")
NAMES = (
    *(
        "in",
        "call-12:30",
        "[b]in",
        "in[b]",
        "a b",
        "-in",
        "--help",
        "in%03d",
        "ünï🎬",
        "a\nb",
        "in\\",
        "http:x",
        "file:x",
    ),
    *("concat:a|b", "pipe:0", "~", "$HOME", "x" * 240, "'q\"", "\udcff\udcfe", "[bold red]x[red]", "in.part", "..in"),
    *(":red_heart:", "a\x1b[31mb"),
)
LIGHTS = (
    *("original", "rembrandt-left", "soft-front", "nosuch", "", "[b]", "light.json", "folder.json", "x" * 300, "\0"),
    *(
        "photo.jpg",
        "p.hdr",
        "empty.exr",
        "cut.hdr",
        "IN",
        "fifo.png",
        "../x",
        "bad.json",
        "/dev/null.json",
        "\udcff.png",
    ),
)
OPTIONS = {
    "--strength": ("0", "0.5", "2", "nan", "[/]", "-1", ""),
    "--background": ("keep", "dim", "lit", "[b]", ""),
    "--reference": ("photo.jpg", "folder.json", "fifo.png", "IN", "none.png", "\0", "x" * 300, "empty.exr", "\udcff"),
    "--steps": ("0", "5", "9" * 30, "x"),
    "--size": ("0", "64", "-8", "9" * 20),
    "--state": ("folder.json", "/proc/s", "\0", "x" * 300),
    "--weights": ("tiny", "[b]", "\0", "x" * 300, "folder.json", "\udcff", ""),
    "--seed": ("-1", str(2**70)),
    "--device": ("gpu", "[/]"),
    "--deca": ("none", "\0", "x" * 300),
    "--motion": ("wild",),
    "--omega": ("inf",),
    "--nosuch": ("1",),
}


class Case(NamedTuple):
    """Holds one drawn command."""

    words: list[str]  # behind `relight`
    source: Path | None  # a file that must stay as it is
    output: Path
    story: str  # how its file came to be


def draw(number: int, folder: Path, engines: tuple[str, ...] = ("passthrough",)) -> Case:
    """Writes the files of case `number` into the empty `folder`, and returns its command, to be run there."""
    dice = random.Random(number)
    source, story = _source(dice, folder)
    _company(folder)
    output = _output(dice, folder, source)
    words = ["video", "-o", str(output)]
    if dice.random() < 0.9:
        words.append("-y")
    if dice.random() < 0.95:
        words += ["--engine", dice.choice(engines)]
    if dice.random() < 0.05:
        words += ["--engine", dice.choice(("ratio", "avatar", "lcvd", "nosuch", "[b]", ""))]
    if dice.random() < 0.15:
        light = dice.choice(LIGHTS)
        words += ["--light", str(source) if light == "IN" else light]
    if dice.random() < 0.2:
        words.append("--compare")
    if dice.random() < 0.15:
        name = dice.choice(tuple(OPTIONS))
        value = dice.choice(OPTIONS[name])
        words += [name, str(source) if value == "IN" else value]
    relative = dice.random() < 0.5
    words += ["--", source.name if relative else str(source)] if dice.random() < 0.9 else [source.name]
    return Case(words, source if source.parent == folder and source.is_file() else None, output, story)


def _source(dice: random.Random, folder: Path) -> tuple[Path, str]:
    kind = dice.random()
    if kind < 0.08:
        return _no_clip(dice, folder)
    suffix = dice.choice(tuple(CONTAINERS))
    path = folder / f"{dice.choice(NAMES)}.{suffix}"
    plain = folder / f"plain.{suffix}"
    story = _clip(dice, plain, suffix)
    if suffix == "flv" and dice.random() < 0.5:
        top = dice.choice((1, 100, 1 << 24))
        restamp_flv(plain, lambda number, stamp: dice.randrange(top))
        story += f" restamped<{top}"
    story += _damaged(dice, plain)
    if dice.random() < 0.1:
        path = path.with_suffix(dice.choice((".mp4", ".jpg", ".ts", ".txt", "", ".h264", ".mkv")))
    plain.rename(path)
    return path, story


def _clip(dice: random.Random, path: Path, suffix: str) -> str:
    """Writes a clip of random traits; what a muxer refuses is left as far as it came."""
    pictures, names = (each.split() for each in CONTAINERS[suffix])
    codec, pix_fmt = dice.choice(pictures).split("/")
    width, height = dice.choice(SIZES if codec != "libx265" else SIZES[-3:-1])  # x265 aborts the process at small ones
    count = dice.choice((0, 1, 1, 2, 3)) if names else 0
    sounds = tuple(_sound(dice, dice.choice(names)) for _ in range(count))
    frames = dice.choice((0, 1, 2, 2, 5, 5, 8, 8))
    still = np.random.default_rng(dice.randrange(99)).integers(0, 256, (height, width, 3), np.uint8)
    stamps = dice.choice(("as they are", "as they are", "as they are", "late", "shaken", "sparse", "dropped", "noise"))
    if stamps in ("late", "sparse") and suffix not in ("ts", "mkv", "nut"):
        stamps = "as they are"  # libav's muxers of these end the whole process on such stamps
    tags = {
        "color_trc": dice.choice((2, 2, 1, 16, 18, 255, 3)), "color_primaries": dice.choice((2, 2, 1, 9, 12, 0)),
        "colorspace": dice.choice((2, 2, 1, 5, 9, 0, 8, 14, 10)), "color_range": dice.choice((0, 1, 2)),
    }  # fmt: skip
    aspect = dice.choice((None, None, "16/11", "1/2", "1/255", "999/1", "0/1"))
    matrix = dice.choice((None, None, "turn", "noise", "zero"))

    def set_video(video: av.VideoStream) -> None:
        for name, value in tags.items():
            setattr(video.codec_context, name, value)
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = Fraction(aspect)
        if matrix == "turn":
            video.set_display_rotation(dice.randrange(360), dice.random() < 0.5, dice.random() < 0.5)
        elif matrix is not None:
            video.set_display_matrix([dice.randrange(-(2**31), 2**31) if matrix == "noise" else 0 for _ in range(9)])

    try:
        write_clip(
            path,
            frames=frames,
            still=still,
            codec=codec,
            pix_fmt=pix_fmt,
            sounds=sounds,
            fmt=FORMATS.get(suffix, suffix),
            begin_s=dice.choice((0, 0, 2, 30)),
            sound_begin_s=dice.choice((0, 0, 1.5, 40)),
            sound_s=dice.choice((0.05, 0.3)),
            set_video=set_video,
            on_packet=_muxed(dice, stamps),
        )
        refused = ""
    except Exception as error:  # the muxer's or the encoder's own refusal
        write_clip(path, fmt="matroska", frames=3, sounds=(("aac", 48000, "stereo"),))
        refused = f" refused({type(error).__name__})"
    return f"{suffix} {codec}/{pix_fmt} {width}x{height} f{frames} {sounds} {stamps} {tags} {aspect} {matrix}{refused}"


def _sound(dice: random.Random, name: str) -> tuple[str, int, str]:
    """Returns a codec with a rate and a layout that it takes, the free ones with any."""
    if name.startswith(("pcm", "flac", "aac", "alac")):
        return name, dice.choice(RATES[:-4] if name == "aac" else RATES), dice.choice(LAYOUTS[:-2])
    return name, 48000, "stereo" if name in ("vorbis", "wmav2") else dice.choice(("mono", "stereo"))


def _muxed(dice: random.Random, stamps: str) -> Callable[[av.Packet], av.Packet | None]:
    def change(packet: av.Packet) -> av.Packet | None:
        if stamps == "dropped" and dice.random() < 0.3:
            return None
        if packet.pts is None or packet.dts is None:
            return packet
        if stamps == "late":
            packet.pts, packet.dts = packet.pts + (1 << 33) - 9000, packet.dts + (1 << 33) - 9000
        elif stamps == "shaken":
            packet.pts += dice.randrange(-2, 3)
        elif stamps == "sparse":
            packet.pts, packet.dts = packet.pts * 10**4, packet.dts * 10**4
        elif stamps == "noise" and dice.random() < 0.3 and packet.size:
            noise = av.Packet(dice.randbytes(packet.size))
            noise.pts, noise.dts, noise.time_base, noise.stream = (
                packet.pts,
                packet.dts,
                packet.time_base,
                packet.stream,
            )
            return noise
        return packet

    return change


def _damaged(dice: random.Random, path: Path) -> str:
    """Changes bytes of the file in one of the ways in which files get damaged."""
    data = bytearray(path.read_bytes())
    kind = dice.choice(
        ("whole", "whole", "whole", "cut", "bits", "bits", "zeros", "twice", "garbage behind", "head lost", "swapped")
    )
    if kind == "whole" or len(data) < 16:
        return ""
    at = dice.randrange(len(data))
    if kind == "cut":
        del data[at:]
    elif kind == "bits":
        for _ in range(dice.choice((1, 3, 30, 300))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif kind == "zeros":
        data[at : at + 200] = bytes(len(data[at : at + 200]))
    elif kind == "twice":
        data += bytes(data)
    elif kind == "garbage behind":
        data += dice.randbytes(500)
    elif kind == "head lost":
        del data[: min(at, 400)]
    else:
        other = dice.randrange(len(data))
        data[at : at + 64], data[other : other + 64] = data[other : other + 64], data[at : at + 64]
    path.write_bytes(data)
    return f" {kind}@{at}"


def _no_clip(dice: random.Random, folder: Path) -> tuple[Path, str]:
    """Returns something that is not a video file at all."""
    kind = dice.choice(
        ("missing", "folder", "fifo", "empty", "text", "picture", "list", "sdp", "-", "device", "song", "noise", "loop")
    )
    suffix = {
        "picture": dice.choice(("png", "jpg", "bmp", "webp", "tiff")),
        "list": "m3u8",
        "sdp": "sdp",
        "song": "wav",
    }
    path = folder / f"{dice.choice(NAMES)}.{suffix.get(kind, dice.choice(('mp4', 'ts', 'h264')))}"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind in ("empty", "text", "noise"):
        path.write_bytes({"empty": b"", "text": b"hello\n" * 99, "noise": dice.randbytes(5000)}[kind])
    elif kind == "picture":
        rgb = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
        path.write_bytes(cv2.imencode(path.suffix, rgb)[1].tobytes())
    elif kind == "list":
        path.write_text("#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n#EXTINF:9,\nfifo.png\n")
    elif kind == "sdp":
        path.write_text(
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
            "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
        )
    elif kind == "song":
        with av.open(str(path), "w", format="wav") as container:
            track = container.add_stream("pcm_s16le", rate=8000)
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 2000), np.int16), format="s16", layout="stereo")
            piece.sample_rate = 8000
            container.mux(track.encode(piece))
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind in ("-", "device"):
        path = Path("-" if kind == "-" else dice.choice(("/dev/zero", "/dev/null", "/dev/tty")))
    return path, kind


def _company(folder: Path) -> None:
    """Writes the files that options may name."""
    cv2.imwrite(str(folder / "photo.jpg"), np.full((64, 64, 3), 120, np.uint8))
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "fifo.png")
    (folder / "light.json").write_text('{"ambient": {"color": [1, 1, 1], "intensity": 0.5}}')
    (folder / "bad.json").write_text('{"[/]": NaN')
    (folder / "empty.exr").touch()
    (folder / "cut.hdr").write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 64 +X 128\n\x02\x02")
    (folder / "p.hdr").write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4 +X 8\n" + bytes([90, 80, 70, 128]) * 32)


def _output(dice: random.Random, folder: Path, source: Path) -> Path:
    suffix = dice.choice((".mp4", ".mkv", ".mov", ".m4v", ".MP4") * 5 + (".avi", "", ".gif"))
    name = f"{dice.choice(NAMES)}{dice.choice(('', '', 'o'))}{suffix}"
    odd = [Path(name) for name in ("/proc/o.mp4", "/dev/null", "/dev/full", "o\0.mp4", "x" * 260 + ".mp4", "-", "")]
    odd += [folder / name for name in ("none/o.mp4", "photo.jpg/o.mp4", "fifo.png", "folder.json/o.mkv", "")]
    odd.append(source)
    return dice.choice(odd) if dice.random() < 0.08 else folder / name
