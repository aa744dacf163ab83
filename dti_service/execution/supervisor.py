"""`python -m dti_service.execution.supervisor ID --data-dir D --device cpu`: runs one experiment, and answers for it.

Between whoever starts runs (a dispatcher) and the process that executes the notebook: it holds the experiment's lock,
writes its record, watches for a cancel, the time limit and the death of its starter, and ends with no process left.
Its standard input is a pipe from the starter; the end of that pipe means: stop gracefully, the run goes on elsewhere.

Exit codes: 0 the record says how it ended; 3 not claimed, as somebody else runs it or it is not queued.
Only small modules are imported here: nothing of Jupyter, papermill or PyTorch.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dti_service import logs
from dti_service.execution.attempt import NOT_CLAIMED, Attempt, Limits
from dti_service.execution.inputs import Inputs
from dti_service.execution.job import clean_environment
from dti_service.execution.processes import experiment_marks, take_in_orphans
from dti_service.execution.standby import Standby
from dti_service.settings import Settings
from dti_service.store import Store

__all__ = ["main", "spawn", "spawn_standby"]


def spawn(
    settings: Settings, id: str, device: str, *, keep_open: Sequence[int] = (), options: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start a supervisor for a queued experiment, in a session of its own. Raises OSError.

    `keep_open` are open files (locks) that the supervisor holds too, for as long as it lives; `options` are further
    ones of its command line.

    Its `stdin` is the leash: closing it, or dying, stops the run gracefully and puts the experiment back into the
    queue. Ask for the end with `poll` or `wait`; what became of the experiment is in its record.
    """
    return subprocess.Popen(
        [*_command(settings), id, "--device", device, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=keep_open,
        env={**_environment(settings), **experiment_marks(id, settings.data_dir)},
    )


def spawn_standby(
    settings: Settings, libraries: Sequence[str], *, options: Sequence[str] = ()
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a supervisor that gets a kernel with these libraries ready and waits for its experiment. Raises OSError.

    The socket is its leash and takes the order; it says READY when it is. See `warm.WarmPool`.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [*_command(settings), "--standby", ",".join(libraries), *options],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env=_environment(settings),
            )
        except OSError:
            ours.close()
            raise
    return process, ours


def _command(settings: Settings) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "dti_service.execution.supervisor"),
        *("--data-dir", str(settings.data_dir)),
        *("--time-limit", str(settings.time_limit_s)),
    ]


def _environment(settings: Settings) -> dict[str, str]:
    return {**clean_environment(), **settings.run_variables()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dti-supervisor", description="Run one queued experiment.")
    parser.add_argument("id", nargs="?", help="the experiment; without it --standby is needed")
    parser.add_argument(
        "--standby",
        metavar="LIBRARIES",
        help="load these (separated by commas) into a kernel, then wait to be told what to run",
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N")
    parser.add_argument("--time-limit", type=float, default=None, metavar="S", help="longest time of the run")
    parser.add_argument(
        "--grace",
        type=float,
        default=2.0,
        metavar="S",
        help="for the notebook to stop by itself when it is asked to",
    )
    parser.add_argument(
        "--interrupt-grace", type=float, default=5.0, metavar="S", help="for it to stop after an interrupt"
    )
    options = parser.parse_args(arguments)
    wanted = {"DTI_LOG_JSON": os.environ.get("DTI_LOG_JSON", "")}
    logs.set_up(Settings.from_env(wanted), "supervisor", level=logging.WARNING)
    limits = Limits(options.time_limit, options.grace, options.interrupt_grace)
    take_in_orphans()
    with Inputs() as inputs:
        store = Store(options.data_dir.resolve())
        if options.id:
            return Attempt(store, options.id, options.device, limits, inputs).run()
        if options.standby is None:
            parser.error("which experiment?")
        return _stand_by(store, limits, inputs, options.standby)


def _stand_by(store: Store, limits: Limits, inputs: Inputs, libraries: str) -> int:
    """Have an executor ready, and run the one experiment that is asked for."""
    standby = Standby(libraries)
    try:
        order = standby.wait_for_order(inputs)
        if order is None:
            return NOT_CLAIMED
        return Attempt(store, order["id"], order["device"], limits, inputs, standby).run()
    finally:
        standby.dismiss()


if __name__ == "__main__":
    code = main()
    # Nothing is left to tidy up, and a run that is over should not wait for the interpreter to take itself apart.
    sys.stderr.flush()
    os._exit(code)
