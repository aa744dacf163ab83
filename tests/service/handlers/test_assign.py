"""POST .../{id}/assign: a finished model onto new images, as an experiment of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dti_service.client.calls import assign
from dti_service.experiment import Experiment
from dti_service.service import Service

Fetch = Callable[..., Any]
Make = Callable[..., Experiment]
MODEL = {"results/model.safetensors": b"weights"}


def fields(response: Any) -> set[str]:
    return {error["field"] for error in json.loads(response.body)["errors"]}


async def test_new_images_become_a_queued_experiment(fetch: Fetch, make: Make, service: Service) -> None:
    source = make("succeeded", MODEL, name="letters")
    response = await fetch("POST", "experiments", source.id, "assign", json={"dataset": "sample"})
    assert response.code == 201
    view = json.loads(response.body)
    assert (view["state"], view["notebook"], view["dataset"]) == ("queued", "assign_images", "sample")
    assert view["parameters"]["experiment"] == source.id
    assert "letters" in view["name"]
    assert response.headers["Location"] == view["links"]["self"]
    assert service.store.get(view["id"]).owner == view["owner"]
    again = await fetch("POST", "experiments", view["id"], "rerun", body="")
    assert json.loads(again.body)["parameters"]["experiment"] == source.id


async def test_documents_as_for_a_new_dataset(fetch: Fetch, make: Make) -> None:
    source = make("succeeded", MODEL)
    documents = [{"type": "zip", "src": "https://example.org/images.zip"}]
    response = await fetch("POST", "experiments", source.id, "assign", json={"documents": documents})
    assert response.code == 201
    assert json.loads(json.loads(response.body)["dataset"]) == documents
    bad = [{"type": "tarot", "src": "https://example.org/images.zip"}]
    response = await fetch("POST", "experiments", source.id, "assign", json={"documents": bad})
    assert response.code == 422


async def test_a_request_sent_twice_makes_one_experiment(fetch: Fetch, make: Make) -> None:
    source = make("succeeded", MODEL)
    call = assign(source.id, "sample", name="once")
    sent = {"json": call.options["json"], "headers": call.options["headers"]}
    first, second = [await fetch("POST", "experiments", source.id, "assign", **sent) for _ in range(2)]
    assert first.code == second.code == 201
    assert json.loads(first.body)["id"] == json.loads(second.body)["id"]
    assert json.loads(first.body)["name"] == "once"


async def test_no_such_experiment(fetch: Fetch) -> None:
    for id in ("019aaf2e-4b1f-7c3a-9f00-3b6f1c2d4e5f", "nonsense"):
        assert (await fetch("POST", "experiments", id, "assign", json={"dataset": "sample"})).code == 404


@pytest.mark.parametrize("state", ["queued", "running", "failed", "cancelled", "succeeded"])
async def test_without_a_finished_model(fetch: Fetch, make: Make, state: str) -> None:
    source = make(state, {} if state == "succeeded" else MODEL)
    response = await fetch("POST", "experiments", source.id, "assign", json={"dataset": "sample"})
    assert response.code == 409
    assert source.id in json.loads(response.body)["message"]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, {"dataset"}),
        (
            {"dataset": "sample", "documents": [{"type": "zip", "src": "https://example.org/a.zip"}]},
            {"dataset"},
        ),
        ({"documents": []}, {"documents"}),
        ({"dataset": "sample", "resume_from": "x"}, {"resume_from"}),
        ({"dataset": "sample", "priority": "high", "device": 3}, {"priority", "device"}),
        ({"dataset": "/etc"}, {"dataset"}),
        ({"dataset": "sample", "parameters": {"experiment": "other"}}, {"parameters.experiment"}),
        ({"dataset": "sample", "parameters": {"unreadable": "maybe"}}, {"parameters.unreadable"}),
    ],
)
async def test_what_cannot_be_used_is_named(
    fetch: Fetch, make: Make, service: Service, body: dict[str, Any], wrong: set[str]
) -> None:
    source = make("succeeded", MODEL)
    response = await fetch("POST", "experiments", source.id, "assign", json=body)
    assert response.code == 422
    assert fields(response) == wrong
    assert service.store.page().total == 1
