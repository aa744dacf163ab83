"""Fixtures of the service's rooms: a data directory, a service on it, and small notebooks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from dti_service.experiment import Experiment, timestamp
from dti_service.ids import new_id
from dti_service.service import Service
from dti_service.settings import Settings
from dti_service.store import Store

MakeNotebook = Callable[..., Path]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", devices="cpu")


@pytest.fixture
def service(settings: Settings) -> Service:
    return Service(settings)


@pytest.fixture
def store(service: Service) -> Store:
    return service.store


@pytest.fixture
def make_notebook(tmp_path: Path) -> MakeNotebook:
    """Write a notebook: `make_notebook("x: int = 1", "print(x)")`, the first cell being the parameters."""

    def make(parameters: str, *cells: str, name: str = "work.ipynb") -> Path:
        first = new_code_cell(parameters)
        first.metadata["tags"] = ["parameters"]
        notebook = new_notebook(cells=[first, *map(new_code_cell, cells)])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = tmp_path / name
        nbformat.write(notebook, path)
        return path

    return make


@pytest.fixture
def make_experiment(store: Store) -> Callable[..., Experiment]:
    """Put an experiment straight into the store: `make_experiment(state="running", name="x")`."""

    def make(**fields: object) -> Experiment:
        now = timestamp()
        values = {"notebook": "work", "created_at": now, "queued_at": now, **fields}
        if values.get("state", "queued") != "queued":
            values.setdefault("started_at", now)
            values.setdefault("attempt", 1)
        return store.create(Experiment(id=new_id(), **values))  # type: ignore[arg-type]

    return make


class LiveServer:
    """A server with the extension, in a process of its own on a free port of this machine."""

    def __init__(self, folder: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.token = "secret-token"
        self.data_dir = folder / "data"
        self.folder = folder
        self.options = options
        self.environment = environment or {}
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Returns when it answers."""
        options = [
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.allow_root=True",
            "--no-browser",
            f"--ServerApp.root_dir={self.folder}",
            f"--IdentityProvider.token={self.token}",
            f"--DTIServiceApp.data_dir={self.data_dir}",
            "--DTIServiceApp.devices=cpu",
            *self.options,
        ]
        home = {
            name: str(self.folder / name.lower())
            for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "HOME")
        }
        environment = {**os.environ, **home, "OMP_NUM_THREADS": "1", **self.environment}
        command = [sys.executable, "-c", "from dti_service.extension import main; main()", *options]
        self.log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=self.log, stderr=self.log
        )
        end = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(self.url + "dti/api/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < end, self.output()
            time.sleep(0.1)

    def output(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(signal_number)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
            self.log.close()


@pytest.fixture(scope="session")
def live_server_factory() -> Iterator[Callable[..., LiveServer]]:
    """`live_server_factory(folder, *options)` makes a server that is stopped at the end of all tests."""
    made: list[LiveServer] = []

    def make(folder: Path, *options: str, environment: dict[str, str] | None = None) -> LiveServer:
        made.append(LiveServer(folder, *options, environment=environment))
        return made[-1]

    yield make
    for server in made:
        server.stop()


def write_demo(folder: Path, name: str, parameters: str, *cells: str) -> None:
    """A package `<name>_demo` below `folder` that provides the notebook `name`."""
    package = folder / f"{name}_demo"
    package.mkdir(parents=True)
    first = new_code_cell(parameters)
    first.metadata["tags"] = ["parameters"]
    notebook = new_notebook(cells=[first, *map(new_code_cell, cells)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, package / f"{name}.ipynb")
    code = (
        "from pathlib import Path\n"
        "from dti_service.demos import Demo\n"
        f"DEMO = Demo({name!r}, Path(__file__).parent / '{name}.ipynb', 'A notebook for tests')\n"
    )
    (package / "__init__.py").write_text(code)


TINY = """from dti_service.run import current_run
import time
run = current_run(notebook="tiny", parameters={"n_prototypes": n_prototypes})
for step in range(1, n_prototypes + 1):
    if run.should_stop():
        raise KeyboardInterrupt
    run.progress(step, n_prototypes)
    time.sleep(seconds / n_prototypes)
print("printed by the notebook")
if fail:
    raise ValueError("asked to fail")
(run.results / "prototypes").mkdir(exist_ok=True)
(run.results / "prototypes" / "note.txt").write_text("hello" * 1000)
run.finish({"k": n_prototypes})
"""


@pytest.fixture(scope="session")
def live_server(
    tmp_path_factory: pytest.TempPathFactory, live_server_factory: Callable[..., LiveServer]
) -> LiveServer:
    """A running server that offers the notebook `tiny`; all tests that only add to it share it."""
    folder = tmp_path_factory.mktemp("live server")
    parameters = "n_prototypes: int = 3  # How many [1, 1000]\nseconds: float = 0.3\nfail: bool = False\n"
    write_demo(folder / "demos", "tiny", parameters, TINY)
    server = live_server_factory(
        folder,
        "--DTIServiceApp.installed_demos=tiny_demo",
        environment={"PYTHONPATH": str(folder / "demos")},
    )
    server.start()
    return server
