#!/bin/sh
# Installs the units, the user, the folders, the settings and a token; it starts nothing and overwrites no settings.
# The program itself lies in /opt/dti: see "Without Docker" in docs/operations.md.
#
#   sudo deploy/systemd/install.sh [--tunnel] [--root DIR]
#
#   --tunnel   also the units of the encrypted tunnel (deploy/spiped/)
#   --root     install below DIR instead of /, without making a user (for packages and tests)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root="" tunnel=no
while [ $# -gt 0 ]; do
    case $1 in
        --tunnel) tunnel=yes ;;
        --root)
            [ $# -gt 1 ] || { echo "--root needs a folder" >&2; exit 2; }
            root=$2
            shift
            ;;
        *) sed -n '2,/^set -eu/{/^set -eu/!s/^# \{0,1\}//p;}' "$0"; exit 2 ;;
    esac
    shift
done
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "Run this as root: sudo $0" >&2
    exit 2
fi

# Settings are the machine's own: a file that is there already stays as it is.
keep() { [ -e "$root$2" ] || install -m "$3" "$1" "$root$2"; }

install -d "$root/etc/systemd/system" "$root/usr/lib/sysusers.d" "$root/usr/lib/tmpfiles.d"
install -m 644 "$here"/dti-*.service "$root/etc/systemd/system/"
install -m 644 "$here/dti.sysusers" "$root/usr/lib/sysusers.d/dti.conf"
install -m 644 "$here/dti.tmpfiles" "$root/usr/lib/tmpfiles.d/dti.conf"
if [ -z "$root" ]; then
    systemd-sysusers dti.conf
    systemd-tmpfiles --create dti.conf
else
    install -d -m 750 "$root/etc/dti" "$root/var/lib/dti"
fi
keep "$here/dti.env" /etc/dti/dti.env 640
keep "$here/redis.conf" /etc/dti/redis.conf 640
install -m 644 "$here/../jupyter_server_config.py" "$root/etc/dti/"
if [ ! -e "$root/etc/dti/token" ]; then
    (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$root/etc/dti/token")
fi
if [ "$tunnel" = yes ]; then
    install -m 644 "$here/../spiped/dti-tunnel@.service" "$root/etc/systemd/system/"
    install -d "$root/etc/dti/tunnels"
    for name in server-in server-out callbacks-in callbacks-out; do
        keep "$here/../spiped/$name.env" "/etc/dti/tunnels/$name.env" 644
    done
fi
if [ -z "$root" ]; then
    chgrp dti /etc/dti/dti.env /etc/dti/redis.conf
    chown dti:dti /etc/dti/token
    systemctl daemon-reload
fi
echo "Installed. Look at $root/etc/dti/dti.env, then: systemctl enable --now dti-server"
