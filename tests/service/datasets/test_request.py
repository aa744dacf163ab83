"""What may be asked for, what crops become, and names that stay apart."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.names import UniqueNames, document_uid, member_parts, safe_name
from dti_service.datasets.guard.policy import Policy
from dti_service.datasets.prepare import Datasets
from dti_service.datasets.request import DatasetRequest, parse_request
from dti_service.errors import InvalidRequest

URL = "https://front.example/media/d.zip"
DOCUMENT = {"type": "zip", "src": URL, "uid": "d"}


def crops(*boxes: dict[str, Any], source: str = "a.png", uid: str = "d") -> list[Any]:
    cuts = [{"crop_id": f"c{number}", "relative": box} for number, box in enumerate(boxes)]
    return [{"doc_uid": uid, "source": source, "crops": cuts}]


# -- requests ----------------------------------------------------------------------------------------------------


def test_documents_and_crops_as_json_text() -> None:
    value = {"documents": [DOCUMENT], "crops": crops({"x1": 0, "y1": 0, "x2": 1, "y2": 0.5})}
    text = {name: json.dumps(item) for name, item in value.items()}
    assert parse_request(text, Policy()) == parse_request(value, Policy())


def test_request_survives_its_file() -> None:
    body = {
        "documents": [DOCUMENT],
        "crops": crops({"x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4}),
        "name": "n",
    }
    request = parse_request(body, Policy(), owner="me")
    again = DatasetRequest.from_json(json.loads(json.dumps(request.to_json())))
    assert again == request
    assert again.key == request.key


def test_key_tells_requests_apart() -> None:
    def key(**changes: Any) -> str:
        owner = changes.pop("owner", "")
        return parse_request({"documents": [DOCUMENT], **changes}, Policy(), owner=owner).key

    keys = [
        key(),
        key(owner="else"),
        key(unreadable="skip"),
        key(documents=[{**DOCUMENT, "src": URL + "2"}]),
        key(crops=crops({"x1": 0, "y1": 0, "x2": 1, "y2": 1})),
        key(crops=crops({"x1": 0, "y1": 0, "x2": 1, "y2": 0.9})),
    ]
    assert len(set(keys)) == len(keys)
    assert key(name="another name") == key()


def test_all_problems_are_told_at_once() -> None:
    body = {
        "documents": [
            {"type": "zip"},
            {"type": "exe", "src": "x"},
            7,
            {"type": "zip", "src": URL, "uid": ""},
        ],
        "crops": [{"doc_uid": "nobody", "source": "a", "crops": []}],
        "name": "a\nb",
        "unreadable": "maybe",
        "colour": "red",
    }
    with pytest.raises(InvalidRequest) as caught:
        parse_request(body, Policy())
    fields = {error["field"] for error in caught.value.errors}
    assert fields == {
        "colour", "name", "unreadable", "documents[0].src", "documents[1].type", "documents[2]", "documents[3].uid",
        "crops[0].doc_uid",
    }  # fmt: skip


def test_uid_is_made_as_the_fronts_make_it() -> None:
    assert document_uid("http://front/media/datasets/12-34.zip") == "front^media^datasets^12-34zip"
    assert document_uid(" https://www.a.b:80/x y%20z ") == "ab80^xy20z"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "src",
                    "uid",
                    "doc_uid",
                    "source",
                    "crops",
                    "relative",
                    "crop_id",
                    "x1",
                    "x2",
                    "files",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(
    st.fixed_dictionaries({}, optional={"documents": JSON, "crops": JSON, "name": JSON, "unreadable": JSON})
)
def test_any_body_is_a_request_or_refused_with_fields(body: dict[str, Any]) -> None:
    try:
        request = parse_request(body, Policy())
    except InvalidRequest as error:
        fields = [item["field"] for item in error.errors]
        reasons = [item["reason"] for item in error.errors]
    else:
        fields, reasons = ["none"], ["none"]
        assert DatasetRequest.from_json(request.to_json()) == request
    assert fields
    assert all(fields)
    assert all(reasons)


# -- crops -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ({"x1": 0.5, "y1": 0, "x2": 0.5, "y2": 1}, "no area"),
        ({"x1": 0.6, "y1": 0, "x2": 0.5, "y2": 1}, "no area"),
        ({"x": 0.5, "y": 0, "width": 0, "height": 1}, "no area"),
        ({"x": 0.5, "y": 0, "width": -0.2, "height": 1}, "no area"),
        ({"x1": 0, "y1": 0, "x2": 1.2, "y2": 1}, "outside"),
        ({"x1": -0.1, "y1": 0, "x2": 1, "y2": 1}, "outside"),
        ({"x1": 10, "y1": 20, "x2": 300, "y2": 400}, "outside"),
        ({"x1": 0, "y1": 0, "x2": 10**400, "y2": 1}, "outside"),
        ({"x1": "0", "y1": 0, "x2": 1, "y2": 1}, "numbers"),
        ({"x1": 0, "y1": 0, "x2": True, "y2": 1}, "numbers"),
        ({"x1": 0, "y1": 0, "x2": float("nan"), "y2": 1}, "numbers"),
        ({"x1": 0, "y1": 0}, "numbers"),
        ({}, "numbers"),
    ],
)
def test_crop_that_cannot_be_cut(box: dict[str, Any], reason: str) -> None:
    body = {"documents": [DOCUMENT], "crops": crops({"x1": 0, "y1": 0, "x2": 1, "y2": 1}, box)}
    with pytest.raises(InvalidRequest) as caught:
        parse_request(body, Policy())
    (error,) = caught.value.errors
    assert error["field"] == "crops[0].crops[1].relative"
    assert reason in error["reason"]
    assert "c1" in error["reason"]
    skipped = parse_request({**body, "unreadable": "skip"}, Policy())
    assert len(skipped.crops["d"]["a.png"]) == 1  # type: ignore[index]
    assert reason in skipped.problems[0][1]


def quarters(make: Any) -> bytes:
    """40 x 20 pixels: red, green over blue, white."""
    image = make.picture((40, 20), (255, 0, 0))
    for box, colour in (((20, 0), (0, 255, 0)), ((0, 10), (0, 0, 255)), ((20, 10), (255, 255, 255))):
        image.paste(Image.new("RGB", (20, 10), colour), box)
    import io

    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def cut(
    datasets: Datasets, site: Any, members: bytes, given: list[Any], **more: Any
) -> tuple[Any, dict[str, Any]]:
    url = site.add("/d.zip", members)
    body = {"documents": [{"type": "zip", "src": url, "uid": "d"}], "crops": given, **more}
    dataset = datasets.prepare(parse_request(body, datasets.policy))
    folder = datasets.catalogue.images_folder(dataset.id)
    return dataset, {r.file: Image.open(folder / r.file) for r in datasets.catalogue.images(dataset.id)}


def test_crops_are_cut_out_of_the_pixels(datasets: Datasets, site: Any, make: Any) -> None:
    given = crops({"x1": 0.5, "y1": 0, "x2": 1, "y2": 0.5}, {"x": 0, "y": 0.5, "width": 0.25, "height": 0.5})
    dataset, images = cut(datasets, site, make.zip({"a.png": quarters(make), "b.png": make.image()}), given)
    assert {name: (image.size, image.getpixel((0, 0))) for name, image in images.items()} == {
        "c0.png": ((20, 10), (0, 255, 0)),
        "c1.png": ((10, 10), (0, 0, 255)),
    }
    table = (datasets.catalogue.directory(dataset.id) / "sources.csv").read_text().splitlines()
    assert table == ["path,document,page,label,crop", "c0.png,d,,,c0", "c1.png,d,,,c1"]


@pytest.mark.parametrize("source", ["folder/a.png", "folder+a.png", "a.png", "folder/a", "a", "a.jpg"])
def test_ways_to_name_an_image(datasets: Datasets, site: Any, make: Any, source: str) -> None:
    given = crops({"x1": 0, "y1": 0, "x2": 1, "y2": 1}, source=source)
    dataset, _ = cut(datasets, site, make.zip({"folder/a.png": quarters(make)}), given)
    assert dataset.counts["images"] == 1


def test_crop_ids_are_names_not_paths(datasets: Datasets, site: Any, make: Any) -> None:
    box = {"x1": 0, "y1": 0, "x2": 1, "y2": 1}
    ids = ["../../evil", "a/b", "C:\\x", "same", "SAME", "", None, 7, "p1_10,20,30,40.jpg", "con"]
    entries = [{"relative": box, **({} if name is None else {"crop_id": name})} for name in ids if name != ""]
    given = [{"doc_uid": "d", "source": "a.png", "crops": entries}]
    _, images = cut(datasets, site, make.zip({"a.png": quarters(make)}), given)
    assert list(images) == [
        "__.._evil.png", "a_b.png", "C__x.png", "same.png", "SAME-2.png", "a_6.png", "7.png", "p1_10,20,30,40.png",
        "_con.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (crops({"x1": 0, "y1": 0, "x2": 1, "y2": 1}, source="none.png"), "not there"),
        (crops({"x1": 0, "y1": 0, "x2": 1, "y2": 1}, source="x.png"), "2 images"),
        (crops({"x1": 0, "y1": 0, "x2": 0.001, "y2": 0.001}), "smaller than one pixel"),
    ],
)
def test_crops_that_do_not_fit_the_images(
    datasets: Datasets, site: Any, make: Any, leftovers: Any, given: list[Any], reason: str
) -> None:
    members = make.zip({"a.png": make.image(), "1/x.png": make.image(), "2/x.png": make.image()})
    with pytest.raises(GuardError, match=reason):
        cut(datasets, site, members, given)
    assert leftovers() == []


def test_crops_of_rotated_and_deep_images_are_as_seen(datasets: Datasets, site: Any, make: Any) -> None:
    import io

    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: the left edge becomes the top
    stream = io.BytesIO()
    Image.open(io.BytesIO(quarters(make))).save(stream, "PNG", exif=exif.tobytes())
    given = crops({"x1": 0, "y1": 0, "x2": 1, "y2": 0.5})
    _, images = cut(datasets, site, make.zip({"a.png": stream.getvalue()}), given)
    image = images["c0.png"]
    assert image.size == (20, 20)
    assert image.getpixel((0, 0)) == (0, 0, 255)
    assert image.getpixel((19, 0)) == (255, 0, 0)


# -- names -------------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8"), max_size=300) | st.sampled_from(
    [
        "..",
        ".",
        "con",
        "a/../b",
        "\0",
        "a\u202eb",
        "CON.png",
        "x" * 300 + ".png",
        "é",
        "e\u0301",
        "ﬁ",
        "fi",
        "ß",
        "ss",
    ]
)


@given(NAMES)
def test_safe_names_are_safe(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert len(safe.encode()) <= 130
    assert not set(safe) & set('/\\\0<>:"|?*')
    assert not safe.startswith(".")
    assert safe == safe.rstrip(". ")
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in safe)
    assert safe.split(".")[0].lower() not in ("con", "prn", "aux", "nul")


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=12))
def test_unique_names_differ_on_every_file_system(names: list[list[str]]) -> None:
    unique = UniqueNames()
    paths = [unique.take(*parts) for parts in names]

    def folded(path: Any) -> str:
        return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", str(path)).casefold())

    keys = [folded(path) for path in paths]
    assert len(set(keys)) == len(keys)
    folders = {folded(parent) for path in paths for parent in path.parents if str(parent) != "."}
    assert not folders & set(keys)
    assert all(".." not in path.parts and not path.is_absolute() for path in paths)


@given(st.text(max_size=80))
def test_members_stay_below_their_archive(name: str) -> None:
    try:
        parts = member_parts(name, "a.zip")
    except GuardError:
        return
    assert ".." not in parts
    assert all(parts)
    assert not any("/" in part or "\\" in part for part in parts)
