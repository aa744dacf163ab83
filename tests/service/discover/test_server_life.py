"""Open by an explicit setting; callbacks that survive the death of the server."""

from __future__ import annotations

import json
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

FLAT = {
    "n_prototypes": 2,
    "background_option": "0_dti",
    "transformation_sequence": "identity_color",
    "epochs": 1,
}


@pytest.fixture
def server(tmp_path: Path, live_server_factory: Callable[..., Any]) -> Callable[..., Any]:
    def make(*options: str, **environment: str) -> Any:
        folder = tmp_path / "server"
        folder.mkdir()
        made = live_server_factory(
            folder, "--DTIServiceApp.allow_hosts=127.0.0.1", *options, environment=environment
        )
        made.start()
        return made

    return make


def test_open_only_by_an_explicit_setting_that_is_loud(server: Callable[..., Any], front: Any) -> None:
    opened = server("--DTIServiceApp.run_experiments=False", DTI_DISCOVER_OPEN="true")
    assert "THE COMPATIBILITY ROUTES ARE OPEN" in opened.output()
    base = opened.url.rstrip("/")
    body = {"dataset_url": f"{front.url}/media/good.zip", "parameters": json.dumps(FLAT)}
    started = httpx.post(f"{base}/clustering/start", data=body)
    assert started.status_code == 200
    tracking_id = started.json()["tracking_id"]
    assert httpx.get(f"{base}/clustering/{tracking_id}/status").json()["log"]["status"] == "PENDING"
    assert httpx.get(f"{base}/test").json() == {"response": "ok"}
    assert httpx.post(f"{base}/clustering/{tracking_id}/cancel").status_code == 200
    # Only these routes, and not for pages of other sites in somebody's browser.
    assert httpx.get(f"{base}/dti/api/experiments").status_code == 403
    elsewhere = {"Origin": "https://evil.example"}
    crossed = httpx.post(f"{base}/clustering/start", data=body, headers=elsewhere)
    assert crossed.status_code in (403, 404)
    assert (
        httpx.get(f"{base}/clustering/monitor", headers={"Authorization": "token wrong"}).status_code == 403
    )
    owners = httpx.get(f"{base}/dti/api/experiments", params={"token": opened.token}).json()["items"]
    assert [item["owner"] for item in owners] == ["discover"]
    opened.stop()


@pytest.mark.slow
def test_callbacks_survive_the_death_of_the_server(server: Callable[..., Any], front: Any) -> None:
    api = server()
    id = str(uuid.uuid4())
    task = front.add(id)
    body = {
        "experiment_id": id,
        "notify_url": f"{front.url}/dti/{id}/watch?token=x",
        "dataset_url": f"{front.url}/media/good.zip",
        "parameters": json.dumps({**FLAT, "epochs": 3}),
    }
    answer = httpx.post(f"{api.url}clustering/start", json=body, auth=("dti", api.token), timeout=60)
    assert answer.status_code == 200
    task.saved_at = time.monotonic()
    end = time.monotonic() + 60
    while "STARTED" not in task.events:
        assert time.monotonic() < end, front.problems
        time.sleep(0.05)
    api.stop(signal.SIGKILL)
    assert not task.finished
    api.start()
    front.wait(id)
    assert task.status == "SUCCESS"
    assert task.events.count("SUCCESS") == 1
    assert task.result
    time.sleep(1.0)
    assert not list((api.data_dir / "outbox").glob("*.json"))
    assert front.problems == []
    api.stop()
