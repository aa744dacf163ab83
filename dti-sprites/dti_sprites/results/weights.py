"""model.safetensors: the weights with everything needed to build the model again. Never pickle."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from dti_sprites import __version__
from dti_sprites.config import RunConfig
from dti_sprites.errors import ConfigError, DataError
from dti_sprites.models import build_model

FORMAT = "1"


def save_weights(
    path: Path, model: Any, config: RunConfig, channels: int, image_size: tuple[int, int]
) -> None:
    """Write the state of `model` to `path` in one step, with its configuration as metadata."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "library": __version__,
        "config": json.dumps(config.to_dict()),
        "channels": str(channels),
        "image_size": json.dumps(list(image_size)),
        "stage": str(model.stage),
    }
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        save_file(tensors, beside, metadata)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_metadata(path: Path) -> dict[str, Any]:
    """{"config": RunConfig, "channels": int, "image_size": (H, W), "stage": int}. Raises DataError."""
    try:
        with safe_open(path, framework="pt") as file:
            raw = file.metadata() or {}
        if raw.get("format") != FORMAT:
            raise DataError(f"{path}: weights of format {raw.get('format')!r}; this version reads {FORMAT!r}")
        height, width = json.loads(raw["image_size"])
        return {
            "config": RunConfig.from_dict(json.loads(raw["config"])),
            "channels": int(raw["channels"]),
            "image_size": (int(height), int(width)),
            "stage": int(raw["stage"]),
        }
    except (SafetensorError, KeyError, OSError, TypeError, json.JSONDecodeError, ConfigError) as error:
        raise DataError(f"{path}: not the weights of a run ({error})") from error


def load_weights(path: Path, device: str | torch.device = "cpu") -> Any:
    """The model saved in `path`, in eval mode on `device`. Raises DataError."""
    known = read_metadata(path)
    model = build_model(known["config"], known["channels"], known["image_size"])
    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise DataError(f"{path}: the weights do not fit the configuration ({error})") from error
    model.set_stage(known["stage"])
    return model.to(device).eval()
