"""Whose turn it is: one user's experiments do not take all devices where that is limited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from dti_service.errors import NotFound
from dti_service.settings import Settings
from dti_service.store import Store


class Turns:
    """How many experiments of one owner run at once, on all machines together (setting `user_running`).

    What may not start yet keeps its place in the queue, and others pass it. Two machines that look at the same
    instant may exceed the limit by one.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self.most = settings.user_running
        self.store = store
        self._owners: dict[str, str | None] = {}  # of what waits; an owner never changes

    def look(self, started: Iterable[str] = ()) -> Counter[str | None]:
        """How many experiments of each owner run now, or are `started`; empty when there is no limit."""
        if not self.most:
            return Counter()
        running = {experiment.id: experiment.owner for experiment in self.store.running()}
        running.update({id: self._owner(id) for id in started if id not in running})
        return Counter(running.values())

    def may_start(self, id: str, running: Counter[str | None]) -> bool:
        """Counts it as running if so."""
        if not self.most:
            return True
        owner = self._owner(id)
        if owner is not None and running[owner] >= self.most:
            return False
        running[owner] += 1
        return True

    def _owner(self, id: str) -> str | None:
        if id not in self._owners:
            try:
                self._owners[id] = self.store.get(id).owner
            except (NotFound, ValueError):
                return None
        return self._owners[id]

    def forget(self, needed: AbstractSet[str]) -> None:
        """Remember only the owners of these."""
        for id in self._owners.keys() - needed:
            del self._owners[id]
