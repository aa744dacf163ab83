"""Notebooks, queue, workers, monitor, clean-up, health, metrics and the page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dti_service import __version__
from dti_service.experiment import Experiment, transition
from dti_service.handlers.context import Context
from dti_service.handlers.pages import POLICY, WEB, fill
from dti_service.quotas import Quotas
from dti_service.service import Service

Fetch = Callable[..., Any]
Make = Callable[..., Experiment]


def read(response: Any) -> Any:
    return json.loads(response.body)


async def test_notebooks_and_the_schema_of_one(fetch: Fetch) -> None:
    page = read(await fetch("GET", "notebooks"))
    assert "tiny" in [item["name"] for item in page["items"]]
    schema = read(await fetch("GET", "notebooks", "tiny"))
    assert schema["properties"]["n_prototypes"]["default"] == 3
    assert schema["properties"]["mode"]["enum"] == ["fast", "slow"]
    for name in ("absent", "..%2F..%2Fetc%2Fpasswd", "../../tiny", "tiny.ipynb", "%2Ftmp%2Fx.ipynb"):
        assert (await fetch("GET", "notebooks", name)).code == 404


async def test_the_queue_in_its_order(fetch: Fetch, make: Make) -> None:
    first, urgent, running = make("queued"), make("queued", priority=5), make("running")
    make("succeeded")
    queue = read(await fetch("GET", "queue"))
    assert [item["id"] for item in queue["queued"]] == [urgent.id, first.id]
    assert [item["queue_position"] for item in queue["queued"]] == [1, 2]
    assert [item["id"] for item in queue["running"]] == [running.id]


async def test_monitor_and_workers(fetch: Fetch, make: Make) -> None:
    make("failed")
    view = read(await fetch("GET", "monitor"))
    assert view["experiments"] == {"failed": 1}
    assert view["devices"][0]["device"] == "cpu"
    assert view["disk"]["free"] > 0
    assert read(await fetch("GET", "workers")) == {"items": [], "next_cursor": None, "total": 0}


async def test_cleanup_can_be_tried_first(fetch: Fetch, make: Make) -> None:
    old, kept, queued = make("succeeded"), make("failed", keep=True), make("queued")
    tried = read(await fetch("POST", "cleanup", json={"older_than": "0s", "dry_run": True}))
    assert (tried["experiments"], tried["dry_run"]) == ([old.id], True)
    assert (await fetch("GET", "experiments", old.id)).code == 200
    done = read(await fetch("POST", "cleanup", json={"older_than": "0s"}))
    assert (done["experiments"], done["dry_run"]) == ([old.id], False)
    assert done["bytes"] == tried["bytes"] > 0
    assert done["datasets"] == tried["datasets"] == []
    assert (await fetch("GET", "experiments", old.id)).code == 404
    for experiment in (kept, queued):
        assert (await fetch("GET", "experiments", experiment.id)).code == 200
    for body in (
        {},
        {"older_than": "soon"},
        {"older_than": 3},
        {"older_than": "1d", "dry_run": "yes"},
        {"older_than": "1d", "datasets_older_than": "soon"},
    ):
        response = await fetch("POST", "cleanup", json=body)
        assert response.code == 422
        assert read(response)["errors"]


async def test_health_tells_strangers_only_whether_it_is_well(
    http_server_client: Any, jp_base_url: str, data_dir: Path, jp_serverapp: Any
) -> None:
    async def health() -> Any:
        return await http_server_client.fetch(f"{jp_base_url}dti/api/health", raise_error=False)

    before = await health()
    assert (before.code, read(before)["status"]) == (503, "failing")
    await jp_serverapp.extension_manager.start_all_extensions()
    after = await health()
    assert (after.code, read(after)) == (
        200,
        {"status": "ok", "checks": {"storage": True, "background": True}},
    )
    assert str(data_dir).encode() not in after.body
    assert not list(data_dir.glob(".health*"))


async def test_metrics_for_prometheus(fetch: Fetch, make: Make, context: Context) -> None:
    make("queued")
    make("failed")
    context.metrics.started(3.0)
    context.metrics.finished("failed", 12.0, "out_of_memory")
    context.metrics.finished("cancelled", None, None)
    response = await fetch("GET", "metrics", root="dti/")
    assert response.headers["Content-Type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.body.decode())
        for sample in family.samples
    }
    assert samples["dti_queue_length",] == 1
    assert samples["dti_experiments", "failed"] == 1
    assert samples["dti_experiments", "running"] == 0
    assert samples["dti_experiment_failures_total", "out_of_memory"] == 1
    assert samples["dti_experiments_finished_total", "cancelled"] == 1
    assert samples["dti_experiment_duration_seconds_sum", "failed"] == 12.0
    assert samples["dti_queue_oldest_seconds",] > 0
    assert 0 < samples["dti_disk_free_bytes",] <= samples["dti_disk_bytes",]
    assert samples["dti_build_info", __version__] == 1
    assert samples["dti_device_experiments", "cpu"] == 0
    assert samples["dti_device_memory_bytes", "cpu"] > 0
    assert not any(name.startswith("python_") or name.startswith("http_") for name, *_ in samples)


async def test_the_page_and_its_files(fetch: Fetch) -> None:
    page = await fetch("GET", "", root="dti/")
    assert page.code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Content-Security-Policy"] == POLICY
    names = re.findall(r'(?:href|src)="static/(v-[0-9a-f]{16})/([^"]+)"', page.body.decode())
    assert names
    for version, name in names:
        response = await fetch("GET", "static", version, *name.split("/"), root="dti/")
        assert (response.code, response.body) == (200, (WEB / "static" / name).read_bytes())
        # The address names this very state of the files, so that it may be kept; any other has to be asked for.
        assert "immutable" in response.headers["Cache-Control"]
        etag = {"If-None-Match": response.headers["ETag"]}
        assert (
            await fetch("GET", "static", version, *name.split("/"), root="dti/", headers=etag)
        ).code == 304
        other = await fetch("GET", "static", "v-0123456789abcdef", *name.split("/"), root="dti/")
        assert (other.code, other.headers["Cache-Control"]) == (200, "no-cache")
    script = await fetch("GET", "static", "app.js", root="dti/")
    assert script.headers["Content-Type"].startswith("text/javascript")


async def test_without_its_slash_the_page_is_elsewhere(fetch: Fetch, jp_base_url: str) -> None:
    response = await fetch("GET", root="dti", params={"a": "b"})
    assert response.code == 302
    assert response.headers["Location"] == f"{jp_base_url}dti/?a=b"


@pytest.mark.parametrize(
    "name", ["../index.html", "..%2F..%2Fextension.py", "%2Fetc%2Fpasswd", "css", "absent.js"]
)
async def test_only_static_files_are_served(fetch: Fetch, name: str) -> None:
    assert (await fetch("GET", "static", name, root="dti/")).code == 404


def test_values_are_escaped_in_the_page() -> None:
    template = '<meta name="base" content="{{ base_url }}"><p title=\'{{name}}\'>'
    filled = fill(template, {"base_url": '"><script>', "name": "'&"})
    assert filled == '<meta name="base" content="&quot;&gt;&lt;script&gt;"><p title=\'&#x27;&amp;\'>'
    with pytest.raises(KeyError):
        fill("{{ unknown }}", {})


async def test_a_quota_refuses_with_its_reason(fetch: Fetch, service: Service, make: Make) -> None:
    experiment = make("succeeded", files={"results/a.bin": b"0" * 20_000})
    service.settings = service.settings.replace(quota_gb=1e-5)
    service.quotas = Quotas(service.settings, service.store)
    boundary = "x"
    form = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        f"png\r\n--{boundary}--\r\n"
    )
    multipart = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    refused = [
        await fetch("POST", "experiments", json={"notebook": "tiny"}),
        await fetch("POST", "experiments", experiment.id, "rerun", body=""),
        await fetch("POST", "datasets", body=form, headers=multipart),
        await fetch(
            "POST", "datasets", json={"documents": [{"type": "zip", "src": "https://example.org/a"}]}
        ),
        await fetch("PUT", "uploads", "0" * 64, body=b"abc"),
    ]
    for response in refused:
        assert response.code == 409
        assert "GB" in read(response)["message"]
        assert read(response)["errors"][0]["field"] == "quota"
    assert service.store.page().total == 1
    assert (await fetch("DELETE", "experiments", experiment.id)).code == 204
    assert (await fetch("POST", "experiments", json={"notebook": "tiny"})).code == 201


async def test_waits_are_counted_once_however_quick_or_resumed(
    context: Context, fetch: Fetch, make: Make
) -> None:
    ended = make("succeeded")
    context.watch.listener(ended, "queued")  # ran between two looks
    running = make("running")
    context.watch.listener(running, "queued")
    context.watch.listener(replace(running, attempt=2), "queued")  # resumed
    context.watch.listener(transition(running, "failed", error={"kind": "lost"}), "running")
    text = (await fetch("GET", "metrics", root="dti/")).body.decode()
    assert "dti_experiment_wait_seconds_count 2.0" in text
    assert 'dti_experiment_failures_total{kind="lost"} 1.0' in text
    assert 'dti_experiment_duration_seconds_count{state="succeeded"} 1.0' in text
