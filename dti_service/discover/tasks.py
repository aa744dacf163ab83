"""What is kept of a front's task besides its experiment: its own id, and the way from that to the experiment."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from dti_service import atomic
from dti_service.errors import NotFound
from dti_service.experiment import Experiment
from dti_service.ids import is_id
from dti_service.store import Store

RECORD = "discover.json"
_KEY_LENGTH = 32  # hexadecimal digits


@dataclass(frozen=True)
class Task:
    """Kept as `discover.json` in the experiment's directory."""

    experiment_id: str
    dataset_id: str | None = None

    @property
    def file_name(self) -> str:
        """The front's id, if it can be the name of a file."""
        return (
            self.experiment_id
            if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.experiment_id)
            else "config"
        )


class Tasks:
    """The tasks of one data directory."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.folder = store.data_dir / "discover"

    def add(self, tracking_id: str, task: Task) -> None:
        """Remember a task under both of its ids; of several with the same front's id, the latest counts."""
        atomic.write_json(self.store.directory(tracking_id) / RECORD, asdict(task))
        self.folder.mkdir(exist_ok=True)
        atomic.write_json(self._path(task.experiment_id), {"tracking_id": tracking_id})

    def find(self, id: str) -> tuple[Experiment, Task]:
        """The task of a tracking id or of a front's own id. Raises NotFound."""
        tracking_id = id
        if not is_id(id) or not (self.store.root / id / RECORD).exists():
            try:
                tracking_id = str(atomic.read_json(self._path(id))["tracking_id"])
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                raise NotFound("There is no such task") from None
        experiment = self.store.get(tracking_id)
        try:
            task = Task(**atomic.read_json(self.store.directory(tracking_id) / RECORD))
        except (FileNotFoundError, ValueError, TypeError):
            raise NotFound("There is no such task") from None
        return experiment, task

    def known(self, tracking_id: str) -> bool:
        """Was this experiment started by a front?"""
        return (self.store.root / tracking_id / RECORD).exists()

    def mark(self, dataset_id: str) -> None:
        """This dataset was made for a front: its clean-up may delete it when nothing uses it any more."""
        folder = self.folder / "datasets"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / dataset_id).touch()

    def made(self, dataset_id: str) -> bool:
        return (self.folder / "datasets" / dataset_id).exists()

    def forget_dataset(self, dataset_id: str) -> None:
        """The dataset was deleted."""
        (self.folder / "datasets" / dataset_id).unlink(missing_ok=True)

    def forget(self, experiment_id: str) -> None:
        """The experiment was deleted."""
        self._path(experiment_id).unlink(missing_ok=True)

    def _path(self, experiment_id: str) -> Path:
        return self.folder / f"{hashlib.sha256(experiment_id.encode()).hexdigest()}.json"

    # -- results without a token ----------------------------------------------------------------------------------

    def key(self, tracking_id: str) -> str:
        """What opens the results of this one task: fronts follow `result_url` without any credentials."""
        return hmac.new(self._secret(), tracking_id.encode(), hashlib.sha256).hexdigest()[:_KEY_LENGTH]

    def opens(self, key: str, tracking_id: str) -> bool:
        return hmac.compare_digest(key.encode(), self.key(tracking_id).encode())

    def _secret(self) -> bytes:
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "secret"
        if not path.exists():
            draft = self.folder / f".secret-{secrets.token_hex(4)}"
            draft.touch(0o600)
            draft.write_bytes(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):  # another process was quicker
                os.link(draft, path)
            draft.unlink()
        return path.read_bytes()
