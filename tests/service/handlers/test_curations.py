"""Readings over REST: versions are checked, nothing raw is touched, and every form holds the same facts."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from dti_service.curations import COLUMNS
from dti_service.experiment import Experiment

Make = Callable[..., Experiment]
Fetch = Callable[..., Any]

# Five images, three clusters; cluster 2 is empty. Image 3 has a name that needs quotes.
TABLE = (
    "image_id,path,cluster_id,distance,dist_cluster_0,dist_cluster_1,dist_cluster_2,document\n"
    "0,a/x.png,0,0.1,0.1,0.5,0.9,ms1\n"
    "1,a/y.png,0,0.2,0.2,0.25,0.9,ms1\n"
    "2,b/z.png,1,0.3,0.8,0.3,0.31,ms2\n"
    '3,"b/=p, ""q"".png",1,0.1,0.8,0.1,0.9,ms2\n'
    "4,é.png,0,0.4,0.4,0.6,0.5,ms2\n"
)


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (12, 8), shade).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def experiment(make: Make) -> Experiment:
    files: dict[str, bytes | str] = {
        "results/cluster_by_path.csv": TABLE,
        "results/metrics.json": json.dumps({"n_prototypes": 3}),
        **{f"results/prototypes/prototype{k}.png": png(60 * k) for k in range(3)},
    }
    for i, k in enumerate((0, 0, 1, 1, 0)):
        files[f"results/clusters/cluster{k}/{i}_raw.png"] = png(40 * i)
    return make("succeeded", files=files, name="Initials")


def document(**changes: Any) -> dict[str, Any]:
    """Image 1 moved to cluster 1, which was renamed; image 4 to a cluster made by hand; image 0 noted."""
    clusters = [
        {"id": "0", "name": "Cluster 0", "prototype": 0},
        {
            "id": "1",
            "name": "Lombards <b>",
            "prototype": 1,
            "state": "checked",
            "tags": ["red"],
            "note": "see fol. 3",
        },
        {"id": "2", "name": "Cluster 2", "prototype": 2},
        {"id": "new-1", "name": "Odd ones", "prototype": None},
    ]
    moves = [
        {"type": "move", "images": [1], "from": "0", "to": "1"},
        {"type": "cluster", "id": "new-1", "before": None, "after": {"name": "Odd ones"}},
    ]
    value = {
        "schema_version": 1,
        "title": "Marie's reading",
        "author": "Marie",
        "note": "",
        "copied_from": None,
        "created_at": "2026-03-01T10:00:00.000Z",
        "updated_at": "2026-03-01T11:00:00.000Z",
        "operations": [
            {"kind": "move", "at": "2026-03-01T10:30:00.000Z", "by": "Marie", "data": {}, "changes": moves}
        ],
        "cursor": 1,
        "state": {
            "clusters": clusters,
            "moved": {"1": "1", "4": "new-1"},
            "images": {"0": {"note": "damaged", "tags": ["copy"], "reviewed": True}},
        },
    }
    return {**value, **changes}


async def save(
    fetch: Fetch, experiment: Experiment, name: str = "marie", value: Any = None, **headers: str
) -> Any:
    content = document() if value is None else value
    return await fetch("PUT", "experiments", experiment.id, "curations", name, json=content, headers=headers)


async def table(fetch: Fetch, experiment: Experiment, name: str, **query: str) -> list[dict[str, str]]:
    response = await fetch("GET", "experiments", experiment.id, "curations", f"{name}.csv", params=query)
    assert response.code == 200
    return list(csv.DictReader(io.StringIO(response.body.decode("utf-8-sig"), newline="")))


async def test_saved_and_read_back(fetch: Fetch, experiment: Experiment) -> None:
    made = await save(fetch, experiment, **{"If-None-Match": "*"})
    assert made.code == 201
    read = await fetch("GET", "experiments", experiment.id, "curations", "marie")
    assert read.headers["Etag"] == made.headers["Etag"]
    stored = json.loads(read.body)
    assert stored.pop("saved_at")
    assert "saved_by" in stored
    stored.pop("saved_by")
    assert stored == document()
    listed = json.loads((await fetch("GET", "experiments", experiment.id, "curations")).body)
    assert [(item["name"], item["title"], item["etag"]) for item in listed["items"]] == [
        ("marie", "Marie's reading", made.headers["Etag"])
    ]
    same = await fetch(
        "GET",
        "experiments",
        experiment.id,
        "curations",
        "marie",
        headers={"If-None-Match": made.headers["Etag"]},
    )
    assert same.code == 304


async def test_two_people_do_not_overwrite_each_other(fetch: Fetch, experiment: Experiment) -> None:
    first = (await save(fetch, experiment, **{"If-None-Match": "*"})).headers["Etag"]
    mine = await save(fetch, experiment, value=document(note="mine"), **{"If-Match": first})
    assert mine.code == 200
    assert mine.headers["Etag"] != first
    theirs = await save(fetch, experiment, value=document(note="theirs"), **{"If-Match": first})
    assert theirs.code == 412
    careless = await save(fetch, experiment, value=document(note="careless"))
    assert careless.code == 412
    again = await save(fetch, experiment, **{"If-None-Match": "*"})
    assert again.code == 412
    assert (
        json.loads((await fetch("GET", "experiments", experiment.id, "curations", "marie")).body)["note"]
        == "mine"
    )


async def test_the_result_itself_stays_as_it_is(fetch: Fetch, experiment: Experiment, service: Any) -> None:
    results = service.store.directory(experiment.id) / "results"
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    await save(fetch, experiment, **{"If-None-Match": "*"})
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before


async def test_every_column_everywhere(fetch: Fetch, experiment: Experiment) -> None:
    await save(fetch, experiment, **{"If-None-Match": "*"})
    curated, raw = await table(fetch, experiment, "marie"), await table(fetch, experiment, "raw")
    assert list(curated[0]) == list(raw[0]) == list(COLUMNS)
    assert [row["cluster_id"] for row in raw] == ["0", "0", "1", "1", "0"]  # 0 is a number like any other
    assert [row["cluster_id"] for row in curated] == ["0", "1", "1", "1", "new-1"]
    assert [row["cluster_name"] for row in curated][1] == "Lombards <b>"
    assert [row["path"] for row in curated][3:] == ['b/=p, "q".png', "é.png"]
    assert curated[0]["image_note"] == "damaged"
    assert curated[0]["image_tags"] == "copy"
    assert curated[2]["cluster_state"] == "checked"
    assert curated[2]["document"] == "ms2"
    assert {row["author"] for row in curated} == {"Marie"}


async def test_what_else_is_known_of_images_stands_after_them(
    fetch: Fetch, experiment: Experiment, service: Any
) -> None:
    """The author of a book is not that of a reading, and its heading is no formula either."""
    path = service.store.directory(experiment.id) / "results" / "cluster_by_path.csv"
    first, *lines = TABLE.splitlines()
    path.write_text("\n".join([f"{first},author,=date,fits", *(f"{line},Dürer,1498,True" for line in lines)]))
    await save(fetch, experiment, **{"If-None-Match": "*"})
    for name in ("raw", "marie"):
        rows = await table(fetch, experiment, name)
        assert list(rows[0]) == [*COLUMNS, "source_author", "=date"]
        assert {row["source_author"] for row in rows} == {"Dürer"}
        assert {row["=date"] for row in rows} == {"1498"}
    response = await fetch("GET", "experiments", experiment.id, "curations", "raw.csv", params={"bom": "1"})
    assert response.body.decode("utf-8-sig").splitlines()[0].endswith(",source_author,'=date")
    value = json.loads((await fetch("GET", "experiments", experiment.id, "curations", "raw.json")).body)
    assert value["images"][0]["source_author"] == "Dürer"


async def test_distances_are_looked_up_never_made_up(fetch: Fetch, experiment: Experiment) -> None:
    await save(fetch, experiment, **{"If-None-Match": "*"})
    rows = await table(fetch, experiment, "marie")
    # The moved image has its distance to the prototype of the cluster that it is in now.
    assert (rows[1]["distance"], rows[1]["raw_distance"], rows[1]["raw_cluster_id"]) == ("0.25", "0.2", "0")
    assert (rows[1]["second_cluster_id"], rows[1]["second_distance"]) == ("0", "0.2")
    # A cluster made by hand stands for no prototype: there is no distance.
    assert rows[4]["distance"] == ""
    assert (rows[4]["second_cluster_id"], rows[4]["second_distance"]) == ("0", "0.4")


async def test_csv_for_spreadsheets(fetch: Fetch, experiment: Experiment) -> None:
    formula = document()
    formula["state"]["clusters"][1]["name"] = "=HYPERLINK(1)"
    await save(fetch, experiment, value=formula, **{"If-None-Match": "*"})
    response = await fetch("GET", "experiments", experiment.id, "curations", "marie.csv", params={"bom": "1"})
    assert response.body.startswith(b"\xef\xbb\xbf")
    assert "'=HYPERLINK(1)" in response.body.decode()
    plain = await fetch("GET", "experiments", experiment.id, "curations", "marie.csv")
    assert not plain.body.startswith(b"\xef\xbb\xbf")
    assert ",=HYPERLINK(1)," in plain.body.decode()


async def test_json_has_numbers_and_the_same_columns(fetch: Fetch, experiment: Experiment) -> None:
    await save(fetch, experiment, **{"If-None-Match": "*"})
    value = json.loads((await fetch("GET", "experiments", experiment.id, "curations", "marie.json")).body)
    assert [cluster["size"] for cluster in value["clusters"]] == [1, 3, 0, 1]
    assert list(value["images"][0]) == list(COLUMNS)
    assert value["images"][1]["distance"] == 0.25
    assert value["images"][4]["distance"] is None
    assert value["images"][0]["image_tags"] == ["copy"]


async def test_folders_of_images(fetch: Fetch, experiment: Experiment) -> None:
    await save(fetch, experiment, **{"If-None-Match": "*"})
    response = await fetch("GET", "experiments", experiment.id, "curations", "marie.zip")
    with zipfile.ZipFile(io.BytesIO(response.body)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert archive.read("001 Lombards _b_/00001 y.png") == png(40)
    # The nearest first: 3 at 0.1, 1 at 0.25, 2 at 0.3.
    assert [name for name in names if name.startswith("001 Lombards _b_/0")] == [
        "001 Lombards _b_/00000 =p, _q_.png",
        "001 Lombards _b_/00001 y.png",
        "001 Lombards _b_/00002 z.png",
    ]
    assert "table.csv" in names
    assert "003 Odd ones/00000 é.png" in names


async def test_a_page_that_works_offline(fetch: Fetch, experiment: Experiment) -> None:
    await save(fetch, experiment, **{"If-None-Match": "*"})
    response = await fetch(
        "GET", "experiments", experiment.id, "curations", "marie.html", params={"language": "fr"}
    )
    page = response.body.decode()
    assert "Lombards &lt;b&gt;" in page
    assert "Lombards <b>" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert (
        page.count('src="data:image/webp;base64,') == 5 + 2
    )  # images, and prototypes of the two that have one
    assert "Chercher" in page
    assert 'lang="fr"' in page


async def test_problems_are_told_all_at_once(fetch: Fetch, experiment: Experiment) -> None:
    wrong = document(title="", cursor=7, extra=1)
    wrong["state"]["moved"] = {"99": "1", "1": "nowhere", "2": {}}
    wrong["state"]["clusters"][0]["prototype"] = 3
    wrong["state"]["images"] = {"0": {"tags": "copy"}}
    response = await save(fetch, experiment, value=wrong, **{"If-None-Match": "*"})
    assert response.code == 422
    fields = {error["field"] for error in json.loads(response.body)["errors"]}
    assert fields == {
        "extra",
        "title",
        "cursor",
        "state.moved.99",
        "state.moved.1",
        "state.moved.2",
        "state.clusters[0].prototype",
        "state.images.0.tags",
    }


async def test_a_cluster_with_images_cannot_be_left_out(fetch: Fetch, experiment: Experiment) -> None:
    wrong = document()
    del wrong["state"]["clusters"][0]
    response = await save(fetch, experiment, value=wrong, **{"If-None-Match": "*"})
    assert response.code == 422
    assert "cluster 0 still has images" in response.body.decode()


@pytest.mark.parametrize("name", ["raw", "..", "a%2fb", ".hidden", "x" * 65, "a b"])
async def test_names_that_cannot_be(fetch: Fetch, experiment: Experiment, name: str) -> None:
    response = await save(fetch, experiment, name=name, **{"If-None-Match": "*"})
    assert response.code in (400, 404, 405, 422)


async def test_deleted(fetch: Fetch, experiment: Experiment) -> None:
    etag = (await save(fetch, experiment, **{"If-None-Match": "*"})).headers["Etag"]
    path = ("experiments", experiment.id, "curations", "marie")
    assert (await fetch("DELETE", *path, headers={"If-Match": '"other"'})).code == 412
    assert (await fetch("DELETE", *path, headers={"If-Match": etag})).code == 204
    assert (await fetch("GET", *path)).code == 404
    assert (await fetch("DELETE", *path)).code == 404


async def test_without_a_result(fetch: Fetch, make: Make) -> None:
    experiment = make("running")
    assert (await save(fetch, experiment, **{"If-None-Match": "*"})).code == 404
    assert (await fetch("GET", "experiments", experiment.id, "curations", "raw.csv")).code == 404


async def test_a_contact_sheet_to_print(fetch: Fetch, experiment: Experiment) -> None:
    """Every image, its caption and its cluster are on the paper; other letters than Western ones do not break it."""
    import pypdfium2

    value = document(title="Ma lecture (1)")
    value["state"]["clusters"][0]["name"] = "Œuvre «é» \\ Ωμέγα " + "very long " * 18
    await save(fetch, experiment, value=value, **{"If-None-Match": "*"})
    answer = await fetch(
        "GET", "experiments", experiment.id, "curations", "marie.pdf", params={"language": "fr"}
    )
    assert answer.code == 200
    assert answer.headers["Content-Type"] == "application/pdf"
    sheet = pypdfium2.PdfDocument(answer.body)
    assert len(sheet) == 1
    page = sheet[0]
    text = page.get_textpage().get_text_range()
    for word in (
        "Initials",
        "Ma lecture (1)",
        "Œuvre «é»",
        "?????",
        "Lombards <b>",
        "vérifié",
        "x.png",
        "damaged",
    ):
        assert word in text, word
    assert page.get_size() == pytest.approx((595.28, 841.89), abs=0.01)
    pictures = [one for one in page.get_objects() if one.type == pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]
    assert len(pictures) == 5 + 2  # the images, and the prototypes of the clusters that have images and one
    assert page.render(scale=0.5).to_pil().size == (298, 421)
