#!/bin/sh
# Chromium for the browser tests: installed where this is root on Debian, else says what to install.
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null && exit 0
fi
echo "The browser tests need Chromium: install it (Debian: sudo apt-get install chromium; macOS: brew install chromium)." >&2
exit 1
