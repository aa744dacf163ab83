"""One user's experiments do not take all devices where that is limited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dti_service.dispatch.local import Slots
from dti_service.experiment import Experiment
from dti_service.service import Service, SubmitRequest
from dti_service.settings import Settings
from dti_service.store import Store

Make = Callable[..., Experiment]


def started(slots: Slots) -> list[str]:
    return [job.experiment_id for job in slots.jobs]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_as_many_of_one_user_as_may_run(
    tmp_path: Path, make_notebook: Callable[..., Path], most: int
) -> None:
    settings = Settings(data_dir=tmp_path / "data", devices="cuda:0,cuda:1,cuda:2", user_running=most)
    service = Service(settings)
    notebook = str(make_notebook("x: int = 1", "import time; time.sleep(60)"))

    def submit(owner: str | None) -> str:
        return service.submit(SubmitRequest(notebook, {}, owner=owner, trusted=True)).id

    ada = [submit("ada") for _ in range(3)]
    bob = submit("bob")
    slots = Slots(settings, service.store)
    try:
        slots.step()
        slots.step()  # what was started a moment ago counts, on the record or not yet
        expected = {0: ada, 1: [ada[0], bob], 2: [ada[0], ada[1], bob]}[most]
        assert started(slots) == expected
    finally:
        slots.stop()


def test_what_runs_elsewhere_counts_and_nobody_is_nobody(
    store: Store, make_experiment: Make, tmp_path: Any
) -> None:
    from dti_service.dispatch.turns import Turns

    turns = Turns(Settings(data_dir=tmp_path, user_running=1), store)
    make_experiment(state="running", owner="ada")
    mine, others, nobodys = make_experiment(owner="ada"), make_experiment(owner="bob"), make_experiment()
    running = turns.look()
    assert running == {"ada": 1}
    assert [turns.may_start(item.id, running) for item in (mine, others, others)] == [False, True, False]
    assert [turns.may_start(nobodys.id, running) for _ in range(2)] == [True, True]
    turns.forget(set())
    assert turns.may_start("gone", running)
