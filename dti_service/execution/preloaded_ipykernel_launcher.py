"""`python -m dti_service.execution.preloaded_ipykernel_launcher LIBRARIES -f FILE ...`: a kernel that loads them first.

What a notebook will import first of all is loaded while the executor still imports papermill: on two processors that
costs no time. The libraries (separated by commas) are in the process, not among the names of the notebook. One that
cannot be loaded is left to the notebook, which says so where it imports it.
"""

from __future__ import annotations

import contextlib
import importlib
import runpy
import sys


def load(names: list[str]) -> None:
    """Import these, never from the current folder: that is the experiment's, where any file may lie."""
    folder = sys.path.pop(0)
    try:
        for name in names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    finally:
        sys.path.insert(0, folder)


if __name__ == "__main__":
    load(sys.argv.pop(1).split(","))
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
