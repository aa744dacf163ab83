#!/bin/sh
# DTI Service in one container: the server, and the experiments on the GPUs that it is given. No Redis is needed.
# (compose.yaml starts server, Redis and a worker for each GPU as containers of their own.)
#
#   deploy/docker.sh build      make the image from this checkout (only the layers that changed)
#   deploy/docker.sh rebuild    make it anew from the newest base image
#   deploy/docker.sh start      start, or start again with changed settings
#   deploy/docker.sh stop       stop; running experiments save their state and go on at the next start
#   deploy/docker.sh pull       update in place: newest version, new image, restart; running experiments resume
#   deploy/docker.sh rollback   go back to the image before the last build or pull
#   deploy/docker.sh logs       follow the log            (further options go to `docker logs`)
#   deploy/docker.sh shell      a shell in the container
#   deploy/docker.sh token      print the token with which people and programs log in; it is made when there is none
#   deploy/docker.sh doctor     check the container, and say what to do about each problem
#   deploy/docker.sh dti ...    any command of dti, such as: deploy/docker.sh dti list
#
# Settings come from deploy/.env (see deploy/.env.template), or from the environment, which wins.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")

say() { printf 'docker.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

# Sets the variables of a file of NAME=VALUE lines that the environment does not set already. Nothing in it is executed.
read_settings() {
    [ -r "$1" ] || die "$1 cannot be read by user $(id -un)."
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
            '' | '#'*) continue ;;
        esac
        name=${line%%=*} value=${line#*=}
        case $name in
            "$line" | '' | [0-9]* | *[!A-Za-z0-9_]*) die "$1: not a line of the form NAME=VALUE: $line" ;;
        esac
        case $value in
            \"*\") value=${value#\"} value=${value%\"} ;;
            \'*\') value=${value#\'} value=${value%\'} ;;
        esac
        eval "[ -n \"\${$name+set}\" ]" || eval "$name=\$value; export $name"
    done <"$1"
}

command=${1:-help}
[ $# = 0 ] || shift
case $command in
    help | -h | --help)
        sed -n '2,/^set -eu/{/^set -eu/!s/^# \{0,1\}//p;}' "$0"
        exit 0
        ;;
esac

env_file=${ENV_FILE:-$here/.env}
if [ -e "$env_file" ]; then read_settings "$env_file"; fi

image=${IMAGE:-dti-service}
container=${CONTAINER:-dti}
data_folder=${DATA_FOLDER:-}
uid=${DTI_UID:-$(stat -c %u "${data_folder:-$here}" 2>/dev/null || id -u)}
devices=${DEVICE_NB:-all}
port=${PORT:-8888}
bind=${BIND:-127.0.0.1}
token_file=${TOKEN_FILE:-secrets/token}
case $token_file in /*) ;; *) token_file=$here/$token_file ;; esac

case $uid in
    0) die "The container must not run as root: set DTI_UID in deploy/.env to another user's number." ;;
    '' | *[!0-9]*) die "DTI_UID must be the number of a user, not '$uid'." ;;
esac
case $port in '' | *[!0-9]*) die "PORT must be a number, not '$port'." ;; esac
case $devices in
    all | none) ;;
    '' | *[!0-9,]*) die "DEVICE_NB must be all, none, or numbers of GPUs such as 0 or 0,1, not '$devices'." ;;
esac

exists() { docker container inspect "$container" >/dev/null 2>&1; }
is_running() { [ "$(docker container inspect --format '{{.State.Running}}' "$container" 2>/dev/null)" = true ]; }

# One image earlier is kept, for `rollback`.
keep_previous() {
    if docker image inspect "$image" >/dev/null 2>&1; then docker tag "$image" "$image:previous"; fi
}

build() {
    keep_previous
    set -- --file "$here/Dockerfile" --tag "$image" --build-arg "DTI_UID=$uid" "$@"
    [ -z "${BASE_IMAGE:-}" ] || set -- "$@" --build-arg "BASE_IMAGE=$BASE_IMAGE"
    [ -z "${TORCH_INDEX:-}" ] || set -- "$@" --build-arg "TORCH_INDEX=$TORCH_INDEX"
    DOCKER_BUILDKIT=1 docker build "$@" "$root"
}

make_token() {
    [ ! -s "$token_file" ] || return 0
    folder=$(dirname "$token_file")
    [ -d "$folder" ] || { mkdir -p "$folder" && chmod 700 "$folder"; }
    (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$token_file")
    [ "$(id -u)" != 0 ] || chown "$uid" "$token_file"
    say "A token was made: $token_file"
}

check_start() {
    [ -n "$data_folder" ] || die "DATA_FOLDER is not set: copy deploy/.env.template to deploy/.env and set it."
    case $data_folder in /*) ;; *) die "DATA_FOLDER must begin with /, not '$data_folder'." ;; esac
    [ -d "$data_folder" ] || die "There is no folder $data_folder: make it, owned by user $uid \
(install -d -o $uid -m 750 $data_folder)."
    owner=$(stat -c %u "$data_folder") gid=$(stat -c %g "$data_folder")
    [ "$gid" != 0 ] || gid=$uid
    [ "$owner" = "$uid" ] || die "$data_folder belongs to user $owner, but the container runs as $uid: \
set DTI_UID=$owner in deploy/.env, or give it away (chown -R $uid $data_folder)."
    make_token
    owner=$(stat -c %u "$token_file")
    [ "$owner" = "$uid" ] || die "The token $token_file belongs to user $owner and could not be read in the container: \
chown $uid $token_file"
}

start() {
    check_start
    remove
    case $devices in
        none) set -- ;;
        all) set -- --gpus all ;;
        *) set -- --gpus "\"device=$devices\"" ;;
    esac
    # Every DTI_ setting goes in by its name, so that no value shows on a command line.
    for name in $(env | sed -n 's/^\(DTI_[A-Z0-9_]*\)=.*/\1/p'); do
        case $name in
            DTI_UID | DTI_DATA_DIR) ;;
            *) set -- "$@" --env "$name" ;;
        esac
    done
    docker run --detach --name "$container" --hostname "$container" --restart unless-stopped \
        --user "$uid:$gid" --read-only --cap-drop ALL --security-opt no-new-privileges:true \
        --tmpfs "/tmp:rw,nosuid,nodev,exec,size=${TMP_SIZE:-4g}" --shm-size "${SHM_SIZE:-2g}" --pids-limit 8192 \
        --stop-timeout 60 --log-opt max-size=10m --log-opt max-file=5 \
        --add-host host.docker.internal:host-gateway \
        --publish "$bind:$port:8888" \
        --mount "type=bind,source=$data_folder,target=/data" \
        --mount "type=bind,source=$token_file,target=/run/secrets/dti_token,readonly" \
        --env JUPYTER_TOKEN_FILE=/run/secrets/dti_token \
        "$@" "$image" serve >/dev/null
    wait_healthy
    say "The page: http://$bind:$port/dti/   The token is in $token_file"
}

# Until the server answers; what it logged when it does not.
wait_healthy() {
    tries=${START_TRIES:-60}
    while [ "$tries" -gt 0 ]; do
        if docker exec "$container" dti-entrypoint health >/dev/null 2>&1; then return 0; fi
        is_running || break
        tries=$((tries - 1))
        sleep 1
    done
    docker logs --tail 30 "$container" >&2 || true
    say "The server does not answer; its last lines are above. deploy/docker.sh doctor checks the rest."
    exit 1
}

# Graceful: the server puts running experiments back into the queue, and they go on from their checkpoints.
remove() {
    if is_running; then docker stop --time 60 "$container" >/dev/null; fi
    if exists; then docker rm "$container" >/dev/null; fi
}

pull() {
    case $image in
        */*)
            keep_previous
            docker pull "$image"
            ;;
        *)
            git -C "$root" pull --ff-only || die "The checkout could not be updated; nothing was changed."
            # The new version of this script goes on with it.
            "$here/docker.sh" build
            ;;
    esac
    if exists; then "$here/docker.sh" start; else say "Updated. deploy/docker.sh start starts it."; fi
}

rollback() {
    docker image inspect "$image:previous" >/dev/null 2>&1 || die "There is no earlier image ($image:previous)."
    docker tag "$image:previous" "$image"
    if exists; then start; fi
}

inside() {
    is_running || die "The container $container does not run: deploy/docker.sh start"
    if [ -t 0 ] && [ -t 1 ]; then set -- -it "$container" "$@"; else set -- -i "$container" "$@"; fi
    docker exec "$@"
}

if ! command -v docker >/dev/null 2>&1; then
    die "docker is not installed: https://docs.docker.com/engine/install/ (and the NVIDIA Container Toolkit for GPUs)."
fi
case $command in
    build) build "$@" ;;
    rebuild) build --no-cache --pull "$@" ;;
    start) start ;;
    stop) remove ;;
    pull) pull ;;
    rollback) rollback ;;
    logs)
        if [ $# = 0 ]; then set -- --follow --tail 100; fi
        docker logs "$@" "$container"
        ;;
    shell) inside bash ;;
    token)
        make_token
        cat "$token_file"
        printf '\n'
        ;;
    doctor) inside dti-entrypoint doctor "$@" ;;
    dti) inside dti-entrypoint "$@" ;;
    *) die "Unknown command '$command'; deploy/docker.sh help lists them." ;;
esac
