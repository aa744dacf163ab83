"""The `dti` command as people and scripts use it: real processes, real supervisors and kernels, exit codes."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dti_service.cli.main import main

MakeNotebook = Callable[..., Path]
Dti = Callable[..., subprocess.CompletedProcess[str]]

PARAMETERS = "n: int = 3  # how many [1, 9]\nfactor: float = 1.0\nexperiment_dir: str | None = None"
WORK = """
from dti_service.run import current_run
run = current_run(experiment_dir)
print("working on", n)
run.progress(1, 2, unit="steps", phase="half")
run.finish({"product": n * factor})
"""
SLEEP = """
import time
from dti_service.run import current_run
run = current_run(experiment_dir)
print("asleep", flush=True)
for step in range(600):
    if run.should_stop():
        break
    run.progress(step, 600)
    time.sleep(0.1)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DTI_")}
    return kept | {"DTI_DATA_DIR": str(tmp_path / "data"), "DTI_DEVICES": "cpu"}


@pytest.fixture
def dti(environment: dict[str, str], tmp_path: Path) -> Dti:
    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dti_service", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120
        )

    return call


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def view(result: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert result.stdout, result.stderr
    return json.loads(result.stdout)


def test_run_executes_in_the_foreground_and_reports(
    dti: Dti, make_notebook: MakeNotebook, tmp_path: Path
) -> None:
    notebook = make_notebook(PARAMETERS, WORK)
    result = dti("run", notebook, "-p", "n", "4", "-p", "factor", "2", "--name", "Four", "--json")
    assert result.returncode == 0, result.stderr
    experiment = view(result)
    assert (experiment["state"], experiment["name"], experiment["metrics"]) == (
        "succeeded",
        "Four",
        {"product": 8.0},
    )
    id = experiment["id"]
    assert "working on 4" in dti("logs", id).stdout
    assert dti("list").stdout.count("\n") == 2
    assert "succeeded" in dti("status", id).stdout
    target = tmp_path / "out.zip"
    assert dti("export", id, "--to", target).returncode == 0
    names = zipfile.ZipFile(target).namelist()
    assert "metrics.json" in names
    assert dti("export", id, "--whole", "--to", target, "--json").returncode == 0
    names = zipfile.ZipFile(target).namelist()
    assert {f"{id}/experiment.json", f"{id}/notebook.ipynb", f"{id}/results/metrics.json"} <= set(names)
    again = dti("import", target)
    assert again.returncode == 2
    assert "is here already" in again.stderr
    elsewhere = tmp_path / "elsewhere"
    assert dti("import", target, "--data-dir", elsewhere).stdout.strip() == id
    there = view(dti("status", id, "--data-dir", elsewhere, "--json"))
    assert {**there, "directory": ""} == {**view(dti("status", id, "--json")), "directory": ""}
    assert "working on 4" in dti("logs", id, "--data-dir", elsewhere).stdout


def test_bad_input_names_every_problem_and_leaves_nothing(dti: Dti, make_notebook: MakeNotebook) -> None:
    result = dti(
        "submit", make_notebook(PARAMETERS, WORK), "-p", "n", "50", "-p", "m", "1", "-p", "factor", "x"
    )
    assert result.returncode == 2
    for name in ("n:", "m:", "factor:"):
        assert name in result.stderr
    assert "Traceback" not in result.stderr
    assert view(dti("list", "--json"))["total"] == 0
    assert dti("submit", "no_such_notebook").returncode == 2
    assert dti("status", "0" * 36).returncode == 2


def test_a_failing_notebook_is_said_with_its_cell(dti: Dti, make_notebook: MakeNotebook) -> None:
    result = dti("run", make_notebook(PARAMETERS, "raise ValueError('not like this')"), "--json")
    assert result.returncode == 1
    error = view(result)["error"]
    assert isinstance(error, dict)
    assert error["kind"] == "user_error"
    assert "not like this" in error["message"]
    assert error["cell"] is not None


def test_interrupting_the_foreground_cancels(
    dti: Dti, environment: dict[str, str], make_notebook: MakeNotebook, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "dti_service", "run", str(make_notebook(PARAMETERS, SLEEP)), "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as run:

        def asleep() -> bool:
            items = view(dti("list", "--json"))["items"]
            return bool(items) and "asleep" in dti("logs", items[0]["id"]).stdout  # type: ignore[index]

        wait_for(asleep)
        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert json.loads(output)["state"] == "cancelled"
    [audit] = (tmp_path / "data" / "audit").iterdir()
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(line["action"], line["via"]) for line in lines] == [
        ("submit experiment", "command line"),
        ("cancel experiment", "command line"),
    ]


def test_a_worker_serves_the_queue_until_it_is_empty(dti: Dti, make_notebook: MakeNotebook) -> None:
    notebook = make_notebook(PARAMETERS, WORK)
    swept = dti("sweep", notebook, "-p", "n", "1,2", "--json")
    ids = [item["id"] for item in json.loads(swept.stdout)]
    assert len(ids) == 2
    assert dti("cancel", ids[1]).returncode == 0
    assert dti("worker", "--burst").returncode == 0
    assert [view(dti("status", id, "--json"))["state"] for id in ids] == ["succeeded", "cancelled"]
    again = dti("rerun", ids[0]).stdout.strip()
    assert view(dti("status", again, "--json"))["parameters"] == {"n": 1}


def test_doctor_reindex_and_cleanup(dti: Dti) -> None:
    checks = {check["name"]: check for check in json.loads(dti("doctor", "--json").stdout)}
    assert checks["data directory"]["ok"]
    assert checks["kernel"]["ok"]
    assert view(dti("reindex", "--json"))["experiments"] == 0
    assert view(dti("cleanup", "--older-than", "30d", "--dry-run", "--json"))["experiments"] == []
    assert dti("cleanup", "--older-than", "some time").returncode == 2


def test_what_is_done_here_is_noted(dti: Dti, make_notebook: MakeNotebook, tmp_path: Path) -> None:
    notebook = make_notebook(PARAMETERS, WORK)
    first = dti("submit", notebook).stdout.strip()
    second = dti("rerun", first).stdout.strip()
    assert dti("submit", notebook, "-p", "n", "99").returncode == 2  # nothing came of it: it was never sent
    cancelled = dti("cancel", first)
    assert cancelled.returncode == 0
    assert dti("worker", "--burst").returncode == 0
    whole = tmp_path / "whole.zip"
    assert dti("export", second, "--whole", "--to", whole).returncode == 0
    assert dti("import", whole).returncode == 2
    assert dti("delete", first).returncode == 0
    assert dti("cleanup", "--older-than", "0s", "--dry-run").stdout.startswith(f"experiment {second}\n1 ")
    assert dti("cleanup", "--older-than", "0s").stdout.startswith("1 experiments deleted")
    assert dti("cleanup").returncode == 2
    [path] = (tmp_path / "data" / "audit").iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["action"], line.get("experiment_id"), line["status"]) for line in lines] == [
        ("submit experiment", first, 200),
        ("rerun experiment", second, 200),
        ("cancel experiment", first, 200),
        ("import experiment", None, 409),
        ("delete experiment", first, 200),
        ("clean up", None, 200),
    ]
    assert {line["user"] for line in lines} == {getpass.getuser()}
    assert {line["via"] for line in lines} == {"command line"}
    assert "audit" not in cancelled.stderr


def test_help_is_quick_to_load(environment: dict[str, str]) -> None:
    code = (
        "import sys; from dti_service.cli.parser import build_parser; build_parser()\n"
        "print([name for name in ('torch', 'tornado') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout.strip() == "[]"


def test_ids_may_be_shortened_and_changes_said(dti: Dti, make_notebook: MakeNotebook) -> None:
    notebook = make_notebook(PARAMETERS, WORK)
    swept = dti("sweep", notebook, "-p", "n", "1,2", "--json")
    first, second = json.loads(swept.stdout)
    assert (first["name"], second["name"]) == ("work (n=1)", "work (n=2)")
    assert view(dti("status", first["id"][-12:], "--json"))["id"] == first["id"]
    both = dti("status", first["id"][:8])
    assert both.returncode == 2
    assert "2 experiments" in both.stderr
    assert dti("status", "feedfeedfeed").returncode == 2
    again = view(dti("rerun", first["id"][-12:], "-p", "n", "5", "--name", "five", "--json"))
    assert (again["parameters"]["n"], again["name"]) == (5, "five")
    assert dti("rerun", first["id"], "-p", "n", "99").returncode == 2
    assert dti("list", "--state", "odd").returncode == 2
    assert dti("delete", first["id"], "0" * 36).returncode == 2
    assert dti("cancel", first["id"], second["id"], "--wait").stdout.count("cancelled") == 2
    assert view(dti("list", "--state", "queued,running", "--json"))["total"] == 1
    assert dti("delete", first["id"], second["id"][-12:]).returncode == 0
    assert view(dti("list", "--json"))["total"] == 1


def test_the_same_commands_against_a_server(
    live_server: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    def dti(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dti_service", *arguments],
            capture_output=True,
            text=True,
            env=environment | {"DTI_TOKEN": live_server.token},
            cwd=tmp_path,
            timeout=120,
        )

    server = ["--server", live_server.url]
    swept = json.loads(dti("sweep", "tiny", "-p", "n_prototypes", "2,3", "--json", *server).stdout)
    for experiment in swept:
        watched = dti(*server, "status", experiment["id"], "--watch")
        assert watched.returncode == 0, watched.stderr
        assert f"{live_server.url}dti/#/e/{experiment['id']}" in watched.stdout
    id = swept[0]["id"]
    logs = dti("logs", "-f", id[-12:], "--server", live_server.url.removeprefix("http://"))
    assert logs.stdout.endswith("printed by the notebook\n")
    assert logs.stdout.count("printed") == 1
    again = view(dti(*server, "rerun", id, "-p", "n_prototypes", "4", "--json"))
    assert again["parameters"]["n_prototypes"] == 4
    assert dti(*server, "cancel", str(again["id"]), "--wait").returncode == 0
    whole = tmp_path / "whole.zip"
    assert dti(*server, "export", id, "--whole", "--to", str(whole)).returncode == 0
    assert dti("import", str(whole)).stdout.strip() == id
    refused = dti(*server, "submit", "tiny", "-p", "n_prototypes", "0")
    assert refused.returncode == 2
    assert "n_prototypes" in refused.stderr
    # What is asked of a server is not done to the data directory of this machine.
    for command in (["reindex"], ["import", str(whole)], ["doctor"], ["quickstart"]):
        local = dti(*server, *command)
        assert local.returncode == 2
        assert "leave out --server" in local.stderr
    asked = view(dti(*server, "cleanup", "--older-than", "0s", "--dry-run", "--json"))
    assert id in asked["experiments"]  # type: ignore[operator]
    assert len(asked["experiments"]) >= 2  # type: ignore[arg-type]
    assert dti(*server, "delete", id).returncode == 0
    assert dti(*server, "status", id).returncode == 2


def test_a_list_that_is_not_complete_yet_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a server answers while it reads very many experiments for the first time."""
    page = {
        "items": [],
        "total": 0,
        "next_cursor": None,
        "index": {"building": True, "done": 40, "total": 900},
    }
    backend = SimpleNamespace(list=lambda **query: page)
    monkeypatch.setattr("dti_service.cli.inspecting.open_backend", lambda arguments: backend)
    assert main(["list"]) == 0
    assert "being put together, 40 of 900" in capsys.readouterr().out
