"""The product as it is deployed: both wheels in an environment of their own, used by a user without rights.

Nothing of the checkout can be imported there: the environment sees the dependencies of the one that runs the tests
through a path that carries no editable installations.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef0123456789abcdef"
NOBODY = 65534

# A notebook that reports progress, writes a file, and takes as long as it is told to.
TINY = """
import time
from dti_service.run import current_run
run = current_run(notebook='tiny', parameters={'steps': steps})
start = 0
if (run.checkpoint / 'step').exists():
    start = int((run.checkpoint / 'step').read_text())
for step in range(start, steps):
    run.progress(step + 1, steps)
    (run.checkpoint / 'step.part').write_text(str(step + 1))
    (run.checkpoint / 'step.part').replace(run.checkpoint / 'step')
    time.sleep(pause)
(run.results / 'big.bin').write_bytes(bytes(range(256)) * (4096 * megabytes))
(run.results / 'note.txt').write_text(f'started at step {start}')
run.finish({'steps': steps})
"""
TINY_PARAMETERS = """steps: int = 3  # How many [1, 10000]
pause: float = 0.0  # Seconds for each
megabytes: int = 1  # Size of the result
"""


@dataclass(frozen=True)
class Account:
    """Whoever runs the service in these tests: nobody, when the tests run as root."""

    prefix: tuple[str, ...] = ()
    ids: tuple[int, int] | None = None

    def give(self, path: Path) -> Path:
        """Make a path, and what is in it, this user's own."""
        if self.ids:
            for item in [path, *path.rglob("*")]:
                os.chown(item, *self.ids)
        return path


@dataclass
class Environment:
    """An environment with the two wheels installed."""

    bin: Path
    account: Account
    folder: Path  # empty, the user's own: current folder and home
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin:/usr/sbin",
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.variables,
        }

    def popen(self, *command: str | Path, env: dict[str, str] | None = None, **options: Any) -> Any:
        arguments = [*self.account.prefix, *map(str, command)]
        return subprocess.Popen(
            arguments, cwd=self.folder, env={**self.environment, **(env or {})}, text=True, **options
        )

    def run(self, *command: str | Path, env: dict[str, str] | None = None, check: bool = True) -> Any:
        """Run a program of the environment to its end; its output is shown when it fails unexpectedly."""
        with self.popen(*command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                out, err = process.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        done = subprocess.CompletedProcess(command, process.returncode, out, err)
        if check:
            assert done.returncode == 0, f"{command}\n{out}\n{err}"
        return done


@dataclass
class Server:
    """A running server: `call("GET", "/dti/api/health")`."""

    url: str
    data_dir: Path
    process: Any
    log: Path
    token: str = TOKEN

    def call(
        self, method: str, path: str, body: Any = None, *, url: str | None = None, headers: Any = None
    ) -> Any:
        """The answer as an object (JSON) or bytes."""
        request = urllib.request.Request((url or self.url) + path, method=method)
        request.add_header("Authorization", f"token {self.token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, data, timeout=60) as answer:
            content = answer.read()
            kind = answer.headers.get("Content-Type", "")
            return json.loads(content) if kind.startswith("application/json") else content

    def finished(self, id: str, *, url: str | None = None, within_s: float = 120) -> Any:
        """Wait for the end of an experiment."""
        end = time.monotonic() + within_s
        while True:
            view = self.call("GET", f"/dti/api/experiments/{id}", url=url)
            if view["state"] in ("succeeded", "failed", "cancelled"):
                return view
            assert time.monotonic() < end, f"{view}\n{self.log.read_text()}"
            time.sleep(0.3)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_ports() -> Callable[[int], tuple[int, ...]]:
    """`free_ports(2)`: so many different ports of this machine that nobody uses."""

    def find(number: int) -> tuple[int, ...]:
        probes = [socket.socket() for _ in range(number)]
        try:
            for probe in probes:
                probe.bind(("127.0.0.1", 0))
            return tuple(int(probe.getsockname()[1]) for probe in probes)
        finally:
            for probe in probes:
                probe.close()

    return find


def wait_for(url: str, process: Any, log: Path, within_s: float = 60) -> None:
    """Wait until something answers with 200 there."""
    end = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder that every user may enter (pytest's own is closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="dti-deploy-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def account() -> Account:
    if os.geteuid() != 0:
        return Account()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("running as root, and setpriv (util-linux) is not there to become nobody")
    # The interpreter may lie in root's home: reading is all that is kept of root's rights.
    keep = "-all,+dac_read_search"
    rights = (f"--inh-caps={keep}", f"--ambient-caps={keep}", f"--bounding-set={keep}", "--no-new-privs")
    user = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    account = Account((setpriv, *user, *rights, "--"), (NOBODY, NOBODY))
    test = subprocess.run([*account.prefix, sys.executable, "-c", ""], capture_output=True, text=True)
    if test.returncode != 0:
        pytest.skip(f"this machine lets root not become nobody: {test.stderr.strip()}")
    return account


@pytest.fixture(scope="session")
def distributions(place: Path) -> Path:
    """The folder with the wheels and source archives of both distributions, as `make dist` builds them."""
    target = place / "dist"
    for project in (ROOT / "dti-sprites", ROOT):
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(project)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="session")
def prefix(distributions: Path, place: Path) -> Path:
    """An environment with both wheels and a notebook that takes no time."""
    prefix = place / "environment"
    venv.create(prefix, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(prefix), "platbase": str(prefix)}))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    wheels = map(str, sorted(distributions.glob("*.whl")))
    pip = [sys.executable, "-m", "pip", "--python", str(prefix / "bin" / "python"), "install", "--no-deps"]
    done = subprocess.run([*pip, "--no-index", "--ignore-installed", *wheels], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    demo = packages / "tiny_demo"
    demo.mkdir()
    cells = [
        nbformat.v4.new_code_cell(TINY_PARAMETERS, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(TINY),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, demo / "tiny.ipynb")
    (demo / "__init__.py").write_text(
        "from pathlib import Path\n"
        "from dti_service.demos import Demo\n"
        "DEMO = Demo('tiny', Path(__file__).parent / 'tiny.ipynb', 'A tiny notebook')\n"
    )
    return prefix


@pytest.fixture
def own(place: Path, account: Account) -> Iterator[Callable[[str], Path]]:
    """Make an empty folder that belongs to the service's user: `own("data")`."""
    scratch = Path(tempfile.mkdtemp(prefix="test-", dir=place))
    scratch.chmod(0o755)

    def make(name: str) -> Path:
        folder = scratch / name
        folder.mkdir(mode=0o755)
        return account.give(folder)

    yield make
    shutil.rmtree(scratch, ignore_errors=True)


@pytest.fixture
def installed(prefix: Path, account: Account, own: Callable[[str], Path]) -> Environment:
    variables = {"DTI_INSTALLED_DEMOS": "tiny_demo", "DTI_DEVICES": "cpu"}
    return Environment(prefix / "bin", account, own("home"), variables)


@pytest.fixture
def serve(installed: Environment, own: Callable[[str], Path]) -> Iterator[Callable[..., Server]]:
    """Start `dti serve` (or another command that serves) and wait until it is up."""
    processes = []

    def start(
        *command: str | Path, env: dict[str, str] | None = None, data_dir: Path | None = None
    ) -> Server:
        port = free_port()
        data_dir = data_dir or own(f"data-{port}")
        log = data_dir.parent / f"server-{port}.log"
        values = {
            "DTI_DATA_DIR": str(data_dir),
            "JUPYTER_TOKEN": TOKEN,
            "JUPYTER_RUNTIME_DIR": str(own(f"runtime-{port}")),
            "PORT": str(port),
            **(env or {}),
        }
        arguments = command or ("dti", "serve", "--ip", "127.0.0.1", "--port", str(port), "--no-browser")
        with log.open("w") as output:
            process = installed.popen(*arguments, env=values, stdout=output, stderr=subprocess.STDOUT)
        processes.append(process)
        server = Server(f"http://127.0.0.1:{port}", data_dir, process, log)
        wait_for(f"{server.url}/dti/api/health", process, log)
        return server

    yield start
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
