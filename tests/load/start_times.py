"""How long a run takes from its submission to the first line of its notebook, started cold and from a warm pool.

    python tests/load/start_times.py [--repeat 5] [--libraries]

Prints medians in seconds as a table: until the supervisor has claimed the experiment, until the first cell begins,
until the notebook's own code runs, from there to the end of the supervisor, and from a cancel to the end of a run
that sleeps. With --libraries the notebook first imports what the DTI notebooks do, PyTorch with it; the mark is for the
notebook's own code then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from dti_service.execution.supervisor import spawn
from dti_service.execution.warm import WarmPool
from dti_service.experiment import Experiment, timestamp
from dti_service.ids import new_id
from dti_service.settings import Settings
from dti_service.store import Store

# As the first cell of notebooks/dti_clustering.ipynb does.
IMPORTS = """
from dti_service.dataset_paths import SAMPLE
from dti_service.run import current_run
from dti_sprites import train
from dti_sprites.pictures import contact_sheet, members_sheets, prototypes_sheet
from dti_sprites.recipe import compare_with_kmeans, known_labels, prepare
"""
FIRST_LINE = "import time\nbegan = time.time()\n"
FINISH = "from dti_service.run import current_run\ncurrent_run().finish({'began': began})"
SLEEP = "open('asleep', 'w').close()\ntime.sleep(300)"

MARKS_S = {"cold": 6.0, "warm": 0.8}  # until the notebook's own code runs, its libraries being imported

Start = Callable[[str], "subprocess.Popen[bytes]"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument(
        "--libraries", action="store_true", help="the notebook imports what the DTI notebooks do"
    )
    options = parser.parse_args()
    first = (IMPORTS if options.libraries else "") + FIRST_LINE
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), devices="cpu")
        pool = WarmPool(settings)

        def cold(id: str) -> subprocess.Popen[bytes]:
            return spawn(settings, id, "cpu")

        def warm(id: str) -> subprocess.Popen[bytes]:
            return pool.spawn(id, "cpu")

        def prepare() -> None:
            while not pool.ready:
                pool.maintain()
                time.sleep(0.1)

        print(f"{'':6}{'claimed':>10}{'first cell':>12}{'own code':>10}{'to the end':>12}{'cancel':>10}")
        for name, start, before in (("cold", cold, None), ("warm", warm, prepare)):
            rows = []
            for _ in range(options.repeat):
                if before:
                    before()
                row = run_once(settings, start, first)
                if before:
                    before()
                row.append(cancel_once(settings, start))
                rows.append(row)
            medians = [statistics.median(column) for column in zip(*rows)]
            widths = (10, 12, 10, 12, 10)
            line = f"{name:6}" + "".join(f"{value:{width}.2f}" for value, width in zip(medians, widths))
            kept = "kept" if medians[2] < MARKS_S[name] else "MISSED"
            print(f"{line}  own code < {MARKS_S[name]:g} s: {kept}", flush=True)
        pool.close()


def submit(settings: Settings, *cells: str) -> tuple[Store, str]:
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    path = settings.data_dir / "work.ipynb"
    nbformat.write(notebook, path)
    store = Store(settings.data_dir)
    now = timestamp()
    experiment = Experiment(id=new_id(), notebook=str(path), created_at=now, queued_at=now)
    return store, store.create(experiment, path).id


def run_once(settings: Settings, start: Start, first: str) -> list[float]:
    store, id = submit(settings, first, FINISH)
    submitted = time.time()
    process = start(id)
    process.wait()
    ended = time.time()
    experiment = store.get(id)
    if experiment.state != "succeeded":
        raise SystemExit(json.dumps(experiment.to_dict(), indent=1))
    events = [event for _, event in store.events(id).read()[0]]
    claimed = seconds(next(event for event in events if event.get("state") == "running"))
    cell = seconds(next(event for event in events if event["kind"] == "cell"))
    began = float(experiment.metrics["began"])
    return [claimed - submitted, cell - submitted, began - submitted, ended - began]


def cancel_once(settings: Settings, start: Start) -> float:
    store, id = submit(settings, "import time", SLEEP)
    process = start(id)
    while not (store.directory(id) / "asleep").exists():
        time.sleep(0.01)
    asked = time.time()
    store.request_cancel(id)
    process.wait()
    if store.get(id).state != "cancelled":
        raise SystemExit(f"the cancel ended in the state {store.get(id).state}")
    return time.time() - asked


def seconds(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


if __name__ == "__main__":
    main()
