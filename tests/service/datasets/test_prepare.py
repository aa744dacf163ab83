"""From requests to directories: reuse, changes, stops, crashes, uses, deletion."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dti_service.datasets.guard.errors import GuardError, PreparationStopped
from dti_service.datasets.guard.policy import Policy
from dti_service.datasets.prepare import Datasets
from dti_service.datasets.request import parse_request
from dti_service.errors import Conflict, InvalidRequest, NotFound
from dti_service.ids import new_id


def documents(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"documents": [{"type": kind, "src": src} for kind, src in pairs]}


def prepare(datasets: Datasets, body: dict[str, Any], **options: Any) -> Any:
    return datasets.prepare(parse_request(body, datasets.policy), **options)


def test_documents_of_all_kinds_become_one_folder(datasets: Datasets, site: Any, make: Any) -> None:
    list_of_urls = {
        "one": site.add("/1.png", make.image()),
        "b/two.png": site.add("/2.png", make.image("JPEG")),
    }
    body = documents(
        ("zip", site.add("/d.zip", make.zip({"a/x.png": make.image(), "b/x.png": make.image("GIF")}))),
        ("pdf", site.add("/d.pdf", make.pdf(2), "application/pdf")),
        ("url_list", site.add("/list", json.dumps(list_of_urls).encode(), "application/json")),
        ("img", site.add("/x.png", make.image())),
    )
    dataset = prepare(datasets, body)
    files = [record.file for record in datasets.catalogue.images(dataset.id)]
    tails = [file.split("/", 1)[1] for file in files]
    assert tails == ["a/x.png", "b/x.png", "d_0001.jpg", "d_0002.jpg", "one.png", "b_two.png", "x.png"]
    assert len({file.split("/", 1)[0] for file in files}) == 4
    folder = datasets.catalogue.images_folder(dataset.id)
    for record in datasets.catalogue.images(dataset.id):
        with Image.open(folder / record.file) as image:
            assert image.size == (record.width, record.height)
    assert dataset.state == "ready"
    assert dataset.counts["images"] == 7
    assert [document["images"] for document in dataset.documents] == [2, 2, 2, 1]


def test_sources_go_into_the_table(datasets: Datasets, site: Any, make: Any) -> None:
    url = site.add("/book.pdf", make.pdf(2), "application/pdf")
    found = datasets.resolve(json.dumps({"documents": [{"type": "pdf", "src": url, "uid": "book"}]}))
    assert found.sources["book_0002.jpg"] == {"document": "book", "page": 2, "label": None, "crop": None}
    table = (found.folder.parent / "sources.csv").read_text().splitlines()
    assert table == ["path,document,page,label,crop", "book_0001.jpg,book,1,,", "book_0002.jpg,book,2,,"]


def test_equal_names_in_different_documents_are_kept_apart(datasets: Datasets, site: Any, make: Any) -> None:
    first = site.add("/1/d.zip", make.zip({"x.png": make.image(colour=(255, 0, 0))}))
    second = site.add("/2/d.zip", make.zip({"x.png": make.image(colour=(0, 0, 255))}))
    dataset = prepare(datasets, documents(("zip", first), ("zip", second)))
    folder = datasets.catalogue.images_folder(dataset.id)
    colours = [
        Image.open(folder / record.file).getpixel((0, 0)) for record in datasets.catalogue.images(dataset.id)
    ]
    assert colours == [(255, 0, 0), (0, 0, 255)]


def test_colliding_uids_are_kept_apart(datasets: Datasets, site: Any, make: Any) -> None:
    """a.b and ab have the same uid by the rule of the fronts."""
    pages = [site.add(path, make.image()) for path in ("/a.b", "/ab")]
    dataset = prepare(datasets, documents(*(("img", page) for page in pages)))
    assert len({record.file for record in datasets.catalogue.images(dataset.id)}) == 2


def test_same_documents_are_the_same_dataset_until_one_changes(
    datasets: Datasets, site: Any, make: Any
) -> None:
    url = site.add("/d.zip", make.zip({"x.png": make.image()}), etag='"1"')
    first = prepare(datasets, documents(("zip", url)))
    assert prepare(datasets, documents(("zip", url))).id == first.id
    site.add("/d.zip", make.zip({"x.png": make.image(), "y.png": make.image()}), etag='"2"')
    second = prepare(datasets, documents(("zip", url)))
    assert second.id != first.id
    assert (first.counts["images"], second.counts["images"]) == (1, 2)
    assert datasets.catalogue.get(first.id).counts["images"] == 1


def test_one_changed_image_of_a_list_is_noticed_and_only_that_is_read(
    datasets: Datasets, site: Any, make: Any
) -> None:
    names = {f"{i}": site.add(f"/{i}.png", make.image(colour=(i, 0, 0)), etag=f'"{i}"') for i in range(4)}
    url = site.add("/list", json.dumps(names).encode(), "application/json", etag='"list"')
    first = prepare(datasets, documents(("url_list", url)))
    site.add("/2.png", make.image(colour=(200, 0, 0)), etag='"new"')
    site.requests.clear()
    second = prepare(datasets, documents(("url_list", url)))
    before, after = (datasets.catalogue.images(dataset.id) for dataset in (first, second))
    assert [a.sha256 == b.sha256 for a, b in zip(before, after)] == [True, True, False, True]
    links = (datasets.catalogue.images_folder(second.id) / after[0].file).stat().st_nlink
    assert links >= 3  # both datasets and the store of downloads share the bytes


def test_explicit_datasets_share_bytes_but_not_fate(datasets: Datasets, site: Any, make: Any) -> None:
    url = site.add("/d.zip", make.zip({"x.png": make.image()}), etag='"1"')
    first, second = (datasets.build(datasets.create(documents(("zip", url))).id) for _ in range(2))
    assert first.id != second.id
    assert site.paths() == ["/d.zip", "/d.zip"]
    datasets.catalogue.delete(first.id)
    path = datasets.image_file(second.id, 0)
    assert Image.open(path).size == (40, 30)
    with pytest.raises(NotFound):
        datasets.image_file(first.id, 0)


def test_two_that_want_the_same_share_the_work(datasets: Datasets, site: Any, make: Any) -> None:
    url = site.add("/d.zip", make.zip({"x.png": make.image()}), etag='"1"')
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(prepare(datasets, documents(("zip", url))).id))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert sum("if-none-match" not in headers for _, headers in site.requests) == 1


def test_refusal_leaves_nothing_behind(datasets: Datasets, site: Any, make: Any, leftovers: Any) -> None:
    good = site.add("/good.zip", make.zip({"x.png": make.image()}), etag='"1"')
    bad = site.add("/bad.zip", make.zip({"../x.png": make.image()}), etag='"1"')
    with pytest.raises(GuardError, match=r"bad\.zip"):
        prepare(datasets, documents(("zip", good), ("zip", bad)))
    assert leftovers() == []


def test_all_broken_images_are_named_at_once(datasets: Datasets, site: Any, make: Any) -> None:
    members = {"a.png": make.image(), "b.png": b"nothing", "c.png": make.image()[:60], "d.png": b""}
    with pytest.raises(GuardError) as caught:
        prepare(datasets, documents(("zip", site.add("/d.zip", make.zip(members)))))
    assert "and 2 more" in str(caught.value)
    assert [error["field"].rsplit(": ", 1)[-1] for error in caught.value.errors] == [
        "b.png",
        "c.png",
        "d.png",
    ]


def test_broken_images_are_left_out_on_request(datasets: Datasets, site: Any, make: Any) -> None:
    url = site.add("/d.zip", make.zip({"a.png": make.image(), "b.png": b"nothing"}))
    dataset = prepare(
        datasets, {**documents(("zip", url), ("img", site.url + "/missing")), "unreadable": "skip"}
    )
    assert dataset.counts == {"documents": 2, "images": 1, "skipped": 2, "bytes": dataset.counts["bytes"]}
    assert any("b.png" in error["field"] for error in dataset.errors)
    assert any("404" in error["reason"] for error in dataset.errors)


def test_good_images_of_a_refused_list_are_not_read_again(
    datasets: Datasets, site: Any, make: Any, leftovers: Any
) -> None:
    names = {name: site.add(f"/{name}.png", make.image(), etag='"1"') for name in "abc"}
    names["bad"] = site.add("/bad.png", b"no image", etag='"1"')
    body = documents(("url_list", site.add("/list", json.dumps(names).encode(), etag='"1"')))
    with pytest.raises(GuardError, match="not an image"):
        prepare(datasets, body)
    assert len([name for name in leftovers() if name.endswith(".body")]) == 3
    site.requests.clear()
    assert prepare(datasets, {**body, "unreadable": "skip"}).counts["images"] == 3
    assert sorted(path for path, headers in site.requests if "if-none-match" in headers) == [
        "/a.png",
        "/b.png",
        "/c.png",
    ]


def test_nothing_readable_is_an_error_even_then(
    datasets: Datasets, site: Any, make: Any, leftovers: Any
) -> None:
    url = site.add("/d.zip", make.zip({"b.png": b"nothing"}))
    with pytest.raises(GuardError, match="not an image"):
        prepare(datasets, {**documents(("zip", url)), "unreadable": "skip"})
    assert leftovers() == []


def test_stop_is_heeded_and_the_next_try_goes_on(datasets: Datasets, site: Any, make: Any) -> None:
    pages = {f"{i}": site.add(f"/{i}.png", make.image(colour=(i, 0, 0)), etag=f'"{i}"') for i in range(20)}
    body = documents(("url_list", site.add("/list", json.dumps(pages).encode(), etag='"l"')))
    seen = 0

    def progress(step: int, total: int | None, unit: str, phase: str) -> None:
        nonlocal seen
        seen += unit == "images"

    with pytest.raises(PreparationStopped):
        prepare(datasets, body, progress=progress, should_stop=lambda: len(site.requests) > 6)
    assert datasets.catalogue.all() == []
    known = {path for path, _ in site.requests}
    site.requests.clear()
    assert prepare(datasets, body).counts["images"] == 20
    unconditional = {path for path, headers in site.requests if "if-none-match" not in headers}
    assert len(unconditional & known) <= 8  # those in flight at the stop


def test_crash_in_between_is_repaired_by_the_next_build(datasets: Datasets, site: Any, make: Any) -> None:
    url = site.add("/d.zip", make.zip({"x.png": make.image()}))
    dataset = datasets.create(documents(("zip", url)))
    directory = datasets.catalogue.directory(dataset.id)
    (directory / ".building" / "images").mkdir(parents=True)
    (directory / ".building" / "images" / "half.png").write_bytes(b"half")
    datasets.catalogue.update(dataset, state="downloading")
    assert datasets.build(dataset.id).state == "ready"
    assert not (directory / ".building").exists()
    assert [path.name for path in (directory / "images").iterdir()] == ["x.png"]


def test_dataset_in_use_is_not_deleted(datasets: Datasets, site: Any, make: Any) -> None:
    dataset = prepare(datasets, documents(("img", site.add("/a.png", make.image()))))
    experiment = new_id()
    found = datasets.resolve(dataset.id, experiment_id=experiment)
    assert found.dataset_id == dataset.id
    running = {experiment}
    users = datasets.catalogue.users(dataset.id, running.__contains__)
    assert users == [experiment]
    with pytest.raises(Conflict, match="in use"):
        datasets.catalogue.delete(dataset.id, users)
    running.clear()
    datasets.catalogue.delete(dataset.id, datasets.catalogue.users(dataset.id, running.__contains__))
    assert datasets.catalogue.all() == []


@pytest.mark.parametrize("dataset_id", ["..", "../x", "", "x" * 36, ".downloads", "%2e%2e", "0" * 36])
def test_ids_are_no_paths(datasets: Datasets, dataset_id: str) -> None:
    for call in (
        datasets.catalogue.get,
        datasets.catalogue.delete,
        datasets.catalogue.images,
        datasets.build,
    ):
        with pytest.raises(NotFound):
            call(dataset_id)


# -- known labels --------------------------------------------------------------------------------------------------


def labels(datasets: Datasets, members: dict[str, bytes], make: Any, site: Any) -> list[str] | None:
    dataset = prepare(datasets, documents(("zip", site.add("/d.zip", make.zip(members)))))
    path = datasets.catalogue.directory(dataset.id) / "labels.csv"
    return path.read_text().splitlines()[1:] if path.exists() else None


def test_labels_come_along_and_follow_renamed_files(datasets: Datasets, site: Any, make: Any) -> None:
    from dti_sprites.data.labels import find_labels_file, read_labels

    table = b"file,class\nx/a.png,7\nA.png,8\nx\\b?.png,9\nnone.png,1\n"
    members = {name: make.image() for name in ("x/a.png", "x/A.png", "x/b?.png", "c.png")}
    assert labels(datasets, {"labels.csv": table, **members}, make, site) == [
        "x/A.png,8",
        "x/a-2.png,7",
        "x/b_.png,9",
    ]
    dataset = datasets.catalogue.all()[0]
    names = [record.file for record in datasets.catalogue.images(dataset.id)]
    folder = datasets.catalogue.images_folder(dataset.id)
    assert read_labels(find_labels_file(folder), names) == ["", "8", "7", "9"]


def test_labels_in_a_folder_are_relative_to_it(datasets: Datasets, site: Any, make: Any) -> None:
    members = {"set/labels.csv": b"name,label\na.png,1\n", "set/a.png": make.image(), "b.png": make.image()}
    assert labels(datasets, members, make, site) == ["set/a.png,1"]


def test_ambiguous_names_get_no_label(datasets: Datasets, site: Any, make: Any) -> None:
    members = {"labels.csv": b"name,label\na.png,1\n", "1/a.png": make.image(), "2/a.png": make.image()}
    assert labels(datasets, members, make, site) is None


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"a,b\n1,2\n",
        b"\xff\xfe",
        b'name,label\n"open',
        b"name,label\na.png\n",
        b"\0" * 100,
        b"name,label\na.png,\x1b[1m",
    ],
)
def test_tables_that_are_none_are_ignored(datasets: Datasets, site: Any, make: Any, table: bytes) -> None:
    assert labels(datasets, {"labels.csv": table, "a.png": make.image()}, make, site) is None


# -- the dataset of an experiment ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "pdf", "iiif", "list", "image"])
def test_address_alone_is_enough(datasets: Datasets, site: Any, make: Any, kind: str) -> None:
    picture = site.add("/p.png", make.image())
    bodies = {
        "zip": make.zip({"x.png": make.image()}),
        "pdf": make.pdf(1),
        "iiif": json.dumps({"type": "Manifest", "items": [v3_canvas(picture)]}).encode(),
        "list": json.dumps([picture]).encode(),
        "image": make.image("GIF"),
    }
    found = datasets.resolve(site.add("/thing", bodies[kind]))
    assert len(found.sources) == 1
    assert len([path for path in found.folder.rglob("*") if path.is_file()]) == 1


def v3_canvas(image: str) -> dict[str, Any]:
    return {"items": [{"items": [{"motivation": "painting", "body": {"id": image, "type": "Image"}}]}]}


def test_folder_is_used_in_place(datasets: Datasets, tmp_path: Path, make: Any) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.png").write_bytes(make.image())
    found = datasets.resolve(str(folder))
    assert found.folder == folder.resolve()
    assert found.dataset_id is None
    assert found.sources == {}
    (folder / "metadata.csv").write_text("name,date,label\na.png,1492,A\nb/c.png,,B\n")
    assert datasets.resolve(str(folder)).sources == {"a.png": {"date": "1492"}}
    assert datasets.catalogue.all() == []


def test_archive_by_path_becomes_a_dataset(datasets: Datasets, tmp_path: Path, make: Any) -> None:
    path = tmp_path / "images.zip"
    path.write_bytes(make.zip({"x.png": make.image()}))
    first = datasets.resolve(str(path))
    assert list(first.sources) == ["x.png"]
    assert datasets.resolve(str(path)).dataset_id == first.dataset_id
    path.write_bytes(make.zip({"y.png": make.image()}))
    assert list(datasets.resolve(str(path)).sources) == ["y.png"]
    assert path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "/etc", "/etc/passwd", "../../etc", "~", "", "\0", "x" * 5000, "file:///etc", "ftp://a.b/c", "http://127.1.1.1.",
        "http://10.0.0.1/a.zip", "{", "[]", "{}", '{"documents": []}', '{"documents": [{"type": "shell", "src": "x"}]}',
        '{"documents": [{"type": "zip"}]}', '{"documents": [{"type": "folder", "src": "/etc"}]}', "[" * 10_000,
        '{"documents": [{"type": "zip", "src": "http://192.168.0.1/"}]}', new_id(), '{"documents": [1]}', '["a"]',
        '{"documents": [{"type": "zip", "src": "/etc/passwd"}]}', '{"crops": 1}', '{"documents": [], "x": "\\ud800"}',
    ],
)  # fmt: skip
def test_unusable_dataset_is_refused_before_queueing(datasets: Datasets, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        datasets.check(text)
    assert caught.value.errors
    assert all(error["field"] and error["reason"] for error in caught.value.errors)


def test_folders_below_a_root_may_be_named(tmp_path: Path, policy: Policy, make: Any) -> None:
    root = tmp_path / "collections"
    (root / "coins").mkdir(parents=True)
    (root / "coins" / "a.png").write_bytes(make.image())
    (root / "coins" / "link.png").symlink_to("/etc/passwd")
    (root / "way-out").symlink_to(tmp_path)
    datasets = Datasets(tmp_path / "data", Policy(policy.limits, policy.allow, (root.resolve(),)))
    datasets.check(str(root / "coins"))
    for path in (tmp_path, root / "way-out", root / ".." / "data", root / "none"):
        with pytest.raises(InvalidRequest, match="no such folder"):
            datasets.check(str(path))
    made = datasets.build(datasets.create(documents(("folder", str(root / "coins")))).id)
    assert [record.file for record in datasets.catalogue.images(made.id)] == ["a.png"]
    kept = datasets.image_file(made.id, 0)
    assert kept.stat().st_ino != (root / "coins" / "a.png").stat().st_ino  # a copy: it stays what it was


def test_changed_folder_is_another_dataset(tmp_path: Path, policy: Policy, make: Any) -> None:
    root = tmp_path / "coins"
    root.mkdir()
    (root / "a.png").write_bytes(make.image())
    datasets = Datasets(tmp_path / "data", Policy(policy.limits, policy.allow, (root.resolve(),)))
    first = prepare(datasets, documents(("folder", str(root))))
    assert prepare(datasets, documents(("folder", str(root)))).id == first.id
    (root / "b.png").write_bytes(make.image())
    assert prepare(datasets, documents(("folder", str(root)))).counts["images"] == 2


def test_progress_is_there_for_other_processes(datasets: Datasets, site: Any, make: Any) -> None:
    dataset = datasets.create(documents(("zip", site.add("/d.zip", make.zip({"x.png": make.image()})))))
    path = datasets.catalogue.directory(dataset.id) / "progress.json"
    seen: list[Any] = []
    datasets.build(dataset.id, progress=lambda *state: seen.append((state, path.exists())))
    assert seen[0][0][2:] == ("bytes", "downloading")
    assert seen[0][1]
    assert not path.exists()


def test_what_a_table_says_of_the_images_comes_along(datasets: Datasets, site: Any, make: Any) -> None:
    """Every column, under its own name, except what the tables of a run say themselves."""
    table = b"file,Book,date,page,distance,,label\na.png,Ms. 12,1492,f. 3v,0.1,x,A\nb.png,,=1+1,,,,\n"
    members = {"metadata.csv": table, **{name: make.image() for name in ("a.png", "b.png", "c.png")}}
    dataset = prepare(datasets, documents(("zip", site.add("/d.zip", make.zip(members)))))
    sources = datasets.resolved(dataset.id).sources
    facts = {
        name: {key: row[key] for key in row if key not in ("document", "label", "crop")}
        for name, row in sources.items()
    }
    assert facts == {
        "a.png": {"page": "f. 3v", "Book": "Ms. 12", "date": "1492"},
        "b.png": {"page": None, "date": "=1+1"},
        "c.png": {"page": None},
    }
    folder = datasets.catalogue.directory(dataset.id)
    assert (folder / "sources.csv").read_text().splitlines()[0] == "path,document,page,label,crop,Book,date"
    assert (folder / "labels.csv").read_text().splitlines()[1:] == ["a.png,A"]
