"""The guard's settings, as one value that everything untrusted is checked against."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dti_service.datasets.guard.addresses import AllowList
from dti_service.datasets.guard.limits import Limits
from dti_service.settings import Settings


@dataclass(frozen=True)
class Policy:
    """Limits, the hosts that may be reached besides public ones, and the folders that clients may name."""

    limits: Limits = field(default_factory=Limits)
    allow: AllowList = field(default_factory=AllowList)
    roots: tuple[Path, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> Policy:
        """The policy of a server or a run. Raises ValueError for an entry of `allow_hosts` that cannot be read."""
        return cls(
            limits=Limits.from_settings(settings),
            allow=AllowList.parse(settings.allow_hosts),
            roots=tuple(Path(root).expanduser().resolve() for root in settings.dataset_roots),
        )
