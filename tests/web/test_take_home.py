"""What is taken home from the page: every form holds the same facts, and opens where its reader is."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from playwright.sync_api import Browser, Page, expect

from dti_service.curations import COLUMNS
from dti_service.datasets.catalogue import Catalogue, Dataset, ImageRecord
from dti_service.ids import new_id

Open = Callable[..., Page]


def take(page: Page, item: str) -> tuple[str, bytes]:
    """Name and content of what the export menu gives."""
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name=item).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def curate(page: Page, eyes: Any) -> None:
    """Cluster 0 renamed, its first image moved to unsorted with a note."""
    page.locator('[data-cluster="0"] .cluster-name').click()
    page.keyboard.type("Œuvre, «rouge»")
    page.keyboard.press("Enter")
    page.locator('.main-pane [data-cluster="0"] .tile').first.focus()
    page.keyboard.press("c")
    page.locator("dialog[open] textarea").fill('=HYPERLINK("x"), abîmé')
    page.locator("dialog[open] .primary").click()
    page.locator("dialog[open]").wait_for(state="detached")
    page.locator('.main-pane [data-cluster="0"] .tile').first.focus()
    page.keyboard.press("u")
    eyes.saved(page)


def test_tables_have_the_same_columns_everywhere(open_result: Open, fresh: str, eyes: Any) -> None:
    """Raw and curated, for people and for programs; cluster 0 keeps its id, which it lost in the old viewer."""
    page = open_result()
    name, raw = take(page, "Table for a spreadsheet")
    assert name == "Digits of two books - raw.csv"
    curate(page, eyes)
    _, sheet = take(page, "Table for a spreadsheet")
    _, plain = take(page, "Table for programs")
    assert sheet.startswith(b"\xef\xbb\xbf")
    tables = [
        list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
        for data in (raw, sheet, plain)
    ]
    assert all(tuple(rows[0]) == COLUMNS for rows in tables)
    assert all(len(rows) == 240 for rows in tables)
    assert all(row["cluster_id"] != "" and float(row["raw_distance"]) >= 0 for rows in tables for row in rows)
    assert {row["cluster_name"] for row in tables[2] if row["cluster_id"] == "0"} == {"Œuvre, «rouge»"}
    (moved,) = [row for row in tables[2] if row["cluster_id"] == "unsorted"]
    assert moved["distance"] == ""  # nothing is made up
    assert moved["raw_cluster_id"] == "0"
    assert moved["image_note"].startswith("=HYPERLINK")
    (harmless,) = [row for row in tables[1] if row["cluster_id"] == "unsorted"]
    assert harmless["image_note"].startswith("'=HYPERLINK")  # no formula in a spreadsheet
    assert all(row["reading"] and row["updated_at"] for row in tables[2])
    _, everything = take(page, "Everything as JSON")
    value = json.loads(everything)
    assert value["experiment"]["name"] == "Digits of two books"
    assert len(value["images"]) == 240
    assert value["clusters"][0]["name"] == "Œuvre, «rouge»"


def test_folders_and_contact_sheet(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    curate(page, eyes)
    _, data = take(page, "Folders of images by cluster")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        red = [name for name in names if name.startswith("000 Œuvre, «rouge»/") and "prototype" not in name]
        rows = list(csv.DictReader(io.StringIO(archive.read("table.csv").decode("utf-8-sig"), newline="")))
    assert len(red) == sum(row["cluster_id"] == "0" for row in rows)
    assert sum(name.endswith(".png") and "prototype" not in name for name in names) == 240
    name, data = take(page, "Contact sheet (PDF)")
    assert name.endswith(".pdf")
    sheet = pypdfium2.PdfDocument(data)
    text = "".join(page.get_textpage().get_text_range() for page in sheet)
    assert "Œuvre, «rouge»" in text
    assert "Unsorted" in text
    pictures = [
        one for page in sheet for one in page.get_objects() if one.type == pypdfium2.raw.FPDF_PAGEOBJ_IMAGE
    ]
    assert len(pictures) >= 240


def test_one_page_that_works_offline(
    open_result: Open, fresh: str, eyes: Any, browser: Browser, tmp_path: Path
) -> None:
    page = open_result()
    curate(page, eyes)
    _, data = take(page, "One page that works offline")
    file = tmp_path / "page.html"
    file.write_bytes(data)
    context = browser.new_context(offline=True)
    asked: list[str] = []
    other = context.new_page()
    other.on("request", lambda request: asked.append(request.url))
    other.goto(file.as_uri())
    shown = other.locator("figure img")
    expect(shown).to_have_count(240)
    assert other.evaluate("() => [...document.images].every(i => i.src.startsWith('data:'))")
    shown.first.scroll_into_view_if_needed()
    eyes.until(other, "document.querySelector('figure img').naturalWidth > 0")
    other.get_by_role("searchbox").fill("abime")
    expect(other.locator("figure:visible")).to_have_count(1)
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()


@pytest.fixture
def from_iiif(runs: Any, server: Any) -> Iterator[str]:
    """The digits again, as crops of IIIF pages in a dataset of this server."""
    catalogue = Catalogue(runs.data_dir)
    dataset = Dataset(
        id=new_id(), name="Crops", owner="marie", key="k", state="ready", counts={"images": 240}
    )
    folder = catalogue.directory(dataset.id)
    shutil.copytree(runs.data_dir.parent / "digits", folder / "images")
    catalogue.save(dataset)
    records = [
        ImageRecord(
            file=path.relative_to(folder / "images").as_posix(),
            name=path.name,
            source={
                "document": "ms12",
                "type": "iiif",
                "src": f"https://example.org/iiif/ms12/f{number}",
                "image": f"f{number}",
                "page": number,
                "label": f"fol. {number}r",
                "crop": {"id": f"c{number}", "box": [0.5, 0.25, 0.75, 0.35], "pixels": [500, 400, 750, 560]},
            },
            width=16,
            height=16,
            format="PNG",
            bytes=path.stat().st_size,
            sha256="0" * 64,
            original={"format": "PNG", "mode": "L", "frames": 1},
        )
        for number, path in enumerate(sorted((folder / "images").rglob("*.png")))
    ]
    catalogue.write_images(folder, records)
    experiment = runs.put("Crops of pages", dataset=dataset.id)
    source = runs.store.directory(runs.ids["digits"]) / "results"
    shutil.copytree(source, runs.store.directory(experiment.id) / "results", dirs_exist_ok=True)
    metrics = json.loads((source / "metrics.json").read_text())
    runs.store.save(dataclasses.replace(runs.store.get(experiment.id), metrics=metrics))
    runs.ids["iiif"] = experiment.id
    yield str(experiment.id)
    server.call("DELETE", f"experiments/{experiment.id}")
    catalogue.remove(dataset.id)


def test_web_annotations_and_the_place_on_the_page(from_iiif: str, open_result: Open, eyes: Any) -> None:
    page = open_result("iiif")
    name, data = take(page, "Web annotations")
    assert name.endswith(".jsonld")
    value = json.loads(data)
    assert value["type"] == "AnnotationPage"
    assert len(value["items"]) == 240
    first = value["items"][0]
    assert first["target"]["source"].startswith("https://example.org/iiif/ms12/")
    assert first["target"]["selector"]["value"] == "xywh=percent:50,25,25,10"
    assert first["body"][0]["purpose"] == "classifying"
    page.locator(".main-pane .tile").first.click()
    page.locator(".page-frame img").wait_for()
    frame = page.locator(".page-frame").bounding_box()
    crop = page.locator(".page-frame img").bounding_box()
    assert frame is not None
    assert crop is not None
    # 250 x 160 pixels are a quarter and a tenth of the page: 1000 x 1600.
    assert frame["height"] / frame["width"] == pytest.approx(1.6, abs=0.05)
    assert (crop["x"] - frame["x"]) / frame["width"] == pytest.approx(0.5, abs=0.03)
    assert crop["height"] / frame["height"] == pytest.approx(0.1, abs=0.02)
    facts = page.locator(".viewer-side .facts").inner_text()
    assert "fol. " in facts
    expect(page.locator('.viewer-side a[href^="https://example.org/iiif/ms12/"]')).to_have_count(1)
    eyes.until(page, "document.querySelector('.stage img').src.includes('/originals/')")
