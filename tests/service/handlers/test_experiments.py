"""Submitting, listing, naming, cancelling, running again, deleting."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dti_service.experiment import Experiment
from dti_service.service import Service

Fetch = Callable[..., Any]
Make = Callable[..., Experiment]


def read(response: Any) -> Any:
    return json.loads(response.body)


async def test_submit_answers_with_the_queued_experiment_and_its_address(
    fetch: Fetch, jp_base_url: str
) -> None:
    request = {"notebook": "tiny", "parameters": {"n_prototypes": 5}, "name": "first"}
    response = await fetch("POST", "experiments", json=request)
    assert response.code == 201
    view = read(response)
    assert (view["state"], view["queue_position"], view["name"]) == ("queued", 1, "first")
    assert view["parameters"]["n_prototypes"] == 5
    assert response.headers["Location"] == f"{jp_base_url}dti/api/experiments/{view['id']}"
    assert view["links"]["self"] == response.headers["Location"]
    assert read(await fetch("GET", "experiments", view["id"])) == view


async def test_the_owner_is_who_the_server_says(fetch: Fetch, service: Service) -> None:
    view = read(await fetch("POST", "experiments", json={"notebook": "tiny"}))
    assert service.store.get(view["id"]).owner == view["owner"] != ""
    response = await fetch("POST", "experiments", json={"notebook": "tiny", "owner": "somebody else"})
    assert response.code == 422


async def test_every_wrong_field_is_named_and_nothing_is_queued(fetch: Fetch, service: Service) -> None:
    request = {"notebook": "tiny", "priority": "high", "name": 3, "nonsense": 1, "device": "cpu"}
    response = await fetch("POST", "experiments", json=request)
    assert response.code == 422
    assert {error["field"] for error in read(response)["errors"]} == {"priority", "name", "nonsense"}
    assert read(await fetch("GET", "experiments"))["total"] == 0


async def test_parameters_are_checked_against_the_notebook(fetch: Fetch) -> None:
    parameters = {"n_prototypes": 0, "mode": "medium", "prototypes": 4}
    response = await fetch("POST", "experiments", json={"notebook": "tiny", "parameters": parameters})
    assert response.code == 422
    fields = {error["field"] for error in read(response)["errors"]}
    assert fields == {"parameters.n_prototypes", "parameters.mode", "parameters.prototypes"}


@pytest.mark.parametrize(
    ("raw", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"notebook": NaN}', "application/json", 400),
        (b'{"notebook": "\\ud800"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[]", "application/json", 400),
        (b"", "application/json", 400),
        (b"notebook=tiny", "application/x-www-form-urlencoded", 415),
        (b'{"notebook": "tiny"}', "text/plain", 415),
        (b'{"notebook": "' + b"a" * 2_000_000 + b'"}', "application/json", 413),
        (b'{"notebook": "absent"}', "application/json; charset=utf-8", 422),
        (b'{"notebook": "../../etc/passwd"}', "application/json", 422),
        (b'{"notebook": "a\\u0000b"}', "application/json", 422),
    ],
)
async def test_bodies_that_cannot_be_used(fetch: Fetch, raw: bytes, content_type: str, status: int) -> None:
    response = await fetch("POST", "experiments", body=raw, headers={"Content-Type": content_type})
    assert response.code == status
    answer = read(response)
    assert answer["message"]
    assert isinstance(answer["errors"], list)
    assert "Traceback" not in response.body.decode()


async def test_the_same_idempotency_key_queues_once(fetch: Fetch, service: Service) -> None:
    headers = {"Idempotency-Key": "one-and-only"}
    first = await fetch("POST", "experiments", json={"notebook": "tiny"}, headers=dict(headers))
    second = await fetch("POST", "experiments", json={"notebook": "tiny"}, headers=dict(headers))
    assert (first.code, second.code) == (201, 201)
    assert read(first)["id"] == read(second)["id"]
    assert len(service.store.queued()) == 1
    other = {"notebook": "tiny", "parameters": {"n_prototypes": 7}}
    assert (await fetch("POST", "experiments", json=other, headers=dict(headers))).code == 409
    bad = await fetch("POST", "experiments", json={"notebook": "tiny"}, headers={"Idempotency-Key": "a b"})
    assert bad.code == 400


async def test_pages_of_a_list_hold_everything_once(fetch: Fetch, make: Make) -> None:
    made = [make("succeeded").id for _ in range(5)]
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = read(await fetch("GET", "experiments", params=params))
        assert page["total"] == 5
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == made[::-1]


async def test_lists_are_filtered_and_sorted(fetch: Fetch, make: Make) -> None:
    make("succeeded", name="beta")
    make("failed", name="alpha", tags=["coins"])
    queued = make("queued", name="gamma")

    async def names(**params: str) -> list[str]:
        return [item["name"] for item in read(await fetch("GET", "experiments", params=params))["items"]]

    assert await names(sort="name") == ["alpha", "beta", "gamma"]
    assert await names(sort="-name", state="succeeded,failed") == ["beta", "alpha"]
    assert await names(q="coins") == ["alpha"]
    assert await names(q=queued.id) == ["gamma"]
    assert await names(notebook="another") == []


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"},
        {"limit": "many"},
        {"limit": "-1"},
        {"limit": "٣"},
        {"limit": "1" * 40},
        {"sort": "password"},
        {"cursor": "nonsense"},
        {"cursor": "bnVsbA"},
        {"stat": "running"},
        {"state": "sleeping"},
    ],
)
async def test_queries_that_make_no_sense_are_told(fetch: Fetch, make: Make, params: dict[str, str]) -> None:
    make()
    response = await fetch("GET", "experiments", params=params)
    assert response.code == 400
    assert read(response)["message"]
    assert [error["field"] for error in read(response)["errors"]] == list(params)


async def test_patch_changes_what_people_say_of_it(fetch: Fetch, make: Make) -> None:
    experiment = make("running")
    changes = {"name": "ornaments – 図", "tags": ["a", "b"], "keep": True}
    response = await fetch("PATCH", "experiments", experiment.id, json=changes)
    assert response.code == 200
    view = read(await fetch("GET", "experiments", experiment.id))
    assert {name: view[name] for name in changes} == changes
    response = await fetch("PATCH", "experiments", experiment.id, json={"keep": False})
    assert read(response)["name"] == "ornaments – 図"


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "a" * 201},
        {"name": "a\nb"},
        {"tags": "a"},
        {"tags": [""]},
        {"keep": 1},
        {"state": "failed"},
    ],
)
async def test_patch_refuses(fetch: Fetch, make: Make, change: dict[str, Any]) -> None:
    experiment = make()
    response = await fetch("PATCH", "experiments", experiment.id, json=change)
    assert response.code == 422
    assert read(response)["errors"][0]["field"] == next(iter(change))
    assert read(await fetch("GET", "experiments", experiment.id))["name"] == "an experiment"


async def test_cancel_of_a_queued_one_is_at_once(fetch: Fetch, make: Make) -> None:
    experiment = make()
    response = await fetch("POST", "experiments", experiment.id, "cancel", body="")
    assert response.code == 202
    assert read(response)["state"] == "cancelled"
    again = await fetch("POST", "experiments", experiment.id, "cancel", body="")
    assert (again.code, read(again)["state"]) == (202, "cancelled")


async def test_cancel_of_a_finished_one_changes_nothing(fetch: Fetch, make: Make, service: Service) -> None:
    experiment = make("succeeded")
    response = await fetch("POST", "experiments", experiment.id, "cancel", body="")
    assert read(response)["state"] == "succeeded"
    assert not service.store.cancel_requested(experiment.id)


async def test_rerun_asks_for_the_same_again(fetch: Fetch, make: Make) -> None:
    first = make("succeeded", parameters={"n_prototypes": 9, "mode": "slow"}, name="first")
    response = await fetch("POST", "experiments", first.id, "rerun", body="")
    assert response.code == 201
    view = read(response)
    assert view["id"] != first.id
    assert view["parameters"] == {"n_prototypes": 9, "mode": "slow"}
    assert view["id"] in response.headers["Location"]
    other = await fetch(
        "POST", "experiments", first.id, "rerun", json={"parameters": {"mode": None, "n_prototypes": 2}}
    )
    assert read(other)["parameters"]["n_prototypes"] == 2
    assert read(other)["parameters"].get("mode", "fast") == "fast"
    changed = await fetch("POST", "experiments", first.id, "rerun", json={"name": "second", "priority": 3})
    assert (read(changed)["name"], read(changed)["priority"]) == ("second", 3)
    refused = await fetch("POST", "experiments", first.id, "rerun", json={"notebook": "other"})
    assert refused.code == 422


async def test_delete_refuses_a_running_one(fetch: Fetch, make: Make, service: Service) -> None:
    running, ended = make("running"), make("failed")
    with service.store.claim(running.id) as held:
        assert held
        assert (await fetch("DELETE", "experiments", running.id)).code == 409
    response = await fetch("DELETE", "experiments", ended.id)
    assert (response.code, response.body) == (204, b"")
    assert (await fetch("GET", "experiments", ended.id)).code == 404
    assert (await fetch("GET", "experiments", running.id)).code == 200


async def test_delete_refuses_a_kept_one_unless_forced(fetch: Fetch, make: Make) -> None:
    kept = make("succeeded")
    assert (await fetch("PATCH", "experiments", kept.id, json={"keep": True})).code == 200
    for query in ("", "?force=false"):
        refused = await fetch("DELETE", "experiments", kept.id + query)
        assert refused.code == 409
        assert "keep: false" in refused.body.decode()
    wrong = await fetch("DELETE", "experiments", kept.id + "?force=maybe")
    assert wrong.code == 400
    assert read(wrong)["errors"][0]["field"] == "force"
    assert (await fetch("GET", "experiments", kept.id)).code == 200
    assert (await fetch("DELETE", "experiments", kept.id + "?force=true")).code == 204
    assert (await fetch("GET", "experiments", kept.id)).code == 404


STRANGE_IDS = (
    "absent",
    "..",
    "%2E%2E%2F..",
    "0190a7c4-0000-7000-8000-000000000000",
    "a" * 5000,
    "%00",
    "%C3%28",
)


@pytest.mark.parametrize(
    "route",
    [
        ("GET",),
        ("PATCH",),
        ("DELETE",),
        ("POST", "cancel"),
        ("POST", "rerun"),
        ("GET", "events"),
        ("GET", "log"),
        ("GET", "notebook"),
        ("GET", "notebook.html"),
        ("GET", "report.html"),
        ("GET", "results.zip"),
        ("GET", "artifacts"),
        ("GET", "artifacts", "metrics.json"),
    ],
)
async def test_unknown_ids_are_not_found(fetch: Fetch, make: Make, route: tuple[str, ...]) -> None:
    make("succeeded")
    options: dict[str, Any] = {"json": {"name": "x"}} if route[0] == "PATCH" else {}
    if route[0] == "POST":
        options = {"body": ""}
    for id in STRANGE_IDS:
        response = await fetch(route[0], "experiments", id, *route[1:], **options)
        assert response.code in ((404, 400) if id == "%C3%28" else (404,)), id
        assert read(response)["message"]


async def test_a_list_says_that_it_is_not_complete_yet(
    fetch: Fetch, make: Make, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the first start on very many experiments: lists and single ones are answered while they are read."""
    made = [make("succeeded").id for _ in range(4)]
    monkeypatch.setattr("dti_service.index.MANY", 1)
    monkeypatch.setattr("dti_service.index.MUCH", -1)
    monkeypatch.setattr("dti_service.index.BITE", 1)
    await fetch("GET", "experiments")
    read_record, opened = service.store.get, threading.Event()

    def hold_back(id: str) -> Experiment:
        if threading.current_thread().name == "dti-index" and id == made[1]:
            assert opened.wait(30)
        return read_record(id)

    monkeypatch.setattr(service.store, "get", hold_back)
    service.store.index.path.unlink()
    async with asyncio.timeout(30):
        while (page := read(await fetch("GET", "experiments")))["total"] < 2:
            await asyncio.sleep(0.02)
    assert page["index"] == {"building": True, "done": 2, "total": 4}
    assert [item["id"] for item in page["items"]] == made[:1:-1]
    assert read(await fetch("GET", "experiments", made[0]))["state"] == "succeeded"
    opened.set()
    async with asyncio.timeout(30):
        while "index" in (page := read(await fetch("GET", "experiments"))):
            await asyncio.sleep(0.02)
    assert [item["id"] for item in page["items"]] == made[::-1]
