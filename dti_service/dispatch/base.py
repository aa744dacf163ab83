"""What every dispatcher can do."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Dispatcher(ABC):
    """Takes queued experiments from the store and has them run, one per device.

    The store is the queue: a dispatcher is told when to look (`wake`), never what to run, so that nothing is lost
    when it ends, and switching to another one changes nothing.
    """

    @abstractmethod
    async def start(self) -> None:
        """Begin to serve the queue."""

    @abstractmethod
    async def stop(self) -> None:
        """End; runs that are going on are stopped gracefully and queued again."""

    @abstractmethod
    def wake(self) -> None:
        """There may be something new to do. May be called from any thread."""
