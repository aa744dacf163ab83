"""What runs beside the handlers for as long as the server lives: dispatcher, watch, callbacks, retention."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from jupyter_server.utils import url_path_join

from dti_service import audit
from dti_service.datasets.guard.addresses import AllowList
from dti_service.datasets.jobs import DatasetJobs, users_in
from dti_service.datasets.prepare import Datasets
from dti_service.errors import NotFound
from dti_service.experiment import Experiment, timestamp
from dti_service.feed import Feed
from dti_service.handlers.context import Context
from dti_service.metrics import DeviceState, Metrics, Snapshot
from dti_service.notify import Notifier
from dti_service.presence import announced
from dti_service.service import Service
from dti_service.settings import Settings
from dti_service.watch import Watch

log = logging.getLogger(__name__)

SCHEMAS = Path(__file__).parent / "event_schemas"
EXPERIMENT_EVENT = "https://events.dti-service.org/experiment/v1"
RETENTION_EVERY_S = 24 * 3600.0


class Background:
    """Made with the server, started when its event loop runs, stopped with it."""

    def __init__(self, service: Service, settings: Settings, serverapp: Any) -> None:
        self.service = service
        service.store.index.serving = True
        self.settings = settings
        self.serverapp = serverapp
        self.metrics = Metrics(self._snapshot)
        self.watch = Watch(service.store, self._changed)
        self.notifier = Notifier(
            service.store,
            settings.data_dir / "outbox",
            allow=AllowList.parse(settings.allow_hosts),
            secret=settings.notify_secret,
            default_result_url=self._results_url,
        )
        datasets = Datasets.from_settings(settings)
        self.datasets = DatasetJobs(datasets, users_in(service.store, datasets))
        self.context = Context(
            service,
            settings,
            self.metrics,
            self.watch,
            self.notifier,
            self._checks,
            self.datasets,
            Feed(service),
        )
        self._dispatcher: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = False
        self._complete = False
        self._checked: tuple[float, dict[str, bool]] = (0.0, {})
        self._present = contextlib.ExitStack()
        serverapp.event_logger.register_event_schema(SCHEMAS / "experiment.yaml")

    async def start(self, *, run_experiments: bool) -> None:
        if self._started:
            return
        self._started = True
        self._loop = asyncio.get_running_loop()
        url = getattr(self.serverapp, "local_url", "").split("?")[0]
        self._present.enter_context(announced(self.settings.data_dir, "server", url=url))
        self._present.enter_context(_told_to_kernels(self.settings.data_dir))
        self.watch.start()
        self.notifier.start()
        await asyncio.to_thread(self.datasets.start)
        if run_experiments:
            self._dispatcher = make_dispatcher(self.settings, self.service)
            self.service.on_change(self._dispatcher.wake)
            await self._dispatcher.start()
        if self.settings.retention_days or self.settings.dataset_retention_days:
            task = asyncio.create_task(self._retain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._complete = True

    async def stop(self) -> None:
        self.context.closing.set()
        for task in self._tasks:
            task.cancel()
        if self._dispatcher is not None:
            await self._dispatcher.stop()
            self._dispatcher = None
        if self._started:
            self._started = self._complete = False
            await asyncio.to_thread(self.watch.stop)
            await asyncio.to_thread(self.notifier.stop)
            await asyncio.to_thread(self.datasets.stop)
            self._present.close()
        self.context.close()
        self.service.store.index.close()

    def active(self) -> int:
        """Experiments that wait or run, as of the last look."""
        return self.watch.active

    # -- what the parts ask -----------------------------------------------------------------------------------

    def _changed(self, experiment: Experiment, earlier: str | None) -> None:
        """An experiment has changed state; called in the watch's thread."""
        _log_change(experiment, earlier)
        if experiment.notify_url and not experiment.ended and earlier is None:
            # Submitted elsewhere, for example by the command line: nobody has told the notifier yet.
            self.notifier.enlist(experiment.id, experiment.notify_url, after_s=0.0)
        # One that ends between two looks was never seen running; one that is resumed has waited once.
        begun = experiment.state == "running" or (experiment.ended and earlier != "running")
        if begun and experiment.started_at and experiment.attempt == 1:
            self.metrics.started(
                _seconds(experiment.queued_at or experiment.created_at, experiment.started_at)
            )
        if experiment.ended:
            lasted = None
            if experiment.started_at and experiment.finished_at:
                lasted = _seconds(experiment.started_at, experiment.finished_at)
            self.metrics.finished(experiment.state, lasted, (experiment.error or {}).get("kind"))
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._emit, experiment, earlier)

    def _emit(self, experiment: Experiment, earlier: str | None) -> None:
        data = {
            "id": experiment.id,
            "state": experiment.state,
            "earlier": earlier,
            "notebook": experiment.notebook,
            "attempt": experiment.attempt,
            "error_kind": (experiment.error or {}).get("kind"),
        }
        self.serverapp.event_logger.emit(schema_id=EXPERIMENT_EVENT, data=data)

    def _snapshot(self) -> Snapshot:
        view = self.service.monitor()
        busy: dict[str, int] = {}
        for item in self.service.workers()["items"]:
            busy[item["device"]] = busy.get(item["device"], 0) + 1
        devices = [
            DeviceState(
                device["device"],
                busy.get(device["device"], 0),
                device.get("memory_used"),
                device.get("memory_total"),
            )
            for device in view["devices"]
        ]
        waiting = self.service.store.queued()
        oldest = min((item.queued_at or item.created_at for item in waiting), default=None)
        return Snapshot(
            dict(view["experiments"]),
            devices,
            oldest_wait_s=0.0 if oldest is None else max(0.0, _seconds(oldest, timestamp())),
            disk_free=view["disk"]["free"],
            disk_total=view["disk"]["total"],
        )

    def _results_url(self, id: str) -> str:
        base = self.settings.public_url or self.serverapp.public_url.split("?")[0]
        return url_path_join(base, "dti/api/experiments", id, "results.zip")

    def _checks(self) -> dict[str, bool]:
        """What health tells: nothing that a stranger may not know. While all is well it is looked up at most once a
        second."""
        well_at, checks = self._checked
        if not checks or time.monotonic() - well_at > 1.0:
            checks = self._check()
            self._checked = (time.monotonic(), checks) if all(checks.values()) else (0.0, {})
        return checks

    def _check(self) -> dict[str, bool]:
        probe = self.settings.data_dir / f".health-{time.monotonic_ns()}"
        try:
            probe.write_bytes(b"")
            probe.unlink()
            storage = True
        except OSError:
            storage = False
        return {"storage": storage, "background": self._complete and self.watch.alive}

    async def _retain(self) -> None:
        """Remove old experiments and unused datasets, now and once a day."""
        days = self.settings.retention_days
        while True:
            try:
                # Without a limit of age nothing is old enough, and only datasets are looked at.
                gone = await asyncio.to_thread(self.service.cleanup, days * 24 * 3600 if days else math.inf)
                experiments, datasets = len(gone["experiments"]), len(gone["datasets"])
                if experiments or datasets:
                    log.info("Removed %d old experiments, %d unused datasets", experiments, datasets)
                    audit.note("", "clean up", via="retention", experiments=experiments, datasets=datasets)
            except (OSError, NotFound):
                log.exception("Old experiments could not be removed")
            await asyncio.sleep(RETENTION_EVERY_S)


def _log_change(experiment: Experiment, earlier: str | None) -> None:
    """The lines by which a log tells the life of an experiment; one that was quick has begun and ended at once."""
    if experiment.ended and experiment.started_at and earlier != "running":
        _log_state(experiment, "running", earlier)
        earlier = "running"
    _log_state(experiment, experiment.state, earlier)


def _log_state(experiment: Experiment, state: str, earlier: str | None) -> None:
    kind = (experiment.error or {}).get("kind") if state == experiment.state else None
    facts = {
        "event": f"experiment.{state}",
        "earlier": earlier,
        "notebook": experiment.notebook,
        "attempt": experiment.attempt,
        "device": experiment.assigned_device,
        "error_kind": kind,
    }
    where = f" on {experiment.assigned_device}" if state == "running" else ""
    why = f": {kind}" if kind else ""
    log.info("Experiment %s %s%s%s", experiment.id, state, where, why, extra=facts)


def make_dispatcher(settings: Settings, service: Service) -> Any:
    """The dispatcher that the settings ask for."""
    if settings.redis_url:
        from dti_service.dispatch.rq import RQDispatcher

        return RQDispatcher(settings, service.store)
    from dti_service.dispatch.local import LocalDispatcher

    return LocalDispatcher(settings, service.store)


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


@contextlib.contextmanager
def _told_to_kernels(data_dir: Path) -> Iterator[None]:
    """Notebooks that are opened in this server keep their experiments where it looks for them: their kernels inherit
    its environment, but start in the folder of the notebook."""
    earlier = os.environ.get("DTI_DATA_DIR")
    os.environ["DTI_DATA_DIR"] = str(data_dir)
    try:
        yield
    finally:
        if earlier is None:
            os.environ.pop("DTI_DATA_DIR", None)
        else:
            os.environ["DTI_DATA_DIR"] = earlier
