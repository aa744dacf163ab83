"""`dti export | assign`: take results home, and apply a finished model to new images."""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TextIO

from dti_service.cli.backend import open_backend, open_settings, resolve
from dti_service.cli.output import print_json
from dti_service.errors import InvalidRequest, ServiceError


def export_command(arguments: argparse.Namespace) -> int:
    target = Path(arguments.to).expanduser()
    if target.suffix != ".zip":
        raise InvalidRequest("--to must name a .zip file")
    if not target.parent.is_dir():
        raise InvalidRequest(f"--to: the folder {target.parent} does not exist")
    backend = open_backend(arguments)
    backend.export(resolve(backend, arguments.id), target, whole=arguments.whole)
    if arguments.json:
        print_json({"path": str(target), "bytes": target.stat().st_size})
    else:
        print(target)
    return 0


COLUMNS = ("path", "cluster_id", "distance", "fits")


def assign_command(arguments: argparse.Namespace) -> int:
    """Label new images with the model of a finished experiment; prints or writes a table."""
    images = Path(arguments.images).expanduser()
    if not images.exists():
        raise InvalidRequest(f"--images: there is no {images}")
    arguments.id = resolve(open_backend(arguments), arguments.id)
    rows = _remotely(arguments, images) if arguments.server else _here(arguments, images)
    if arguments.json:
        print_json(rows)
        return 0
    with _output(arguments.to) as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    unfit = sum(not row["fits"] for row in rows)
    if unfit:
        print(f"{unfit} of {len(rows)} images fit nowhere: see the column fits", file=sys.stderr)
    return 0


def _here(arguments: argparse.Namespace, images: Path) -> list[dict[str, Any]]:
    """In this process, on the local data directory; nothing is kept."""
    from dti_service.finished import check_finished
    from dti_service.store import Store
    from dti_sprites import DataError, load_run

    store = Store(open_settings(arguments).data_dir)
    check_finished(store, arguments.id)
    try:
        found = load_run(store.directory(arguments.id)).assign(images)
    except DataError as error:
        raise InvalidRequest(str(error)) from None
    return [
        {
            "path": name,
            "cluster_id": int(label),
            "distance": round(float(distances[label]), 6),
            "fits": bool(fits),
        }
        for name, label, distances, fits in zip(found.names, found.labels, found.distances, found.fits)
    ]


def _remotely(arguments: argparse.Namespace, images: Path) -> list[dict[str, Any]]:
    """As an experiment of the server, which keeps the images as a dataset and the results."""
    from dti_service.client import Client

    with Client(arguments.server, arguments.token or os.environ.get("DTI_TOKEN")) as client:
        dataset = client.upload(images)
        experiment = client.assign(arguments.id, dataset["id"])
        print(f"experiment {experiment['id']}", file=sys.stderr)
        ended = client.wait(experiment["id"])
        if ended["state"] != "succeeded":
            reason = (ended["error"] or {}).get("message", "")
            raise ServiceError(f"Experiment {ended['id']} has {ended['state']}. {reason}".strip())
        table = client.artifact(experiment["id"], "results/cluster_by_path.csv").decode("utf-8")
    return [
        {
            "path": row["path"],
            "cluster_id": int(row["cluster_id"]),
            "distance": round(float(row["distance"]), 6),
            "fits": row["fits"] == "True",
        }
        for row in csv.DictReader(io.StringIO(table))
    ]


def _output(name: str | None) -> AbstractContextManager[TextIO]:
    if name is None:
        return nullcontext(sys.stdout)
    return Path(name).expanduser().open("w", newline="", encoding="utf-8")
