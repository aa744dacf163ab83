"""Nothing without a token but health, and every verb asks for the resource and action that it declares."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from tornado.httpclient import HTTPResponse
from tornado.web import RequestHandler

from dti_service.experiment import Experiment
from dti_service.handlers import all_handlers

Fetch = Callable[..., Any]
Make = Callable[..., Experiment]

ID = "019aaf2e-4b1f-7c3a-9f00-3b6f1c2d4e5f"
EXPERIMENT = r"/dti/api/experiments/([^/]+)"
CURATION = EXPERIMENT + "/curations/([^/.]+)"
DATASET = r"/dti/api/datasets/([^/]+)"
ALLOWED_TO: dict[tuple[str, str], tuple[str, str]] = {
    ("/dti/?", "GET"): ("read", "experiments"),
    ("/dti/static/(.+)", "GET"): ("read", "experiments"),
    ("/dti/static/(.+)", "HEAD"): ("read", "experiments"),
    ("/dti/api/experiments", "GET"): ("read", "experiments"),
    ("/dti/api/experiments", "POST"): ("execute", "experiments"),
    ("/dti/api/experiments/events", "GET"): ("read", "experiments"),
    (EXPERIMENT, "GET"): ("read", "experiments"),
    (EXPERIMENT, "PATCH"): ("write", "experiments"),
    (EXPERIMENT, "DELETE"): ("write", "experiments"),
    (EXPERIMENT + "/cancel", "POST"): ("execute", "experiments"),
    (EXPERIMENT + "/rerun", "POST"): ("execute", "experiments"),
    (EXPERIMENT + "/assign", "POST"): ("execute", "experiments"),
    (EXPERIMENT + "/events", "GET"): ("read", "experiments"),
    **{
        (EXPERIMENT + route, verb): ("read", "artifacts")
        for route in (
            "/log",
            "/notebook",
            r"/notebook\.html",
            r"/report\.html",
            r"/results\.zip",
            r"/experiment\.zip",
            "/artifacts/(.+)",
        )
        for verb in ("GET", "HEAD")
    },
    (EXPERIMENT + r"/originals/(\d{1,9})", "GET"): ("read", "artifacts"),
    (EXPERIMENT + r"/originals/(\d{1,9})", "HEAD"): ("read", "artifacts"),
    (EXPERIMENT + "/artifacts", "GET"): ("read", "artifacts"),
    (EXPERIMENT + "/members", "GET"): ("read", "artifacts"),
    (EXPERIMENT + r"/fits/(\d{1,9})/(\d{1,6})\.png", "GET"): ("read", "artifacts"),
    (EXPERIMENT + r"/layers/(\d{1,9})", "GET"): ("read", "artifacts"),
    (EXPERIMENT + r"/layers/(\d{1,9})/(background|layer\d{1,3})\.png", "GET"): ("read", "artifacts"),
    (EXPERIMENT + "/curations", "GET"): ("read", "artifacts"),
    (CURATION, "GET"): ("read", "artifacts"),
    (CURATION, "PUT"): ("write", "artifacts"),
    (CURATION, "DELETE"): ("write", "artifacts"),
    (CURATION + r"\.(csv|json|html|pdf|zip|jsonld)", "GET"): ("read", "artifacts"),
    ("/dti/api/datasets", "GET"): ("read", "datasets"),
    ("/dti/api/datasets", "POST"): ("write", "datasets"),
    (DATASET, "GET"): ("read", "datasets"),
    (DATASET, "PATCH"): ("write", "datasets"),
    (DATASET, "DELETE"): ("write", "datasets"),
    (DATASET + "/images", "GET"): ("read", "datasets"),
    (DATASET + "/images/([^/]+)", "GET"): ("read", "datasets"),
    (DATASET + "/images/([^/]+)", "HEAD"): ("read", "datasets"),
    ("/dti/api/uploads/([^/]+)", "GET"): ("read", "datasets"),
    ("/dti/api/uploads/([^/]+)", "PUT"): ("write", "datasets"),
    ("/dti/api/notebooks", "GET"): ("read", "notebooks"),
    ("/dti/api/notebooks/(.+)", "GET"): ("read", "notebooks"),
    (r"/dti/api/openapi\.yaml", "GET"): ("read", "notebooks"),
    ("/dti/api/queue", "GET"): ("read", "experiments"),
    ("/dti/api/workers", "GET"): ("read", "workers"),
    ("/dti/api/monitor", "GET"): ("read", "workers"),
    ("/dti/metrics", "GET"): ("read", "workers"),
    ("/dti/api/cleanup", "POST"): ("write", "experiments"),
}
DOCUMENT = "/+datasets/document/([^/]+)/([^/]+)"
ALLOWED_TO |= {
    ("/+clustering/start/?", "POST"): ("execute", "experiments"),
    ("/+clustering/qsizes/?", "GET"): ("read", "workers"),
    ("/+clustering/monitor/?", "GET"): ("read", "workers"),
    ("/+clustering/monitor/clear/?", "POST"): ("write", "experiments"),
    ("/+clustering/monitor/clear/([^/]+)/?", "POST"): ("write", "experiments"),
    ("/+clustering/([^/]+)/status/?", "GET"): ("read", "experiments"),
    ("/+clustering/([^/]+)/cancel/?", "POST"): ("execute", "experiments"),
    ("/+clustering/([^/]+)/result/?", "GET"): ("read", "artifacts"),
    (r"/+([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/cancel/?", "POST"): ("execute", "experiments"),
    ("/+datasets/dataset/([^/]+)/?", "GET"): ("read", "datasets"),
    (DOCUMENT + "/?", "GET"): ("read", "datasets"),
    (DOCUMENT + "/download/?", "GET"): ("read", "datasets"),
    (DOCUMENT + "/([^/]+)/?", "GET"): ("read", "datasets"),
    ("/+test/?", "GET"): ("read", "workers"),
}
PUBLIC = {(r"/dti/api/health", "GET")}


def verbs_of(handler: Any) -> list[str]:
    nothing = RequestHandler._unimplemented_method
    verbs = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    return [verb for verb in verbs if getattr(handler, verb.lower()) is not nothing]


def routes() -> list[tuple[str, str]]:
    """All (pattern, verb) of the extension but the last pattern, which catches the rest."""
    return [(pattern, verb) for pattern, handler in all_handlers()[:-1] for verb in verbs_of(handler)]


def example(pattern: str) -> str:
    """A path that the pattern matches."""
    path = re.sub(r"^/\+", "/", pattern).replace("([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", ID)
    path = path.replace("(.+)", "x").replace("/?", "/").replace("\\.", ".")
    path = path.replace("images/([^/]+)", "images/0").replace("uploads/([^/]+)", "uploads/" + "0" * 64)
    path = path.replace("([^/]+)", ID).replace("([^/.]+)", "mine")
    path = re.sub(r"\(\\d\{[^)]*\}\)", "0", path)  # a number
    path = re.sub(r"\(([a-z]+)\|[^)]*\)", r"\1", path)  # the first of several words
    assert re.fullmatch(pattern, path)
    return path.removeprefix("/")


def options_for(verb: str) -> dict[str, Any]:
    if verb in ("POST", "PUT", "PATCH"):
        return {"body": "{}", "headers": {"Content-Type": "application/json"}}
    return (
        {"headers": {"Accept": "application/json"}} if verb == "GET" else {}
    )  # no endless streams of events


class Recorder(Authorizer):
    """Permits what the class says, and remembers what it was asked."""

    asked: list[tuple[str, str]] = []  # noqa: RUF012
    permits = True

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        Recorder.asked.append((action, resource))
        return Recorder.permits


@pytest.fixture
def recorder(jp_server_config: dict[str, Any]) -> type[Recorder]:
    jp_server_config["ServerApp"]["authorizer_class"] = Recorder
    Recorder.asked = []
    Recorder.permits = True
    return Recorder


def test_every_verb_is_in_the_table() -> None:
    assert set(routes()) == set(ALLOWED_TO) | PUBLIC


async def test_every_verb_asks_for_what_it_declares(recorder: type[Recorder], fetch: Fetch) -> None:
    """Twice each and in both orders, as the decorator remembers its first call."""
    for pattern, verb in [*ALLOWED_TO, *reversed(ALLOWED_TO)]:
        recorder.asked = []
        await fetch(verb, example(pattern), root="", **options_for(verb))
        assert recorder.asked == [ALLOWED_TO[pattern, verb]], (pattern, verb)


async def test_who_is_not_permitted_is_refused(recorder: type[Recorder], fetch: Fetch, make: Make) -> None:
    experiment = make("succeeded", files={"log.txt": "secret", "results/a.txt": "secret"})
    recorder.permits = False
    for pattern, verb in ALLOWED_TO:
        path = example(pattern).replace(ID, experiment.id)
        response = await fetch(verb, path, root="", **options_for(verb))
        assert response.code == 403, (pattern, verb)
        assert b"secret" not in response.body


async def anonymous(client: Any, base: str, path: str, verb: str, **options: Any) -> HTTPResponse:
    return await client.fetch(
        base + path,
        method=verb,
        raise_error=False,
        follow_redirects=False,
        allow_nonstandard_methods=True,
        **options,
    )


async def test_nothing_without_a_token_but_health(
    http_server_client: Any, jp_base_url: str, make: Make
) -> None:
    experiment = make("succeeded", files={"log.txt": "secret", "results/a.txt": "secret"})
    for pattern, verb in routes():
        path = example(pattern).replace(ID, experiment.id)
        for credentials in ({}, {"Authorization": "token wrong"}, {"Authorization": "Basic eDp5"}):
            options = options_for(verb)
            options["headers"] = {**options.get("headers", {}), **credentials}
            response = await anonymous(http_server_client, jp_base_url, path, verb, **options)
            if (pattern, verb) in PUBLIC:
                assert response.code == 503
            elif pattern == "/dti/?":
                assert response.code == 302
                assert "/login" in response.headers["Location"]
            else:
                assert response.code == 403, (pattern, verb)
                assert verb in ("GET", "HEAD") or "token" in json.loads(response.body)["message"], (
                    pattern,
                    verb,
                )
            assert b"secret" not in response.body


async def test_unknown_routes_say_nothing_to_strangers(
    http_server_client: Any, jp_base_url: str, fetch: Fetch
) -> None:
    response = await anonymous(http_server_client, jp_base_url, "dti/api/absent", "GET")
    assert response.code == 403
    for verb in ("GET", "POST", "DELETE"):
        known = await fetch(verb, "absent", **options_for(verb))
        assert known.code == 404
        assert "openapi.yaml" in json.loads(known.body)["message"]


async def test_routes_of_demos_ask_too(
    recorder: type[Recorder], fetch: Fetch, http_server_client: Any, jp_base_url: str
) -> None:
    for path in (f"{ID}/near", f"view/{ID}", "static/similarity.js"):
        path = f"dti/demos/similarity_search/{path}"
        recorder.asked = []
        recorder.permits = True
        assert (await fetch("GET", path, root="")).code in (200, 404)
        assert recorder.asked == [("read", "artifacts")]
        recorder.permits = False
        assert (await fetch("GET", path, root="")).code == 403
        assert (await anonymous(http_server_client, jp_base_url, path, "GET")).code in (302, 403)


async def test_verbs_that_a_route_lacks(fetch: Fetch) -> None:
    response = await fetch("PUT", "experiments", json={})
    assert response.code == 405
    assert set(response.headers["Allow"].split(", ")) == {"GET", "POST", "OPTIONS"}
    assert json.loads(response.body)["errors"] == []


async def test_an_anonymous_body_is_not_even_read(http_server_client: Any, jp_base_url: str) -> None:
    options = {"body": b"x" * 3_000_000, "headers": {"Content-Type": "application/json"}}
    response = await anonymous(http_server_client, jp_base_url, "dti/api/experiments", "POST", **options)
    assert response.code == 403


async def test_a_cookie_session_needs_the_xsrf_header(
    http_server_client: Any, jp_base_url: str, jp_auth_header: dict[str, str], fetch: Fetch, make: Make
) -> None:
    experiment = make("succeeded")
    page = await fetch("GET", "", root="dti/")
    cookies = SimpleCookie()
    for header in page.headers.get_list("Set-Cookie"):
        cookies.load(header)
    assert "_xsrf" in cookies
    jar = {"Cookie": "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())}
    path = f"dti/api/experiments/{experiment.id}"
    read = await anonymous(http_server_client, jp_base_url, path, "GET", headers=dict(jar))
    assert read.code == 200
    request = {"body": '{"keep": true}'}
    json_type = {"Content-Type": "application/json"}
    refused = await anonymous(
        http_server_client, jp_base_url, path, "PATCH", headers={**jar, **json_type}, **request
    )
    assert refused.code == 403
    headers = {**jar, **json_type, "X-XSRFToken": cookies["_xsrf"].value}
    accepted = await anonymous(http_server_client, jp_base_url, path, "PATCH", headers=headers, **request)
    assert accepted.code == 200
    elsewhere = {**headers, "Origin": "https://evil.example"}
    crossed = await anonymous(http_server_client, jp_base_url, path, "PATCH", headers=elsewhere, **request)
    assert crossed.code in (403, 404)
