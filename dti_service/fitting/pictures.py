"""The pictures that a model was asked for, kept beside the experiment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dti_service.curations.table import labels_of
from dti_service.errors import NotFound
from dti_service.fitting.process import Fitter

FOLDER = "fits"


def fitted_picture(fitter: Fitter, directory: Path, image: int, prototype: int) -> Path:
    """Prototype `prototype` as the run's model fits it to image `image`, as a PNG file. Raises `NotFound`."""
    results, labels, clusters = _result(directory, image)
    if not 0 <= prototype < clusters:
        raise NotFound(f"There is no prototype {prototype}; this run has 0 to {clusters - 1}")
    if labels[image] == prototype:  # the run kept this one
        for suffix in ("png", "jpg"):
            path = results / "clusters" / f"cluster{prototype}" / f"{image}_tsf.{suffix}"
            if path.is_file() and not path.is_symlink():
                return path
    path = _folder(directory) / f"{image}_{prototype}.png"
    if not path.is_file():
        fitter.ask("fit", results, image=image, prototype=prototype, to=str(path))
    return path


def layers_of(fitter: Fitter, directory: Path, image: int) -> dict[str, Any]:
    """What an image of a run with sprites is made of: {"background": number or None, "layers": [{"sprite", "share"}]}.

    The pictures are `part_picture`. Raises `NotFound` for runs without sprites.
    """
    results, _, _ = _result(directory, image)
    facts = _folder(directory) / f"{image}.json"
    try:
        return dict(json.loads(facts.read_bytes()))
    except (FileNotFoundError, ValueError):
        answer = fitter.ask("layers", results, image=image, folder=str(facts.parent))
    partial = facts.with_name(f".{facts.name}")
    partial.write_text(json.dumps(answer))
    partial.replace(facts)
    return answer


def part_picture(fitter: Fitter, directory: Path, image: int, part: str) -> Path:
    """A part of an image as a PNG file: "background", or "layer1" and so on, with its mask as transparency."""
    layers_of(fitter, directory, image)
    path = _folder(directory) / f"{image}_{part}.png"
    if not path.is_file():
        raise NotFound(f"Image {image} has no {part}")
    return path


def _result(directory: Path, image: int) -> tuple[Path, Any, int]:
    results = directory / "results"
    labels, clusters = labels_of(results)
    if image not in labels:
        raise NotFound(f"There is no image {image} in this result")
    if not (results / "model.safetensors").is_file():
        raise NotFound("This run left no model that could be asked")
    return results, labels, clusters


def _folder(directory: Path) -> Path:
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)  # not its parents: a deleted experiment must not come back
    return folder
