#!/bin/sh
# coturn, through which a test relays a whole session: installed where this is root on Debian. The test is skipped where it
# is missing, so a machine without is no error.
command -v turnserver >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends coturn >/dev/null && exit 0
fi
echo "coturn is not here; its test is skipped (Debian: sudo apt-get install coturn; macOS: brew install coturn)." >&2
exit 0
