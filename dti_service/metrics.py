"""What Prometheus is told, from a registry of its own (the server's other metrics are not mixed in)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from dti_service import __version__

# From a few seconds to the default time limit of a day.
DURATIONS_S = (5, 15, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)


@dataclass
class DeviceState:
    """One device that runs experiments; memory in bytes, None where it cannot be told."""

    name: str
    busy: int
    memory_used: int | None = None
    memory_total: int | None = None


@dataclass
class Snapshot:
    """What is true at the moment of a scrape."""

    states: dict[str, int] = field(default_factory=dict)
    devices: list[DeviceState] = field(default_factory=list)
    oldest_wait_s: float = 0.0  # of what waits now; 0 when nothing does
    disk_free: int = 0  # bytes
    disk_total: int = 0


class Metrics:
    """`snapshot` is asked at each scrape and may block; the counters grow from the start of this server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self.registry = CollectorRegistry()
        self._snapshot = snapshot
        self._finished = Counter(
            "dti_experiments_finished",
            "Experiments that ended, by final state",
            ["state"],
            registry=self.registry,
        )
        self._failures = Counter(
            "dti_experiment_failures",
            "Experiments that failed, by kind of error",
            ["kind"],
            registry=self.registry,
        )
        self._durations = Histogram(
            "dti_experiment_duration_seconds",
            "Time from start to end of experiments, by final state",
            ["state"],
            buckets=DURATIONS_S,
            registry=self.registry,
        )
        self._waits = Histogram(
            "dti_experiment_wait_seconds",
            "Time that experiments waited in the queue before they started",
            buckets=(1, *DURATIONS_S),
            registry=self.registry,
        )
        self.registry.register(self)

    def started(self, waited_s: float) -> None:
        """An experiment has started, `waited_s` seconds after it was queued."""
        self._waits.observe(max(0.0, waited_s))

    def finished(self, state: str, duration_s: float | None, error_kind: str | None) -> None:
        """An experiment has ended; `duration_s` is None when it never started."""
        self._finished.labels(state).inc()
        if duration_s is not None:
            self._durations.labels(state).observe(max(0.0, duration_s))
        if state == "failed":
            self._failures.labels(error_kind or "unknown").inc()

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        now = self._snapshot()
        states = GaugeMetricFamily("dti_experiments", "Experiments on disk, by state", labels=["state"])
        for state in ("queued", "running", "cancelled", "succeeded", "failed"):
            states.add_metric([state], now.states.get(state, 0))
        yield states
        yield GaugeMetricFamily(
            "dti_queue_length", "Experiments that wait to start", value=now.states.get("queued", 0)
        )
        yield GaugeMetricFamily(
            "dti_queue_oldest_seconds",
            "How long the first of the experiments that wait has waited",
            value=now.oldest_wait_s,
        )
        yield GaugeMetricFamily("dti_disk_free_bytes", "Free space on the data disk", value=now.disk_free)
        yield GaugeMetricFamily("dti_disk_bytes", "Size of the data disk", value=now.disk_total)
        build = GaugeMetricFamily("dti_build_info", "The version of this server", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        busy = GaugeMetricFamily(
            "dti_device_experiments", "Experiments running on a device", labels=["device"]
        )
        used = GaugeMetricFamily(
            "dti_device_memory_used_bytes", "Memory in use on a device", labels=["device"]
        )
        total = GaugeMetricFamily("dti_device_memory_bytes", "Memory of a device", labels=["device"])
        for device in now.devices:
            busy.add_metric([device.name], device.busy)
            if device.memory_used is not None:
                used.add_metric([device.name], device.memory_used)
            if device.memory_total is not None:
                total.add_metric([device.name], device.memory_total)
        yield from (busy, used, total)

    def describe(self) -> Iterator[Metric]:
        """Nothing is collected merely to register."""
        return iter(())

    def render(self) -> bytes:
        """The text that Prometheus reads; may block."""
        return generate_latest(self.registry)
