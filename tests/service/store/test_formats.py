"""Records of earlier and later versions: the first are read, the others left alone until the upgrade."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dti_service.experiment import SCHEMA_VERSION, Experiment
from dti_service.recovery import recover
from dti_service.service import Service
from dti_service.settings import Settings
from dti_service.store import Store

# As 0.1.0 wrote it. Never change it: when the format changes, add the new one and keep this.
FORMAT_1: dict[str, Any] = json.loads("""{
 "id": "019a0000-0000-7000-8000-000000000001", "notebook": "dti_clustering", "name": "Watermarks", "state": "running",
 "parameters": {"n_prototypes": 12, "transformation_sequence": "identity_affine", "seed": 3},
 "dataset": "019a0000-0000-7000-8000-0000000000d1", "tags": ["first"], "keep": true, "owner": "ada", "priority": 2,
 "device": "auto", "assigned_device": "cuda:0", "notify_url": ["https://front.example.org/notify"],
 "resume_from": null, "idempotency_key": "k", "request_digest": "d", "origin": "service",
 "created_at": "2026-01-31T12:00:00.000Z", "queued_at": "2026-01-31T12:00:00.000Z",
 "started_at": "2026-01-31T12:01:00.000Z", "finished_at": null, "attempt": 1, "losses": 0, "metrics": {},
 "error": null, "time_limit_s": 3600, "schema_version": 1
}""")


def write(data_dir: Path, record: dict[str, Any]) -> Path:
    folder = data_dir / "experiments" / record["id"]
    (folder / "results").mkdir(parents=True)
    (folder / "checkpoint").mkdir()
    (folder / "events.jsonl").write_text('{"kind": "state", "state": "queued", "attempt": 0}\n')
    (folder / "experiment.json").write_text(json.dumps(record))
    return folder / "experiment.json"


def test_a_record_of_the_first_release_is_read_whole(tmp_path: Path) -> None:
    write(tmp_path, FORMAT_1)
    experiment = Store(tmp_path).get(FORMAT_1["id"])
    kept = experiment.to_dict()
    assert {name: kept[name] for name in FORMAT_1 if name != "schema_version"} == {
        name: value for name, value in FORMAT_1.items() if name != "schema_version"
    }
    assert kept["schema_version"] == SCHEMA_VERSION


def test_what_ran_under_the_first_release_goes_on_under_this_one(tmp_path: Path) -> None:
    write(tmp_path, FORMAT_1)
    store = Store(tmp_path)
    assert recover(store, Settings(data_dir=tmp_path)) == [FORMAT_1["id"]]
    experiment = store.get(FORMAT_1["id"])
    assert (experiment.state, experiment.attempt, experiment.losses) == ("queued", 1, 1)


def test_a_record_of_a_later_version_is_left_as_it_is(tmp_path: Path) -> None:
    known = {**FORMAT_1, "id": FORMAT_1["id"][:-1] + "2", "state": "queued"}
    later = {**FORMAT_1, "schema_version": SCHEMA_VERSION + 1, "state": "paused", "mood": "good"}
    write(tmp_path, known)
    path = write(tmp_path, later)
    before = path.read_bytes()
    service = Service(Settings(data_dir=tmp_path))

    found = service.reindex()
    assert found["experiments"] == 1
    (skipped,) = found["skipped"]
    assert FORMAT_1["id"] in skipped["path"]
    assert f"format {SCHEMA_VERSION + 1}" in skipped["reason"]
    with pytest.raises(ValueError, match=f"format {SCHEMA_VERSION + 1}"):
        service.store.get(later["id"])

    # Nobody runs, recovers, cleans up or deletes it.
    assert [id for id, _ in service.store.waiting()] == [known["id"]]
    assert recover(service.store, service.settings, thorough=True) == []
    assert service.cleanup("0s")["experiments"] == []
    assert path.read_bytes() == before
    assert (path.parent / "results").is_dir()


def test_fields_of_a_later_version_of_the_same_format_do_no_harm() -> None:
    assert (
        Experiment.from_dict({**FORMAT_1, "schema_version": SCHEMA_VERSION, "colour": "blue"}).name
        == "Watermarks"
    )
