"""Decoded images kept on disk, so that the same folder with the same options loads at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from dti_sprites.config import DataConfig
from dti_sprites.data.imageset import ImageSet

_VERSION = 1  # raise whenever decoding gives other pixels


def cache_path(cache_dir: Path, files: Sequence[tuple[str, Path]], config: DataConfig) -> Path:
    """Where the decoded form of these files is kept: depends on names, sizes, times and options."""
    digest = hashlib.sha256(json.dumps([_VERSION, dataclasses.asdict(config)]).encode())
    for name, path in files:
        try:
            stat = path.stat()
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
        except OSError:
            digest.update(f"{name}\0missing\n".encode(errors="surrogateescape"))
    return cache_dir / f"{digest.hexdigest()[:32]}.safetensors"


def read_cache(cached: Path, files: Sequence[tuple[str, Path]]) -> ImageSet | None:
    """The images kept at `cached`, or None when there are none or the file is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(cached, framework="pt") as file:
            info = json.loads(file.metadata()["images"])
            images = file.get_tensor("images")
            alpha = file.get_tensor("alpha") if "alpha" in file.keys() else None  # noqa: SIM118 (no mapping)
        paths = dict(files)
        return ImageSet(
            images=images,
            alpha=alpha,
            names=info["names"],
            paths=[paths[name] for name in info["names"]],
            original_sizes=[(height, width) for height, width in info["original_sizes"]],
            skipped=[(name, reason) for name, reason in info["skipped"]],
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def write_cache(cached: Path, images: ImageSet) -> None:
    """Keep `images` at `cached`, all or nothing."""
    from safetensors.torch import save_file

    info = {"names": images.names, "original_sizes": images.original_sizes, "skipped": images.skipped}
    tensors: dict[str, torch.Tensor] = {"images": images.images}
    if images.alpha is not None:
        tensors["alpha"] = images.alpha
    cached.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=cached.parent, prefix=".", suffix=".tmp")
    os.close(handle)
    try:
        save_file(tensors, temporary, metadata={"images": json.dumps(info)})
        os.replace(temporary, cached)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
