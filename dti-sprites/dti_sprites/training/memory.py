"""Whether a training can fit into memory, before it starts."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

from dti_sprites.errors import ConfigError
from dti_sprites.models import DTIModel


def total_memory(device: torch.device) -> int | None:
    """Bytes of the device, or None where they are not known."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def available_bytes(device: torch.device) -> float:
    """Bytes of the device that nobody uses; infinite where that is not known."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return math.inf
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return float(found[0]) if found else math.inf


def check_memory(model: DTIModel, batch_size: int, device: torch.device) -> None:
    """Raises ConfigError, with the estimate, when a step of `model` cannot fit into the memory of `device`."""
    needed, there = model.activation_bytes(batch_size), total_memory(device)
    if there is None or needed <= there:
        return
    reason = (
        f"a step of {batch_size} images needs about {needed / 2**30:.1f} GiB, but {device} has "
        f"{there / 2**30:.1f} GiB: take fewer layers, prototypes or images per batch, or smaller images"
    )
    raise ConfigError([(model.memory_field, reason)])
