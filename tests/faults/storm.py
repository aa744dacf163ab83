"""Runs many short experiments while everything around them is killed, frozen, cut and restarted; then checks the rules.

    python tests/faults/storm.py --experiments 300 --faults 200 --engine local --seed 1
    python tests/faults/storm.py --experiments 300 --faults 200 --engine rq --seed 1

Experiments are submitted over REST, each under an idempotency key that is sent again until it is answered. What is
harmed, and when, is drawn from the seed; how the processes meet it is the machine's affair. Ends with 0 when no rule
was broken: none lost, none run twice at once, ends that stay, whole event files, no process and no temporary file left.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from actors import TOKEN, Cast, wait_until
from checks import Watcher, violations
from harm import Weather
from work import NAME, write_package

from dti_service import Client
from dti_service.errors import ServiceError
from dti_service.recovery import recover
from dti_service.service import Service
from dti_service.settings import Settings


def main() -> int:
    options = parse_options()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="dti-storm-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        report = Storm(folder, options).run()
    finally:
        if options.folder is None and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        show(report)
    return 1 if report["violations"] else 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--experiments", type=int, default=300)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--engine", choices=["local", "rq"], default="local")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--devices", type=int, default=2, help="slots that run at once (nothing computes)")
    parser.add_argument(
        "--pause", type=float, default=1.5, metavar="S", help="longest time between two faults"
    )
    parser.add_argument(
        "--settle", type=float, default=1800, metavar="S", help="longest time for the rest to end"
    )
    parser.add_argument("--folder", help="where to work (default: a temporary folder, removed afterwards)")
    parser.add_argument("--keep", action="store_true", help="do not remove the temporary folder")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


class Storm:
    """One storm, from the first submission to the last check."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options
        self.chance = random.Random(options.seed)
        self.journal = folder / "journal"
        package = write_package(folder)
        devices = [f"cuda:{number}" for number in range(options.devices)]
        self.cast = Cast(folder, options.engine, package, devices)
        self.settings = Settings(data_dir=self.cast.data_dir, devices=",".join(devices), max_attempts=1000)
        self.service = Service(self.settings)
        self.store = self.service.store
        self.watcher = Watcher(self.store)
        self.keys: dict[str, str] = {}  # idempotency key -> id
        self.harm: collections.Counter[str] = collections.Counter()

    def run(self) -> dict[str, Any]:
        began = time.monotonic()
        self.cast.start()
        self.watcher.start()
        submitting = threading.Thread(target=self._submit_all, daemon=True)
        submitting.start()
        try:
            self._rage()
            submitting.join(self.options.settle)
            settled = wait_until(self._all_ended, self.options.settle, 0.5)
            self.cast.stop()
            recover(self.store, self.settings, thorough=True)
            self.watcher.stop()
            broken = violations(self.cast, self.store, self.watcher, self.keys, self.journal)
        finally:
            self.cast.kill()
        if submitting.is_alive() or len(self.keys) < self.options.experiments:
            broken.append(f"only {len(self.keys)} of {self.options.experiments} submissions were answered")
        states = collections.Counter(self.store.get(id).state for id in self.store.ids())
        return {
            "engine": self.options.engine,
            "seed": self.options.seed,
            "experiments": len(self.keys),
            "faults": sum(self.harm.values()),
            "by_kind": dict(self.harm.most_common()),
            "states": dict(states),
            "attempts": sum(self.store.get(id).attempt for id in self.store.ids()),
            "settled": settled,
            "seconds": round(time.monotonic() - began),
            "violations": broken,
        }

    def _rage(self) -> None:
        """All the faults, one after the other, while experiments run."""
        weather = Weather(self.cast, self.service, self.chance, list(self.keys.values()))
        wait_until(lambda: bool(self.store.running()), 120)
        struck = 0
        while struck < self.options.faults:
            time.sleep(self.chance.uniform(0.0, self.options.pause))
            weather.ids[:] = sorted(self.keys.values())
            what = weather.strike()
            for actor in self.cast.all:
                actor.start()  # as systemd would
            if what is not None:
                struck += 1
                self.harm[what] += 1
                if not self.options.json:
                    print(f"\r{struck} of {self.options.faults}: {what}".ljust(70), end="", file=sys.stderr)
            elif self._all_ended():
                break  # nothing is left to harm

    def _submit_all(self) -> None:
        """Each experiment over REST, until it is answered."""
        chance = random.Random(self.options.seed + 1)
        with Client(self.cast.url, TOKEN, retries=0) as client:
            for number in range(self.options.experiments):
                parameters = {
                    "journal": str(self.journal),
                    "seconds": round(chance.uniform(0.1, 1.5), 2),
                    "strays": int(chance.random() < 0.3),
                    "fail": chance.random() < 0.05,
                }
                priority = chance.choice([0, 0, 0, 5])
                key = f"storm-{self.options.seed}-{number}"
                while key not in self.keys:
                    try:
                        answer = client.submit(NAME, parameters, priority=priority, idempotency_key=key)
                        self.keys[key] = answer["id"]
                    except ServiceError as error:
                        if error.status and 400 <= error.status < 500:
                            raise
                        time.sleep(0.3)

    def _all_ended(self) -> bool:
        return len(self.keys) == self.options.experiments and len(self.watcher.ends) >= len(self.keys)


def show(report: dict[str, Any]) -> None:
    print(file=sys.stderr)
    for name, value in report.items():
        if name not in ("by_kind", "violations"):
            print(f"{name:12} {value}")
    for what, count in report["by_kind"].items():
        print(f"{count:6}  {what}")
    print(f"{len(report['violations'])} violations")
    for sentence in report["violations"]:
        print(f"  {sentence}")


if __name__ == "__main__":
    raise SystemExit(main())
