"""How quickly a server with very many experiments answers, and what it costs a training beside it.

    python tests/load/rest.py --experiments 100000
    python tests/load/rest.py --experiments 100000 --data-dir FOLDER    # written once, and measured again and again
    python tests/load/rest.py --experiments 1000 --quick

Prints medians and 95th percentiles of single requests, while the server reads all experiments for the first time and
when it has, the delay from an event being written to its arrival at a
client, the processor time of a status request, and how much slower a training becomes beside 200 of them a second; and
beside what is promised, whether it is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from many import TOKEN, Server, fill, median_and_95, serving, show, timed

from dti_service.discover.tasks import Task, Tasks
from dti_service.experiment import Experiment, timestamp
from dti_service.ids import new_id
from dti_service.store import Store

# Milliseconds that the median may take.
MARKS = {
    "list, first page of 50": 50,
    "list, next page": 50,
    "list, filtered by state": 50,
    "list, sorted by name": 50,
    "list, searched": 50,
    "list, searched, rare": 50,
    "get one": 50,
    "status": 20,
    "building: list, first page of 50": 50,
    "building: get one": 50,
    "building: status": 20,
    "event to its client": 150,
}
TASKS = 200  # of the experiments, as a front submits them: their status is asked for
WINDOWS, WINDOW_S = 20, 1.5
MOST_SLOWER = 0.02  # share by which a training may be slowed

STEPS = """
import sys, time, torch
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3))
x = torch.rand(16, 3, 64, 64)
while True:
    began, used = time.perf_counter(), time.thread_time()
    for _ in range(5):
        model(x).square().mean().backward()
    print(time.thread_time() - used, time.perf_counter() - began, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--experiments", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=200, help="requests of each kind")
    parser.add_argument("--rate", type=int, default=200, help="status requests a second beside the training")
    parser.add_argument("--quick", action="store_true", help="few repeats, no training")
    parser.add_argument("--data-dir", type=Path, help="filled if it is not, and left for the next time")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    repeat = 20 if options.quick else options.repeat
    with tempfile.TemporaryDirectory(prefix="dti-load-") as name:
        folder = Path(name)
        data_dir = (options.data_dir or folder / "data").resolve()
        began = time.monotonic()
        ids = _filled(data_dir, options.experiments)
        running = _running(data_dir)
        tasks = _tasks(data_dir, [running, *ids[:: max(1, len(ids) // TASKS)]])
        print(f"{len(ids)} experiments there after {time.monotonic() - began:.0f} s", file=sys.stderr)
        lock = Store(data_dir).lock(running)
        lock.acquire()  # or recovery would find that nobody runs it
        began = time.monotonic()
        with serving(data_dir, folder) as server:
            print(f"the server answers after {time.monotonic() - began:.1f} s", file=sys.stderr)
            rows = requests(server, ids, tasks, repeat)
            rows.append(events(server, data_dir, running, min(repeat, 40)))
            if not options.quick:
                rows.append(beside_training(server, tasks, options.rate))
        lock.release()
        shutil.rmtree(data_dir / "experiments" / running)
        columns = dict.fromkeys(("what", "median_ms", "p95_ms", "mark", "note"), "")
        # Now: to remove so many directories takes minutes.
        show([{**columns, **row, **_mark(row)} for row in rows], options.json)


def _filled(data_dir: Path, count: int) -> list[str]:
    """Ids of the finished experiments there, written if there are none; without an index."""
    found = [path.name for path in data_dir.glob("experiments/*")]
    for path in data_dir.glob("index*.sqlite3*"):
        path.unlink()
    return found or fill(data_dir, count)


def _tasks(data_dir: Path, ids: list[str]) -> list[str]:
    """These as a front would have submitted them; ids of tasks."""
    store = Store(data_dir)
    tasks = Tasks(store)
    for id in ids:
        if not tasks.known(id):
            tasks.add(id, Task(id))
    store.index.close()
    return ids


def _mark(row: dict[str, Any]) -> dict[str, str]:
    most = MARKS.get(row["what"])
    if most is None:
        return {}
    return {"mark": f"< {most} ms: {'kept' if row['median_ms'] < most else 'MISSED'}"}


def _running(data_dir: Path) -> str:
    """One experiment that is running, on the record."""
    now = timestamp()
    times = {"created_at": now, "queued_at": now, "started_at": now}
    record = Experiment(id=new_id(), notebook="dti_clustering", name="running", **times)
    store = Store(data_dir)
    store.create(record)
    store.save(Experiment(**{**record.to_dict(), "state": "running", "attempt": 1}))
    return record.id


def requests(server: Server, ids: list[str], tasks: list[str], repeat: int) -> list[dict[str, Any]]:
    chance = random.Random(1)
    api = server.url + "dti/api/"
    with httpx.Client(headers=server.headers, timeout=600) as client:

        def get(path: str) -> httpx.Response:
            answer = client.get(api + path)
            answer.raise_for_status()
            return answer

        first = timed(lambda: get("experiments?limit=50"), 1)[0]
        began = time.monotonic()
        rows = _while_building(client, server, get, chance, ids, tasks)
        built = time.monotonic() - began
        cursor = get("experiments?limit=50").json()["next_cursor"]
        cases = {
            "list, first page of 50": lambda: get("experiments?limit=50"),
            "list, next page": lambda: get(f"experiments?limit=50&cursor={cursor}"),
            "list, filtered by state": lambda: get("experiments?limit=50&state=failed"),
            "list, sorted by name": lambda: get("experiments?limit=50&sort=name"),
            "list, searched": lambda: get("experiments?limit=50&q=ornaments"),
            "list, searched, rare": lambda: get(f"experiments?limit=50&q=marks {chance.randrange(len(ids))}"),
            "get one": lambda: get(f"experiments/{chance.choice(ids)}"),
            "queue": lambda: get("queue"),
            "health": lambda: get("health"),
        }
        rows += [{"what": what, **median_and_95(timed(call, repeat))} for what, call in cases.items()]
        before = server.seconds()
        rows.append(
            {"what": "status", **median_and_95(timed(lambda: _status(client, server, chance, tasks), repeat))}
        )
        used = (server.seconds() - before) / repeat
        rows[-1]["note"] = f"{1000 * used:.2f} ms of one core each"
    note = f"the index is complete {built:.0f} s later"
    rows.insert(0, {"what": "list, very first", "median_ms": round(1000 * first, 1), "note": note})
    return rows


def _while_building(
    client: httpx.Client,
    server: Server,
    get: Callable[[str], httpx.Response],
    chance: random.Random,
    ids: list[str],
    tasks: list[str],
) -> list[dict[str, Any]]:
    """Requests in turn until all experiments have been read."""
    taken: dict[str, list[float]] = {}

    def time_one(what: str, call: Callable[[], Any]) -> None:
        taken.setdefault(f"building: {what}", []).extend(timed(call, 1))

    while "index" in get("experiments?limit=1").json():
        time_one("list, first page of 50", lambda: get("experiments?limit=50"))
        time_one("get one", lambda: get(f"experiments/{chance.choice(ids)}"))
        time_one("status", lambda: _status(client, server, chance, tasks))
        time.sleep(0.05)
    return [{"what": what, **median_and_95(seconds)} for what, seconds in taken.items()]


def _status(client: httpx.Client, server: Server, chance: random.Random, ids: list[str]) -> None:
    client.get(f"{server.url}clustering/{chance.choice(ids)}/status").raise_for_status()


def events(server: Server, data_dir: Path, id: str, count: int) -> dict[str, Any]:
    """From the writing of an event to its arrival at a client that follows the stream."""
    log = Store(data_dir).events(id)
    delays: list[float] = []
    sent: dict[int, float] = {}
    headers = {**server.headers, "Accept": "text/event-stream"}
    address = f"{server.url}dti/api/experiments/{id}/events"
    with httpx.stream("GET", address, headers=headers, timeout=60) as answer:
        threading.Thread(target=_write_events, args=(log, sent, count), daemon=True).start()
        for line in answer.iter_lines():
            if line.startswith("data:") and '"mark":' in line:
                mark = int(line.split('"mark":')[1].split(",")[0].split("}")[0])
                delays.append(time.perf_counter() - sent[mark])
                if mark == count - 1:
                    break
    return {"what": "event to its client", **median_and_95(delays)}


def _write_events(log: Any, sent: dict[int, float], count: int) -> None:
    time.sleep(1.0)
    for mark in range(count):
        sent[mark] = time.perf_counter()
        log.append("metrics", mark=mark)
        time.sleep(random.uniform(0.1, 0.4))


def beside_training(server: Server, ids: list[str], rate: int) -> dict[str, Any]:
    """Short windows of a training in turn: alone, beside status requests, alone again; ratios of the medians.

    The server and who asks it have one core, the training has another. What counts is the processor time of a step:
    what else runs on this machine may take turns with the training, which the time of the clock shows. How much the
    two kinds of windows alone differ tells what the figure is worth.
    """
    cores = sorted(os.sched_getaffinity(0))
    here, there = ({cores[0]}, {cores[-1]})
    training = subprocess.Popen([sys.executable, "-c", STEPS], stdout=subprocess.PIPE, text=True)
    assert training.stdout is not None
    os.sched_setaffinity(training.pid, here)
    asked, used = 0, 0.0
    taken: dict[str, list[tuple[float, float]]] = {"alone": [], "beside": [], "again": []}
    try:
        _pin(server.process.pid, there)
        _window(training, 3.0)
        for _ in range(WINDOWS):
            taken["alone"] += _window(training, WINDOW_S)
            stop, counts = threading.Event(), list[int]()
            before = server.seconds()
            asking = threading.Thread(target=_ask, args=(server, ids, rate, stop, counts, there), daemon=True)
            asking.start()
            taken["beside"] += _window(training, WINDOW_S)
            stop.set()
            asking.join()
            asked += counts[0]
            used += server.seconds() - before
            taken["again"] += _window(training, WINDOW_S)
    finally:
        training.kill()
        training.wait()
        _pin(server.process.pid, set(cores))
    slower, differ = _slower(taken, 0)
    note = (
        f"training {100 * slower:+.1f}% slower beside {asked / WINDOWS / WINDOW_S:.0f} status requests a second"
        f" (+-{100 * differ:.1f}%; by the clock {100 * _slower(taken, 1)[0]:+.1f}%);"
        f" server {100 * used / WINDOWS / WINDOW_S:.0f}% of a core"
    )
    mark = f"< {100 * MOST_SLOWER:.0f}% slower: {'kept' if slower < MOST_SLOWER else 'MISSED'}"
    return {"what": "beside a training", "mark": mark, "note": note}


def _slower(taken: dict[str, list[tuple[float, float]]], clock: int) -> tuple[float, float]:
    """By which share a step takes longer beside requests, and by which the two kinds of windows alone differ."""
    medians = {what: statistics.median(step[clock] for step in steps) for what, steps in taken.items()}
    alone = (medians["alone"] + medians["again"]) / 2
    return medians["beside"] / alone - 1, abs(medians["again"] - medians["alone"]) / alone


def _pin(pid: int, cores: set[int]) -> None:
    """All threads of a process."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)


def _window(training: subprocess.Popen[str], seconds: float) -> list[tuple[float, float]]:
    """Steps of so long: seconds of the processor, and of the clock, of each."""
    assert training.stdout is not None
    end = time.monotonic() + seconds
    found = []
    while time.monotonic() < end:
        used, passed = training.stdout.readline().split()
        found.append((float(used), float(passed)))
    return found[1:]  # the first began in the window before


def _ask(
    server: Server, ids: list[str], rate: int, stop: threading.Event, counts: list[int], cores: set[int]
) -> None:
    """Through one open connection and by hand: a client's own work must not count."""
    os.sched_setaffinity(0, cores)  # of this thread
    answered = 0
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not stop.is_set():
            id = ids[answered % len(ids)]
            line.sendall(
                f"GET /clustering/{id}/status HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                f"Authorization: token {TOKEN}\r\n\r\n".encode()
            )
            received = b""
            while not received.endswith(b"}"):
                received += line.recv(1 << 16)
            if not received.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(received[:200])
            answered += 1
            ahead = began + answered / rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
    counts.append(answered)


if __name__ == "__main__":
    main()
