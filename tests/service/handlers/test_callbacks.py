"""Who asked for callbacks is told by its own ids, and not before it was answered."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dti_service.experiment import Experiment
from dti_service.handlers.context import Context

Fetch = Callable[..., Any]
FRONT = "http://127.0.0.1:59999/dti/1/watch?token=0123abcd"


@pytest.fixture
def dti_config() -> dict[str, Any]:
    return {"allow_hosts": ["127.0.0.1"]}


@pytest.fixture
def watched_at_once(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch looks in the very moment in which an experiment appears."""
    create = context.service.store.create

    def create_and_look(*arguments: Any) -> Experiment:
        experiment = create(*arguments)
        context.watch.look()
        return experiment

    monkeypatch.setattr(context.service.store, "create", create_and_look)


def letter(data_dir: Path, id: str) -> dict[str, Any]:
    return json.loads((data_dir / "outbox" / f"{id}.json").read_text())


@pytest.mark.usefixtures("watched_at_once")
async def test_a_front_is_told_by_its_own_id(fetch: Fetch, data_dir: Path) -> None:
    before = time.time()
    body = {
        "experiment_id": "task-7",
        "notify_url": FRONT,
        "parameters": {
            "n_prototypes": 4,
            "transformation_sequence": "identity_color",
            "background_option": "0_dti",
        },
        "documents": [{"type": "zip", "src": "http://127.0.0.1:59999/a.zip"}],
    }
    answer = await fetch("POST", "clustering/start", root="", json=body)
    assert answer.code == 200, answer.body
    id = json.loads(answer.body)["tracking_id"]
    told = letter(data_dir, id)
    assert told["experiment_id"] == "task-7"
    assert f"/clustering/{id}/result?key=" in told["result_url"]
    assert told["not_before"] >= before + 1.0


@pytest.mark.usefixtures("watched_at_once")
async def test_a_client_is_told_after_its_answer(fetch: Fetch, data_dir: Path) -> None:
    before = time.time()
    answer = await fetch("POST", "experiments", json={"notebook": "tiny", "notify_url": FRONT})
    id = json.loads(answer.body)["id"]
    assert letter(data_dir, id)["not_before"] >= before + 1.0
    again = await fetch("POST", "experiments", id, "rerun", body="")
    assert letter(data_dir, json.loads(again.body)["id"])["not_before"] >= before + 1.0
