"""What a step does besides taking time: operators, and memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaMemcpy", "cudaMemset", "cudaGraphLaunch")


class OperatorCount(TorchDispatchMode):
    """Counts the operators that are dispatched, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def count_launches(function: Callable[[], None], device: torch.device) -> int:
    """On CUDA kernels, copies and fills that are launched; on the CPU operators that are not views."""
    if device.type != "cuda":
        with OperatorCount() as operators:
            function()
        return operators.count
    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        function()
        torch.cuda.synchronize(device)
    return sum(event.count for event in profiler.key_averages() if event.key.startswith(LAUNCHES))


def peak_bytes(function: Callable[[], None], device: torch.device) -> int:
    """The most that PyTorch allocates within `function` beyond what it held before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    now = peak = 0
    for size in _allocations(profiler):
        now += size
        peak = max(peak, now)
    return peak


def _allocations(profiler: profile) -> list[int]:
    """Bytes of every allocation (positive) and release (negative) on the CPU, in their order."""
    results = profiler.profiler.kineto_results if profiler.profiler is not None else None
    assert results is not None
    found: list[Any] = [event for event in results.events() if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(found, key=lambda event: event.start_ns())]
