"""Server, Redis and two workers as hosts of their own, on a network of their own, sharing a data directory.

Each host is a network namespace with a link to a common switch, and its processes see neither those of others nor their
host name. All addresses are inside the namespaces that are made here. A host that dies loses its link and, at the same
moment, every process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dti_service.presence import present
from dti_service.store import Store

pytestmark = [pytest.mark.redis, pytest.mark.slow]

TOKEN = "0123456789abcdef0123456789abcdef"
PASSWORD = "only-for-this-network"
ADDRESSES = {
    "server": "10.99.0.1",
    "redis": "10.99.0.2",
    "gpu1": "10.99.0.11",
    "gpu2": "10.99.0.12",
    "desk": "10.99.0.99",
}
URL = f"http://{ADDRESSES['server']}:8888"
SWITCH = "switch"
# A host has a name and a process tree of its own; whoever ends its first process ends all of them.
ALONE = ("unshare", "--uts", "--pid", "--fork", "--mount-proc", "sh", "-c")


class Network:
    """The hosts and what runs on them."""

    def __init__(self, ip: str, installed: Any, folder: Path) -> None:
        self.ip, self.installed, self.folder = ip, installed, folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.spaces: list[str] = []

    def space(self, host: str) -> str:
        return f"dti-{os.getpid()}-{host}"

    def call(self, *arguments: str, check: bool = True) -> None:
        done = subprocess.run([self.ip, *arguments], capture_output=True, text=True)
        assert not check or done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"

    def build(self) -> None:
        for host in (SWITCH, *ADDRESSES):
            self.call("netns", "add", self.space(host))
            self.spaces.append(self.space(host))
            self.call("-n", self.space(host), "link", "set", "lo", "up")
        switch = self.space(SWITCH)
        self.call("-n", switch, "link", "add", "bridge", "type", "bridge")
        self.call("-n", switch, "link", "set", "bridge", "up")
        for host, address in ADDRESSES.items():
            space = self.space(host)
            self.call(
                "-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", host, "netns", switch
            )
            self.call("-n", switch, "link", "set", host, "master", "bridge", "up")
            self.call("-n", space, "address", "add", f"{address}/24", "dev", "eth0")
            self.call("-n", space, "link", "set", "eth0", "up")

    def on(self, host: str, *command: str | Path) -> list[str]:
        """The command line that runs a command on a host, as the service's user."""
        inside = [*self.installed.account.prefix, *map(str, command)]
        return [
            self.ip,
            "netns",
            "exec",
            self.space(host),
            *ALONE,
            f'hostname {host}; exec "$@"',
            "sh",
            *inside,
        ]

    def start(self, host: str, *command: str | Path) -> None:
        with (self.folder / f"{host}.log").open("wb") as log:
            self.processes[host] = subprocess.Popen(
                self.on(host, *command),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.installed.environment,
                cwd=self.installed.folder,
            )

    def run(self, host: str, *command: str | Path) -> str:
        done = subprocess.run(
            self.on(host, *command),
            capture_output=True,
            text=True,
            timeout=60,
            env=self.installed.environment,
            cwd=self.installed.folder,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def die(self, host: str) -> None:
        """No packet and no process of this host any more."""
        self.call("-n", self.space(SWITCH), "link", "delete", host)
        self.end(host)

    def end(self, host: str) -> None:
        """All at once, as in a power cut: none of them may still act on the end of another."""
        tree = psutil.Process(self.processes[host].pid).children(recursive=True)
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        with contextlib.suppress(psutil.NoSuchProcess):
            tree[0].kill()  # the first of its namespace: the kernel ends the others with it
        self.processes[host].wait(30)

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))

    def remove(self) -> None:
        for host, process in self.processes.items():
            if process.poll() is None:
                self.end(host)
        for space in self.spaces:
            self.call("netns", "delete", space, check=False)


@pytest.fixture
def network(installed: Any, own: Callable[[str], Path], redis_server: str) -> Iterator[Network]:
    if os.geteuid() != 0:
        pytest.skip("only root may make network namespaces")
    ip = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if ip is None:
        reason = "the program ip is not installed (Debian's iproute2)"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    probe = f"dti-{os.getpid()}-probe"
    tried = subprocess.run([ip, "netns", "add", probe], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"this machine lets root make no network namespaces: {tried.stderr.strip()}")
    subprocess.run([ip, "netns", "delete", probe], check=True)

    network = Network(ip, installed, own("logs"))
    data = own("data")
    installed.variables |= {
        "DTI_DATA_DIR": str(data),
        "DTI_REDIS_URL": f"redis://:{PASSWORD}@{ADDRESSES['redis']}:6379/0",
        "DTI_PROFILE": "production",
        "JUPYTER_TOKEN": TOKEN,
        "JUPYTER_RUNTIME_DIR": str(own("runtime")),
        "DTI_TOKEN": TOKEN,
    }
    try:
        network.build()
        options = ["--bind", ADDRESSES["redis"], "--requirepass", PASSWORD, "--appendonly", "yes"]
        network.start("redis", redis_server, *options, "--dir", own("redis"))
        network.start("server", "dti", "serve", "--ip", ADDRESSES["server"], "--port", "8888", "--no-browser")
        for host in ("gpu1", "gpu2"):
            network.start(host, "dti", "worker", "--device", "cpu")
        yield network
    finally:
        network.remove()


def wait_for(condition: Callable[[], bool], network: Network, within_s: float = 90) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, network.logs()
        time.sleep(0.1)


def test_a_host_dies_and_its_work_moves(network: Network) -> None:
    store = Store(Path(network.installed.variables["DTI_DATA_DIR"]))
    network.installed.account.give(store.data_dir)

    def at_work() -> set[tuple[str, str]]:
        return {(item.kind, item.host) for item in present(store.data_dir)}

    everybody = {("server", "server"), ("worker", "gpu1"), ("worker", "gpu2")}
    wait_for(lambda: at_work() == everybody, network)

    # From another machine, over the network alone.
    sweep = [
        "dti",
        "--server",
        URL,
        "sweep",
        "tiny",
        "-p",
        "steps",
        "80,81,5",
        "-p",
        "pause",
        "0.1",
        "--json",
    ]
    answer = json.loads(network.run("desk", *sweep))
    ids = [item["id"] for item in answer]
    assert len(ids) == 3

    def runner(id: str) -> str:
        try:
            return str(json.loads((store.root / id / "runner.json").read_text())["host"])
        except (OSError, ValueError):
            return ""

    def steps(id: str) -> int:
        try:
            return int((store.root / id / "checkpoint" / "step").read_text())
        except (OSError, ValueError):
            return 0

    def busy() -> dict[str, str]:
        """Host -> what has come some way on it."""
        return {runner(id): id for id in ids if store.get(id).state == "running" and steps(id) >= 10}

    wait_for(lambda: busy().keys() >= {"gpu1", "gpu2"}, network)
    victim = busy()["gpu2"]
    network.die("gpu2")
    wait_for(lambda: not store.alive(victim), network, 10)  # its lock ends with its processes
    assert at_work() == everybody - {("worker", "gpu2")}
    sign = store.root / victim / "runner.json"
    os.utime(sign, times=(time.time() - 120,) * 2)  # as if two minutes had gone by without a sign of life

    def states(id: str) -> list[str]:
        return [event["state"] for _, event in store.events(id).read()[0] if event["kind"] == "state"]

    ends = ("succeeded", "failed", "cancelled")
    wait_for(lambda: all(states(id)[-1] in ends for id in ids), network)
    for id in ids:
        experiment = store.get(id)
        note = (store.root / id / "results" / "note.txt").read_text()
        if id == victim:
            assert (experiment.attempt, experiment.losses) == (2, 1)
            assert states(id) == ["queued", "running", "queued", "running", "succeeded"]
            assert int(note.rsplit(" ", 1)[-1]) >= 10  # it went on from its checkpoint on the other host
        else:
            assert experiment.attempt == 1
            assert states(id) == ["queued", "running", "succeeded"]
            assert note == "started at step 0"
    listed = json.loads(network.run("desk", "dti", "--server", URL, "list", "--json"))
    assert {item["id"]: item["state"] for item in listed["items"]} == dict.fromkeys(ids, "succeeded")
