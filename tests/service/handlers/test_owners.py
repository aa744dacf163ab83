"""With `owner_only`, experiments and datasets are changed by their owners and by administrators alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from jupyter_server.auth import IdentityProvider, User
from PIL import Image

from dti_service.experiment import Experiment
from dti_service.service import Service

Fetch = Callable[..., Any]
Make = Callable[..., Experiment]


class ByHeader(IdentityProvider):
    """Whoever the header X-User says."""

    auth_enabled = True

    def get_user(self, handler: Any) -> User | None:
        name = handler.request.headers.get("X-User")
        return User(name) if name else None


@pytest.fixture
def dti_config() -> dict[str, Any]:
    return {"owner_only": True, "admins": ["root"]}


@pytest.fixture
def as_user(jp_server_config: dict[str, Any], fetch: Fetch) -> Callable[..., Any]:
    async def ask(user: str, verb: str, *parts: str, **options: Any) -> int:
        headers = {"X-User": user}
        if "type" in options:
            headers["Content-Type"] = options.pop("type")
        response = await fetch(verb, *parts, headers=headers, **options)
        if response.code == 403:
            assert json.loads(response.body)["message"]
        return response.code

    return ask


@pytest.fixture
def jp_server_config(jp_server_config: dict[str, Any]) -> dict[str, Any]:
    jp_server_config["ServerApp"] |= {"identity_provider_class": ByHeader, "disable_check_xsrf": True}
    return jp_server_config


async def test_only_owners_change_what_is_theirs(as_user: Callable[..., Any], make: Make) -> None:
    ended, queued = make("succeeded", owner="ada"), make("queued", owner="ada")
    keep = {"json": {"keep": False}}
    assert await as_user("bob", "GET", "experiments", ended.id) == 200
    assert await as_user("bob", "PATCH", "experiments", ended.id, **keep) == 403
    assert await as_user("bob", "POST", "experiments", queued.id, "cancel", body="") == 403
    assert await as_user("bob", "DELETE", "experiments", ended.id) == 403
    assert await as_user("bob", "POST", "experiments", ended.id, "rerun", body="") == 201
    assert await as_user("ada", "PATCH", "experiments", ended.id, **keep) == 200
    assert await as_user("ada", "POST", "experiments", queued.id, "cancel", body="") == 202
    assert await as_user("ada", "DELETE", "experiments", ended.id) == 204
    assert await as_user("bob", "DELETE", "experiments", ended.id) == 404
    assert await as_user("root", "DELETE", "experiments", queued.id) == 204


async def test_what_was_run_again_belongs_to_who_did(
    as_user: Callable[..., Any], make: Make, service: Service
) -> None:
    ended = make("succeeded", owner="ada")
    assert await as_user("bob", "POST", "experiments", ended.id, "rerun", body="") == 201
    assert {item["owner"] for item in service.list()["items"]} == {"ada", "bob"}


async def test_only_administrators_clean_up(as_user: Callable[..., Any], make: Make) -> None:
    make("succeeded", owner="ada")
    assert await as_user("ada", "POST", "cleanup", json={"older_than": "0s", "dry_run": True}) == 200
    assert await as_user("ada", "POST", "cleanup", json={"older_than": "0s"}) == 403
    assert await as_user("root", "POST", "cleanup", json={"older_than": "0s"}) == 200
    assert await as_user("ada", "POST", "monitor", "clear", root="clustering/", body="days_before=0") == 403


async def test_datasets_too(as_user: Callable[..., Any], service: Service) -> None:
    picture = io.BytesIO()
    Image.new("L", (8, 8)).save(picture, "PNG")
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    form = {"body": head + picture.getvalue() + b"\r\n--x--\r\n", "type": "multipart/form-data; boundary=x"}
    assert await as_user("ada", "POST", "datasets", **form) == 201
    [dataset] = service.quotas.catalogue.all()
    assert dataset.owner == "ada"
    keep = {"json": {"keep": False}}
    assert await as_user("bob", "PATCH", "datasets", dataset.id, **keep) == 403
    assert await as_user("ada", "PATCH", "datasets", dataset.id, **keep) == 200
    assert await as_user("bob", "DELETE", "datasets", dataset.id) == 403
    assert await as_user("ada", "DELETE", "datasets", dataset.id) == 204
    assert await as_user("bob", "DELETE", "datasets", dataset.id) == 404
