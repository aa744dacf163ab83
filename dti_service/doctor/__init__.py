"""`dti doctor`: checks this machine; each problem comes with what to do about it.

One module for each subject; a check is a function that takes the settings and yields what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dti_service.doctor import machine, network, processes, queue, software, storage, tunnel
from dti_service.doctor.check import Check
from dti_service.settings import Settings

CHECKS: tuple[Callable[[Settings], Iterator[Check]], ...] = (
    software.python,
    software.torch,
    software.kernel,
    software.notebooks,
    machine.devices,
    machine.clock,
    storage.data_directory,
    storage.space,
    storage.keys,
    queue.redis,
    processes.versions,
    network.port,
    network.proxy,
    network.public_url,
    tunnel.tunnels,
)


def run_checks(settings: Settings) -> Iterator[Check]:
    """What every check found, in an order in which the first problem is often the cause of the later ones."""
    for check in CHECKS:
        try:
            yield from check(settings)
        except Exception as error:
            name = check.__name__.replace("_", " ")
            found = f"{type(error).__name__}: {error}"
            yield Check(name, False, found, "This check itself failed; please report it.")


__all__ = ["Check", "run_checks"]
