"""What a measurement ran on: device and versions, as facts and as lines of Markdown."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from dti_sprites.results.provenance import environment

SHOWN_PACKAGES = ("torch", "torchvision", "numpy")


def machine_facts(device: torch.device, threads: int | None = None) -> dict[str, Any]:
    """`environment` of the results, with the processor's name and the number of threads on the CPU."""
    facts = environment(str(device))
    if device.type == "cpu":
        facts["device_name"] = processor_name()
        facts["threads"] = torch.get_num_threads() if threads is None else threads
    return facts


def processor_name() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe_machine(facts: dict[str, Any]) -> str:
    """One paragraph of Markdown: device, versions, date, revision."""
    device = f"{facts['device']}: {facts.get('device_name', 'unknown')}"
    if "threads" in facts:
        device += f", {facts['threads']} threads of {facts.get('cpu_count', '?')} processors"
    packages = facts.get("packages", {})
    versions = [f"{name} {packages[name]}" for name in SHOWN_PACKAGES if name in packages]
    parts = [device, f"Python {facts['python']}", *versions, facts["platform"], facts["created_at"][:10]]
    if "source_revision" in facts:
        revision, _, changes = facts["source_revision"].partition("+")
        parts.append(f"revision {revision[:12]}" + (" with changes" if changes else ""))
    return "; ".join(parts) + "."
