"""A data directory with very many finished experiments, and a server on it: what the measuring commands stand on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dti_service.experiment import Experiment, timestamp
from dti_service.ids import new_id

TOKEN = "load"
WORDS = ("watermarks", "ornaments", "initials", "letters", "coins", "diagrams", "marks", "tiles")


def fill(data_dir: Path, count: int, *, seed: int = 0) -> list[str]:
    """Write `count` finished experiments as a run leaves them, without their pictures; returns their ids."""
    chance = random.Random(seed)
    root = data_dir / "experiments"
    root.mkdir(parents=True, exist_ok=True)
    ids = []
    for number in range(count):
        now = timestamp()
        state = chance.choices(["succeeded", "failed", "cancelled"], [90, 6, 4])[0]
        experiment = Experiment(
            id=new_id(),
            notebook="dti_clustering",
            name=f"{chance.choice(WORDS)} {number}",
            state=state,
            parameters={"n_prototypes": chance.choice([8, 10, 20, 40]), "seed": number},
            dataset="sample",
            created_at=now,
            queued_at=now,
            started_at=now,
            finished_at=now,
            attempt=1,
            metrics={"loss": round(chance.random(), 4), "n_images": 300},
        )
        folder = root / experiment.id
        (folder / "results").mkdir(parents=True)
        (folder / "experiment.json").write_text(json.dumps(experiment.to_dict()))
        annotations = {"name": experiment.name, "tags": ["load"], "keep": False}
        (folder / "annotations.json").write_text(json.dumps(annotations))
        events = [{"time": now, "kind": "progress", "step": step, "total": 20} for step in range(20)]
        events.append({"time": now, "kind": "state", "state": state, "attempt": 1})
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        ids.append(experiment.id)
    return ids


class Server:
    """A server of its own process, on a free port of this machine."""

    def __init__(self, data_dir: Path, folder: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        self.headers = {"Authorization": f"token {TOKEN}"}
        options = [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1"]
        options += ["--ServerApp.allow_root=True", "--no-browser", f"--ServerApp.root_dir={folder}"]
        options += [f"--IdentityProvider.token={TOKEN}"]
        home = {
            name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "HOME")
        }
        settings = {"DTI_DATA_DIR": str(data_dir), "DTI_DEVICES": "cpu", **environment}
        self.log = (folder / "server.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from dti_service.extension import main; main()", *options],
            env={**os.environ, **home, **settings},
            stdout=self.log,
            stderr=self.log,
        )
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + 300
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url + "dti/api/health", timeout=5):
                return
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server does not start; see {self.log.name}")
            time.sleep(0.2)

    def memory(self) -> int:
        """Resident bytes of the server's process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def seconds(self) -> float:
        """Processor seconds that the server's process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


@contextlib.contextmanager
def serving(data_dir: Path, folder: Path, **environment: str) -> Iterator[Server]:
    server = Server(data_dir, folder, **environment)
    try:
        yield server
    finally:
        server.stop()


def timed(call: Callable[[], Any], repeat: int) -> list[float]:
    """Seconds of each call."""
    found = []
    for _ in range(repeat):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return found


def median_and_95(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(seconds)
    late = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {"median_ms": round(1000 * statistics.median(ordered), 2), "p95_ms": round(1000 * late, 2)}


def show(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Rows of the same keys, as a table or as JSON."""
    if as_json:
        print(json.dumps(list(rows), indent=1))
        return
    names = list(rows[0])
    widths = [max(len(name), *(len(str(row.get(name, ""))) for row in rows)) for name in names]
    for row in [dict(zip(names, names, strict=True)), *rows]:
        print(
            "  ".join(str(row.get(name, "")).ljust(width) for name, width in zip(names, widths, strict=True)),
            flush=True,
        )
