#!/bin/sh
# Makes the key of the tunnels, which both machines need and nobody else may read.
#
#   sudo deploy/spiped/keygen.sh [FILE]       (default: /etc/dti/tunnel.key)
set -eu
umask 077
key=${1:-/etc/dti/tunnel.key}
if [ -e "$key" ]; then
    echo "$key is there already; remove it first if both machines shall get a new one." >&2
    exit 2
fi
mkdir -p "$(dirname "$key")"
dd if=/dev/urandom of="$key.part" bs=32 count=1 2>/dev/null
mv "$key.part" "$key"
echo "The key: $key. Copy it to the other machine, for root alone:"
echo "  ssh root@OTHER 'umask 077; mkdir -p /etc/dti; cat > /etc/dti/tunnel.key' < $key"
