"""What every handler is given: the service, its settings, and the threads in which blocking work is done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from dti_service.datasets.jobs import DatasetJobs
from dti_service.feed import Feed
from dti_service.fitting.process import Fitter
from dti_service.metrics import Metrics
from dti_service.notify import Notifier
from dti_service.service import Service
from dti_service.settings import Settings
from dti_service.watch import Watch


@dataclass
class Context:
    """Shared by all handlers of one server.

    `quick` runs short reads and writes of files and of the index, `slow` whatever takes seconds (page rendering,
    thumbnails, walks over all files), so that it never delays a status request. `closing` is set when the server
    stops, so that endless answers end.
    """

    service: Service
    settings: Settings
    metrics: Metrics
    watch: Watch
    notifier: Notifier
    health: Callable[[], dict[str, bool]]
    datasets: DatasetJobs
    feed: Feed
    quick: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, "dti-quick"))
    slow: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "dti-slow"))
    fitter: Fitter = field(default_factory=Fitter)  # asks the models of finished runs
    discover: Any = None  # what those routes share
    closing: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        """Let running work finish, start no more. Does not wait."""
        self.quick.shutdown(wait=False, cancel_futures=True)
        self.slow.shutdown(wait=False, cancel_futures=True)
        self.fitter.close()
