"""The guard's settings, as one value that everything untrusted is checked against."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dti_service.datasets.guard.addresses import AllowList
from dti_service.datasets.guard.limits import Limits


@dataclass(frozen=True)
class Policy:
    """Limits, the hosts that may be reached besides public ones, and the folders that clients may name."""

    limits: Limits = field(default_factory=Limits)
    allow: AllowList = field(default_factory=AllowList)
    roots: tuple[Path, ...] = ()

    @classmethod
    def from_settings(cls, settings: Any) -> Policy:
        roots = getattr(settings, "dataset_roots", None) or ()
        if isinstance(roots, str):
            roots = [item.strip() for item in roots.split(",") if item.strip()]
        return cls(
            limits=Limits.from_settings(settings),
            allow=AllowList.parse(getattr(settings, "allow_hosts", None) or ()),
            roots=tuple(Path(root).expanduser().resolve() for root in roots),
        )
