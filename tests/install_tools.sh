#!/bin/sh
# What the browser tests need, installed where this is root on Debian; elsewhere it says what to install.
# Chromium runs them all. The extension is tried in two meetings that nobody here wrote: PeerJS (npm), and the VideoRoom page of
# Janus (Debian); without one of these only its tests are skipped.
cd "$(dirname "$0")/.." || exit 1
status=0
debian=false
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then debian=true; fi

has_chromium() {
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}
has_janus() {
    command -v janus >/dev/null 2>&1 && [ -f /usr/share/janus/demos/videoroomtest.html ]
}
install() {
    $debian && apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

if ! has_chromium && ! install chromium fonts-dejavu-core; then
    echo "The browser tests need Chromium: install it (Debian: sudo apt-get install chromium; macOS: brew install chromium)." >&2
    status=1
fi
if ! has_janus && ! install janus janus-demos; then
    echo "The tests in Janus's VideoRoom are skipped: install it (Debian: sudo apt-get install janus janus-demos)." >&2
fi
# In a folder of its own: npm removes from a folder what it was not asked for the last time.
if [ ! -d .node/meetings/node_modules/peer ]; then
    if command -v npm >/dev/null 2>&1; then
        npm install --prefix .node/meetings --no-save --no-package-lock --no-audit --no-fund --silent peerjs@1.5.5 peer@1.0.2 ||
            echo "The tests in a PeerJS call are skipped: npm could not install peerjs and peer." >&2
    else
        echo "The tests in a PeerJS call are skipped: npm is missing (install Node.js 18 or newer)." >&2
    fi
fi
exit $status
