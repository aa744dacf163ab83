"""Finished experiments as models: what `assign_images` and `similarity_search` apply to new images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dti_service.errors import Conflict, InvalidRequest, NotFound
from dti_service.ids import is_id

if TYPE_CHECKING:
    from dti_service.experiment import Experiment
    from dti_service.store import Store
    from dti_sprites import Run as Trained

NOTEBOOK = "assign_images"
NOTEBOOKS = frozenset({NOTEBOOK, "similarity_search"})  # those whose parameter is a finished experiment
EXPLORE = "explore_experiment"  # opens any experiment, or the newest
PARAMETER = "experiment"
WEIGHTS = Path("results") / "model.safetensors"


def check_finished(store: Store, id: str) -> Experiment:
    """The experiment, when it has a model to apply. Raises NotFound, Conflict with the reason."""
    experiment = store.get(id)
    if experiment.state != "succeeded":
        raise Conflict(f"Experiment {id} is {experiment.state}: only a finished model can label images")
    if not (store.directory(id) / WEIGHTS).is_file():
        raise Conflict(f"Experiment {id} ({experiment.notebook}) left no model that could label images")
    return experiment


def problems(
    store: Store, notebook: str, values: Mapping[str, Any], *, trusted: bool
) -> list[tuple[str, str]]:
    """What is wrong with the parameter `experiment` of a request for one of `NOTEBOOKS`, as (name, reason)."""
    text = str(values.get(PARAMETER) or "").strip()
    if notebook not in (*NOTEBOOKS, EXPLORE) or (notebook == EXPLORE and not text):
        return []
    if trusted and text and not is_id(text):
        if Path(text).expanduser().is_absolute():
            return (
                [] if Path(text).expanduser().is_dir() else [(PARAMETER, f"there is no folder {text[:200]}")]
            )
        return [(PARAMETER, "must be the id of an experiment, or the absolute path of its directory")]
    if not is_id(text):
        return [(PARAMETER, "must be the id of a finished experiment")]
    try:
        if notebook == EXPLORE:
            store.get(text)
        else:
            check_finished(store, text)
    except (NotFound, Conflict) as error:
        return [(PARAMETER, str(error))]
    return []


def open_finished(text: str, experiments: Path, device: str) -> Trained:
    """The results of a finished experiment: its id, or the path of a directory that holds them.

    Raises InvalidRequest with the reason.
    """
    from dti_sprites import DataError, load_run

    text = text.strip()
    if not text:
        raise _refused("give the id of a finished experiment, or the path of its directory")
    folder = experiments / text if is_id(text) else Path(os.path.expanduser(text))
    try:
        return load_run(folder, device=device)
    except FileNotFoundError:
        raise _refused(f"there are no results of a finished run in {folder}") from None
    except (DataError, OSError) as error:
        raise _refused(str(error)) from None


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(f"{PARAMETER}: {reason}", [{"field": PARAMETER, "reason": reason}])
