#!/bin/sh
# Installs the Debian programs that the tests use, where this user may; otherwise says which tests will skip.
set -eu

missing=""
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v spiped >/dev/null 2>&1 || missing="$missing spiped"
command -v curl >/dev/null 2>&1 || missing="$missing curl"
PATH="$PATH:/usr/sbin" command -v nginx >/dev/null 2>&1 || missing="$missing nginx-light"
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
PATH="$PATH:/usr/sbin" command -v ip >/dev/null 2>&1 || missing="$missing iproute2"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    root=none
elif [ "$(id -u)" = 0 ]; then
    root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    root="sudo -n"
else
    root=none
fi
if [ "$root" = none ]; then
    printf 'Not installed, and no right to install them:%s. The tests that need them will be skipped.\n' "$missing" >&2
    exit 0
fi

export DEBIAN_FRONTEND=noninteractive
printf 'Installing the programs that the tests use:%s ...\n' "$missing" >&2
# shellcheck disable=SC2086  # the lists are meant to be split
if ! { $root apt-get update -qq && $root apt-get install -y -qq --no-install-recommends $missing; } >/dev/null 2>&1; then
    printf 'Could not install:%s. The tests that need them will be skipped.\n' "$missing" >&2
fi
