"""What follows a result: a new run that begins from a reading, and new images on a finished model."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

Open = Callable[..., Page]


@pytest.mark.slow
def test_a_new_run_from_a_reading(open_result: Open, fresh: str, runs: Any, server: Any, eyes: Any) -> None:
    """Two clusters are merged by hand; the next run begins from the five and shows what changed since."""
    page = open_result()
    page.locator(".main-pane .tile").first.focus()
    page.keyboard.press("g")
    page.locator(".choice").first.wait_for()
    page.keyboard.press("Enter")
    page.locator("#merge-name").wait_for()
    page.keyboard.press("Enter")
    eyes.until(page, "!document.querySelector('dialog[open]')")
    page.get_by_role("button", name="Next", exact=True).click()
    page.get_by_role("menuitem", name="New run from this reading").click()
    page.get_by_role("heading", name="New run from these clusters").wait_for()
    eyes.until(page, "document.querySelectorAll('.begin-clusters img').length === 5")
    expect(page.locator(".begin-from")).to_contain_text("5 clusters of Digits of two books")
    expect(page.get_by_label("Number of clusters")).to_have_value("5")
    page.get_by_label("stay as they are").check()
    page.locator("details.advanced summary").click()
    page.get_by_label("Passes over the images (epochs)").fill("1")
    page.get_by_label("Image size in pixels").fill("16")
    page.get_by_role("button", name="Start", exact=True).click()
    eyes.images(page, timeout_s=240)
    id = page.evaluate("() => location.hash.split('/')[2]")
    [reading] = server.call("GET", f"experiments/{runs.ids['digits']}/curations")["items"]
    made = server.call("GET", f"experiments/{id}")
    assert made["parameters"]["start_from"] == f"{runs.ids['digits']}/{reading['name']}"
    assert made["parameters"]["start_prototypes"] == "fixed"
    assert "start_images" not in made["parameters"]  # left as the notebook has it
    page.get_by_role("link", name="What changed").click()
    page.locator(".versus-facts").wait_for()
    expect(page.locator(".versus-facts")).to_contain_text("Images in both\n240", use_inner_text=True)
    expect(page.locator("#versus-reading-0")).to_have_value(reading["name"])


@pytest.fixture
def stamps(runs: Any, server: Any) -> Iterator[str]:
    """A run with sprites, one to an image: 24 squares and bars."""
    config = {
        "data": {"image_size": 16},
        "model": {
            "kind": "sprites",
            "n_prototypes": 3,
            "transformation_sequence": "identity",
            "encoder": "resnet20",
            "sprites": {"n_backgrounds": 1},
        },
        "training": {"epochs": 2, "batch_size": 12, "seed": 1, "device": "cpu", "threads": 1},
        "results": {"report": False},
    }
    folder = runs.data_dir.parent / "stamps"
    folder.mkdir(exist_ok=True)
    for number in range(24):
        picture = np.full((16, 16), 220, np.uint8)
        picture[4:12, 4 : 12 if number % 2 else 6] = 40
        Image.fromarray(picture).save(folder / f"{number:02d}.png")
    experiment = runs.train("stamps", "Stamps", folder, config, notebook="dti_sprites", dataset=str(folder))
    yield experiment
    server.call("DELETE", f"experiments/{experiment}")


@pytest.mark.slow
def test_a_run_with_sprites_begins_from_clusters(
    stamps: str, open_page: Open, runs: Any, server: Any, eyes: Any
) -> None:
    """Colours and masks go on from where they were, and what is pinned keeps its sprite."""
    page = open_page(f"#/new?start={stamps}")
    page.locator(".begin-clusters img").first.wait_for()
    expect(page.get_by_role("radio", name="Motifs inside images")).to_be_checked()
    expect(page.get_by_role("note")).to_have_count(0)
    page.get_by_label("stay as they are").check()
    page.get_by_label("stay in their cluster").check()
    page.locator("details.advanced summary").click()
    page.get_by_label("Passes over the images (epochs)").fill("1")
    page.get_by_label("Image size in pixels").fill("16")
    page.get_by_role("button", name="Start", exact=True).click()
    eyes.images(page, timeout_s=240)
    id = page.evaluate("() => location.hash.split('/')[2]")
    assert server.call("GET", f"experiments/{id}")["notebook"] == "dti_sprites"
    results = [runs.store.directory(one) / "results" for one in (stamps, id)]
    before, after = (
        {row["path"]: row["cluster_id"] for row in csv.DictReader((one / "cluster_by_path.csv").open())}
        for one in results
    )
    number = {
        old: str(new) for new, old in enumerate(sorted(set(before.values())))
    }  # empty ones are left out
    assert after == {path: number[cluster] for path, cluster in before.items()}
    for old, new in number.items():
        masks = [
            np.asarray(Image.open(one / "masks" / f"mask{k}.png")) for one, k in zip(results, (old, new))
        ]
        assert np.array_equal(*masks)


def test_begin_afresh_after_all(open_page: Open, runs: Any, watch: Any) -> None:
    page = open_page(f"#/new?start={runs.ids['digits']}")
    page.get_by_text("as the run found them").wait_for()
    page.get_by_role("button", name="Begin afresh instead").click()
    page.get_by_role("heading", name="Run again with changes").wait_for()
    expect(page.locator(".begin-clusters")).to_have_count(0)
    sent: list[Any] = []
    watch.expected += ["ERR_FAILED", "Failed to load"]
    page.route("**/api/experiments", lambda route: (sent.append(route.request.post_data_json), route.abort()))
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("The server cannot be reached").first.wait_for()
    assert "start_from" not in sent[0]["parameters"]


def test_a_reading_that_is_gone(open_page: Open, runs: Any, watch: Any) -> None:
    watch.expected.append("404")
    page = open_page(f"#/new?start={runs.ids['digits']}/no-such-reading")
    page.get_by_text("is no longer there").first.wait_for()


@pytest.mark.slow
def test_new_images_on_a_finished_model(
    open_result: Open, runs: Any, server: Any, tmp_path: Path, eyes: Any
) -> None:
    """Digits of the same kinds find their place; noise fits nowhere, and is shown apart."""
    random = np.random.default_rng(7)
    digits = sorted((runs.data_dir.parent / "digits").rglob("*.png"))[:10]
    files = []
    for number, path in enumerate(digits):
        files.append(tmp_path / f"digit {number}.png")
        files[-1].write_bytes(path.read_bytes())
    for number in range(3):
        files.append(tmp_path / f"noise {number}.png")
        Image.fromarray(random.integers(0, 255, (16, 16), np.uint8)).save(files[-1])
    page = open_result()
    page.get_by_role("button", name="Next", exact=True).click()
    page.get_by_role("menuitem", name="Assign new images").click()
    page.get_by_role("heading", name="Assign new images").wait_for()
    page.get_by_role("button", name="Assign", exact=True).click()
    page.get_by_text("Choose files, or take the sample images").wait_for()
    page.locator("input[type=file]").first.set_input_files(files)
    page.get_by_text("13 images found").wait_for()
    page.get_by_role("button", name="Assign", exact=True).click()
    eyes.images(page, timeout_s=240)
    expect(page.locator("h1")).to_have_text("Digits of two books: new images")
    made = server.call("GET", f"experiments/{page.evaluate('() => location.hash.split(`/`)[2]')}")
    assert made["parameters"]["experiment"] == runs.ids["digits"]
    assert made["metrics"]["unfit"] >= 3
    button = page.get_by_role("button", name="fit nowhere")
    assert button.inner_text().startswith(str(made["metrics"]["unfit"]))
    button.click()
    shown = "[...document.querySelectorAll('.main-pane .tile')].map(e => e.getAttribute('aria-label'))"
    eyes.until(page, f"{shown}.length === {made['metrics']['unfit']}")
    names = page.evaluate(f"() => {shown}")
    assert sum("noise" in name for name in names) == 3
    button.click()
    eyes.until(page, f"{shown}.length === 13")


def test_only_what_has_ended_well_has_a_model(open_page: Open, runs: Any, server: Any, watch: Any) -> None:
    failed = next(one for one in server.call("GET", "experiments?q=Coins")["items"])
    page = open_page(f"#/assign?from={failed['id']}")
    page.get_by_text("there is no model to assign images to").wait_for()
