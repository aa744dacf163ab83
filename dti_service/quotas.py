"""How much of the disk users may fill, and how many experiments they may have going."""

from __future__ import annotations

import contextlib
import shutil
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from dti_service.datasets.catalogue import Catalogue
from dti_service.errors import Conflict, NotFound
from dti_service.settings import Settings
from dti_service.store import RECORD, Store

GB = 10**9


@dataclass(frozen=True)
class Item:
    """An experiment or a dataset: its owner, and its bytes on disk."""

    owner: str | None
    size: int


class Quotas:
    """The limits of one data directory. Sizes of what no longer changes are remembered."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.catalogue = Catalogue(settings.data_dir)
        self._known: dict[str, tuple[int, Item]] = {}
        self._lock = threading.Lock()

    @property
    def limits_space(self) -> bool:
        return bool(self.settings.user_quota_gb or self.settings.quota_gb)

    def check_space(self, owner: str | None) -> None:
        """Raises Conflict when this user, or all together, have used what they may."""
        if not self.limits_space:
            return
        each, whole = self.settings.user_quota_gb, self.settings.quota_gb
        items = self.items()
        total = sum(item.size for item in items)
        own = sum(item.size for item in items if item.owner == owner)
        if each and owner and own >= each * GB:
            raise _refused(
                f"Your experiments and datasets take {own / GB:.2f} GB of the {each:g} GB that each user may fill:"
                " delete some of them first"
            )
        if whole and total >= whole * GB:
            raise _refused(
                f"All experiments and datasets take {total / GB:.2f} GB of the {whole:g} GB that they may fill:"
                " old ones must be deleted first"
            )

    def check_experiment(self, owner: str | None) -> None:
        """Raises Conflict when this user may not have one more experiment."""
        most = self.settings.user_experiments
        if most and owner:
            going = [item for item in (*self.store.queued(), *self.store.running()) if item.owner == owner]
            if len(going) >= most:
                raise _refused(
                    f"{len(going)} of your experiments wait or run, and each user may have {most}:"
                    " wait for one to end, or cancel one"
                )
        self.check_space(owner)

    def items(self) -> list[Item]:
        """All experiments and datasets."""
        with self._lock:
            known, self._known = self._known, {}
            found = [*self._experiments(known), *self._datasets(known)]
        return found

    def _experiments(self, known: dict[str, tuple[int, Item]]) -> list[Item]:
        found = []
        for id in self.store.ids():
            try:
                folder = self.store.root / id
                version = (folder / RECORD).stat().st_mtime_ns
                if id in known and known[id][0] == version:
                    item = known[id][1]
                    ended = True
                else:
                    experiment = self.store.get(id)
                    item, ended = Item(experiment.owner, folder_size(folder)), experiment.ended
            except (NotFound, OSError, ValueError):
                continue  # deleted meanwhile, or damaged
            if ended:
                self._known[id] = (version, item)
            found.append(item)
        return found

    def _datasets(self, known: dict[str, tuple[int, Item]]) -> list[Item]:
        found = []
        for dataset in self.catalogue.all():
            ended = dataset.state in ("ready", "failed")
            if ended and dataset.id in known:
                item = known[dataset.id][1]
            else:
                item = Item(dataset.owner, folder_size(self.catalogue.directory(dataset.id)))
            if ended:
                self._known[dataset.id] = (0, item)
            found.append(item)
        return found


def _refused(message: str) -> Conflict:
    return Conflict(message, [{"field": "quota", "reason": message}])


def enough_room(settings: Settings) -> bool:
    """Is there as much free space on the data disk as a run may need to begin?"""
    return shutil.disk_usage(settings.data_dir).free >= settings.min_free_gb * GB


def folder_size(folder: Path) -> int:
    """Bytes of the files below `folder`, which may change meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            state = path.lstat()
            total += state.st_size if stat.S_ISREG(state.st_mode) else 0
    return total
