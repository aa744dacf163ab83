"""One line in the log for each request that changes something: who, what, which."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tornado.web import RequestHandler

from dti_service.experiment import Experiment
from dti_service.handlers import all_handlers, audit

Fetch = Callable[..., Any]
Make = Callable[..., Experiment]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    """The audit lines since the last call."""
    caplog.set_level(logging.INFO, "dti_service.audit")

    def take() -> list[logging.LogRecord]:
        found = [record for record in caplog.records if record.name == "dti_service.audit"]
        caplog.clear()
        return found

    return take


async def test_each_action_is_one_line(
    fetch: Fetch, make: Make, lines: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    logger = logging.getLogger("dti_service")
    monkeypatch.setattr(logger, "propagate", True)
    await fetch("GET", "experiments")
    assert lines() == []
    made = json.loads((await fetch("POST", "experiments", json={"notebook": "tiny"})).body)["id"]
    [line] = lines()
    assert line.getMessage() == f"ada: submit experiment {made}"
    assert (line.user, line.action, line.experiment_id, line.status) == (
        "ada",
        "submit experiment",
        made,
        201,
    )
    ended = make("succeeded").id
    for verb, path, options, message in (
        ("PATCH", [ended], {"json": {"keep": True}}, f"ada: update experiment {ended}"),
        ("POST", [made, "cancel"], {"body": ""}, f"ada: cancel experiment {made}"),
        ("DELETE", [ended], {}, f"ada: delete experiment {ended} refused (409)"),
        ("DELETE", [f"{ended}?force=true"], {}, f"ada: delete experiment {ended}"),
        ("DELETE", [ended], {}, f"ada: delete experiment {ended} refused (404)"),
    ):
        await fetch(verb, "experiments", *path, **options)
        assert [record.getMessage() for record in lines()] == [message]
    again = json.loads((await fetch("POST", "experiments", made, "rerun", body="")).body)["id"]
    assert [record.getMessage() for record in lines()] == [f"ada: rerun experiment {again}"]
    await fetch("POST", "cleanup", json={"older_than": "30d", "dry_run": True})
    assert [record.getMessage() for record in lines()] == ["ada: clean up"]


async def test_the_lines_are_kept_beside_the_data(
    fetch: Fetch, make: Make, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    ended = make("succeeded").id
    await fetch("DELETE", "experiments", ended)
    [path] = (data_dir / "audit").iterdir()
    [line] = [json.loads(text) for text in path.read_text().splitlines()]
    told = {name: line[name] for name in ("user", "action", "experiment_id", "status", "via")}
    assert told == {
        "user": "ada",
        "action": "delete experiment",
        "experiment_id": ended,
        "status": 204,
        "via": "rest",
    }
    assert path.name.startswith(line["time"][:7])


async def test_strangers_have_done_nothing(
    http_server_client: Any, jp_base_url: str, make: Make, lines: Callable[[], list[Any]]
) -> None:
    experiment = make("succeeded")
    path = f"{jp_base_url}dti/api/experiments/{experiment.id}"
    response = await http_server_client.fetch(path, method="DELETE", raise_error=False)
    assert response.code == 403
    assert lines() == []


def test_every_action_has_a_name() -> None:
    id = "019aaf2e-4b1f-7c3a-9f00-3b6f1c2d4e5f"
    for pattern, handler in all_handlers()[:-1]:
        nothing = RequestHandler._unimplemented_method
        for verb in [verb for verb in audit.VERBS if getattr(handler, verb.lower()) is not nothing]:
            path = pattern.replace("/+", "/").replace("/?", "").replace("(?:-[0-9a-f]{4}){3}", "")
            path = (
                path.replace("([0-9a-f]{8}-[0-9a-f]{12})", id).replace("([^/]+)", id).replace("([^/.]+)", "x")
            )
            name = audit.action_of(verb, path.removeprefix("/"))
            assert "/" not in name, (verb, path, name)
