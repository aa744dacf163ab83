"""A result tree as one zip file."""

from __future__ import annotations

import os
import secrets
import zipfile
from pathlib import Path

from dti_sprites.results import layout

_COMPACT = {".png", ".jpg", ".gif", ".safetensors"}  # compressed already, or noise to a compressor


def pack(out: Path, target: Path) -> Path:
    """Write the entries of the tree `out` (not a checkpoint or other files beside them) to `target`, in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with zipfile.ZipFile(beside, "w", strict_timestamps=False) as archive:
            for path in _members(out):
                packed = zipfile.ZIP_STORED if path.suffix in _COMPACT else zipfile.ZIP_DEFLATED
                archive.write(path, path.relative_to(out), compress_type=packed)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    return target


def _members(out: Path) -> list[Path]:
    """Folders and files of the tree, folders before their files."""
    members: list[Path] = []
    for name in sorted(layout.OWNED):
        entry = out / name
        if entry.exists():
            members.append(entry)
            members += sorted(entry.rglob("*")) if entry.is_dir() else []
    return members
