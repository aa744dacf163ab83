"""How this machine and its data directory are doing."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import time
from typing import Any

import psutil

from dti_service import __version__, atomic
from dti_service.locks import is_locked
from dti_service.settings import Settings, parse_devices
from dti_service.store import RUNNER, Store

_started = time.time()


def nvidia_devices() -> list[dict[str, Any]]:
    """CUDA devices with memory in bytes, as nvidia-smi tells; none without a driver. PyTorch is not imported."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    fields = "index,name,memory.total,memory.used,utilization.gpu"
    command = [program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    devices = []
    for line in output.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 5 and parts[0].isdecimal():
            total, used = (int(part) * 2**20 if part.isdecimal() else None for part in parts[2:4])
            load = int(parts[4]) if parts[4].isdecimal() else None
            device = {
                "device": f"cuda:{parts[0]}",
                "name": parts[1],
                "memory_total": total,
                "memory_used": used,
            }
            devices.append({**device, "utilization": load})
    return devices


def device_names(settings: Settings) -> list[str]:
    """The devices that run experiments here: as set, else every CUDA device, else the CPU."""
    chosen = parse_devices(settings.devices)
    return chosen or [item["device"] for item in nvidia_devices()] or ["cpu"]


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
    known = {item["device"]: item for item in nvidia_devices()}
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
        "queue": {"engine": "rq" if settings.redis_url else "local", "size": len(store.queued())},
        "devices": [
            known.get(name, cpu if name == "cpu" else {"device": name, "name": "not found"}) for name in names
        ],
        "disk": {"total": disk.total, "free": disk.free, "path": str(settings.data_dir)},
        "memory": {"total": memory.total, "available": memory.available},
        "cpu": {"count": os.cpu_count(), "load": psutil.cpu_percent(interval=None)},
    }
