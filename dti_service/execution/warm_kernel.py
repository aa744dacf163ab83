"""A kernel that stands ready with its libraries loaded, handed over to one run and never used again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dti_service.execution.kernel import Kernel

LOAD_TIMEOUT_S = 180.0

_LOAD = """
import importlib
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
"""
_BECOME = """
import os, sys
os.environ.update({variables!r})
os.chdir({folder!r})
if {module_folder!r}:
    sys.path.append({module_folder!r})
"""


def warm_up(sockets: Path, libraries: Sequence[str]) -> Kernel:
    """Start a kernel, import papermill meanwhile, and load the libraries. Raises KernelDied, TimeoutError.

    They are loaded into the kernel's process, not into the notebook's names: a notebook imports what it uses.
    """
    from dti_service.execution.executor import without_slow_imports

    kernel = Kernel(sockets)
    kernel.launch(cwd=sockets, environment=os.environ)
    without_slow_imports()
    import papermill  # noqa: F401

    import dti_service.execution.notebook_run
    import dti_service.execution.observers  # noqa: F401

    kernel.loop.run_until_complete(kernel.connect())
    kernel.loop.run_until_complete(_run_apart(kernel, _LOAD.format(names=list(libraries))))
    return kernel


def hand_over(kernel: Kernel, variables: Mapping[str, str], folder: str, module_folder: str | None) -> None:
    """Make the kernel that of one run: its environment, its folder. Raises KernelDied, RuntimeError."""
    code = _BECOME.format(variables=dict(variables), folder=folder, module_folder=module_folder)
    kernel.loop.run_until_complete(_run_apart(kernel, code))


async def _run_apart(kernel: Kernel, code: str) -> None:
    """Execute code that leaves no names behind in the notebook."""
    await kernel.run_silently(f"exec({code!r}, {{}})", LOAD_TIMEOUT_S)
