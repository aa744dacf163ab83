"""The devices that were asked for, and the clock."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator

from dti_service.devices import cuda_devices
from dti_service.doctor.check import Check
from dti_service.settings import Settings, parse_devices

DRIFT_S = 5.0  # heartbeats are judged in tens of seconds
SYNCHRONISE = "Let chrony or systemd-timesyncd set the clock: timedatectl set-ntp true"


def devices(settings: Settings) -> Iterator[Check]:
    """Is every device of DTI_DEVICES there?"""
    wanted = parse_devices(settings.devices)
    have = [device.device for device in cuda_devices()]
    missing = [name for name in wanted or [] if name != "cpu" and name not in have]
    found = f"{', '.join(missing)} not there; this machine has {', '.join(have) or 'no GPU'}"
    yield Check(
        "devices",
        not missing,
        found if missing else ", ".join(wanted or have or ["cpu"]),
        "Correct DTI_DEVICES, or check the driver with nvidia-smi; what asks for a missing device waits for ever.",
    )


def clock(settings: Settings) -> Iterator[Check]:
    """Against the file server, whose times of change tell who is alive, and against the network's time."""
    problems = []
    try:
        with tempfile.NamedTemporaryFile(dir=settings.data_dir, prefix=".doctor-") as file:
            file.write(b"1")
            file.flush()
            # Of the file, not of its name: a network file system answers with its own clock.
            drift = _mtime(file.name) - time.time()
    except OSError:
        drift = 0.0  # the check of the data directory says it
    if abs(drift) > DRIFT_S:
        problems.append(
            f"{abs(drift):.0f} s {'behind' if drift > 0 else 'before'} the file server of the data"
        )
    if _synchronised() is False:
        problems.append("not synchronised with the network's time")
    yield Check("clock", not problems, "; ".join(problems) or "agrees with the data directory", SYNCHRONISE)


def _mtime(path: str) -> float:
    return os.stat(path).st_mtime


def _synchronised() -> bool | None:
    """As systemd tells; None where it cannot be told, such as in a container."""
    program = shutil.which("timedatectl")
    if program is None:
        return None
    command = [program, "show", "--property=NTPSynchronized", "--value"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip()) if done.returncode == 0 else None
