"""Whether a finished training may be taken for the one that is asked for.

An interrupted training simply goes on. A complete one only gives its results again: if settings or images
differ from what was trained, those results would be passed off as something that they are not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dti_sprites.config import RunConfig
from dti_sprites.data import ImageSet
from dti_sprites.errors import ConfigError, DataError
from dti_sprites.training.checkpoint import STATE

# Settings of the training that do not decide on what is learnt.
_INDIFFERENT = {"epochs", "device", "threads", "checkpoint_every_s", "snapshot_every_s", "log_every"}
_REMEDY = "choose another folder, or train without resuming"


def check_reuse(checkpoint_dir: Path, config: RunConfig, images: ImageSet) -> None:
    """Raise ConfigError or DataError when the checkpoint is of a complete training of something else."""
    state = _newest_state(checkpoint_dir)
    if state is None or state["epoch"] < config.training.epochs:
        return
    before, now = state["config"]["training"], config.to_dict()["training"]
    changed = sorted(name for name in now if name not in _INDIFFERENT and before.get(name) != now[name])
    if state["epoch"] > config.training.epochs:
        changed.append("epochs")
    if changed:
        reason = f"differs from the complete training in {checkpoint_dir}: {_REMEDY}"
        raise ConfigError([(f"training.{name}", reason) for name in changed])
    if state["fingerprint"] != images.fingerprint():
        raise DataError(f"{checkpoint_dir} holds a complete training on other images: {_REMEDY}")


def _newest_state(checkpoint_dir: Path) -> dict[str, Any] | None:
    states = sorted(checkpoint_dir.glob(f"[0-9]*/{STATE}"), key=lambda path: path.parent.name)
    if not states:
        return None
    try:
        state = json.loads(states[-1].read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) and {"epoch", "config", "fingerprint"} <= state.keys() else None
