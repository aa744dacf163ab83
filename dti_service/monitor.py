"""How this machine and its data directory are doing."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import time
from typing import Any

import psutil

from dti_service import __version__, atomic
from dti_service.devices import cuda_devices, device_names
from dti_service.locks import is_locked
from dti_service.settings import Settings
from dti_service.store import RUNNER, Store

_started = time.time()


def workers(store: Store) -> dict[str, Any]:
    """What runs where: {items: [{host, pid, device, experiment_id, since, heartbeat_at, alive}]}."""
    items = []
    for experiment in store.running():
        path = store.root / experiment.id / RUNNER
        try:
            runner = atomic.read_json(path)
            beat = path.stat().st_mtime
        except (OSError, ValueError):
            continue
        items.append(
            {
                "host": runner.get("host"),
                "pid": runner.get("pid"),
                "device": experiment.assigned_device,
                "experiment_id": experiment.id,
                "since": runner.get("started_at"),
                "heartbeat_age_s": round(max(0.0, time.time() - beat), 1),
                "alive": is_locked(store.root / experiment.id / ".lock"),
            }
        )
    return {"items": items}


def monitor(settings: Settings, store: Store) -> dict[str, Any]:
    """Sizes in bytes, loads in percent, times in seconds."""
    disk = shutil.disk_usage(settings.data_dir)
    memory = psutil.virtual_memory()
    store.index.refresh()
    names = device_names(settings)
    known = {item.device: item.view() for item in cuda_devices()}
    cpu = {
        "device": "cpu",
        "name": platform.processor() or "CPU",
        "memory_total": memory.total,
        "memory_used": memory.used,
    }
    return {
        "host": socket.gethostname(),
        "version": __version__,
        "uptime_s": round(time.time() - _started, 1),
        "experiments": store.index.counts(),
        "queue": {"engine": "rq" if settings.redis_url else "local", "size": len(store.waiting())},
        "devices": [
            known.get(name, cpu if name == "cpu" else {"device": name, "name": "not found"}) for name in names
        ],
        "disk": {"total": disk.total, "free": disk.free, "path": str(settings.data_dir)},
        "memory": {"total": memory.total, "available": memory.available},
        "cpu": {"count": os.cpu_count(), "load": psutil.cpu_percent(interval=None)},
    }
