#!/bin/sh
# Creates .venv in the checkout and installs both distributions, editable.
# Does nothing when the project files that describe the set-up have not changed since the last time.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

# The packages of the operating system need root; without it we only say what is missing.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo -n "$@"
    else return 1
    fi
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

if ! python=$(find_python); then
    say "Python 3.11, 3.12 or 3.13 is needed and was not found. Install it, or set PYTHON=/path/to/python3."
    exit 1
fi

stamp=.venv/.set-up
wanted=$(cat pyproject.toml dti-sprites/pyproject.toml tools/setup.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    rm -rf .venv
    if ! "$python" -m venv .venv 2>/dev/null; then
        rm -rf .venv
        say "The venv module of $python is incomplete; installing Debian's python3-venv ..."
        if ! { as_root apt-get update -qq && as_root apt-get install -y -qq python3-venv >/dev/null; }; then
            say "Install the package python3-venv (apt-get install python3-venv) and run this again."
            exit 1
        fi
        "$python" -m venv .venv
    fi
fi

say "Setting up .venv with $("$python" --version) (the first time downloads PyTorch; a few minutes) ..."
log=.venv/set-up.log
if ! .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off \
        -e ./dti-sprites -e '.[dev]' >"$log" 2>&1; then
    tail -n 25 "$log" >&2
    say "The installation failed; the whole log is in $log."
    exit 1
fi
printf '%s' "$wanted" >"$stamp"
say "Set-up done."
