"""`dti export | assign`: take results home, and apply a finished model to new images."""

from __future__ import annotations

import argparse
import csv
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TextIO

from dti_service.cli.backend import open_backend, open_settings
from dti_service.cli.output import print_json
from dti_service.errors import Conflict, InvalidRequest


def export_command(arguments: argparse.Namespace) -> int:
    target = Path(arguments.to).expanduser()
    if target.suffix != ".zip":
        raise InvalidRequest("--to must name a .zip file")
    if not target.parent.is_dir():
        raise InvalidRequest(f"--to: the folder {target.parent} does not exist")
    open_backend(arguments).export(arguments.id, target)
    if arguments.json:
        print_json({"path": str(target), "bytes": target.stat().st_size})
    else:
        print(target)
    return 0


def assign_command(arguments: argparse.Namespace) -> int:
    """Label new images with the model of a finished experiment; prints or writes a table."""
    from dti_service.store import Store
    from dti_sprites import DataError, load_run

    if arguments.server:
        raise InvalidRequest(
            "assign works on a local data directory; over REST use POST /dti/api/experiments/{id}/assign"
        )
    store = Store(open_settings(arguments).data_dir)
    experiment = store.get(arguments.id)
    if experiment.state != "succeeded":
        raise Conflict(
            f"Experiment {arguments.id} is {experiment.state}: only a finished model can label images"
        )
    try:
        assignment = load_run(store.directory(arguments.id)).assign(Path(arguments.images))
    except DataError as error:
        raise InvalidRequest(str(error)) from None
    rows = [
        {"path": name, "cluster_id": int(label), "distance": round(float(distances[label]), 6)}
        for name, label, distances in zip(assignment.names, assignment.labels, assignment.distances)
    ]
    if arguments.json:
        print_json(rows)
        return 0
    with _output(arguments.to) as stream:
        writer = csv.DictWriter(stream, ("path", "cluster_id", "distance"))
        writer.writeheader()
        writer.writerows(rows)
    return 0


def _output(name: str | None) -> AbstractContextManager[TextIO]:
    if name is None:
        return nullcontext(sys.stdout)
    return Path(name).expanduser().open("w", newline="", encoding="utf-8")
