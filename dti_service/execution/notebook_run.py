"""Runs the cells of a notebook one after the other and keeps its file true at every moment."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from dti_service import atomic
from dti_service.execution.kernel import Kernel, KernelDied
from dti_service.execution.notebook_client import ExecutionClient, error_output
from dti_service.execution.observers import Observer

TICK_S = 0.25
SAVE_EVERY_S = 2.0  # at the least, while a long cell changes its outputs
SAVE_SHARE = 0.05  # of the time, at the most, is spent on saving
SKIPPED_TAGS = {"interactive", "skip-execution"}
INTERRUPT_GRACE_S = 5.0
LONGEST_NAME = 80


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and did; the notebook is saved."""


class NotebookFile:
    """The executed notebook on disk: always complete, replaced as a whole."""

    def __init__(self, notebook: NotebookNode, path: Path | None) -> None:
        self._notebook = notebook
        self._path = path
        self._saved_at = 0.0
        self._cost_s = 0.0

    def save(self, *, durable: bool = False) -> None:
        """Raises OSError."""
        if self._path is None:
            return
        began = time.monotonic()
        text = nbformat.versions[self._notebook.nbformat].writes_json(self._notebook)
        atomic.write_bytes(self._path, text.encode(errors="replace"), sync=durable)
        self._saved_at = time.monotonic()
        self._cost_s = self._saved_at - began

    @property
    def due(self) -> bool:
        """Is it time to save what a running cell has changed?"""
        return time.monotonic() - self._saved_at >= max(SAVE_EVERY_S, self._cost_s / SAVE_SHARE)


class NotebookRun:
    """One execution of a notebook on a kernel that has been launched."""

    def __init__(
        self,
        notebook: NotebookNode,
        kernel: Kernel,
        observer: Observer,
        output: Path | None = None,
        *,
        start_timeout_s: float = 60.0,
        cell_timeout_s: float | None = None,
        interrupt_grace_s: float = INTERRUPT_GRACE_S,
        **options: Any,
    ) -> None:
        self.notebook = notebook
        self.kernel = kernel
        self.observer = observer
        self.file = NotebookFile(notebook, output)
        self.start_timeout_s = start_timeout_s
        self.interrupt_grace_s = interrupt_grace_s
        self.stopping = False
        self._options = {**options, "timeout": cell_timeout_s}
        self._client: ExecutionClient | None = None
        self._heading = ""
        self._began = datetime.now(UTC)
        self._tasks: set[asyncio.Task[None]] = set()

    def execute(self) -> NotebookNode:
        """Run all cells; the kernel is ended in any case, and the notebook saved.

        Raises PapermillExecutionError for an error in a cell, KernelDied, CellTimeoutError, Interrupted.
        """
        loop = self.kernel.loop
        with _stop_signals(self, loop):
            try:
                loop.run_until_complete(self._execute())
            finally:
                self.observer.close()
                self.kernel.close()
        return self.notebook

    def request_stop(self) -> None:
        """Interrupt the cell that runs, and end the kernel if that does not help; no further cell is begun."""
        if not self.stopping:
            self.stopping = True
            task = self.kernel.loop.create_task(self._interrupt())
            self._tasks.add(task)

    def _stop_wanted(self) -> bool:
        return self.stopping or self.observer.stop_requested()

    async def _interrupt(self) -> None:
        self.kernel.interrupt()
        await asyncio.sleep(self.interrupt_grace_s)
        self.kernel.kill()

    async def _execute(self) -> None:
        self._prepare()
        self.file.save()
        self.observer.begin(len(self.notebook.cells))
        try:
            await self._connect()
            ticker = asyncio.create_task(self._tick())
            self._tasks.add(ticker)
            for index, cell in enumerate(self.notebook.cells):
                if self._stop_wanted():
                    raise Interrupted
                if not await self._run_cell(index, cell):
                    break
        except KernelDied:
            if self.stopping:
                raise Interrupted from None
            raise
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._finish()

    async def _connect(self) -> None:
        if self.kernel.client is None:
            connecting = asyncio.ensure_future(self.kernel.connect(self.start_timeout_s))
            self._tasks.add(connecting)
            # A kernel that is slow to start does not delay a stop.
            while not (await asyncio.wait({connecting}, timeout=TICK_S))[0]:
                if self._stop_wanted():
                    raise Interrupted
            connecting.result()
        self._client = ExecutionClient(self.notebook, self.kernel, self.observer, **self._options)
        self._client.reset_execution_trackers()

    async def _tick(self) -> None:
        """Lets a silent, long cell be seen too."""
        while True:
            await asyncio.sleep(TICK_S)
            self.observer.tick()
            outputs = self._client.cell_outputs if self._client else None
            if outputs is not None and outputs.changed and self.file.due:
                outputs.render()
                with contextlib.suppress(OSError):
                    self.file.save()

    # Cells

    async def _run_cell(self, index: int, cell: NotebookNode) -> bool:
        """Execute the cell if there is anything to execute; False: the notebook ends here, as it wants to."""
        state = cell.metadata.papermill
        if cell.cell_type != "code" or not cell.source.strip():
            state["status"] = "completed"
            self._heading = _heading(cell) or self._heading
            self.observer.cell_passed(index)
            return True
        if SKIPPED_TAGS & set(cell.metadata.get("tags", [])):
            state["status"] = "skipped"
            self.observer.cell_passed(index)
            return True
        name = _cell_name(cell, self._heading)
        self._heading = ""
        began = datetime.now(UTC)
        state.update(start_time=began.isoformat(), status="running", exception=False)
        self.observer.cell_started(index, len(self.notebook.cells), name)
        self.file.save()
        status = "failed"
        try:
            go_on = await self._execute_cell(index, cell)
            status = "completed"
            return go_on
        except Interrupted:
            status = "cancelled"
            raise
        finally:
            ended = datetime.now(UTC)
            failed = status == "failed"
            state.update(
                end_time=ended.isoformat(),
                duration=(ended - began).total_seconds(),
                status=status,
                exception=failed,
            )
            if failed:
                self.notebook.metadata.papermill["exception"] = True
            event = "finished" if status == "completed" else status
            self.observer.cell_ended(index, len(self.notebook.cells), name, event)
            self.file.save()

    async def _execute_cell(self, index: int, cell: NotebookNode) -> bool:
        """One code cell; False after sys.exit().

        Raises Interrupted, PapermillExecutionError, KernelDied, CellTimeoutError.
        """
        assert self._client is not None
        try:
            await self._client.async_execute_cell(cell, index)
            return True
        except CellExecutionError as error:
            if self._stop_wanted():
                raise Interrupted from None
            if error.ename == "SystemExit" and error.evalue in {"", "0", "None"}:
                return False
            raise PapermillExecutionError(
                cell_index=index,
                exec_count=cell.execution_count,
                source=cell.source,
                ename=error.ename,
                evalue=error.evalue,
                traceback=_traceback(cell),
            ) from None
        except DeadKernelError:
            if self.stopping:
                message = "The kernel did not react to the interrupt and was ended."
                cell.outputs.append(error_output("Cancelled", message))
                raise Interrupted from None
            died = KernelDied(self.kernel.returncode, index)
            cell.outputs.append(error_output("KernelDied", str(died)))
            raise died from None
        except CellTimeoutError as error:
            cell.outputs.append(error_output("TimeoutError", str(error)))
            raise
        except asyncio.CancelledError:
            raise Interrupted from None

    # The notebook's own record, in the form that papermill uses

    def _prepare(self) -> None:
        self.notebook.metadata.setdefault("papermill", NotebookNode())
        self.notebook.metadata.papermill.update(
            start_time=self._began.isoformat(), end_time=None, duration=None, exception=None
        )
        for cell in self.notebook.cells:
            nothing: dict[str, Any] = dict.fromkeys(("exception", "start_time", "end_time", "duration"))
            cell.metadata["papermill"] = NotebookNode(status="pending", **nothing)
            if cell.cell_type == "code":
                cell["execution_count"] = None
                cell["outputs"] = []

    def _finish(self) -> None:
        ended = datetime.now(UTC)
        duration = (ended - self._began).total_seconds()
        self.notebook.metadata.papermill.update(end_time=ended.isoformat(), duration=duration)
        if self._client is not None:
            with contextlib.suppress(Exception):  # widgets of a run that was cut off may be incomplete
                self._client.set_widgets_metadata()
        self.file.save(durable=True)


@contextlib.contextmanager
def _stop_signals(run: NotebookRun, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """SIGINT and SIGTERM stop the run gracefully; only the main thread can be told of signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    earlier = [signal.getsignal(number) for number in numbers]
    for number in numbers:
        loop.add_signal_handler(number, run.request_stop)
    try:
        yield
    finally:
        # The loop is closed by now, and put back the default handlers only.
        for number, handler in zip(numbers, earlier):
            if handler is not None:
                signal.signal(number, handler)


def _heading(cell: NotebookNode) -> str:
    match = (
        re.search(r"^#+\s+(.+?)\s*#*$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
    )
    return match[1] if match else ""


def _cell_name(cell: NotebookNode, heading: str) -> str:
    """What the cell is about: its own name, the heading above it, or its first line."""
    description = re.search(r"papermill_description=(\S+)", cell.source)
    tags = cell.metadata.get("tags", [])
    name = (
        cell.metadata.get("name")
        or (description and description[1])
        or next((tag for tag in ("parameters", "injected-parameters") if tag in tags), "")
        or heading
        or cell.source.strip().split("\n")[0].lstrip("# ")
    )
    return str(name)[:LONGEST_NAME]


def _traceback(cell: NotebookNode) -> list[str]:
    errors = [output for output in cell.outputs if output.output_type == "error"]
    return list(errors[-1].traceback) if errors else []
