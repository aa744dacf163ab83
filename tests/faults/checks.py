"""What must hold after a storm, whatever happened."""

from __future__ import annotations

import collections
import itertools
import json
import threading
from pathlib import Path
from typing import Any

from actors import Cast

from dti_service.experiment import TERMINAL, TRANSITIONS
from dti_service.store import Store


class Watcher:
    """Remembers the record of each experiment as it was when it was first seen at its end."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ends: dict[str, bytes] = {}
        self.changed: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self.look()

    def _watch(self) -> None:
        while not self._stopping.wait(0.2):
            self.look()

    def look(self) -> None:
        for id in self.store.ids():
            try:
                content = (self.store.root / id / "experiment.json").read_bytes()
            except FileNotFoundError:
                continue
            state = json.loads(content)["state"]
            if id in self.ends and content != self.ends[id]:
                self.changed.append(id)
            elif state in TERMINAL:
                self.ends.setdefault(id, content)


def violations(cast: Cast, store: Store, watcher: Watcher, keys: dict[str, str], journal: Path) -> list[str]:
    """Everything that is not as it must be, as sentences. `keys`: idempotency key -> id as answered."""
    found = []
    ids = sorted(store.ids())
    if len(set(keys.values())) != len(keys):
        found.append("two idempotency keys got one experiment")
    found += [f"{id} was accepted and is lost" for id in keys.values() if id not in ids]
    # A key whose answer was lost on the way may stand for an experiment that nobody asked for again.
    by_key = collections.Counter(store.get(id).idempotency_key for id in ids)
    found += [f"the key {key} made {count} experiments" for key, count in by_key.items() if count > 1]
    found += [f"{id} changed after its end" for id in watcher.changed]
    lines = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    done: dict[str, list[str]] = collections.defaultdict(list)
    for what, id, _ in lines:
        done[id].append(what)
    for id in ids:
        found += [f"{id}: {problem}" for problem in _of_experiment(store, id, done[id])]
    found += [f"process {pid} is left" for pid in cast.left()]
    found += _leftovers(cast.data_dir)
    return found


def _of_experiment(store: Store, id: str, done: list[str]) -> list[str]:
    found = []
    experiment = store.get(id)
    folder = store.directory(id)
    if experiment.state not in TERMINAL:
        return [f"is {experiment.state} and never ended"]
    if "OVERLAP" in done:
        found.append("ran twice at once, or two ran on one device")
    ended_well = done.count("end")
    if experiment.state == "succeeded" and not (
        ended_well and (folder / "results" / "metrics.json").is_file()
    ):
        found.append("succeeded without having done its work")
    if experiment.state == "cancelled" and not store.is_cancelled(id):
        found.append("is cancelled though nobody asked")
    if experiment.state == "failed":
        kind = (experiment.error or {}).get("kind")
        # What was killed below the supervisor was the run; the notebook's own error must have been asked for.
        wanted = kind == "kernel_died" or (kind == "user_error" and experiment.parameters.get("fail"))
        if not (wanted and experiment.error and experiment.error.get("message")):
            found.append(f"failed without a reason that can be true: {experiment.error}")
    if store.alive(id):
        found.append("is locked though it has ended")
    found += _of_events(folder / "events.jsonl", experiment.state)
    notebook = folder / "notebook.ipynb"
    if notebook.exists():
        cells = json.loads(notebook.read_bytes())["cells"]
        statuses = {cell["metadata"].get("papermill", {}).get("status") for cell in cells}
        if "running" in statuses:
            found.append("its notebook says that a cell is running")
    elif experiment.state == "succeeded":
        found.append("has no executed notebook")
    return found


def _of_events(path: Path, state: str) -> list[str]:
    """Whole lines, and states in an order that the state machine allows. An event may be missing where its writer was
    killed between the record, which counts, and the event."""
    found = []
    content = path.read_bytes()
    events: list[dict[str, Any]] = []
    for line in content.split(b"\n"):
        try:
            events += [json.loads(line)] if line else []
        except ValueError:
            if not line.startswith(b"{"):
                found.append("an event line is not whole")
            # A torn line of a killed writer: readers leave it out.
    states = [event["state"] for event in events if event.get("kind") == "state"]
    for now, following in itertools.pairwise(states):
        legal = following in TRANSITIONS[now] or following == now == "running"
        legal = legal or (now == "queued" and following in TERMINAL)
        if not legal and not (now == following == "queued"):
            found.append(f"events tell of {now} and then {following}")
    if states and states[-1] in TERMINAL and states[-1] != state:
        found.append(f"events end with {states[-1]}, the record says {state}")
    return found


def _leftovers(data_dir: Path) -> list[str]:
    found = []
    for pattern in (".tmp-*", ".*.partial"):
        found += [f"{path.relative_to(data_dir)} is left" for path in data_dir.glob(f"**/{pattern}")]
    found += [f"trash/{path.name} is left" for path in (data_dir / "trash").iterdir()]
    working = {"runner.json", "stop.json", "executor.json"}
    for path in (data_dir / "experiments").glob("*/*"):
        if path.name in working:
            found.append(f"{path.relative_to(data_dir)} is left")
    return found
