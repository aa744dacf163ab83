"""Measuring a case: medians of repeats, in which step, encoder and reference take turns."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from dti_sprites.bench.speed.cases import Case
from dti_sprites.bench.speed.counters import count_launches, peak_bytes
from dti_sprites.bench.speed.workbench import Workbench
from dti_sprites.training.device import Backends
from dti_sprites.training.memory import available_bytes

REFERENCE_SHARE = 0.4  # of the memory that is available


@dataclass(frozen=True)
class Effort:
    """How long to measure: repeats, and the seconds after which no further one starts.

    `clock`: "wall", or "cpu" for the processor time of the process, which tells more on a shared machine.
    """

    repeats: int = 15
    seconds: float = 60.0
    reference_seconds: float = 30.0
    warm_up: int = 2
    clock: str = "wall"


QUICK = Effort(repeats=5, seconds=15.0, reference_seconds=3.0, warm_up=1)


@dataclass(frozen=True)
class Measurement:
    """One row. Times in seconds; what the reference did not do, for lack of memory, is None."""

    case: str
    variant: str
    k: int
    batch: int
    device: str
    threads: int | None
    clock: str
    options: list[str]
    step_s: float
    encoder_s: float
    ratio: float
    images_per_s: float
    launches: int
    peak_bytes: int
    repeats: int
    reference_step_s: float | None = None
    reference_ratio: float | None = None
    reference_images_per_s: float | None = None
    reference_launches: int | None = None
    reference_peak_bytes: int | None = None
    speedup: float | None = None  # reference_step_s / step_s
    mark: float | None = None  # what the ratio is held against


def measure(
    case: Case,
    device: torch.device,
    effort: Effort,
    overrides: Sequence[str] = (),
    reference: bool = True,
) -> Measurement:
    """Measure one case. Raises ConfigError when the overrides do not fit it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        bench = Workbench(case, device, overrides)
        with Backends(bench.config.training.fast):
            return _measure(bench, effort, list(overrides), reference)


def _measure(bench: Workbench, effort: Effort, overrides: list[str], reference: bool) -> Measurement:
    case, device = bench.case, bench.device
    for _ in range(effort.warm_up):
        bench.step()
        bench.encoder_step()
    launches = count_launches(bench.step, device)
    peak = _peak(bench.step, bench.optimizer.zero_grad, bench.held_bytes(bench.optimizer.adam), device)
    tasks = {"step": bench.step, "encoder": bench.encoder_step}
    of_reference: dict[str, int] = {}
    if reference and bench.reference_bytes() <= REFERENCE_SHARE * available_bytes(device):
        bench.use_reference()
        bench.reference_step()
        of_reference["reference_launches"] = count_launches(bench.reference_step, device)
        held = bench.held_bytes(bench.plain_adam)
        of_reference["reference_peak_bytes"] = _peak(
            bench.reference_step, bench.plain_adam.zero_grad, held, device
        )
        tasks["reference"] = bench.reference_step
    times = take_turns(tasks, device, effort)
    step, encoder = statistics.median(times["step"]), statistics.median(times["encoder"])
    plain = statistics.median(times["reference"]) if "reference" in times else None
    mark = None if case.mark is None else case.mark.gpu if device.type == "cuda" else case.mark.cpu
    return Measurement(
        case=case.name,
        variant=case.variant,
        k=bench.model.n_prototypes,
        batch=case.batch,
        device=str(device),
        threads=torch.get_num_threads() if device.type == "cpu" else None,
        clock="wall" if device.type == "cuda" else effort.clock,
        options=overrides,
        step_s=step,
        encoder_s=encoder,
        ratio=step / encoder,
        images_per_s=case.batch / step,
        launches=launches,
        peak_bytes=peak,
        repeats=len(times["step"]),
        reference_step_s=plain,
        reference_ratio=None if plain is None else plain / encoder,
        reference_images_per_s=None if plain is None else case.batch / plain,
        speedup=None if plain is None else plain / step,
        mark=mark,
        **of_reference,
    )


def take_turns(
    tasks: dict[str, Callable[[], None]], device: torch.device, effort: Effort
) -> dict[str, list[float]]:
    """Seconds of each call, the tasks called in turns; the one named "reference" less often if it is slow."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    start = time.perf_counter()
    gc.collect()
    while len(times["step"]) < effort.repeats:
        for name, task in tasks.items():
            if name == "reference" and sum(times[name]) > effort.reference_seconds:
                continue
            times[name].append(seconds(task, device, effort.clock))
        if len(times["step"]) >= 3 and time.perf_counter() - start > effort.seconds:
            break
    return times


def seconds(task: Callable[[], None], device: torch.device, clock: str) -> float:
    """Duration of one call. On CUDA the mean of several in a row: a training loop does not wait for each."""
    if device.type != "cuda":
        now = time.process_time if clock == "cpu" else time.perf_counter
        start = now()
        task()
        return now() - start
    calls = 5
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    begin.record()
    for _ in range(calls):
        task()
    end.record()
    torch.cuda.synchronize(device)
    return float(begin.elapsed_time(end)) / 1000.0 / calls


def _peak(step: Callable[[], None], zero_grad: Callable[[], None], held: int, device: torch.device) -> int:
    zero_grad()
    return held + peak_bytes(step, device)
