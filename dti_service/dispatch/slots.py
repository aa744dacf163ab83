"""Slots: a device runs one experiment at a time, whichever process of this machine starts it."""

from __future__ import annotations

import re
import socket

from dti_service.experiment import Experiment
from dti_service.locks import FileLock
from dti_service.store import Store


class Slot:
    """One device of this machine, guarded by a lock in the data directory."""

    def __init__(self, store: Store, device: str) -> None:
        self.device = device
        host = re.sub(r"[^A-Za-z0-9_.-]", "_", socket.gethostname())
        self.lock = FileLock(store.locks / f"{host}-{device.replace(':', '-')}.lock")

    def accepts(self, experiment: Experiment) -> bool:
        """May this experiment run here? "auto" runs anywhere, "cuda" on any CUDA device."""
        wanted = experiment.device
        return wanted in {"auto", self.device} or (wanted == "cuda" and self.device.startswith("cuda:"))
