"""The CUDA devices of this machine, as the driver's own program tells: PyTorch is not imported for it."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dti_service.settings import Settings, parse_devices

FIELDS = "index,uuid,name,memory.total,memory.used,utilization.gpu"
TIMEOUT_S = 10.0
FRESH_S = 2.0  # for several views of one moment

_guard = threading.Lock()
_answer: tuple[float, str] | None = None


@dataclass(frozen=True)
class Device:
    """A device under the name by which runs know it; memory in bytes, utilization in percent, None: not known."""

    device: str  # cuda:N, counted as CUDA_VISIBLE_DEVICES has it
    key: str  # of the hardware, whatever CUDA_VISIBLE_DEVICES says
    name: str = ""
    memory_total: int | None = None
    memory_used: int | None = None
    utilization: int | None = None

    def view(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "name": self.name,
            "memory_total": self.memory_total,
            "memory_used": self.memory_used,
            "utilization": self.utilization,
        }


def cuda_devices(environment: Mapping[str, str] | None = None) -> list[Device]:
    """Every CUDA device that a run may see; none without a driver."""
    return visible_devices(_ask(), os.environ if environment is None else environment)


def visible_devices(answer: str, environment: Mapping[str, str]) -> list[Device]:
    """The devices in nvidia-smi's answer that CUDA_VISIBLE_DEVICES shows, numbered in its order."""
    rows = [[part.strip() for part in row] for row in csv.reader(answer.splitlines())]
    rows = [row for row in rows if len(row) == 6 and row[0].isdecimal()]
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [_device(f"cuda:{number}", row) for number, row in enumerate(rows)]
    found: list[Device] = []
    for entry in (item.strip() for item in chosen.split(",")):
        matching = [row for row in rows if entry == row[0] or (len(entry) > 4 and row[1].startswith(entry))]
        if matching:
            found.append(_device(f"cuda:{len(found)}", matching[0]))
        elif rows and entry.startswith("MIG-"):
            found.append(Device(f"cuda:{len(found)}", entry, "MIG instance"))
        else:
            break  # as CUDA does: what follows an unknown one is not seen either
    return found


def _device(device: str, row: list[str]) -> Device:
    total, used = (int(text) * 2**20 if text.isdecimal() else None for text in row[3:5])
    load = int(row[5]) if row[5].isdecimal() else None
    return Device(device, row[1] or row[0], row[2], total, used, load)


def _ask() -> str:
    global _answer
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    with _guard:
        if _answer is None or time.monotonic() - _answer[0] > FRESH_S:
            command = [program, f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits"]
            try:
                output = subprocess.run(
                    command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
                ).stdout
            except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
                output = ""
            _answer = (time.monotonic(), output)
        return _answer[1]


def device_names(settings: Settings) -> list[str]:
    """The devices that experiments use by default: as set, else every CUDA device, else the CPU."""
    chosen = parse_devices(settings.devices)
    return chosen or [item.device for item in cuda_devices()] or ["cpu"]


def accepts(device: str, wanted: str, *, on_request: bool = False) -> bool:
    """May an experiment that asks for `wanted` run on `device`? "auto" runs anywhere, "cuda" on any CUDA device.

    A device that is there `on_request` takes only what asks for it.
    """
    if wanted == "auto":
        return not on_request
    return wanted == device or (wanted == "cuda" and device.startswith("cuda:"))
