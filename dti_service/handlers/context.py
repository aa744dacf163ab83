"""What every handler is given: the service, its settings, and the threads in which blocking work is done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from dti_service.metrics import Metrics
from dti_service.service import Service
from dti_service.settings import Settings


@dataclass
class Context:
    """Shared by all handlers of one server.

    `quick` runs short reads and writes of files and of the index, `slow` whatever takes seconds (page
    rendering, thumbnails, archives), so that a large download never delays a status request.
    """

    service: Service
    settings: Settings
    metrics: Metrics
    quick: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, "dti-quick"))
    slow: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "dti-slow"))

    def close(self) -> None:
        """Let running work finish, start no more. Does not wait."""
        self.quick.shutdown(wait=False, cancel_futures=True)
        self.slow.shutdown(wait=False, cancel_futures=True)
