"""Slots: a device runs one experiment at a time, whichever process of this machine starts it."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from dti_service.devices import accepts, cuda_devices, device_names
from dti_service.locks import FileLock
from dti_service.settings import Settings, parse_devices
from dti_service.store import Store


@dataclass(frozen=True)
class Slot:
    """One device of this machine, guarded by a lock in the data directory."""

    device: str
    lock: FileLock
    on_request: bool = False

    def accepts(self, wanted: str) -> bool:
        return accepts(self.device, wanted, on_request=self.on_request)


def find_slots(settings: Settings, store: Store) -> list[Slot]:
    """The devices as set. Where they were found by themselves, the CPU runs what asks for it beside the GPUs."""
    names = device_names(settings)
    slots = [Slot(name, _lock(store, name)) for name in names]
    if parse_devices(settings.devices) is None and "cpu" not in names:
        slots.append(Slot("cpu", _lock(store, "cpu"), on_request=True))
    return slots


def can_run(settings: Settings, wanted: str) -> bool:
    """Is there a device here for what asks for `wanted`?"""
    if wanted == "cpu" and parse_devices(settings.devices) is None:
        return True
    return any(accepts(name, wanted) for name in device_names(settings))


def _lock(store: Store, device: str) -> FileLock:
    """Named after the hardware: another process may count its devices in another way."""
    keys = {item.device: item.key for item in cuda_devices()}
    name = f"{socket.gethostname()}-{keys.get(device, device)}"
    return FileLock(store.locks / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}.lock")
