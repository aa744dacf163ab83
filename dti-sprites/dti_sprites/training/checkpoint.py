"""Checkpoints: everything needed to go on as if nothing had happened. Never pickle.

A checkpoint directory holds numbered directories, each complete from the moment at which it has its name:

    checkpoint/00001234/model.safetensors      parameters and buffers
                        optimizer.safetensors  Adam's memory, states of random generators
                        state.json             epoch, iteration, stage, history, configuration ...

Only the newest is kept.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FORMAT = 1
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """What was read from `path`: tensors on the CPU and plain values."""

    path: Path
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]  # "name|exp_avg" ... and "rng|name"
    state: dict[str, Any]


def save_checkpoint(
    directory: Path,
    iteration: int,
    model: dict[str, Tensor],
    optimizer: dict[str, Tensor],
    state: dict[str, Any],
) -> Path:
    """Write checkpoint `iteration` in one step, then remove older ones. Returns its directory."""
    from safetensors.torch import save_file  # only here: a training without checkpoints needs none of it

    directory.mkdir(parents=True, exist_ok=True)
    final = directory / f"{iteration:08d}"
    partial = directory / f".{iteration:08d}.{secrets.token_hex(4)}.partial"
    partial.mkdir()
    try:
        save_file(_plain(model), partial / MODEL)
        save_file(_plain(optimizer), partial / OPTIMIZER)
        text = json.dumps({"format": FORMAT, **state}, allow_nan=False)
        (partial / STATE).write_text(text, encoding="utf-8")
        for name in (MODEL, OPTIMIZER, STATE):
            _sync(partial / name)
        _sync(partial)
        if final.exists():  # the same iteration again, after a resume at its very end
            shutil.rmtree(final)
        os.rename(partial, final)
        _sync(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for other in directory.iterdir():
        if other != final and (other.name.isdigit() or other.name.endswith(".partial")):
            shutil.rmtree(other, ignore_errors=True)
    return final


def load_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest readable checkpoint below `directory`, or None."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not directory.is_dir():
        return None
    for path in sorted((p for p in directory.iterdir() if p.name.isdigit()), reverse=True):
        try:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            if state.get("format") != FORMAT:
                continue
            return Checkpoint(path, load_file(path / MODEL), load_file(path / OPTIMIZER), state)
        except (OSError, ValueError, SafetensorError):
            continue
    return None


def optimizer_tensors(model: nn.Module, adam: torch.optim.Adam) -> dict[str, Tensor]:
    """Adam's memory of each named parameter: {"name|exp_avg": ...}; nothing for one that was never updated."""
    return {
        f"{name}|{key}": value
        for name, parameter in model.named_parameters()
        for key, value in adam.state.get(parameter, {}).items()
    }


def restore_optimizer(model: nn.Module, adam: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    """Undo `optimizer_tensors`. Keys with other prefixes are ignored."""
    parameters = dict(model.named_parameters())
    adam.state.clear()
    fused = bool(adam.param_groups[0]["fused"])
    for key, value in tensors.items():
        name, _, field = key.rpartition("|")
        if name not in parameters:
            continue
        parameter = parameters[name]
        # Only the fused implementation counts steps on the device.
        device = torch.device("cpu") if field == "step" and not fused else parameter.device
        adam.state[parameter][field] = value.to(device)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
