"""The production profile: combinations of settings with which the server refuses to start.

A server that anybody may use is refused in every profile, because a notebook is code that runs as the server's user.
The other checks are for production; in development they are only logged.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROFILES = ("development", "production")

REDIS_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Finding:
    """Something that makes the server unsafe or the queue forgetful, and what to do about it."""

    message: str
    always: bool = False  # refused in development too


def refused(findings: Iterable[Finding], profile: str) -> list[Finding]:
    """Those that a server of this profile does not start with."""
    return [finding for finding in findings if finding.always or profile == "production"]


def examine(
    *,
    ip: str,
    authenticated: bool,
    data_dir: Path,
    open_routes: bool = False,
    secret_files: Iterable[Path] = (),
    redis_url: str | None = None,
) -> list[Finding]:
    """Everything that is wrong.

    `ip`: the address to listen on, empty for all; `open_routes`: the compatibility routes need no token;
    `secret_files`: keys and tokens.
    """
    found = [*check_access(ip, authenticated), *check_folder(data_dir)]
    if open_routes and not is_local(ip):
        found.append(
            Finding(
                "The compatibility routes would be open to whoever reaches this server (DTI_DISCOVER_OPEN). Listen on"
                " 127.0.0.1 and put a tunnel before it, or unset it and give the front the token."
            )
        )
    for path in secret_files:
        found += check_secret_file(path)
    if redis_url:
        found += check_redis(redis_url)
    return found


def secret_files(environment: Mapping[str, str], *configured: str) -> list[Path]:
    """The files that hold keys: those of the server's configuration, and those that the environment names."""
    named = environment.get("DTI_SECRET_FILES", "").split(",")
    paths = [environment.get("JUPYTER_TOKEN_FILE", ""), *named, *configured]
    return [Path(text.strip()).expanduser() for text in dict.fromkeys(paths) if text.strip()]


def is_local(ip: str) -> bool:
    """Can only this machine reach a server that listens on this address?"""
    if ip in ("", "*"):
        return False
    try:
        return ipaddress.ip_address(ip.strip("[]")).is_loopback
    except ValueError:
        pass
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(ip, None)}
    except OSError:
        return ip == "localhost"
    return all(ipaddress.ip_address(address.split("%")[0]).is_loopback for address in addresses)


def check_access(ip: str, authenticated: bool) -> list[Finding]:
    if authenticated or is_local(ip):
        return []
    shown = ip or "all addresses"
    return [
        Finding(
            f"The server would listen on {shown} without a token: whoever reaches it could run code as this user."
            " Set JUPYTER_TOKEN_FILE or JUPYTER_TOKEN, or listen on 127.0.0.1 (--ip 127.0.0.1).",
            always=True,
        )
    ]


def check_secret_file(path: Path) -> list[Finding]:
    """Keys and tokens belong to their owner; a group may read them, everybody else may not."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return []
    except OSError as error:
        return [Finding(f"The key file {path} cannot be examined ({error.strerror}). Let this user read it.")]
    if mode & stat.S_IRWXO:
        return [
            Finding(
                f"Every user of this machine may read or change the key file {path} (mode {stat.S_IMODE(mode):04o})."
                f" Run: chmod 600 {path}"
            )
        ]
    return []


def check_folder(folder: Path) -> list[Finding]:
    """One where the service can work, and that not everybody may write to: who can, queues notebooks as this user."""
    existing = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    if not (existing.is_dir() and os.access(existing, os.R_OK | os.W_OK | os.X_OK)):
        return [
            Finding(
                f"The data directory {folder} cannot be used by user {os.getuid()}: {existing} is not a folder that it"
                " may write to. Change its owner, or set DTI_DATA_DIR to another folder.",
                always=True,
            )
        ]
    try:
        mode = folder.stat().st_mode
    except OSError:
        return []
    if mode & stat.S_IWOTH:
        return [
            Finding(f"Every user of this machine may write to the data directory. Run: chmod o-w {folder}")
        ]
    return []


def check_redis(url: str) -> list[Finding]:
    """Does Redis keep the queue over a restart, and never drop entries to save memory?

    A Redis that does not answer at this moment is nothing to refuse: workers and server wait for it.
    """
    import redis

    try:
        client = redis.Redis.from_url(
            url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        )
    except ValueError as error:
        return [Finding(f"The address of Redis cannot be used: {error}. Correct DTI_REDIS_URL.", always=True)]
    try:
        found = []
        if not is_persistent(client):
            found.append(
                Finding(
                    "Redis keeps nothing on disk: a restart would empty the queue. Set `appendonly yes` in redis.conf."
                )
            )
        memory: Any = client.info("memory")
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction":
            found.append(
                Finding(
                    f"Redis may drop entries of the queue when memory is short (maxmemory-policy {policy})."
                    " Set `maxmemory-policy noeviction` in redis.conf."
                )
            )
        return found
    except (redis.ConnectionError, redis.TimeoutError):
        return []
    except redis.RedisError as error:
        return [Finding(f"Redis cannot be examined: {error}. Correct DTI_REDIS_URL or the user's rights.")]
    finally:
        client.close()


def is_persistent(client: Any) -> bool:
    """By an append-only file or by snapshots. Raises redis.RedisError."""
    if client.info("persistence").get("aof_enabled"):
        return True
    import redis

    try:
        return bool(client.config_get("save").get("save"))
    except redis.ResponseError:
        return False  # a managed Redis without CONFIG: only the append-only file can be seen
