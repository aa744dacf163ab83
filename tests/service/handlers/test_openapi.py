"""The document that describes the interface is held against the routes and against real answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from dti_service.experiment import Experiment
from dti_service.handlers import all_handlers
from dti_service.handlers.base import NotFoundHandler
from dti_service.handlers.openapi import DOCUMENT
from dti_service.handlers.pages import PageHandler, StaticHandler
from dti_service.service import Service

Fetch = Callable[..., Any]
Make = Callable[..., Experiment]

SPEC: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text())
VERBS = {"get", "head", "post", "put", "patch", "delete"}


def without_names(path: str) -> str:
    """`/a/{id}` of the document and `/a/([^/]+)` of a route become the same."""
    path = re.sub(r"^/\+", "/", path).removesuffix("/?").replace("(?:-[0-9a-f]{4}){3}", "")
    return re.sub(r"\{\w+\}|\([^)]*\)", "{}", path).replace("\\.", ".")


def test_the_routes_are_those_of_the_document() -> None:
    described = {
        (without_names(path), verb) for path, item in SPEC["paths"].items() for verb in item if verb in VERBS
    }
    pages = (PageHandler, StaticHandler, NotFoundHandler)
    routes = [(pattern, handler) for pattern, handler in all_handlers() if handler not in pages]
    served = {
        (without_names(pattern), verb.lower())
        for pattern, handler in routes
        for verb in handler.allowed_methods()  # type: ignore[attr-defined]
        if verb != "OPTIONS"
    }
    assert served == described


def test_operations_have_unique_names_and_summaries() -> None:
    operations = [item[verb] for item in SPEC["paths"].values() for verb in item if verb in VERBS]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] for operation in operations)


def test_examples_of_the_document_fit_its_schemas() -> None:
    count = 0
    for schema in SPEC["components"]["schemas"].values():
        if "example" in schema:
            check(schema, schema["example"])
            count += 1
    for item in SPEC["paths"].values():
        for verb in VERBS & set(item):
            media = item[verb].get("requestBody", {}).get("content", {}).get("application/json", {})
            examples = [media["example"]] if "example" in media else []
            examples += [example["value"] for example in media.get("examples", {}).values()]
            for example in examples:
                check(media["schema"], example)
                count += 1
    assert count > 5


def check(schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": SPEC["components"]}  # so that references within the document are found
    Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)


def check_answer(path: str, verb: str, response: Any) -> None:
    """Status, media type and body are as the document says."""
    operation = SPEC["paths"][path][verb]
    described = operation["responses"].get(str(response.code))
    assert described, f"{verb} {path} does not describe {response.code}"
    if "$ref" in described:
        described = SPEC["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
    content = described.get("content", {})
    if not content:
        assert response.body == b""
        return
    media = response.headers["Content-Type"].split(";")[0]
    assert media in content or "*/*" in content, media
    if media == "application/json" and media in content:
        check(content[media]["schema"], json.loads(response.body))
    for name, header in described.get("headers", {}).items():
        if header.get("required"):
            assert name in response.headers


@pytest.fixture
def world(make: Make) -> dict[str, Experiment]:
    """One experiment of each kind, with files."""
    files: dict[str, bytes | str] = {"results/metrics.json": "{}", "log.txt": "text"}
    return {
        "queued": make("queued"),
        "running": make("running", files=dict(files)),
        "succeeded": make(
            "succeeded", files=dict(files), metrics={"accuracy": 0.9, "curve": [1, 2]}, tags=["a"]
        ),
        "failed": make("failed", files=dict(files)),
        "cancelled": make("cancelled"),
    }


async def test_real_answers_fit_the_document(
    fetch: Fetch, world: dict[str, Experiment], service: Service
) -> None:
    service.store.events(world["running"].id).append(
        "progress", step=1, total=3, unit="epochs", eta_s=2.5, phase="x"
    )
    base = "/dti/api/experiments/{id}"
    reads = ["", "/events", "/log", "/results.zip", "/artifacts"]
    for experiment in world.values():
        for route in reads:
            parts = ("experiments", experiment.id, *route.split("/")[1:])
            headers = {"Accept": "application/json"} if route == "/events" else {}
            check_answer(base + route, "get", await fetch("GET", *parts, headers=headers))
    id = world["succeeded"].id
    check_answer(
        base + "/artifacts/{path}", "get", await fetch("GET", "experiments", id, "artifacts", "metrics.json")
    )
    part = await fetch("GET", "experiments", id, "log", headers={"Range": "bytes=1-2"})
    assert part.code == 206
    check_answer(base + "/log", "get", part)
    beyond = await fetch("GET", "experiments", id, "log", headers={"Range": "bytes=100-"})
    assert beyond.code == 416
    check_answer(base + "/log", "get", beyond)
    for name in ("queue", "workers", "monitor", "notebooks", "health", "experiments", "openapi.yaml"):
        check_answer(f"/dti/api/{name}", "get", await fetch("GET", name))
    check_answer("/dti/metrics", "get", await fetch("GET", "metrics", root="dti/"))
    check_answer("/dti/api/notebooks/{name}", "get", await fetch("GET", "notebooks", "tiny"))
    check_answer("/dti/api/notebooks/{name}", "get", await fetch("GET", "notebooks", "absent"))
    check_answer(
        "/dti/api/experiments", "post", await fetch("POST", "experiments", json={"notebook": "tiny"})
    )
    check_answer("/dti/api/experiments", "post", await fetch("POST", "experiments", json={"notebook": 1}))
    check_answer(base, "patch", await fetch("PATCH", "experiments", id, json={"keep": True}))
    check_answer(base + "/rerun", "post", await fetch("POST", "experiments", id, "rerun", body=""))
    images = {"dataset": "sample"}
    check_answer(base + "/assign", "post", await fetch("POST", "experiments", id, "assign", json=images))
    check_answer(
        base + "/cancel", "post", await fetch("POST", "experiments", world["queued"].id, "cancel", body="")
    )
    for request in ({"older_than": "30d", "dry_run": True}, {"older_than": "soon"}, {}, {"older_than": "0s"}):
        check_answer("/dti/api/cleanup", "post", await fetch("POST", "cleanup", json=request))
    check_answer(base, "get", await fetch("GET", "experiments", id))


async def test_the_document_is_served(fetch: Fetch) -> None:
    response = await fetch("GET", "openapi.yaml")
    assert response.code == 200
    assert response.headers["Content-Type"] == "application/yaml"
    assert yaml.safe_load(response.body) == SPEC


def test_the_version_is_that_of_the_package() -> None:
    from dti_service import __version__

    assert SPEC["info"]["version"] == __version__


def test_the_document_is_part_of_the_package() -> None:
    assert Path(__file__).parents[3] / "dti_service" / "openapi.yaml" == DOCUMENT
