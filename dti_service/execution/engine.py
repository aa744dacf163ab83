"""The papermill engine `dti`: `papermill --engine dti in.ipynb out.ipynb`, with or without an experiment.

Against papermill's own engine: the notebook on disk is never torn and tells the truth about its cells after an error,
a stop or a dead kernel; cells tagged `interactive` are skipped; the kernel and its children end with the run; floods
of output are survived; SIGTERM and SIGINT stop gracefully.

papermill loads this module while its own modules are still being imported (entry point group `papermill.engine`), so
nothing of papermill is imported before a notebook is executed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from pathlib import Path
from typing import Any

NATIVE = "python3"


class DTIEngine:
    """The three class methods that papermill asks of an engine."""

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str | None,
        output_path: str | None = None,
        progress_bar: bool | dict[str, Any] = True,
        log_output: bool = False,
        autosave_cell_every: int = 30,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        stdout_file: Any = None,
        stderr_file: Any = None,
        input_path: str | None = None,
        kernel: Any = None,
        observer: Any = None,
        **options: Any,
    ) -> Any:
        """Execute `nb` and return it with outputs. `kernel` is one that is launched already; `observer` is told
        what happens; `options` are further settings of `NotebookRun`, and through it of nbclient.

        Raises PapermillExecutionError for an error in a cell, KernelDied, CellTimeoutError, KeyboardInterrupt.
        """
        from dti_service.execution.kernel import Kernel
        from dti_service.execution.notebook_run import NotebookRun
        from dti_service.execution.observers import TerminalObserver
        from dti_service.execution.private_dir import private_dir

        observer = observer or TerminalObserver(progress_bar, log_output, stdout_file, stderr_file)
        with contextlib.ExitStack() as stack:
            if kernel is None:
                folder = stack.enter_context(private_dir(f"{os.getpid()}-{secrets.token_hex(8)}"))
                kernel = Kernel(folder, kernel_name or NATIVE)
                kernel.launch()
            run = NotebookRun(
                nb,
                kernel,
                observer,
                _atomic_output(output_path),
                start_timeout_s=start_timeout,
                cell_timeout_s=execution_timeout,
                **options,
            )
            return _in_own_thread_if_needed(run)

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """Name of the kernel: `name`, else the notebook's own, else Python's."""
        return name or nb.metadata.get("kernelspec", {}).get("name") or NATIVE

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Language of the notebook: `language`, else the notebook's own, else Python."""
        metadata = nb.metadata
        return (
            language
            or metadata.get("language_info", {}).get("name")
            or metadata.get("kernelspec", {}).get("language")
            or "python"
        )


def _in_own_thread_if_needed(run: Any) -> Any:
    """Where an event loop runs already, as in a notebook, the run gets a thread with its own."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run.execute()
    outcome: dict[str, Any] = {}

    def target() -> None:
        try:
            outcome["notebook"] = run.execute()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=target, name="dti-notebook")
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["notebook"]


def _atomic_output(output_path: str | None) -> Path | None:
    """The file to keep up to date, absolute; None for anything else than a local file.

    papermill itself writes the notebook once more at the end: from now on as a replacement too.
    """
    if not output_path or output_path == "-" or "://" in output_path:
        return None
    from papermill.iorw import papermill_io

    handler = papermill_io.get_handler(output_path)
    # papermill may have changed to the notebook's folder; relative paths are from where it was called.
    path = Path(getattr(handler, "_cwd", None) or os.getcwd(), output_path).absolute()
    if not isinstance(handler, _AtomicHandler):
        papermill_io.register(output_path, _AtomicHandler(handler, path))
    return path


class _AtomicHandler:
    """papermill's access to files, except that one output is replaced as a whole."""

    def __init__(self, handler: Any, path: Path) -> None:
        self._handler = handler
        self._path = path

    def write(self, text: str, path: str) -> None:
        from dti_service import atomic

        atomic.write_bytes(self._path, text.encode(errors="replace"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)
