"""IIIF manifests of both versions, as libraries publish them and as nobody should."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.limits import Limits
from dti_service.datasets.prepare import Datasets
from dti_service.datasets.request import parse_request
from dti_service.datasets.sources.iiif import facts_of, image_addresses, is_iiif, read_manifest, text_of
from dti_service.naming import documents_name

SRC = "https://library.example/manifest.json"


def v2(*images: dict[str, Any], **more: Any) -> dict[str, Any]:
    canvases = [
        {"@id": f"https://c/{i}", "@type": "sc:Canvas", "label": f"f. {i}r", "images": [{"resource": image}]}
        for i, image in enumerate(images, 1)
    ]
    return {
        "@context": "http://iiif.io/api/presentation/2/context.json",
        "@type": "sc:Manifest",
        "label": "A book",
        "sequences": [{"canvases": canvases}],
        **more,
    }


def v3(*bodies: Any, **more: Any) -> dict[str, Any]:
    canvases = [
        {
            "id": f"https://c/{i}",
            "type": "Canvas",
            "label": {"none": [f"f. {i}r"]},
            "items": [
                {
                    "type": "AnnotationPage",
                    "items": [{"type": "Annotation", "motivation": "painting", "body": body}],
                }
            ],
        }
        for i, body in enumerate(bodies, 1)
    ]
    return {
        "@context": "http://iiif.io/api/presentation/3/context.json",
        "type": "Manifest",
        "label": {"fr": ["Un livre"]},
        "items": canvases,
        **more,
    }


def service2(address: str) -> dict[str, Any]:
    return {
        "@context": "http://iiif.io/api/image/2/context.json",
        "@id": address,
        "profile": "http://iiif.io/api/image/2/level1.json",
    }


def service3(address: str) -> dict[str, Any]:
    return {"id": address, "type": "ImageService3", "profile": "level1"}


def prepare(datasets: Datasets, url: str, **more: Any) -> Any:
    body = {"documents": [{"type": "iiif", "src": url, "uid": "book"}], **more}
    return datasets.prepare(parse_request(body, datasets.policy))


def serve(site: Any, manifest: Any, path: str = "/manifest") -> str:
    return site.add(path, json.dumps(manifest).encode(), "application/ld+json", etag='"m"')


# -- over a real server ------------------------------------------------------------------------------------------


def test_version_2_through_the_image_api(datasets: Datasets, site: Any, make: Any) -> None:
    site.add("/iiif/p1/info.json", json.dumps({"width": 40, "height": 30}).encode(), "application/json")
    site.add("/iiif/p1/full/full/0/default.jpg", make.image("JPEG"), "image/jpeg")
    image = {
        "@id": site.url + "/p1.jpg",
        "@type": "dctypes:Image",
        "service": service2(site.url + "/iiif/p1"),
    }
    dataset = prepare(datasets, serve(site, v2(image)))
    record = datasets.catalogue.images(dataset.id)[0]
    assert record.file == "0001_f. 1r.jpg"
    assert record.source["page"] == 1
    assert record.source["label"] == "f. 1r"
    assert dataset.documents[0]["title"] == "A book"
    assert dataset.name == "A book"  # nobody gave another one
    assert "/p1.jpg" not in site.paths()


@pytest.mark.parametrize(
    ("manifest", "facts"),
    [
        (
            {
                "metadata": [
                    {"label": {"fr": ["Titre"]}, "value": {"fr": ["Un livre"]}},
                    {
                        "label": {"en": ["Date"], "fr": ["Date de publication"]},
                        "value": {"none": ["<b>1492</b>"]},
                    },
                    {"label": [{"@value": "Cote", "@language": "fr"}], "value": "RES-H-12"},
                    {"label": "Date", "value": "1500"},
                ]
            },
            {"date": "1492", "shelfmark": "RES-H-12"},
        ),
        ({"navDate": "1480-01-01T00:00:00Z"}, {"date": "1480"}),
        ({"navDate": "1480-03-05T00:00:00Z", "metadata": "none"}, {"date": "1480-03-05"}),
        ({"navDate": 5, "metadata": [{"label": None}, 7, {"label": {"en": 3}, "value": {}}]}, {}),
    ],
)
def test_date_and_shelfmark_of_a_manifest(manifest: dict[str, Any], facts: dict[str, str]) -> None:
    assert facts_of(manifest) == facts


def test_a_dataset_that_nobody_named() -> None:
    def name(*documents: dict[str, Any]) -> str:
        return documents_name(documents)

    assert name({"src": "https://a.org/iiif/ark:/1/b6/manifest.json", "title": None}) == "b6"
    assert name({"src": "https://a.org/manifest.json", "title": ""}) == "a.org"
    assert name({"src": "https://a.org/x.zip"}) == "x.zip"
    assert name({"src": "0" * 64}) == ""
    assert name({"src": "https://a.org/1.zip"}, {"src": "https://a.org/2.zip"}) == ""


def test_version_3_asks_for_a_bounded_size(datasets: Datasets, site: Any, make: Any) -> None:
    info = {
        "@context": "http://iiif.io/api/image/3/context.json",
        "width": 9000,
        "height": 6000,
        "maxWidth": 2000,
    }
    site.add("/iiif/p1/info.json", json.dumps(info).encode(), "application/json")
    site.add("/iiif/p1/full/2000,1333/0/default.jpg", make.image("JPEG", (200, 133)), "image/jpeg")
    body = {"id": site.url + "/p1.jpg", "type": "Image", "service": [service3(site.url + "/iiif/p1/")]}
    dataset = prepare(datasets, serve(site, v3(body)))
    assert datasets.catalogue.images(dataset.id)[0].width == 200
    assert dataset.documents[0]["title"] == "Un livre"


def test_plain_images_choices_and_relative_addresses(datasets: Datasets, site: Any, make: Any) -> None:
    for name in ("a", "b", "c"):
        site.add(f"/{name}.png", make.image(), "image/png")
    choice = {"type": "Choice", "items": [{"id": "b.png", "type": "Image"}, {"id": "x.png", "type": "Image"}]}
    specific = {
        "type": "SpecificResource",
        "source": {"id": site.url + "/c.png#xywh=0,0,1,1", "type": "Image"},
    }
    manifest = v3({"id": "/a.png", "type": "Image"}, choice, specific, {"id": "/sound.mp3", "type": "Sound"})
    dataset = prepare(datasets, serve(site, manifest))
    assert [record.source["page"] for record in datasets.catalogue.images(dataset.id)] == [1, 2, 3]
    assert sorted(site.paths()) == ["/a.png", "/b.png", "/c.png", "/manifest"]


def test_service_that_is_down_falls_back_to_the_image(datasets: Datasets, site: Any, make: Any) -> None:
    image = {"@id": site.add("/p1.jpg", make.image("JPEG")), "service": service2(site.url + "/iiif/p1")}
    dataset = prepare(datasets, serve(site, v2(image)))
    assert dataset.counts["images"] == 1


def test_second_preparation_asks_only_whether_anything_changed(
    datasets: Datasets, site: Any, make: Any
) -> None:
    images = [{"@id": site.add(f"/{i}.png", make.image(colour=(i, 0, 0)))} for i in range(3)]
    url = serve(site, v2(*images))
    first = prepare(datasets, url)
    site.requests.clear()
    assert prepare(datasets, url).id == first.id
    assert site.paths() == ["/manifest"]  # a 304; the images of the service are trusted for a day
    site.add("/manifest", json.dumps(v2(*images[:2])).encode(), etag='"changed"')
    assert prepare(datasets, url).counts["images"] == 2


def test_only_pages_with_crops_are_read(datasets: Datasets, site: Any, make: Any) -> None:
    images = [
        {"@id": site.add(f"/{i}.png", make.image()), "service": service2(f"{site.url}/iiif/{i}")}
        for i in range(5)
    ]
    box = {"relative": {"x1": 0.0, "y1": 0.0, "x2": 0.5, "y2": 1.0}, "crop_id": "left"}
    crops = [{"doc_uid": "book", "source": "3", "crops": [box]}]
    dataset = prepare(datasets, serve(site, v2(*images)), crops=crops)
    record = datasets.catalogue.images(dataset.id)[0]
    assert (record.file, record.width, record.height) == ("left.png", 20, 30)
    assert record.source["page"] == 4
    assert record.source["crop"] == {"id": "left", "box": [0.0, 0.0, 0.5, 1.0], "pixels": [0, 0, 20, 30]}
    assert not any(path.startswith(("/0", "/1", "/2", "/4")) for path in site.paths())


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ([], "not a IIIF manifest"),
        ("text", "not a IIIF manifest"),
        ({}, "not a IIIF manifest"),
        ({"sequences": "x"}, "no image"),
        ({"sequences": [{"canvases": [{"images": [{"resource": None}]}]}]}, "no image"),
        ({"items": [{"items": [{"items": [{"body": {"id": 5}}]}]}]}, "no image"),
        ({"type": "Collection", "items": []}, "collection"),
        ({"@type": "sc:Collection", "manifests": []}, "collection"),
        (v2({"@id": "http://10.0.0.1/a.png"}), "no public address"),
        (v2({"@id": "file:///etc/passwd"}), "scheme"),
        (v3({"id": "http://169.254.169.254/", "type": "Image"}), "no public address"),
        (
            v3({"id": "https://ok.example/", "type": "Image", "service": service3("http://10.0.0.1/s")}),
            "no public",
        ),
    ],
)
def test_manifest_that_is_refused(
    datasets: Datasets, site: Any, leftovers: Any, manifest: Any, reason: str
) -> None:
    with pytest.raises(GuardError, match=reason):
        prepare(datasets, serve(site, manifest))
    assert leftovers() == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not valid JSON"),
        (b"<html></html>", "web page"),
        (b"{" * 100, "not valid JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[" * 100 + b"]" * 100, "nested too deeply"),
        (b"[" + b"[]," * 2_100_000 + b"[]]", "values"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b'{"label": "\\ud800", "items": []}', "half a character"),
        (b" " * ((32 << 20) + 1), "larger than"),
    ],
    ids=["empty", "html", "open", "deep", "deeper", "many", "nan", "digits", "bytes", "surrogate", "large"],
)
def test_body_that_is_no_manifest(
    datasets: Datasets, site: Any, leftovers: Any, body: bytes, reason: str
) -> None:
    with pytest.raises(GuardError, match=reason):
        prepare(datasets, site.add("/m", body, "application/json"))
    assert leftovers() == []


# -- the pieces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "version", "first"),
    [
        (None, 2, "full/full"),
        (None, 3, "full/max"),
        ({"width": 100, "height": 80}, 2, "full/full"),
        ({"width": 6000, "height": 3000}, 2, "full/3000,"),
        ({"width": 3000, "height": 6000}, 3, "full/1500,3000"),
        ({"width": 4000, "height": 4000, "maxArea": 1_000_000}, 3, "full/1000,1000"),
        ({"width": 4000, "height": 2000, "profile": ["level1", {"maxWidth": 800}]}, 2, "full/800,"),
        ({"width": 4000, "height": 2000, "maxHeight": 500}, 3, "full/1000,500"),
        (
            {"width": 6000, "height": 6000, "profile": "level0", "sizes": [{"width": 750, "height": 750}]},
            3,
            "full/750,750",
        ),
        ({"width": 6000, "height": 6000, "profile": "level0"}, 3, "full/max"),
        ({"width": "x", "height": -3, "sizes": 7, "profile": {}}, 2, "full/full"),
    ],
)
def test_size_that_is_asked_for(info: Any, version: int, first: str) -> None:
    addresses = image_addresses("https://s", version, info, Limits())
    assert addresses[0] == f"https://s/{first}/0/default.jpg"


def test_version_1_calls_the_quality_native() -> None:
    assert image_addresses("https://s", 1, None, Limits())[0] == "https://s/full/full/0/native.jpg"


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("f. 1r", "f. 1r"),
        (7, "7"),
        ({"@value": "a", "@language": "fr"}, "a"),
        ({"fr": ["un"], "en": ["one"]}, "un"),
        ([{"@value": "first"}, "second"], "first"),
        ({"none": [""]}, ""),
        (None, ""),
        ("two\n lines ", "two lines"),
        ("x" * 999, "x" * 200),
    ],
)
def test_labels_in_all_their_forms(label: Any, text: str) -> None:
    assert text_of(label) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "@id",
                    "id",
                    "type",
                    "@type",
                    "items",
                    "sequences",
                    "canvases",
                    "images",
                    "resource",
                    "body",
                    "service",
                    "label",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    is_iiif(value)
    try:
        _, pages = read_manifest(value, SRC)
    except GuardError:
        return
    assert pages
    for page in pages:
        assert page.image
        assert "\n" not in page.name


@settings(max_examples=200)
@given(st.data())
def test_manifest_with_one_value_replaced_is_read_or_refused(data: Any) -> None:
    """Real manifests with one wrong value: what is left of them is still read."""
    manifest = copy.deepcopy(
        data.draw(
            st.sampled_from(
                [
                    v2(
                        {"@id": "https://i/1.jpg", "service": service2("https://i/1")},
                        {"@id": "https://i/2.jpg"},
                    ),
                    v3({"id": "https://i/1.jpg", "type": "Image", "service": [service3("https://i/1")]}),
                ]
            )
        )
    )
    place: Any = manifest
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = place[key]
    try:
        read_manifest(manifest, SRC)
    except GuardError:
        return


@given(JSON, st.integers(0, 3))
def test_any_info_gives_an_address(info: Any, version: int) -> None:
    for address in image_addresses("https://s", version, info, Limits()):
        assert address.startswith("https://s/full/")
