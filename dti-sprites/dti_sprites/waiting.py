"""How the threads of one operation wait for each other, on a machine that also does other things.

OpenMP lets them spin: as long as every thread has a core of its own that is the quickest. Where another program takes
a core, even one of low priority, the spinning threads keep the one that all wait for from running, and a training step
takes fifty times as long. Spinning for a moment only, then sleeping, costs nothing on a quiet machine
(`benchmarks/busy_machine.py` measures both).
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

VARIABLE = "GOMP_SPINCOUNT"
ROUNDS = "2000"  # a few microseconds; the default of GNU OpenMP is 300,000 rounds and more
_CHOSEN_BY_PEOPLE = (VARIABLE, "OMP_WAIT_POLICY", "KMP_BLOCKTIME")


def wait_briefly(environment: MutableMapping[str, str] | None = None) -> None:
    """Set it in an environment (this process's by default), unless somebody chose otherwise.

    Has an effect on what loads PyTorch afterwards.
    """
    environment = os.environ if environment is None else environment
    if not any(name in environment for name in _CHOSEN_BY_PEOPLE):
        environment[VARIABLE] = ROUNDS
