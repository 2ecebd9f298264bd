"""A program: publishes a clip by FFmpeg's own WHIP muxer (PyAV's wheel) until its standard input ends.

usage: ffmpeg_publish.py URL CLIP [option=value …]; options are the muxer's, authorization for one.
"""

import fractions
import select
import sys
import time

import av
import numpy as np

FPS = 25
RATE_HZ = 48_000
SAMPLES = 960  # 20 ms
TONE_HZ = 440


def tone(start: int) -> av.AudioFrame:
    """20 ms of a tone, stereo, from sample `start` on."""
    wave = np.sin(2 * np.pi * TONE_HZ * (start + np.arange(SAMPLES)) / RATE_HZ) * 8000
    frame = av.AudioFrame.from_ndarray(np.repeat(wave.astype(np.int16), 2)[None], format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, start, fractions.Fraction(1, RATE_HZ)
    return frame


def main(url: str, clip: str, *options: str) -> None:
    with av.open(clip) as source:
        pictures = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    out = av.open(url, "w", format="whip", options=dict(option.split("=", 1) for option in options))
    video = out.add_stream("libx264", rate=FPS)
    video.height, video.width = pictures[0].shape[:2]
    video.pix_fmt, video.profile = "yuv420p", "Baseline"
    video.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(FPS)}
    audio = out.add_stream("libopus", rate=RATE_HZ, layout="stereo")
    out.start_encoding()
    start_s, heard = time.monotonic(), 0
    for number in range(1_000_000):
        if select.select([sys.stdin], [], [], 0)[0]:
            break
        frame = av.VideoFrame.from_ndarray(pictures[number % len(pictures)], format="rgb24")
        frame.pts, frame.time_base = number, fractions.Fraction(1, FPS)
        out.mux(video.encode(frame))
        while heard * FPS <= (number + 1) * RATE_HZ:
            out.mux(audio.encode(tone(heard)))
            heard += SAMPLES
        time.sleep(max(0.0, start_s + (number + 1) / FPS - time.monotonic()))
    out.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
