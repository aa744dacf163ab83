"""Experiment and dataset ids: UUIDs of version 7, whose order is the order of their creation (RFC 9562)."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid

IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A new UUID; within one process later ids are always greater."""
    global _last
    with _lock:
        # 48 bits of milliseconds and 12 of their fraction, moved forward when the clock has not.
        stamp = max(time.time_ns() * 4096 // 1_000_000, _last + 1)
        _last = stamp
    milliseconds, fraction = stamp >> 12, stamp & 0xFFF
    tail = int.from_bytes(os.urandom(8)) & (1 << 62) - 1
    return str(uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | tail))


def is_id(text: str) -> bool:
    """Is `text` a UUID in canonical form, and therefore safe as the name of a folder?"""
    return IDS.fullmatch(text) is not None
