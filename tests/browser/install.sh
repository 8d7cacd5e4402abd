#!/bin/sh
# Make sure that a Chromium is there for the browser tests. $1 is the python of the virtual environment.
set -eu
command -v chromium >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ]; then as_root=""; else as_root="sudo -n"; fi
if command -v apt-get >/dev/null 2>&1 && $as_root true 2>/dev/null; then
    echo "Installing Chromium from the system's packages" >&2
    $as_root apt-get update -qq && $as_root apt-get install -y -qq chromium >/dev/null 2>&1 || true
    command -v chromium >/dev/null 2>&1 && exit 0
fi
"$1" -m playwright install chromium >&2 && exit 0
echo "The browser tests need Chromium: install the package 'chromium', or run '$1 -m playwright install chromium'" >&2
exit 1
