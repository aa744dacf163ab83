"""One training with one seed, scored; what is finished lies in a work folder and is not done again."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dti_sprites.bench.fidelity.sets import Task
from dti_sprites.choose.trial import train_one
from dti_sprites.config import RunConfig
from dti_sprites.data import ImageSet
from dti_sprites.evaluation.scenes import scene_metrics
from dti_sprites.models import DTIModel
from dti_sprites.results.files import dump_json, write_text
from dti_sprites.results.scores import score
from dti_sprites.training import Callback

RESULT, CHECKPOINT = "result.json", "checkpoint"


def seed_folder(work: Path, task: Task, budget: str, config: RunConfig) -> Path:
    """Where a seed of these settings keeps its state: other settings never meet it."""
    settings = config.to_dict()
    for name in ("seed", "device", "threads", "checkpoint_every_s", "snapshot_every_s", "log_every"):
        del settings["training"][name]
    text = json.dumps([task.data, task.efforts[budget].limit, settings], sort_keys=True)
    name = f"{budget}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    return work / task.name / name / f"seed{config.training.seed}"


def finished(folder: Path) -> dict[str, Any] | None:
    """The result of a seed that is finished, or None."""
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) and "loss" in result else None


def run_seed(
    task: Task,
    config: RunConfig,
    images: ImageSet,
    folder: Path,
    machine: dict[str, Any],
    *,
    more_labels: dict[str, np.ndarray] | None = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = True,
    out: Path | None = None,
) -> dict[str, Any]:
    """Train (or go on), score and keep the result, which is returned.

    {"seed", "loss", "duration_s", "iterations", "used", metrics of the task ..., "machine"}. With `out`, tasks that
    show a picture write it there.
    """
    # Without safetensors there are no checkpoints: an interrupted seed starts anew then.
    checkpoint = folder / CHECKPOINT if importlib.util.find_spec("safetensors") else None
    model, trial = train_one(config, images, checkpoint, callbacks, resume)
    result: dict[str, Any] = {
        "seed": trial.seed,
        "loss": trial.loss,
        "used": trial.used,
        "iterations": trial.iterations,
        "duration_s": round(trial.duration_s, 1),
        **{name: value for name, value in trial.scores.items() if name != "n_labelled"},
    }
    if task.scenes:
        result |= scene_metrics(model, images, batch_size=config.training.batch_size)
    for name, labels in (more_labels or {}).items():
        known = score(labels, trial.labels, config.model.n_prototypes)
        result |= {f"{metric}_by_{name}": known[metric] for metric in ("accuracy", "nmi")}
    result["machine"] = machine
    if task.picture and out is not None:
        result["picture"] = str(write_picture(task, model, images, trial.seed, out))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RESULT, dump_json(result))
    return result


@torch.no_grad()
def write_picture(task: Task, model: DTIModel, images: ImageSet, seed: int, out: Path) -> Path:
    """Sprites with their masks as transparency, then images beside their reconstructions, as a PNG file."""
    from PIL import Image

    from dti_sprites.data.batches import DeviceBatches
    from dti_sprites.pictures import contact_sheet

    shown = model.prototype_images()
    sprites = shown.get("masked_prototypes", shown["prototypes"]).float().cpu().permute(0, 2, 3, 1).numpy()
    first = images.subset(range(min(24, len(images))))
    device = next(model.parameters()).device
    pairs = []
    for x, weight, _ in DeviceBatches(first, 24, device, shuffle=False):
        found = model.infer(x, weight).reconstruction.clamp(0.0, 1.0)
        pairs += [plane.float().cpu().permute(1, 2, 0).numpy() for pair in zip(x, found) for plane in pair]
    top = contact_sheet(sprites, [str(k) for k in range(len(sprites))], size=72)
    below = contact_sheet(np.stack(pairs), ["image", "found"] * (len(pairs) // 2), size=72)
    sheet = Image.new("RGB", (max(top.width, below.width), top.height + below.height), (255, 255, 255))
    sheet.paste(top, (0, 0))
    sheet.paste(below, (0, top.height))
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{task.name}-seed{seed}.png"
    sheet.save(path)
    return path
