"""Where a result comes from: versions, machine, source revision, seed and duration."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("dti-sprites", "torch", "torchvision", "numpy", "pillow", "scipy", "scikit-learn", "safetensors")


def environment(device: str | None = None, seed: int | None = None) -> dict[str, Any]:
    """Versions and machine; nothing that names the user, the host or a folder."""
    facts: dict[str, Any] = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "platform": platform.platform(terse=True),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "device": device,
        "device_name": _device_name(device),
        "seed": seed,
        "source_revision": source_revision(),
    }
    return {name: value for name, value in facts.items() if value is not None}


def source_revision() -> str | None:
    """Commit of the library's source: `DTI_SOURCE_REVISION`, else what git says of the checkout, else None.

    "+changes" is added when files of the library differ from that commit.
    """
    given = os.environ.get("DTI_SOURCE_REVISION", "").strip()
    if given:
        return given
    folder = Path(__file__).resolve().parents[1]
    if "site-packages" in folder.parts:  # installed: an enclosing checkout would be somebody else's
        return None
    revision = _git(folder, "rev-parse", "HEAD")
    if not revision:
        return None
    return f"{revision}+changes" if _git(folder, "status", "--porcelain", "--", ".") else revision


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device_name(device: str | None) -> str | None:
    torch = sys.modules.get("torch")
    if torch is None or not device or not device.startswith("cuda"):
        return None
    return str(torch.cuda.get_device_name(device))
