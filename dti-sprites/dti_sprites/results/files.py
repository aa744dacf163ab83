"""Writing so that a kill at any moment never leaves something half-written that looks complete."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from dti_sprites.results import layout

try:
    import fcntl
except ImportError:  # Windows has no flock: left-over folders are then not recognised, and stay
    fcntl = None  # type: ignore[assignment]

UNDECODABLE = "backslashreplace"
"""How text files take names of files that are not UTF-8 (Python gives them lone surrogates)."""


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: arrays to lists, NaN and infinity to null, paths to text."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)


def dump_json(value: Any, indent: int | None = 2) -> str:
    """`plain(value)` as JSON text, without the walk through a large value that is plain already."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=indent, default=plain)
    try:
        return encoder.encode(value) + "\n"
    except (ValueError, TypeError):  # NaN, or keys that are not text
        return encoder.encode(plain(value)) + "\n"


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8) in one step."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        beside.write_text(text, encoding="utf-8", errors=UNDECODABLE)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write a result tree into; its entries move into `out` when the block ends well.

    They replace an earlier tree as a whole. `metrics.json`, which says that a tree is complete, leaves
    `out` before the first move and arrives with the last. Whatever else is in `out` (a checkpoint, files
    of a notebook) stays. After an error `out` is as before. Folders that a killed process left behind
    are removed.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(out)
    partial = out.parent / f"{out.name}.partial-{secrets.token_hex(4)}"
    partial.mkdir()
    lock = _lock(partial)
    try:
        yield partial
        _move_entries(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _move_entries(partial: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    (out / layout.METRICS).unlink(missing_ok=True)
    replaced = partial / ".replaced"
    replaced.mkdir()
    new = {entry.name for entry in partial.iterdir() if entry != replaced}
    for name in sorted(new | layout.OWNED, key=lambda name: (name == layout.METRICS, name)):
        if name not in new or (out / name).is_dir():  # a rename cannot replace a folder that holds files
            with suppress(FileNotFoundError):
                os.replace(out / name, replaced / name)
        if name in new:
            os.replace(partial / name, out / name)


def _lock(folder: Path) -> int | None:
    """An open, locked descriptor of `folder`; None where another process holds it or locks do not exist."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_abandoned(out: Path) -> None:
    for folder in out.parent.glob(f"{_escape(out.name)}.partial-*"):
        with suppress(OSError):  # gone in the meantime
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _escape(name: str) -> str:
    """`name` with the wildcards of glob taken literally."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
