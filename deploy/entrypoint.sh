#!/bin/sh
# Entry point of the container: `serve` (the default), `worker [options]`, or any other command of `dti`.
set -eu

say() { printf 'dti: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

export DTI_DATA_DIR="${DTI_DATA_DIR:-/data}"
export JUPYTER_CONFIG_PATH="${JUPYTER_CONFIG_PATH:-/etc/dti}"

[ "$(id -u)" != 0 ] || die "The container runs as root; start it with --user (docker.sh and compose.yaml do)."
[ -d "$DTI_DATA_DIR" ] || die "There is no folder $DTI_DATA_DIR: mount the data folder there."
[ -w "$DTI_DATA_DIR" ] || die "The data folder may not be written by user $(id -u): \
change its owner (chown -R $(id -u) FOLDER), or set DTI_UID to its owner's number ($(stat -c %u "$DTI_DATA_DIR"))."

# The root file system is read-only: what programs write beside the data goes below the data folder or to /tmp.
export HOME="$DTI_DATA_DIR/.home"
mkdir -p "$HOME"
export JUPYTER_RUNTIME_DIR="${JUPYTER_RUNTIME_DIR:-/tmp/jupyter-$(id -u)}"
export IPYTHONDIR="${IPYTHONDIR:-/tmp/ipython-$(id -u)}"
export MPLCONFIGDIR="${MPLCONFIGDIR:-/tmp/matplotlib-$(id -u)}"
cd "$HOME"

command=${1:-serve}
[ $# = 0 ] || shift
case $command in
    serve)
        if [ -z "${JUPYTER_TOKEN:-}" ] && [ ! -r "${JUPYTER_TOKEN_FILE:-}" ]; then
            die "There is no token: set JUPYTER_TOKEN_FILE to a readable file (docker.sh makes one)."
        fi
        exec jupyter-dti --ip "${IP:-0.0.0.0}" --port "${PORT:-8888}" "$@"
        ;;
    health)
        if [ "${1:-server}" = worker ]; then exec python -m dti_service.presence worker; fi
        exec python -c 'import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=5) as answer:
    print(answer.read().decode())' "http://127.0.0.1:${PORT:-8888}/dti/api/health"
        ;;
    *)
        exec dti "$command" "$@"
        ;;
esac
