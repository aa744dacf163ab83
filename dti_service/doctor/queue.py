"""Redis, if workers are to be reached through it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from dti_service.doctor.check import Check
from dti_service.doctor.machine import DRIFT_S, SYNCHRONISE
from dti_service.settings import Settings

OLDEST = (5, 0)  # that RQ works with
TIMEOUT_S = 5.0


def redis(settings: Settings) -> Iterator[Check]:
    if not settings.redis_url:
        yield Check("queue", True, "local (no Redis needed)")
        return
    import redis

    remedy = "Start redis-server, or correct DTI_REDIS_URL (redis://:password@host:6379/0 or unix:///path/to.sock)."
    try:
        client = redis.Redis.from_url(
            settings.redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
        info: Any = client.info()
    except (redis.RedisError, ValueError) as error:
        yield Check("Redis", False, str(error), remedy)
        return
    try:
        yield from examine(client, info)
    finally:
        client.close()


def examine(client: Any, info: dict[str, Any]) -> Iterator[Check]:
    """Version, persistence, eviction and clock of a Redis that answers."""
    from dti_service.profile import is_persistent

    version = str(info["redis_version"])
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    yield Check(
        "Redis", numbers >= OLDEST, f"version {version}", "Use Redis 5 or later, or Valkey 7.2 or later."
    )
    persistent = is_persistent(client)
    yield Check(
        "Redis persistence",
        persistent,
        "kept on disk" if persistent else "neither append-only file nor snapshots",
        "Set `appendonly yes` in redis.conf, so that a restart does not empty the queue.",
    )
    policy = str(info.get("maxmemory_policy", "noeviction"))
    yield Check(
        "Redis eviction",
        policy == "noeviction",
        policy,
        "Set `maxmemory-policy noeviction` in redis.conf: evicted entries are lost news.",
    )
    seconds, microseconds = client.time()
    drift = seconds + microseconds / 1e6 - time.time()
    if abs(drift) > DRIFT_S:
        yield Check("Redis clock", False, f"differs by {abs(drift):.0f} s from this machine's", SYNCHRONISE)
