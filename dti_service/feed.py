"""News of all experiments for any number of listeners: what changed, and how far the running ones are."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Any

from dti_service.errors import BadRequest, NotFound
from dti_service.index_changes import Change, is_position
from dti_service.service import Service
from dti_service.views import NO_PROGRESS

FRESH_S = 0.2  # listeners who ask for the same within this time share the answer
REFRESH_S = 1.0  # for what was changed on the disk by others
PROGRESS_S = 1.0
BATCH = 200  # changes told at a time


@dataclass(frozen=True)
class News:
    """`events` as (position, event); `complete`: nothing is missing since the position that was asked for."""

    events: list[tuple[str, dict[str, Any]]]
    position: str
    complete: bool


class Feed:
    """May be used from several threads."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._lock = threading.Lock()
        self._news: dict[tuple[str | None, int], tuple[float, News]] = {}
        self._refreshed_at = float("-inf")
        self._progress: tuple[float, dict[str, dict[str, Any]]] = (float("-inf"), {})

    def news(self, after: str | None, limit: int = BATCH) -> News:
        """What happened behind a position; None: nothing, only where things stand now. Raises BadRequest."""
        if after is not None and not is_position(after):
            raise BadRequest("This is not the id of an event of this server")
        with self._lock:
            now = time.monotonic()
            self._news = {key: item for key, item in self._news.items() if now - item[0] < FRESH_S}
            asked = (after, limit)
            if asked not in self._news:
                self._news[asked] = (now, self._look(after, limit))
            return self._news[asked][1]

    def _look(self, after: str | None, limit: int) -> News:
        # With no position: so that what is on the disk now is no news.
        if after is None or time.monotonic() - self._refreshed_at >= REFRESH_S:
            self.service.store.index.refresh()
            self._refreshed_at = time.monotonic()
        changes = self.service.store.index.changes(after, limit)
        views = self._views(change.id for change in changes.items if change.kind != "deleted")
        events = [(change.position, _event(change, views.get(change.id))) for change in changes.items]
        return News(events, changes.position, changes.complete)

    def _views(self, ids: Any) -> dict[str, dict[str, Any]]:
        """The experiments as they are now; those that are gone again are left out."""
        return {view["id"]: view for view in self.service.views(dict.fromkeys(ids))}

    def progress(self) -> dict[str, dict[str, Any]]:
        """The progress of each running experiment, looked up at most once a second."""
        with self._lock:
            now = time.monotonic()
            if now - self._progress[0] >= PROGRESS_S:
                self._progress = (now, self._look_at_progress())
            return self._progress[1]

    def _look_at_progress(self) -> dict[str, dict[str, Any]]:
        found = {}
        for id in self.service.store.index.running_ids():
            with contextlib.suppress(NotFound, OSError):
                progress = self.service.store.progress(id)
                if progress is not None:
                    found[id] = {**NO_PROGRESS, **progress}
        return found


def _event(change: Change, view: dict[str, Any] | None) -> dict[str, Any]:
    """`experiment` is as it is now, which may be later than the change; null when it is gone."""
    return {
        "kind": change.kind,
        "time": change.time,
        "experiment_id": change.id,
        "state": change.state,
        "earlier": change.earlier,
        "owner": change.owner,
        "experiment": view,
    }
