"""Images on their way to the server: a folder that is dropped, and how far a slow upload is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

Open = Callable[..., Page]


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """A folder of 40 pictures of noise, 10 kB each, in folders of two books; and what is no image."""
    random = np.random.default_rng(3)
    folder = tmp_path / "Initials of Lyon"
    for number in range(40):
        book = folder / f"book {number % 2}"
        book.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (100, 100), np.uint8)).save(book / f"{number:02d}.png")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def new(open_page: Open) -> Page:
    page = open_page("#/new")
    page.locator(".drop-zone").wait_for()
    return page


def test_a_folder_is_dropped(open_page: Open, crops: Path, server: Any) -> None:
    """As the browser gives it to a page when it comes from the desktop: with its folders, and called by its name."""
    page = new(open_page)
    box = page.locator(".drop-zone").bounding_box()
    assert box is not None
    devtools = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send(
            "Input.dispatchDragEvent",
            {
                "type": kind,
                "x": box["x"] + 40,
                "y": box["y"] + 40,
                "data": {"items": [], "files": [str(crops)], "dragOperationsMask": 1},
            },
        )
    page.get_by_text("40 images found").wait_for(timeout=60_000)
    made = next(
        item for item in server.call("GET", "datasets")["items"] if item["name"] == "Initials of Lyon"
    )
    files = [item["file"] for item in server.call("GET", f"datasets/{made['id']}/images")["items"]]
    assert {file.split("/")[-2] for file in files} == {"book 0", "book 1"}


def test_a_folder_is_chosen(open_page: Open, crops: Path) -> None:
    page = new(open_page)
    page.locator("input[webkitdirectory]").set_input_files(crops)
    page.get_by_text("40 images found").wait_for(timeout=60_000)


def test_how_far_an_upload_is(open_page: Open, crops: Path, eyes: Any) -> None:
    """Over a slow line; it can be given up, and then nothing is said to have been found."""
    page = new(open_page)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 60_000}
    devtools.send("Network.emulateNetworkConditions", slow)
    page.locator("input[type=file]").first.set_input_files(sorted(crops.rglob("[0-9]*.png")))
    page.locator(".preview img").nth(13).wait_for()  # what was chosen is seen while it is sent
    share = "(document.querySelector('.sending progress')?.value ?? 0)"
    eyes.until(page, f"{share} > 0.1 && {share} < 0.9")
    before = page.evaluate(f"() => {share}")
    eyes.until(page, f"{share} > {before}")
    expect(page.locator(".sending")).to_contain_text("kB of")
    page.locator(".sending").get_by_role("button", name="Cancel").click()
    page.locator(".sending").wait_for(state="detached")
    expect(page.locator(".notice.bad")).to_have_count(0)
    expect(page.locator(".images-status")).to_have_text("")
    devtools.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    page.locator("input[type=file]").first.set_input_files(sorted(crops.rglob("[0-9]*.png")))
    page.get_by_text("40 images found").wait_for(timeout=60_000)
