"""Which experiment is meant, and where it is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dti_service import atomic
from dti_service.curations.table import TABLE
from dti_service.errors import InvalidRequest, NotFound
from dti_service.experiment import Experiment
from dti_service.ids import is_id
from dti_service.index import Query
from dti_service.run import data_dir
from dti_service.store import RECORD, RESULTS, Store

FIELD = "experiment"
LOOKED_AT = 100  # of the newest experiments, for one with results


@dataclass(frozen=True)
class Found:
    """An experiment and its directory. `data_dir`: the data directory that it is part of; None for a copy elsewhere."""

    experiment: Experiment
    directory: Path
    data_dir: Path | None

    @property
    def id(self) -> str:
        return self.experiment.id

    @property
    def results(self) -> Path:
        return self.directory / RESULTS


def find(experiment: Any = None, *, folder: Path | None = None, running: bool = False) -> Found:
    """The experiment that `experiment` names: an id, the path of its directory, a run (`current_run()`), what a client
    gave, or None for the newest one with a result (with `running`: for the newest of all).

    `folder`: the data directory, by default DTI_DATA_DIR or `data`. Raises InvalidRequest with the remedy.
    """
    folder = (folder or data_dir()).resolve()
    if isinstance(experiment, Found):
        return experiment
    if isinstance(experiment, dict):
        experiment = experiment.get("id")
    experiment = getattr(experiment, "directory", getattr(experiment, "id", experiment))
    text = str(experiment or "").strip()
    if not text:
        return _newest(folder, running)
    if is_id(text):
        return _known(folder, text)
    directory = Path(text).expanduser().resolve()
    if not directory.is_dir():
        raise refused(
            f"there is no folder {text[:200]}: give an experiment's id, or the path of its directory"
        )
    if directory.name == RESULTS and (directory.parent / RECORD).is_file():
        directory = directory.parent
    return _at(directory)


def refused(reason: str) -> InvalidRequest:
    """The error for an experiment that cannot be used."""
    return InvalidRequest(f"{FIELD}: {reason}", [{"field": FIELD, "reason": reason}])


def _newest(folder: Path, running: bool) -> Found:
    if not (folder / "experiments").is_dir():
        raise refused(
            f"there are no experiments in {folder} yet: run one, as `dti quickstart` does, or set DTI_DATA_DIR"
        )
    store = Store(folder)
    query = Query(limit=1) if running else Query(state="succeeded", limit=LOOKED_AT)
    for item in store.page(query).items:
        # Notebooks that only look at others leave no result of their own.
        if running or (store.directory(item.id) / RESULTS / TABLE).is_file():
            return Found(item, store.directory(item.id), folder)
    what = "experiment" if running else "finished experiment"
    raise refused(f"there is no {what} in {folder} yet: run one first, for example with `dti quickstart`")


def _known(folder: Path, id: str) -> Found:
    if not (folder / "experiments" / id).is_dir():
        raise refused(f"there is no experiment {id} in {folder}: see `dti list`, or set DTI_DATA_DIR")
    store = Store(folder)
    try:
        return Found(store.get(id), store.directory(id), folder)
    except (NotFound, ValueError, OSError) as error:
        raise refused(str(error)) from None


def _at(directory: Path) -> Found:
    """An experiment's directory wherever it lies; in a data directory it is one of its experiments."""
    if not (directory / RECORD).is_file():
        raise refused(f"{directory} is not the directory of an experiment: there is no {RECORD} in it")
    if directory.parent.name == "experiments" and is_id(directory.name):
        return _known(directory.parent.parent, directory.name)
    try:
        record = Experiment.from_dict(atomic.read_json(directory / RECORD))
        return Found(dataclasses.replace(record, **Store._annotations(directory)), directory, None)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise refused(f"the record of {directory} cannot be read: {error}") from None
