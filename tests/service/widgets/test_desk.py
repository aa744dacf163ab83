"""Submitting, sweeping, watching and comparing from a notebook, on the data directory and through a server."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dti_service.errors import InvalidRequest, NotFound
from dti_service.execution.parameters import validate
from dti_service.presence import announced
from dti_service.store import Store
from dti_service.widgets import Desk
from dti_service.widgets.batch import Batch

NOTHING = {"batch_size": 8}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(data_dir=tmp_path / "data")


def test_every_combination_becomes_an_experiment(desk: Desk, tmp_path: Path) -> None:
    batch = desk.sweep("dti_clustering", {"n_prototypes": [3, 4], "seed": [0, 1, 2]}, {"epochs": 1}, name="k")
    views = batch.views()
    given = [(view["parameters"]["n_prototypes"], view["parameters"]["seed"]) for view in views]
    assert given == [(3, 0), (3, 1), (3, 2), (4, 0), (4, 1), (4, 2)]
    assert {view["parameters"]["epochs"] for view in views} == {1}
    assert views[1]["name"] == "k (n_prototypes=3, seed=1)"
    assert [view["queue_position"] for view in views] == [1, 2, 3, 4, 5, 6]
    assert "k (n_prototypes=4, seed=2)" in batch._repr_html_()
    assert "queued, number 6" in repr(batch)
    [audit] = (tmp_path / "data" / "audit").iterdir()
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [line["experiment_id"] for line in lines] == [view["id"] for view in views]
    assert {(line["action"], line["via"], line["user"]) for line in lines} == {
        ("submit experiment", "notebook", getpass.getuser())
    }


def test_nothing_is_queued_unless_all_is_right(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as refused:
        desk.sweep("dti_clustering", {"n_prototypes": [3, 0]}, {"seed": "x", "colour": 1}, dataset="/nowhere")
    fields = {error["field"] for error in refused.value.errors}
    assert fields == {"parameters.n_prototypes", "parameters.seed", "parameters.colour", "dataset"}
    assert "n_prototypes" in "\n".join(refused.value._render_traceback_())
    assert Store(tmp_path / "data").page().total == 0


@pytest.mark.parametrize(
    ("sweep", "settings", "reason"),
    [
        ({"seed": 3}, {}, "must be a list of values"),
        ({"seed": "012"}, {}, "must be a list of values"),
        ({"seed": []}, {}, "must be a list of values"),
        ({"seed": [1, 2]}, {"seed": 0}, "among the settings too"),
        ({"seed": list(range(30)), "n_prototypes": list(range(2, 32))}, {}, "900 experiments"),
    ],
)
def test_a_sweep_that_cannot_be_meant_is_refused(
    desk: Desk, sweep: dict[str, Any], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        desk.sweep("dti_clustering", sweep, settings)


def test_a_folder_beside_the_notebook_may_be_named_shortly(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ornaments").mkdir()
    monkeypatch.chdir(tmp_path)
    [view] = desk.submit("dti_clustering", dataset="ornaments").views()
    assert view["dataset"] == str(tmp_path / "ornaments")


def test_what_can_be_set_is_told(desk: Desk) -> None:
    shown = desk.parameters("dti_sprites")
    for name in ("n_prototypes", "background_option", "seed"):
        assert "<td" in shown.html
        assert name in shown.html
    assert "experiment_dir" not in shown.html
    with pytest.raises(NotFound, match="known: "):
        desk.parameters("nothing")


def test_a_run_of_the_service_neither_waits_nor_reaches_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DTI_EXPERIMENT_DIR", str(tmp_path))
    with pytest.raises(InvalidRequest, match="leave it empty"):
        Desk("http://127.0.0.1:1")
    desk = Desk(data_dir=tmp_path / "data")
    with pytest.raises(InvalidRequest):
        desk.submit("dti_clustering", dataset=str(tmp_path))  # a folder that no client may name
    batch = desk.submit("dti_clustering")
    batch.watch()  # comes back though nothing has run
    assert batch.views()[0]["state"] == "queued"


def test_watching_runs_what_nobody_else_runs(
    desk: Desk, make_notebook: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DTI_DEVICES", "cpu")
    desk = Desk(data_dir=tmp_path / "data")
    code = (
        "from dti_service.run import current_run\n"
        "run = current_run()\n"
        "run.finish({'loss': 1 / k, 'accuracy': k / 10, 'used_clusters': k})\n"
    )
    notebook = str(make_notebook("k: int = 1  # [1, 9]", code))
    batch = desk.sweep(notebook, {"k": [2, 3]})
    batch.watch(timeout=120)
    assert [view["state"] for view in batch.views()] == ["succeeded", "succeeded"]
    table = batch.compare().html
    assert "2 of 2 finished" in table
    assert re.findall(r"<strong>([\d.]+)</strong>", table) == ["0.3333", "0.3"]
    assert "finished" in repr(batch)


def test_an_interrupt_ends_the_watching_and_nothing_else(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    batch = desk.submit("dti_clustering")
    monkeypatch.setattr("dti_service.widgets.batch.time.sleep", interrupted)
    with announced(Path(desk.place.name), "worker"):  # so that the run is not this process's
        batch.watch()
    assert "1 of 1 have not ended" in capsys.readouterr().out
    assert batch.views()[0]["state"] == "queued"


def test_through_a_server(live_server: Any, words: Callable[[str], str]) -> None:
    desk = Desk(live_server.url, live_server.token)
    assert "n_prototypes" in desk.parameters("tiny").html
    with pytest.raises(InvalidRequest) as refused:
        desk.sweep("tiny", {"n_prototypes": [2, 0]})
    assert validate(desk.place.schema("tiny"), {"n_prototypes": 0})[1] == refused.value.errors
    batch = desk.sweep("tiny", {"n_prototypes": [2, 3]}, {"seconds": 0.1})
    assert isinstance(batch, Batch)
    batch.watch(timeout=120)
    assert [view["metrics"]["k"] for view in batch.views()] == [2, 3]
    assert "2 of 2 finished" in words(batch.compare().html)
    first, second = batch.ids
    assert f"{live_server.url}dti/#/compare?a={first}&amp;b={second}" in batch.side_by_side().html


@pytest.mark.parametrize(
    ("token", "url", "reason"),
    [
        ("wrong", None, "set DTI_TOKEN"),
        ("x", "localhost:8888", "begins with http"),
        ("x", "http://127.0.0.1:9", "No answer"),
    ],
)
def test_a_server_that_does_not_answer_is_named(
    live_server: Any, monkeypatch: pytest.MonkeyPatch, token: str, url: str | None, reason: str
) -> None:
    monkeypatch.setattr("dti_service.client.base.LONGEST_PAUSE_S", 0.01)
    with pytest.raises(InvalidRequest, match=reason) as refused:
        Desk(url or live_server.url, token)
    assert refused.value.errors[0]["field"] == "server"
