"""Runs that begin from a result, or from somebody's reading of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dti_service.errors import InvalidRequest
from dti_service.ids import new_id
from dti_service.start_from import curated_start, problems, read_start
from dti_sprites.data import ImageSet

# Clusters of the run: a, b in 0, c, d in 1; 2 is empty.
TABLE = "image_id,path,cluster_id,distance\n0,a.png,0,0.1\n1,b.png,0,0.2\n2,c.png,1,0.1\n3,d.png,1,0.3\n"


def cluster(id: str, name: str, prototype: int | None) -> dict[str, object]:
    return {"id": id, "name": name, "prototype": prototype, "state": "checked", "note": "", "tags": []}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "experiments"


@pytest.fixture
def id(root: Path) -> str:
    """An experiment with a reading "mine": b went to a new cluster, d to the unsorted, c stays."""
    id = new_id()
    (root / id / "results" / "prototypes").mkdir(parents=True)
    (root / id / "results" / "cluster_by_path.csv").write_text(TABLE)
    (root / id / "results" / "metrics.json").write_text('{"n_prototypes": 3}')
    for k in range(3):
        picture = np.full((4, 4), 40 * (k + 1), np.uint8)
        Image.fromarray(picture).save(root / id / "results" / "prototypes" / f"prototype{k}.png")
    (root / id / "curations").mkdir()
    state = {
        "clusters": [
            cluster("0", "Crown", 0),
            cluster("1", "Bull", 1),
            cluster("2", "Cluster 2", 2),
            cluster("new-1", "Hand", None),
            cluster("unsorted", "Unsorted", None),
        ],
        "moved": {"1": "new-1", "3": "unsorted"},
        "images": {},
    }
    document = {"schema_version": 1, "title": "Mine", "operations": [], "cursor": 0, "state": state}
    (root / id / "curations" / "mine.json").write_text(json.dumps(document))
    return id


@pytest.fixture
def images() -> ImageSet:
    pixels = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).mul(10).expand(5, 1, 8, 8).contiguous()
    return ImageSet(pixels, ["a.png", "b.png", "c.png", "d.png", "e.png"])


def test_a_reading_says_clusters_and_images(root: Path, id: str) -> None:
    said = read_start(root, f"{id}/mine")
    assert [entry["name"] for entry in said["clusters"]] == ["Crown", "Bull", "Hand"]
    assert said["places"] == {"a.png": 0, "c.png": 1, "b.png": 2}
    assert said["from"] == {"experiment": id, "reading": "mine", "title": "Mine"}
    assert read_start(root, id)["places"] == {"a.png": 0, "b.png": 0, "c.png": 1, "d.png": 1}


def test_prototypes_come_from_the_run_or_from_the_images(
    root: Path, id: str, images: ImageSet, tmp_path: Path
) -> None:
    start = curated_start(tmp_path / "new", root, f"{id}/mine", images, fixed=True, pinned=True)
    assert start is not None
    assert start.fixed
    assert start.pins is not None
    assert start.pins.tolist() == [0, 2, 1, -1, -1]
    levels = (start.prototypes.mean((1, 2, 3)) * 255).round().tolist()
    assert levels == [40, 80, 10]  # two learned ones, and the mean of image b
    assert curated_start(tmp_path / "new", root, None, images, fixed=False, pinned=False) is None


def test_sprites_begin_with_their_masks(root: Path, id: str, images: ImageSet, tmp_path: Path) -> None:
    """Colours where nothing is opaque are kept, too."""
    folder = root / id / "results" / "masked_prototypes"
    folder.mkdir()
    for k in range(3):
        picture = np.full((4, 4, 4), 60 * (k + 1), np.uint8)
        picture[..., 3] = 0
        picture[:2, :, 3] = 255
        Image.fromarray(picture).save(folder / f"prototype{k}.png")
    start = curated_start(tmp_path / "new", root, f"{id}/mine", images, fixed=True, pinned=False)
    assert start is not None
    levels = (start.prototypes.mean((1, 2, 3)) * 255).round().tolist()
    assert levels == [60, 120, 10]
    assert sorted(start.masks) == [0, 1]  # what was made by hand has none
    assert start.masks[1].shape == (1, 8, 8)
    assert start.masks[1][0, 0].tolist() == [1.0] * 8
    assert start.masks[1][0, -1].tolist() == [0.0] * 8


def test_a_later_attempt_begins_from_the_same(root: Path, id: str, images: ImageSet, tmp_path: Path) -> None:
    first = curated_start(tmp_path / "new", root, f"{id}/mine", images, fixed=False, pinned=True)
    (root / id / "curations" / "mine.json").unlink()
    (root / id / "results" / "prototypes" / "prototype0.png").unlink()
    again = curated_start(tmp_path / "new", root, f"{id}/mine", images, fixed=False, pinned=True)
    assert first is not None
    assert again is not None
    assert torch.equal(first.prototypes, again.prototypes)


def test_what_cannot_be_begun_from_is_said_before_anything_is_queued(root: Path, id: str) -> None:
    assert problems(root, {"start_from": f"{id}/mine", "n_prototypes": 3}) == []
    assert problems(root, {"start_from": None}) == []
    for text in ("nonsense", "../../etc", f"{id}/none", f"{id}/../mine", new_id()):
        [(field, reason)] = problems(root, {"start_from": text})
        assert field == "start_from"
        assert reason
    [(field, reason)] = problems(root, {"start_from": f"{id}/mine", "n_prototypes": 2})
    assert field == "n_prototypes"
    assert "at least 3" in reason
    [(field, reason)] = problems(root, {"start_from": f"{id}/mine", "n_layers": 2})
    assert field == "n_layers"
    assert "must be 1" in reason


def test_other_images_are_refused(root: Path, id: str, tmp_path: Path) -> None:
    others = ImageSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), ["x.png", "y.png"])
    with pytest.raises(InvalidRequest, match="none of its images"):
        curated_start(tmp_path / "new", root, id, others, fixed=False, pinned=False)
