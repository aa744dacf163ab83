"""Runs of real notebooks with real kernels, each checked to leave no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dti_service.execution.processes import Process, descendants, experiment_marks, with_environment
from dti_service.execution.supervisor import spawn
from dti_service.experiment import Experiment, timestamp
from dti_service.ids import new_id
from dti_service.settings import Settings
from dti_service.store import Store

KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}


def write_notebook(path: Path, *cells: str | dict[str, Any], parameters: str = "x: int = 1") -> Path:
    """A notebook of a heading, a parameters cell and these code cells; a mapping adds metadata to its `source`."""
    made = [new_markdown_cell("# A test"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    for cell in cells:
        fields = {"source": cell} if isinstance(cell, str) else dict(cell)
        made.append(new_code_cell(fields.pop("source"), metadata=fields))
    nbformat.write(new_notebook(cells=made, metadata={"kernelspec": KERNELSPEC}), path)
    return path


def wait_for(condition: Callable[[], Any], what: str = "the condition", timeout_s: float = 60.0) -> Any:
    """The condition's value as soon as it is true; there is no run that takes this long."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.02)
    return value


class Runs:
    """Experiments of one data directory, run by supervisors that hurry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(data_dir=folder / "data", devices="cpu")
        self.store = Store(self.settings.data_dir)
        self.supervisors: list[subprocess.Popen[bytes]] = []
        self.ids: list[str] = []

    def submit(self, *cells: str | dict[str, Any], declared: str = "x: int = 1", **fields: Any) -> str:
        path = write_notebook(self.folder / f"work{len(self.ids)}.ipynb", *cells, parameters=declared)
        return self.submit_file(path, **fields)

    def submit_file(self, path: Path, **fields: Any) -> str:
        now = timestamp()
        values = {"notebook": str(path), "created_at": now, "queued_at": now, "device": "cpu", **fields}
        experiment = Experiment(id=new_id(), **values)
        self.ids.append(self.store.create(experiment, path).id)
        return self.ids[-1]

    def start(self, id: str, *, grace: float = 0.2, interrupt_grace: float = 1.0) -> subprocess.Popen[bytes]:
        options = ("--grace", str(grace), "--interrupt-grace", str(interrupt_grace))
        self.supervisors.append(spawn(self.settings, id, "cpu", options=options))
        return self.supervisors[-1]

    def run(self, *cells: str | dict[str, Any], declared: str = "x: int = 1", **fields: Any) -> Experiment:
        """Submit, run to the end, and check that nothing is left."""
        id = self.submit(*cells, declared=declared, **fields)
        return self.end(self.start(id), id)

    def end(self, supervisor: subprocess.Popen[bytes], id: str, code: int = 0) -> Experiment:
        """The experiment when its supervisor has ended."""
        assert supervisor.wait(60) == code
        assert self.processes(id) == []
        assert not self.store.alive(id)
        folder = self.store.directory(id)
        left = {
            path.name
            for path in folder.iterdir()
            if path.name in {"stop.json", "executor.json", "runner.json"}
        }
        assert left == set()
        return self.store.get(id)

    def processes(self, id: str) -> list[Process]:
        return with_environment(experiment_marks(id, self.store.data_dir))

    wait_for = staticmethod(wait_for)

    def file(self, id: str, name: str) -> Path:
        return self.store.directory(id) / name

    def wait_for_file(self, id: str, name: str) -> Path:
        path = self.file(id, name)
        wait_for(path.exists, f"the file {name}")
        return path

    def process(self, supervisor: subprocess.Popen[bytes], module: str) -> int:
        """The number of the process below the supervisor that runs this module."""

        def find() -> int:
            for process in descendants(supervisor.pid):
                try:
                    command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
                except OSError:
                    continue
                if module.encode() in command:
                    return process.pid
            return 0

        return wait_for(find, f"a process of {module}")

    def notebook(self, id: str) -> Any:
        notebook = nbformat.read(self.file(id, "notebook.ipynb"), as_version=4)
        nbformat.validate(notebook)
        return notebook

    def statuses(self, id: str) -> list[str]:
        """Of the code cells that the notebook had, without those that were injected."""
        cells = [cell for cell in self.notebook(id).cells if cell.cell_type == "code"]
        own = [cell for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]
        return [cell.metadata.papermill.status for cell in own]

    def events(self, id: str, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.store.events(id).read()[0] if event["kind"] == kind]

    def log(self, id: str) -> str:
        return self.file(id, "log.txt").read_text()

    def states(self, id: str) -> list[str]:
        return [event["state"] for event in self.events(id, "state")]


@pytest.fixture
def make_notebook_file() -> Callable[..., Path]:
    return write_notebook


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    for supervisor in made.supervisors:
        supervisor.kill()
        supervisor.wait()
        if supervisor.stdin is not None:
            supervisor.stdin.close()
    for process in (process for id in made.ids for process in made.processes(id)):
        os.kill(process.pid, signal.SIGKILL)
