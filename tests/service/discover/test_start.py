"""The body of a start request in the forms of all generations of fronts."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import urlencode

import pytest

from dti_service.discover.start import Start, check_notebook, read_body, read_start, readable
from dti_service.errors import BadRequest, InvalidRequest
from dti_service.handlers.base import parse_json

FRONT = "http://front:8000"
TASK = "7a4d7f0e-5a51-4c39-9a3c-2f1d1f6a9a10"
ZIP = f"{FRONT}/media/datasets/{TASK}.zip"
WATCH = f"{FRONT}/dti/{TASK}/watch?token=0123456789abcdef0123456789abcdef"
FLAT = {"n_prototypes": 10, "background_option": "0_dti", "transformation_sequence": "identity_color"}
NESTED = {
    "n_prototypes": 10,
    "empty_cluster_threshold": 0.025,
    "lr": 0.0005,
    "source": "data",
    "transformation_sequence": {
        "transforms": "identity_linearcolor_affine",
        "iterations": 3000,
        "milestones": [1000, 2000],
        "grid_size": 4,
    },
    "background_option": {"use_sprites": False, "freeze": [False, False, False], "init": ["gaussian"]},
}
CROPS = [
    {
        "doc_uid": "d",
        "source": "a.png",
        "crops": [{"crop_id": "c1", "relative": {"x1": 0, "y1": 0, "x2": 1, "y2": 1}}],
    }
]
DOCUMENTS = [{"type": "zip", "src": ZIP, "uid": f"front^media^datasets^{TASK}zip"}]

OLD = {"dataset_url": ZIP, "dataset_id": TASK, "notify_url": WATCH}
G0 = {**OLD, "clustering_id": TASK, "parameters": '{"n_prototypes": 10, "use_sprites": true}'}
G1 = {**OLD, "experiment_id": TASK, "parameters": json.dumps(FLAT)}
G2B = {"experiment_id": TASK, "notify_url": WATCH, "documents": DOCUMENTS, "parameters": json.dumps(FLAT)}
G3 = {**G2B, "parameters": json.dumps(NESTED), "crops": CROPS}
SPREAD = {"experiment_id": TASK, "notify_url": WATCH, "documents": DOCUMENTS, **FLAT}
FORM = "application/x-www-form-urlencoded"


def read(values: dict[str, Any], content_type: str = "application/json") -> Start:
    body = urlencode(values) if content_type.startswith(FORM) else json.dumps(values)
    return read_start(read_body(content_type, body.encode(), parse_json), parse_json)


@pytest.mark.parametrize("content_type", [FORM, FORM + "; charset=utf-8", "application/json", ""])
def test_old_generations_by_form_or_json(content_type: str) -> None:
    for values in (G0, G1):
        start = read(values, content_type)
        assert start.experiment_id == TASK
        assert start.documents == [{"type": "zip", "src": ZIP}]
        assert start.notify_url == WATCH
        assert start.crops is None
        assert start.echo["dataset_id"] == TASK
    assert read(G0, content_type).parameters == {"n_prototypes": 10, "use_sprites": True}
    assert read(G0, content_type).echo["clustering_id"] == TASK
    assert read(G1, content_type).parameters == FLAT


def test_documents_and_nested_parameters() -> None:
    assert read(G2B).documents == DOCUMENTS
    assert read(G2B).parameters == FLAT
    start = read(G3)
    assert start.parameters == NESTED
    assert start.crops == CROPS
    assert start.dataset == {"documents": DOCUMENTS, "crops": CROPS, "unreadable": "skip"}


@pytest.mark.parametrize(
    "names", [("documents",), ("parameters",), ("crops",), ("documents", "crops", "parameters")]
)
def test_values_or_their_json_text(names: tuple[str, ...]) -> None:
    plain = {**G3, "parameters": NESTED}
    texts = {name: json.dumps(plain[name]) for name in names}
    assert read({**plain, **texts}) == read(plain) == read(G3)


def test_parameters_spread_beside_the_rest() -> None:
    assert read(SPREAD).parameters == FLAT


def test_what_may_be_missing() -> None:
    start = read({"dataset_url": ZIP})
    assert uuid.UUID(start.experiment_id)
    assert start.notify_url is None
    assert start.parameters == {}
    empty = read({**G1, "notify_url": "", "experiment_id": None})
    assert empty.notify_url is None
    assert uuid.UUID(empty.experiment_id)


def test_addresses_are_taken_as_they_are() -> None:
    doubled = "https://host//dti/x?token=%20a"
    assert read({**G1, "notify_url": doubled}).notify_url == doubled
    assert (
        read({**G1, "dataset_url": "http://host//media/a%20b.zip"}).documents[0]["src"]
        == "http://host//media/a%20b.zip"
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"documents": None}, "documents"),
        ({"documents": []}, "documents"),
        ({"documents": "{"}, "documents"),
        ({"documents": {"type": "zip"}}, "documents"),
        ({"documents": ["http://a/b.zip"]}, "documents[0]"),
        ({"documents": [{"type": "folder", "src": "/etc"}]}, "documents[0].type"),
        ({"documents": [{"type": "upload", "files": []}]}, "documents[0].type"),
        ({"documents": [{"src": ZIP}]}, "documents[0].type"),
        ({"crops": "x"}, "crops"),
        ({"crops": {}}, "crops"),
        ({"parameters": "n=3"}, "parameters"),
        ({"parameters": [1]}, "parameters"),
        ({"parameters": {"n_prototypes": 0}}, "parameters.n_prototypes"),
        ({"parameters": {"n_prototypes": "many"}}, "parameters.n_prototypes"),
        ({"parameters": {"transformation_sequence": "identity_magic"}}, "parameters.transformation_sequence"),
        ({"parameters": {"background_option": "5_none"}}, "parameters.background_option"),
        ({"parameters": {"nonsense": 1}}, "parameters.nonsense"),
        ({"parameters": {**NESTED, "lr": -1}}, "parameters.lr"),
        ({"experiment_id": ["a"]}, "experiment_id"),
        ({"experiment_id": "a\nb"}, "experiment_id"),
        ({"experiment_id": "a" * 201}, "experiment_id"),
        ({"notify_url": 3}, "notify_url"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read({**G2B, **change})
    assert field in [error["field"] for error in refused.value.errors]
    assert field in readable(str(refused.value), refused.value.errors)


def test_all_problems_at_once() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read({"documents": [{"type": "x"}, 3], "parameters": {"n_prototypes": 0, "lr": "fast"}})
    assert len(refused.value.errors) == 4


@pytest.mark.parametrize("body", [b"[1]", b"{", b'"text"', b"\xff"])
def test_bodies_that_are_no_object(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_body("application/json", body, parse_json)


def test_the_notebook_is_checked_like_a_front() -> None:
    assert check_notebook({"request": FLAT}) == []
    assert check_notebook({}) == []
    assert check_notebook({"request": {"n_prototypes": 0}})[0][0] == "request.n_prototypes"
