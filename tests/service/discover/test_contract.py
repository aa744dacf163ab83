"""Every generation of fronts against a real server, with plain HTTP and nothing that a front does not send."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import uuid
import zipfile
from typing import Any

import httpx
import pytest

FLAT = {
    "n_prototypes": 2,
    "background_option": "0_dti",
    "transformation_sequence": "identity_color",
    "epochs": 1,
}
NESTED = {
    "n_prototypes": 2,
    "empty_cluster_threshold": 0.025,
    "lr": 0.0005,
    "source": "data",
    "transformation_sequence": {
        "transforms": "identity_affine",
        "iterations": 2,
        "milestones": [1],
        "grid_size": 4,
    },
    "background_option": {
        "use_sprites": True,
        "freeze": [False, True, False],
        "init": ["sample", "constant", "gaussian"],
    },
}
CROPS = [
    {
        "doc_uid": "good",
        "source": f"{'ab'[number % 2]}/{number:02}.png",
        "crops": [{"crop_id": f"crop{number}", "relative": {"x1": 0.1, "y1": 0.1, "x2": 0.9, "y2": 0.9}}],
    }
    for number in range(4)
]


class Caller:
    """Posts as a front does: HTTP Basic from the address, no cookies, no XSRF token."""

    def __init__(self, api: Any, front: Any) -> None:
        self.api, self.front = api, front
        self.base = api.base.replace("http://", f"http://dti:{api.token}@")

    def post(self, path: str, **options: Any) -> httpx.Response:
        return httpx.post(self.base + path, timeout=60, follow_redirects=True, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.base + path, timeout=60, follow_redirects=True, **options)

    def begin(
        self, body: dict[str, Any], *, form: bool = False, path: str = "/clustering/start"
    ) -> tuple[str, str]:
        """(the front's id, the tracking id) of a new task. The front saves its record only after the answer."""
        id = str(uuid.uuid4())
        task = self.front.add(id)
        name = "clustering_id" if "use_sprites" in str(body.get("parameters")) and form else "experiment_id"
        whole = {name: id, "notify_url": f"{self.front.url}/dti/{id}/watch?token=0123abcd", **body}
        answer = self.post(path, data=whole) if form else self.post(path, json=whole)
        received = time.monotonic()
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["experiment_id"] == id
        tracking_id = answer.json()["tracking_id"]
        assert str(uuid.UUID(tracking_id)) == tracking_id
        time.sleep(0.3)  # a slow database
        task.saved_at = received
        return id, tracking_id


@pytest.fixture
def caller(api: Any, front: Any) -> Any:
    yield Caller(api, front)
    assert front.problems == []


def check_result(data: bytes, id: str, *, sprites: bool = False, images: int = 8) -> None:
    """The old layout, which all fronts show completely."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = set(archive.namelist())
        table = list(csv.DictReader(io.TextIOWrapper(archive.open("cluster_by_path.csv"), "utf-8")))
        entries = json.loads(archive.read("cluster_by_path.json"))
        assert archive.read("prototypes/prototype0.png").startswith((b"\x89PNG", b"\xff\xd8"))
    assert not names & {"log.txt", "results.zip", "summary.zip"}
    assert {"cluster_by_path.csv", "cluster_by_path.json", "clusters.html", f"{id}.yml"} <= names
    prototypes = {name for name in names if re.fullmatch(r"prototypes/prototype\d+\.(png|jpg)", name)}
    assert len(prototypes) == 2
    assert {name for name in names if name.startswith("prototypes/proto")} - prototypes <= {
        name for name in names if re.fullmatch(r"prototypes/prototype\d+\.gif", name)
    }
    raw = {
        name: match
        for name in names
        if (match := re.fullmatch(r"clusters/cluster(\d+)/(\d+)_raw\.(png|jpg)", name))
    }
    assert len(raw) == images
    for name, match in raw.items():
        assert name.replace("_raw", "_tsf") in names
        assert entries[match[2]]["cluster_id"] == int(match[1])
        assert isinstance(entries[match[2]]["distance"], float)
    assert list(table[0])[:4] == ["image_id", "path", "cluster_id", "distance"]
    assert len({row["path"] for row in table}) == images
    assert any("masked_prototypes/" in name for name in names) == sprites


def test_first_generations_by_form(caller: Caller, front: Any) -> None:
    body = {"dataset_url": f"{front.url}/media/good.zip", "dataset_id": "d", "parameters": json.dumps(FLAT)}
    id, tracking_id = caller.begin(body, form=True)
    logs = []
    while not front.tasks[id].finished:
        answer = caller.get(f"/clustering/{tracking_id}/status")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert set(answer.json()) == {"tracking_id", "log"}
        logs.append(answer.json()["log"])
        time.sleep(0.3)
    task = front.wait(id)
    assert (task.status, task.events) == ("SUCCESS", ["STARTED", "SUCCESS"])
    check_result(task.result, id)
    with zipfile.ZipFile(io.BytesIO(task.result)) as archive:
        paths = {entry["path"] for entry in json.loads(archive.read("cluster_by_path.json")).values()}
    assert paths == {f"{'ab'[number % 2]}/{number:02}.png" for number in range(8)}
    assert {log["status"] for log in logs} <= {"PENDING", "PROGRESS", "SUCCESS"}
    assert "PROGRESS" in {log["status"] for log in logs}
    for log in logs:
        assert all(isinstance(text, str) for text in log.get("infos", []))
        for bar in log.get("progress", []):
            assert set(bar) == {"context", "current", "total"}
        assert "errors" not in log
    final = caller.get(f"/clustering/{tracking_id}/status").json()["log"]
    assert final["status"] == "SUCCESS"
    assert final["infos"]
    by_tracking_id = caller.get(f"/clustering/{tracking_id}/result")
    by_own_id = caller.get(f"/clustering/{id}/result")
    assert by_tracking_id.headers["Content-Type"] == "application/zip"
    assert by_tracking_id.content == by_own_id.content == task.result
    assert httpx.get(final["result_url"]).content == task.result  # without any credentials
    assert httpx.get(final["result_url"].replace("key=", "key=0")).status_code == 403
    assert httpx.get(f"{caller.api.base}/clustering/{tracking_id}/result").status_code == 403


def test_latest_generation_with_sprites(caller: Caller, front: Any) -> None:
    documents = [{"type": "zip", "src": f"{front.url}/media/good.zip", "uid": "good"}]
    id, tracking_id = caller.begin({"documents": documents, "parameters": json.dumps(NESTED), "crops": CROPS})
    task = front.wait(id)
    assert (task.status, task.events) == ("SUCCESS", ["STARTED", "SUCCESS"])
    check_result(task.result, id, sprites=True, images=4)  # the crops, not the images
    dataset = caller.get(f"/datasets/dataset/{dataset_of(caller, tracking_id)}")
    description = dataset.json()
    assert dataset.headers["Content-Type"] == "application/json"
    assert description["url"].endswith(f"/datasets/dataset/{description['uid']}")
    [document] = description["documents"]
    assert (document["uid"], document["type"], document["src"]) == ("good", "zip", documents[0]["src"])
    assert caller.get(f"/datasets/document/zip/{document['uid']}").json() == document
    download = httpx.get(document["download"], auth=("dti", caller.api.token))
    with zipfile.ZipFile(io.BytesIO(download.content)) as archive:
        listing = json.loads(archive.read("images.json"))
        assert len(listing) == 4
        for entry in listing:
            assert {"id", "src", "path", "metadata"} <= set(entry)
            assert archive.read(entry["path"])
    assert caller.get("/datasets/document/zip/absent/download").status_code == 404
    assert caller.get("/datasets/document/zip/good/regions").status_code == 404


def dataset_of(caller: Caller, tracking_id: str) -> str:
    view = caller.get(f"/dti/api/experiments/{tracking_id}")
    if view.status_code == 403:  # the interface of its own takes no HTTP Basic
        headers = {"Authorization": f"token {caller.api.token}"}
        view = httpx.get(f"{caller.api.base}/dti/api/experiments/{tracking_id}", headers=headers)
    return str(view.json()["dataset"])


@pytest.mark.parametrize(
    "generation", ["form", "use_sprites", "json", "documents", "objects", "spread", "doubled slash"]
)
def test_every_generation_is_accepted_and_can_cancel(caller: Caller, front: Any, generation: str) -> None:
    flat = {**FLAT, "epochs": 400}
    url = f"{front.url}/media/good.zip"
    old = {"dataset_url": url, "dataset_id": "d", "parameters": json.dumps(flat)}
    documents = [{"type": "zip", "src": url, "uid": "good"}]
    bodies: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "form": (old, {"form": True}),
        "use_sprites": ({**old, "parameters": '{"n_prototypes": 2, "use_sprites": false}'}, {"form": True}),
        "json": (old, {}),
        "documents": ({"documents": documents, "parameters": json.dumps(flat)}, {}),
        "objects": ({"documents": json.dumps(documents), "parameters": flat}, {}),
        "spread": ({"documents": documents, **flat}, {}),
        "doubled slash": (old, {"path": "//clustering/start"}),
    }
    body, options = bodies[generation]
    id, tracking_id = caller.begin(body, **options)
    cancelled = caller.post(f"/clustering/{tracking_id}/cancel")
    assert (cancelled.status_code, cancelled.json()) == (200, {"tracking_id": tracking_id})
    end = time.monotonic() + 60
    while caller.get(f"/clustering/{tracking_id}/status").json()["log"]["status"] != "CANCELLED":
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(1.0)
    assert not set(front.tasks[id].events) & {"SUCCESS", "ERROR"}


@pytest.mark.parametrize(
    ("name", "words"), [("empty", "no images"), ("broken", "zip"), ("absent", "nothing behind")]
)
def test_a_bad_dataset_is_told_as_an_error(caller: Caller, front: Any, name: str, words: str) -> None:
    body = {"dataset_url": f"{front.url}/media/{name}.zip", "dataset_id": "d", "parameters": json.dumps(FLAT)}
    id, tracking_id = caller.begin(body, form=True)
    task = front.wait(id)
    assert task.status == "ERROR"
    assert task.events[-1] == "ERROR"
    assert words in task.error.lower()
    assert "Traceback" not in task.error
    log = caller.get(f"/clustering/{tracking_id}/status").json()["log"]
    assert (log["status"], log["errors"]) == ("ERROR", [task.error])
    assert caller.get(f"/clustering/{tracking_id}/result").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"parameters": json.dumps(FLAT)},
        {"documents": [{"type": "zip"}], "parameters": json.dumps(FLAT)},
        {"documents": [{"type": "zip", "src": "file:///etc/passwd"}]},
        {"documents": [{"type": "zip", "src": "http://10.0.0.1/a.zip"}]},
        {"documents": [{"type": "../../x", "src": "https://example.org/a.zip"}]},
        {"dataset_url": "https://example.org/a.zip", "parameters": "{"},
        {"dataset_url": "https://example.org/a.zip", "parameters": '{"n_prototypes": -3}'},
        {"dataset_url": "https://example.org/a.zip", "notify_url": "http://169.254.169.254/latest"},
        {"dataset_url": "https://example.org/a.zip", "notify_url": "gopher://x/"},
    ],
)
def test_a_refusal_is_short_and_readable(caller: Caller, body: dict[str, Any]) -> None:
    answer = caller.post("/clustering/start", json=body)
    assert 400 <= answer.status_code < 500
    assert answer.headers["Content-Type"] == "application/json"
    assert "tracking_id" not in answer.json()
    assert answer.json()["error"]
    assert len(answer.text) < 2000
    assert "Traceback" not in answer.text
    broken = caller.post("/clustering/start", content=b"{", headers={"Content-Type": "application/json"})
    assert broken.status_code == 400


def test_unknown_tasks(caller: Caller) -> None:
    id = str(uuid.uuid4())
    status = caller.get(f"/clustering/{id}/status")
    assert status.status_code == 200
    assert status.json()["tracking_id"] == id
    assert isinstance(status.json()["log"], dict)
    assert caller.post(f"/clustering/{id}/cancel").json() == {"tracking_id": id}
    assert caller.post(f"/{id}/cancel").json() == {"tracking_id": id}
    assert caller.get(f"/clustering/{id}/result").status_code == 404


def test_monitoring(caller: Caller) -> None:
    monitor = caller.get("/clustering/monitor")
    assert monitor.headers["Content-Type"] == "application/json"
    assert monitor.json()["total_size"] > 0
    for queue in monitor.json()["queues"].values():
        assert {"name", "size"} <= set(queue)
    assert caller.get("/clustering/qsizes").json()["queues"].keys() == monitor.json()["queues"].keys()
    cleared = caller.post("/clustering/monitor/clear", data={"days_before": "30"})
    assert cleared.json() == {"cleared_runs": 0, "cleared_datasets": 0, "cleared_results": 0}
    assert caller.post("/clustering/monitor/clear", data={"days_before": "soon"}).status_code == 400
    for path in ("/clustering/monitor/clear/absent", "/clustering/monitor/clear/absent/"):
        assert caller.post(path).json()["cleared_runs"] == 0
    for id in ("%2e%2e", "..%2f..", "%2e%2e%2f"):
        assert caller.post(f"/clustering/monitor/clear/{id}/").status_code in (200, 404)
    assert caller.get("/dti/api/health").json()["status"] == "ok"
    assert caller.get("/test").json() == {"response": "ok"}


def test_a_task_is_cleared_when_it_has_ended(caller: Caller, front: Any) -> None:
    body = {"dataset_url": f"{front.url}/media/broken.zip", "dataset_id": "d", "parameters": json.dumps(FLAT)}
    id, tracking_id = caller.begin(body)
    front.wait(id)
    cleared = caller.post(f"/clustering/monitor/clear/{tracking_id}").json()
    assert (cleared["cleared_runs"], cleared["cleared_datasets"]) == (1, 1)
    assert caller.get(f"/clustering/{tracking_id}/status").json()["log"]["status"] == "ERROR"


ROUTES = [
    ("POST", "/clustering/start"),
    ("GET", "/clustering/x/status"),
    ("POST", "/clustering/x/cancel"),
    ("GET", "/clustering/x/result"),
    ("GET", "/clustering/monitor"),
    ("GET", "/clustering/qsizes"),
    ("POST", "/clustering/monitor/clear"),
    ("POST", "/clustering/monitor/clear/x"),
    ("GET", "/datasets/dataset/x"),
    ("GET", "/datasets/document/zip/x"),
    ("GET", "/datasets/document/zip/x/download"),
    ("GET", "/test"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_token_in_three_places_and_nothing_without_it(caller: Caller, method: str, path: str) -> None:
    token = caller.api.token
    address = caller.api.base + path
    doubled = caller.api.base + "/" + path
    for url in (address, doubled):
        for options in (
            {},
            {"auth": ("dti", "wrong")},
            {"headers": {"Authorization": "Basic ???"}},
            {"params": {"token": "x"}},
        ):
            answer = httpx.request(method, url, **options)
            assert answer.status_code == 403
            assert answer.json()["error"]
        for options in (
            {"auth": ("dti", token)},
            {"auth": ("", token)},
            {"headers": {"Authorization": f"token {token}"}},
            {"params": {"token": token}},
        ):
            assert httpx.request(method, url, **options).status_code != 403
