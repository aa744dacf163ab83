"""The end of an attempt: from what is known about it to the next state of the experiment. Pure, no input or output."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from dti_service.execution.failures import Failure, failure
from dti_service.experiment import State

StopReason = Literal["cancel", "time_limit", "stop"]
MOST_METRICS = 200
LONGEST_METRIC = 1000  # items in a list, characters in a text


@dataclass(frozen=True)
class Ending:
    """What the supervisor saw."""

    report: dict[str, Any] | None  # executor.json, None if the executor left none
    how: str = ""  # the executor's end, as in "killed by SIGKILL"
    reason: StopReason | None = None  # why the supervisor stopped the run, if it did
    metrics: dict[str, Any] | None = None  # results/metrics.json, None if there is none that can be read
    for_memory: bool = False  # the system killed processes for lack of memory meanwhile
    cell: int | None = None  # that was running
    time_limit_s: float | None = None


@dataclass(frozen=True)
class Conclusion:
    state: State
    error: Failure | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


def conclude(ending: Ending) -> Conclusion:
    """The state that the experiment goes to, with its error or metrics."""
    report = ending.report or {}
    metrics = plain_metrics(ending.metrics or {})
    cell = (report.get("error") or {}).get("cell", ending.cell)
    if ending.reason == "cancel":
        return Conclusion("cancelled", metrics=metrics)
    if ending.reason == "stop":
        return Conclusion("queued")
    if ending.reason == "time_limit":
        limit = duration(ending.time_limit_s or 0)
        message = f"The time limit of {limit} was reached. What was done until then is kept."
        return Conclusion("failed", failure("time_limit", message, cell), metrics)
    if report.get("outcome") == "ok":
        if ending.metrics is None:
            message = (
                "The notebook ended without results: results/metrics.json is missing. Call run.finish()."
            )
            return Conclusion("failed", failure("user_error", message))
        return Conclusion("succeeded", metrics=metrics)
    if report.get("outcome") == "error":
        return Conclusion("failed", report["error"], metrics)
    if report.get("outcome") == "interrupted":
        return Conclusion(
            "failed", failure("kernel_died", "The run was interrupted from outside.", cell), metrics
        )
    if ending.for_memory:
        message = "The system ran out of memory and ended the run: use fewer or smaller images."
        return Conclusion("failed", failure("out_of_memory", message, ending.cell), metrics)
    message = f"The process that executes the notebook died ({ending.how})."
    return Conclusion("failed", failure("kernel_died", message, ending.cell), metrics)


def plain_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics as a record may hold them: few, small, and nothing that JSON has no word for."""
    kept = {}
    for name, value in list(metrics.items())[:MOST_METRICS]:
        if isinstance(value, list | dict | str) and len(value) > LONGEST_METRIC:
            continue
        kept[str(name)] = _finite(value)
    return kept


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    return value


def duration(seconds: float) -> str:
    """ "90 s", "15 min", "24 h"."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"
