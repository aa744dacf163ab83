"""Servers and workers that are at work on the data directory: is there one, and are all of one version?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from dti_service import __version__
from dti_service.doctor.check import Check
from dti_service.doctor.machine import DRIFT_S, SYNCHRONISE
from dti_service.presence import Process, present
from dti_service.settings import Settings


def versions(settings: Settings) -> Iterator[Check]:
    found = present(settings.data_dir)
    servers = [item for item in found if item.kind == "server"]
    workers = [item for item in found if item.kind == "worker"]
    if not found:
        yield Check("processes", True, "no server or worker is at work on this data directory")
    for item in found:
        where = f"on {item.host}, process {item.pid}, version {item.version}"
        yield Check(
            f"{item.kind} {item.devices}".strip(),
            item.version == __version__,
            where,
            f"It is not of this version ({__version__}): upgrade {item.host}, server and workers together.",
        )
        if (ahead := _ahead(item)) > DRIFT_S:
            yield Check(
                f"clock of {item.host}", False, f"at least {ahead:.0f} s before this machine's", SYNCHRONISE
            )
    if settings.redis_url and servers and not workers:
        yield Check(
            "workers",
            False,
            "with Redis the server runs nothing itself, and no worker is at work",
            "Start one for each device: systemctl start dti-worker@cuda:0 (docker compose up -d), or dti worker.",
        )


def _ahead(process: Process) -> float:
    """How many seconds in the future it was started, by our clock."""
    try:
        started = datetime.fromisoformat(process.started_at)
    except ValueError:
        return 0.0
    return (started - datetime.now(UTC)).total_seconds()
