#!/bin/sh
# FFmpeg's programs, which read what `relight camera` writes: installed where this is root on Debian. Tests that lack them
# read with PyAV's FFmpeg instead, so a machine without is no error.
command -v ffmpeg >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ffmpeg >/dev/null && exit 0
fi
echo "FFmpeg is not here; the tests read with PyAV's (Debian: sudo apt-get install ffmpeg; macOS: brew install ffmpeg)." >&2
exit 0
