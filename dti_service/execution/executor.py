"""`python -m dti_service.execution.executor`: executes one notebook with papermill, in a process of its own.

The job comes as one line of JSON on standard input. How it ended is left in `executor.json` in the experiment
directory: {outcome: ok | error | interrupted, error: {kind, message, cell} or null}. With `--standby` the process first
gets everything ready (papermill imported, a kernel started and its libraries loaded) and then waits for the job.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

from dti_service import atomic
from dti_service.execution.failures import Failure, cell_error, failure, internal_error, kernel_death
from dti_service.execution.job import Job
from dti_service.execution.kernel import NATIVE, Kernel, KernelDied, UnknownKernel
from dti_service.execution.processes import how_ended, oom_kills
from dti_service.execution.standby import READY_FILE

REPORT = "executor.json"
START_TIMEOUT_S = 120


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dti-executor", description=__doc__)
    parser.add_argument("--sockets", type=Path, required=True, help="private folder for the kernel's sockets")
    parser.add_argument(
        "--standby", metavar="LIBRARIES", help="load these into a kernel, then wait for the job"
    )
    options = parser.parse_args(arguments)
    # Until the notebook runs there is nothing to stop gracefully: the files that ask for a stop are looked at then.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    kernel = None
    if options.standby is not None:
        from dti_service.execution.warm_kernel import warm_up

        kernel = warm_up(options.sockets, options.standby.split(","))
        (options.sockets / READY_FILE).touch()
    line = sys.stdin.readline()
    if not line:
        return 0  # not needed any more
    job = Job.from_line(line)
    if options.standby is not None:
        output_to(Path(job.directory) / "log.txt")
    report = execute(job, options.sockets, kernel)
    atomic.write_json(Path(job.directory) / REPORT, report)
    return 0


def output_to(path: Path) -> None:
    """From now on what this process itself says goes there."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def execute(job: Job, sockets: Path, kernel: Kernel | None = None) -> dict[str, Any]:
    """Run the job's notebook, on `kernel` if it fits; returns the report."""
    directory = Path(job.directory)
    kills_before = oom_kills()
    source = directory / "source.ipynb"
    try:
        name, notice = kernel_for(source)
        kernel = start_kernel(job, sockets, name, kernel)
        if notice:
            print(notice, file=sys.stderr, flush=True)
        run_papermill(job, source, name, kernel)
    except BaseException as error:
        return _report_of(error, oom_kills() > kills_before, source)
    finally:
        if kernel is not None and not kernel.closed:
            kernel.close()
    return {"outcome": "ok", "error": None}


def kernel_for(source: Path) -> tuple[str, str]:
    """The kernel to run a notebook with, and a notice if it is not the one that the notebook names.

    A Python notebook that was saved with an environment unknown here runs in the environment of the service.
    Raises UnknownKernel for another language's kernel that is not installed, ValueError for what is no notebook.
    """
    metadata = json.loads(source.read_bytes()).get("metadata", {})
    name = metadata.get("kernelspec", {}).get("name") or NATIVE
    if name == NATIVE:
        return NATIVE, ""
    from jupyter_client.kernelspec import KernelSpecManager

    if name in KernelSpecManager().find_kernel_specs():
        return name, ""
    language = metadata.get("kernelspec", {}).get("language") or metadata.get("language_info", {}).get("name")
    if (language or "python").lower() != "python":
        raise UnknownKernel(f"the notebook asks for the kernel {name}, which is not installed here")
    return NATIVE, f"[there is no kernel named {name} here: the notebook runs with that of the service]"


def start_kernel(job: Job, sockets: Path, name: str, ready: Kernel | None) -> Kernel:
    """The kernel that stands ready, made this job's own, or a new one."""
    if ready is not None and name == NATIVE and ready.alive:
        from dti_service.execution.warm_kernel import hand_over

        hand_over(ready, job.variables, job.directory, job.notebook_folder)
        return ready
    if ready is not None:
        ready.close()
    environment = {**os.environ, **job.variables}
    if job.notebook_folder:
        paths = [environment.get("PYTHONPATH"), job.notebook_folder]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    kernel = Kernel(sockets, name)
    kernel.launch(cwd=Path(job.directory), environment=environment)
    return kernel


def run_papermill(job: Job, source: Path, kernel_name: str, kernel: Kernel) -> None:
    """Raises what the engine raises."""
    os.chdir(job.directory)
    without_slow_imports()
    import papermill

    from dti_service.execution.observers import ExperimentObserver

    # It cannot read parameters that are declared as `int | None`; ours were checked before the run was queued.
    logging.getLogger("papermill").addFilter(lambda said: "unknown parameter" not in said.getMessage())
    directory = Path(job.directory)
    papermill.execute_notebook(
        _literal_path(source),
        _literal_path(directory / "notebook.ipynb"),
        parameters=notebook_parameters(job, source),
        engine_name="dti",
        kernel_name=kernel_name,
        language="python" if kernel_name == NATIVE else None,
        progress_bar=False,
        start_timeout=START_TIMEOUT_S,
        kernel=kernel,
        observer=ExperimentObserver(directory),
        interrupt_grace_s=job.interrupt_grace_s,
    )


def notebook_parameters(job: Job, source: Path) -> dict[str, Any]:
    """The parameters to inject: those of the request, and what the service itself gives to notebooks that ask for it.

    Raises ValueError for names that would be pasted into the notebook as code.
    """
    from dti_service.execution.parameters import notebook_schema

    declared = notebook_schema(source)["properties"]
    parameters = dict(job.parameters)
    if "experiment_dir" in declared:
        parameters["experiment_dir"] = job.directory
    if "dataset" in declared and job.dataset is not None:
        parameters.setdefault("dataset", job.dataset)
    if "device" in declared:
        assigned = job.variables["DTI_DEVICE"]
        wanted = str(parameters.get("device") or "auto")
        if wanted == "auto" or (wanted.startswith("cuda") and assigned.startswith("cuda")):
            parameters["device"] = assigned
    strange = [name for name in parameters if not name.isidentifier()]
    if strange:
        raise ValueError(f"not a parameter name: {strange[0]!r}")
    return parameters


def _declared(source: Path) -> Collection[str]:
    """Names of the notebook's parameters, as far as they can be read."""
    from dti_service.execution.parameters import NotebookError, notebook_schema

    try:
        return notebook_schema(source)["properties"].keys()
    except (NotebookError, OSError):
        return ()


def without_slow_imports() -> None:
    """papermill comes to import a checker of internationalised addresses that compiles a grammar for a second.

    It is optional to the library that imports it, and no notebook is checked with it.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


def _literal_path(path: Path) -> str:
    """papermill fills in braces in paths."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _report_of(error: BaseException, for_memory: bool, source: Path) -> dict[str, Any]:
    from dti_service.execution.notebook_run import Interrupted

    if isinstance(error, Interrupted):
        return {"outcome": "interrupted", "error": None}
    return {"outcome": "error", "error": _failure_of(error, for_memory, source)}


def _failure_of(error: BaseException, for_memory: bool, source: Path) -> Failure:
    from nbclient.exceptions import CellTimeoutError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        return cell_error(error.ename, error.evalue, error.cell_index, _declared(source))
    if isinstance(error, KernelDied):
        return kernel_death(how_ended(error.returncode), error.cell, for_memory=for_memory)
    if isinstance(error, CellTimeoutError):
        return failure("time_limit", "A cell took longer than it may.")
    if isinstance(error, UnknownKernel):
        return failure("bad_input", f"{error}.".capitalize())
    traceback.print_exception(error)
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
        return failure("bad_input", f"The notebook cannot be run: {error}")
    return internal_error(error)


if __name__ == "__main__":
    code = main()
    # All is written and the kernel is gone: taking the interpreter apart would only take time.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
