"""Beginning a run from clusters that exist already: a result, or somebody's reading of it.

`start_from` is the id of an experiment, for its result as the run left it, or "id/reading". What it says at the start
of the run is copied into `results/start/` of the new experiment: changes to the reading afterwards do not reach a run
that has begun, and the new experiment tells by itself what it began from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dti_service import atomic
from dti_service.curations import RAW, Reading, read_reading
from dti_service.errors import InvalidRequest, NotFound
from dti_service.ids import is_id

if TYPE_CHECKING:
    from dti_sprites import Start
    from dti_sprites.data import ImageSet

FOLDER = "start"
FILE = "start.json"
UNSORTED = "unsorted"  # the cluster of images that belong nowhere, in every reading
MOST_NAMED = 3


def split(text: str) -> tuple[str, str]:
    """ "id" or "id/reading" as (id, reading). Raises NotFound for a text that is neither."""
    id, _, reading = text.strip().partition("/")
    if not is_id(id):
        raise NotFound(f"{text[:80]!r} is not the id of an experiment, nor an id with the name of a reading")
    return id, reading or RAW


def read_start(root: Path, text: str) -> dict[str, Any]:
    """What `text` says, from the experiments in `root`: {from, clusters: [{id, name, prototype}], places: {image: n}}.

    Clusters without images are left out, as are unsorted images. Raises NotFound with the reason.
    """
    id, name = split(text)
    directory = root / id
    if not directory.is_dir():
        raise NotFound(f"There is no experiment {id}")
    reading = read_reading(directory, name)
    members = {key: images for key, images in reading.members().items() if images and key != UNSORTED}
    numbers = {key: number for number, key in enumerate(key for key in reading.clusters if key in members)}
    if not numbers:
        raise NotFound(f"{text} has no clusters to begin from")
    return {
        "from": {"experiment": id, "reading": None if name == RAW else name, "title": reading.title},
        "clusters": [_cluster(reading, key) for key in numbers],
        "places": {image.path: numbers[key] for key in numbers for image in members[key]},
    }


def _cluster(reading: Reading, key: str) -> dict[str, Any]:
    cluster = reading.clusters[key]
    return {"id": key, "name": cluster.name, "prototype": cluster.prototype}


def problems(root: Path, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with the parameters of a request that begins from clusters, as (name, reason)."""
    text = values.get("start_from")
    if not isinstance(text, str) or not text.strip():
        return []
    try:
        count = len(read_start(root, text)["clusters"])
    except (NotFound, ValueError, KeyError, OSError) as error:
        return [("start_from", str(error))]
    found = []
    asked, layers = values.get("n_prototypes"), values.get("n_layers")
    if isinstance(asked, int) and asked < count:
        found.append(("n_prototypes", f"must be at least {count}, the number of clusters in {text}"))
    if isinstance(layers, int) and layers > 1:
        reason = "must be 1 to begin from clusters: they do not say what lies in which layer"
        found.append(("n_layers", reason))
    return found


def curated_start(
    directory: Path, root: Path, text: str | None, images: ImageSet, *, fixed: bool, pinned: bool
) -> Start | None:
    """Where the run in `directory` begins with `images`; None without `text`.

    A cluster begins with the prototype that it stands for, with its mask if it is a sprite; one that was made by hand
    begins with the mean of its images.
    Raises InvalidRequest when `text` cannot be used, or none of its images is among `images`.
    """
    if not text or not text.strip():
        return None
    from dti_sprites import start_from_clusters

    folder = directory / "results" / FOLDER  # it travels with the result
    try:
        said = _kept(folder) or _keep(folder, root, text)
    except (NotFound, ValueError, KeyError, OSError) as error:
        raise _refused(str(error)) from None
    clusters = np.array([said["places"].get(name, -1) for name in images.names])
    if not (clusters >= 0).any():
        known = ", ".join(list(said["places"])[:MOST_NAMED])
        raise _refused(f"none of its images ({known}, ...) is in this dataset: take the same images")
    learned = {}
    for number in range(len(said["clusters"])):
        path = folder / f"prototype{number}.png"
        if path.exists():
            learned[number] = _picture(path)
        elif not (clusters == number).any():
            name = said["clusters"][number]["name"]
            raise _refused(f"its cluster {name} has no prototype, and none of its images is in this dataset")
    return start_from_clusters(images, clusters, learned, fixed=fixed, pinned=pinned)


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(f"start_from: {reason}", [{"field": "start_from", "reason": reason}])


def _kept(folder: Path) -> dict[str, Any] | None:
    """What an earlier attempt of this run began from."""
    path = folder / FILE
    return dict(json.loads(path.read_bytes())) if path.exists() else None


def _keep(folder: Path, root: Path, text: str) -> dict[str, Any]:
    said = read_start(root, text)
    results = root / said["from"]["experiment"] / "results"
    folder.mkdir(parents=True, exist_ok=True)
    for number, cluster in enumerate(said["clusters"]):
        if cluster["prototype"] is None:
            continue
        for pictures in ("masked_prototypes", "prototypes"):  # of sprites also the masks
            source = results / pictures / f"prototype{cluster['prototype']}.png"
            if source.exists():
                shutil.copyfile(source, folder / f"prototype{number}.png")
                break
    atomic.write_json(folder / FILE, said)  # last: without it the next attempt begins anew
    return said


def _picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        if image.mode in ("LA", "RGBA"):
            return np.asarray(image)
        return np.asarray(image.convert("L" if image.mode in ("1", "L", "I;16") else "RGB"))
