"""Starting an experiment from the page, and watching it until its result stands in its place."""

from __future__ import annotations

import io
import json
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

Open = Callable[..., Page]
PICTURES = Path("test-artifacts/web")


def start(page: Page) -> None:
    page.get_by_role("button", name="Start", exact=True).click()


def new(open_page: Open, **options: Any) -> Page:
    page = open_page("#/new", **options)
    page.get_by_label("Number of clusters").wait_for()
    return page


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Six PNG files."""
    random = np.random.default_rng(3)
    paths = []
    for number in range(6):
        path = tmp_path / f"initial {number}.png"
        Image.fromarray(random.integers(0, 255, (20, 24), np.uint8)).save(path)
        paths.append(path)
    return paths


def test_plain_questions_first(open_page: Open) -> None:
    page = new(open_page)
    heads = page.locator(".start-part h2").all_inner_texts()
    assert [head.split("\n")[-1] for head in heads] == [
        "Your images",
        "What varies between your images?",
        "How many motifs?",
        "Name and place",
    ]
    expect(page.locator(".variation svg.motif")).to_have_count(8)
    expect(page.locator("details.advanced")).not_to_have_attribute("open", "")
    # Everything else of the notebook's schema is there, with its default.
    page.locator("details.advanced summary").click()
    expect(page.get_by_label("Seed")).to_have_value("0")
    expect(page.locator(".advanced-field").nth(7)).to_be_attached()
    page.get_by_role("radio", name="Sample images").click()
    expect(page.locator("main")).to_contain_text("1,797 images")


def test_all_errors_at_once_and_nothing_lost(open_page: Open, pictures: list[Path]) -> None:
    """In the old form the second refusal came after the first, and the chosen file was gone each time."""
    page = new(open_page)
    page.get_by_label("Number of clusters").fill("no number")
    page.get_by_label("Name of the experiment").fill("My <b>initials</b>")
    page.get_by_role("checkbox", name="Ink and paper").check()
    page.locator("details.advanced summary").click()
    page.get_by_label("Seed").fill("-5")
    page.locator("details.advanced summary").click()
    start(page)
    expect(page.locator(".error-text:visible")).to_have_count(3)
    expect(page.locator(".notice.bad li")).to_have_count(3)
    expect(page.get_by_label("Number of clusters")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("details.advanced")).to_have_attribute("open", "")  # what is wrong is in sight
    assert page.evaluate("() => document.activeElement.getAttribute('aria-invalid')") == "true"
    expect(page.get_by_label("Name of the experiment")).to_have_value("My <b>initials</b>")
    expect(page.get_by_role("checkbox", name="Ink and paper")).to_be_checked()
    page.locator("input[type=file]").first.set_input_files(pictures)
    page.get_by_text("6 images found").wait_for()
    start(page)
    expect(page.locator(".notice.bad li")).to_have_count(2)
    expect(page.get_by_text("6 images found")).to_be_visible()  # the files need not be sent again
    page.reload()
    page.get_by_label("Number of clusters").wait_for()
    expect(page.get_by_label("Name of the experiment")).to_have_value("My <b>initials</b>")
    page.get_by_text("6 images found").wait_for()


def test_errors_of_the_server_stand_beside_their_fields(open_page: Open, watch: Any) -> None:
    watch.expected.append("422")
    page = new(open_page)
    page.get_by_role("radio", name="A folder on the server").click()
    page.get_by_label("Folder, or .npz file").fill("/no/such/folder")
    page.locator("details.advanced summary").click()
    page.get_by_label("Preset").fill("no-such-preset")
    start(page)
    page.locator('[data-field="dataset"] .error-text').wait_for()
    expect(page.get_by_label("Folder, or .npz file")).to_have_value("/no/such/folder")


def test_an_archive_is_sent_counted_and_shown(
    open_page: Open, pictures: list[Path], tmp_path: Path, eyes: Any
) -> None:
    archive = tmp_path / "Initials of Lyon.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for number, path in enumerate(pictures):
            file.write(path, f"book {number % 2}/{path.name}")
        file.writestr("book 0/notes.txt", "no image")
    page = new(open_page)
    page.locator("input[type=file]").first.set_input_files(archive)
    page.get_by_text("6 images found").wait_for()
    eyes.until(
        page, "[...document.querySelectorAll('.preview img')].filter(i => i.naturalWidth > 0).length === 6"
    )
    # It stays as a dataset for later.
    page.get_by_role("radio", name="A dataset already here").click()
    page.locator(".dataset", has_text="Initials of Lyon").first.wait_for()


def test_dropped_files(open_page: Open) -> None:
    page = new(open_page)
    buffer = io.BytesIO()
    Image.new("L", (9, 9), 90).save(buffer, "PNG")
    page.evaluate(
        """(bytes) => {
            const dataTransfer = new DataTransfer();
            for (const name of ['a.png', 'b.png', '.hidden.png']) {
                dataTransfer.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/png' }));
            }
            const zone = document.querySelector('.drop-zone');
            zone.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true }));
        }""",
        list(buffer.getvalue()),
    )
    page.get_by_text("images found").or_(page.get_by_text("image found")).wait_for()


def test_each_kind_of_images_keeps_its_own(
    open_page: Open, pictures: list[Path], watch: Any, server: Any
) -> None:
    """An uploaded dataset is not sent when its reader has gone on to addresses, and is there when he returns."""
    page = new(open_page)
    page.locator("input[type=file]").first.set_input_files(pictures)
    page.get_by_text("6 images found").wait_for()
    sent: list[Any] = []
    page.route("**/api/experiments", lambda route: (sent.append(route.request.post_data_json), route.abort()))
    page.get_by_role("radio", name="Addresses").click()
    expect(page.get_by_text("6 images found")).to_have_count(0)
    start(page)
    page.locator('[data-field="dataset"] .error-text').get_by_text("at least one address").wait_for()
    assert sent == []
    # Addresses that were typed but not fetched are fetched first: here they cannot be.
    watch.expected += ["422", "400", "ERR_FAILED", "Failed to load"]
    page.get_by_label("one address a line").fill("ftp://127.0.0.1/initials.zip")
    start(page)
    page.locator(".notice.bad").first.wait_for()
    assert sent == []
    page.get_by_role("radio", name="My files").click()
    page.get_by_text("6 images found").wait_for()
    start(page)
    page.get_by_text("The server cannot be reached").first.wait_for()
    datasets = [item["id"] for item in server.call("GET", "datasets")["items"]]
    assert sent[0]["dataset"] in datasets


def test_what_varies_becomes_the_model(open_page: Open, server: Any, watch: Any) -> None:
    page = new(open_page)
    page.get_by_role("radio", name="Sample images").click()
    page.get_by_role("checkbox", name="Slant and stretch").check()
    page.get_by_role("checkbox", name="Ink and paper").check()
    expect(page.locator("main")).to_contain_text("identity + color + affine")
    sent: list[Any] = []
    page.route("**/api/experiments", lambda route: (sent.append(route.request.post_data_json), route.abort()))
    watch.expected += ["ERR_FAILED", "Failed to load"]
    page.get_by_label("Number of clusters").fill("8, 12")
    page.get_by_label("Name of the experiment").fill("Sweep")
    start(page)
    page.get_by_text("The server cannot be reached").first.wait_for()
    assert sent[0]["parameters"] == {"n_prototypes": 8, "transformation_sequence": "identity_color_affine"}
    assert sent[0]["name"] == "Sweep, 8 clusters"
    assert sent[0]["dataset"] == "sample"
    expect(page.get_by_label("Number of clusters")).to_have_value("8, 12")


def test_a_model_is_chosen_by_its_name(open_page: Open, runs: Any, watch: Any) -> None:
    """A notebook that applies a finished model asks which one; nobody has to know an id."""
    page = open_page("#/new?notebook=similarity_search")
    page.get_by_role("radio", name="Sample images").click()
    start(page)
    page.locator(".error-text", has_text="Choose a finished run").wait_for()
    sent: list[Any] = []
    watch.expected += ["ERR_FAILED", "Failed to load"]
    page.route("**/api/experiments", lambda route: (sent.append(route.request.post_data_json), route.abort()))
    page.get_by_label("A finished run", exact=True).select_option(runs.ids["digits"])
    start(page)
    page.get_by_text("The server cannot be reached").first.wait_for()
    assert sent[0]["parameters"]["experiment"] == runs.ids["digits"]


def test_a_rough_time_before_the_first_run(open_page: Open, server: Any) -> None:
    """Nothing has finished here: the time is guessed, and grows with images, epochs and clusters."""
    page = new(open_page)
    page.route(
        "**/api/experiments?*",
        lambda route: route.fulfill(json={"items": [], "next_cursor": None, "total": 0}),
    )
    page.route(
        "**/api/monitor", lambda route: route.fulfill(json={"devices": [{"device": "cpu", "name": "cpu"}]})
    )
    page.reload()
    page.get_by_role("radio", name="Sample images").click()
    said = page.locator(".start-foot p")
    said.get_by_text("Roughly 3 min").wait_for()
    page.get_by_label("Number of clusters").fill("10, 10")
    said.get_by_text("Roughly 6 min").wait_for()
    page.get_by_label("Number of clusters").fill("40")
    page.locator("details.advanced summary").click()
    page.get_by_label("Passes over the images (epochs)").fill("400")
    page.get_by_label("Seed").focus()
    said.get_by_text("Roughly 33 min").wait_for()


def test_run_again_with_changes(open_page: Open, runs: Any) -> None:
    page = open_page(f"#/new?from={runs.ids['colours']}")
    page.get_by_role("heading", name="Run again with changes").wait_for()
    expect(page.get_by_label("Number of clusters")).to_have_value("4")
    expect(page.get_by_label("Name of the experiment")).to_have_value("Coloured squares")


@pytest.mark.slow
def test_from_files_to_a_result(open_page: Open, tmp_path: Path, eyes: Any, server: Any) -> None:
    """Drop images, start, watch, reload, and see the result come in the same place."""
    from sklearn.datasets import load_digits

    digits = load_digits().images
    files = []
    for number in range(60):
        path = tmp_path / f"{number:02d}.png"
        Image.fromarray((digits[number] * 15.9).astype(np.uint8)).resize((16, 16)).save(path)
        files.append(path)
    facts = tmp_path / "metadata.csv"
    facts.write_text("file,date\n" + "".join(f"{n:02d}.png,{1470 if n < 20 else 1495}\n" for n in range(60)))
    page = new(open_page)
    page.locator("input[type=file]").first.set_input_files([*files, facts])
    page.get_by_text("60 images found").wait_for()
    page.get_by_role("checkbox", name="Slant and stretch").check()
    page.get_by_label("Number of clusters").fill("4")
    page.get_by_label("Name of the experiment").fill("From the page")
    page.locator("details.advanced summary").click()
    page.get_by_label("Passes over the images (epochs)").fill("80")
    page.get_by_label("Image size in pixels").fill("16")
    start(page)
    page.locator(".run-head").wait_for()
    states = set()
    eyes.until(page, "document.querySelectorAll('.forming canvas').length === 4", 240)
    states.add(page.locator(".run-head .state").inner_text())
    assert "From the page" in page.title()
    assert "%" in page.title()
    page.reload()  # nothing of it hangs on the page
    page.locator(".run-head").wait_for()
    eyes.until(page, "document.querySelectorAll('.chart-line').length === 1", 60)
    page.get_by_text("Log", exact=True).click()
    # Whoever reads the log is not interrupted when the run ends.
    page.get_by_text("“From the page” is done.").first.wait_for(timeout=240_000)
    expect(page.locator(".run-log")).to_be_visible()
    page.get_by_role("button", name="Show the result").click()
    eyes.images(page, timeout_s=240)
    assert states == {"Running"}
    expect(page.locator("h1")).to_have_text("From the page")
    assert page.evaluate("() => location.hash").startswith("#/e/")
    page.locator(".tile").first.click()
    # The dataset is of this server, so the original file is shown in place of what the network saw.
    page.get_by_text("Image, original file").wait_for()
    expect(page.locator('.pane[data-kind="raw"] img')).to_have_attribute("src", re.compile("/originals/"))
    # What a table among the files said of them is shown beside them, and images are found by it.
    expect(page.locator(".viewer-side")).to_contain_text(
        re.compile(r"Date\s+1(470|495)"), use_inner_text=True
    )
    page.keyboard.press("Escape")
    page.get_by_label("Filter", exact=True).first.click()
    page.get_by_label("Date, to").fill("1480")
    page.keyboard.press("Tab")
    page.get_by_text("20 images found").first.wait_for()


@pytest.fixture
def library() -> Iterator[str]:
    """A library's server with a IIIF manifest of nine leaves, of which one cannot be had; the address of that."""
    pages: dict[str, tuple[str, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = pages.get(self.path, ("", b""))
            self.send_response(200 if kind else 404)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    canvases = []
    for leaf in range(1, 10):
        image = f"/iiif/f{leaf}"
        service = {"id": base + image, "type": "ImageService3", "profile": "level1"}
        body = {"id": f"{base}{image}.jpg", "type": "Image", "service": [service]}
        annotation = {"type": "Annotation", "motivation": "painting", "body": body}
        canvases.append(
            {
                "id": f"{base}/canvas/{leaf}",
                "type": "Canvas",
                "label": {"none": [f"f. {leaf}r"]},
                "items": [{"type": "AnnotationPage", "items": [annotation]}],
            }
        )
        if leaf == 5:
            continue
        picture = np.full((48, 40, 3), 235, np.uint8)
        picture[12:36, 10 : 30 if leaf % 2 else 18] = (120, 30, 30)
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG")
        size = {"width": 40, "height": 48}
        context = "http://iiif.io/api/image/3/context.json"
        info = {"@context": context, "id": base + image, "type": "ImageService3", "profile": "level1", **size}
        pages[f"{image}/info.json"] = ("application/json", json.dumps(info).encode())
        for form in ("full/max", "full/full", "full/40,48"):
            pages[f"{image}/{form}/0/default.jpg"] = ("image/jpeg", buffer.getvalue())
    manifest = {
        "@context": "http://iiif.io/api/presentation/3/context.json",
        "id": f"{base}/manifest.json",
        "type": "Manifest",
        "label": {"fr": ["Un livre"]},
        "items": canvases,
    }
    pages["/manifest.json"] = ("application/ld+json", json.dumps(manifest).encode())
    yield f"{base}/manifest.json"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_from_a_manifest_to_a_result(library: str, open_page: Open, eyes: Any) -> None:
    """The leaf that cannot be had is named, and each image says which leaf it is."""
    page = new(open_page)
    page.get_by_role("radio", name="Addresses").click()
    page.get_by_label("one address a line").fill(library)
    page.get_by_role("button", name="Fetch").click()
    page.get_by_text("8 images found").wait_for(timeout=60_000)
    eyes.until(page, "[...document.querySelectorAll('.images-status img')].some(i => i.naturalWidth > 0)")
    page.get_by_text("Which one, and why").click()
    page.get_by_text("/iiif/f5").first.wait_for()
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / "a_manifest_was_fetched.png")
    page.get_by_label("Number of clusters").fill("2")
    page.locator("details.advanced summary").click()
    page.get_by_label("Passes over the images (epochs)").fill("2")
    page.get_by_label("Image size in pixels").fill("16")
    start(page)
    page.locator(".run-head, .result-title").first.wait_for()
    eyes.until(page, "document.querySelectorAll('.main-pane .tile').length === 8", 240)
    expect(page.locator("h1")).to_contain_text("Un livre")
    page.locator(".main-pane .tile").first.click()
    page.locator(".viewer-side").get_by_text("r").first.wait_for()
    side = page.locator(".viewer-side").inner_text()
    assert re.search(r"f\. [1-9]r", side)
    expect(
        page.locator(f'.viewer-side a[href^="{library.removesuffix("/manifest.json")}"]')
    ).not_to_have_count(0)


@pytest.fixture
def initials() -> Path:
    """An archive with a hundred drop capitals of printed books, where the sets for measuring are at hand."""
    folder = Path(os.environ.get("DTI_BENCH_DATA") or Path(__file__).parents[3] / "shared" / "data")
    path = folder / "incunables15c" / "dropcaps.zip"
    if not path.exists():
        pytest.skip("the drop capitals are not here (DTI_BENCH_DATA)")
    return path


@pytest.mark.slow
def test_drop_capitals(initials: Path, open_page: Open, eyes: Any) -> None:
    """Real images, of many sizes and in colour, from the archive to one of them beside its prototype."""
    page = new(open_page)
    page.locator("input[type=file]").first.set_input_files(initials)
    page.get_by_text("100 images found").wait_for(timeout=60_000)
    page.get_by_label("Number of clusters").fill("6")
    page.locator("details.advanced summary").click()
    page.get_by_label("Passes over the images (epochs)").fill("8")
    page.get_by_label("Image size in pixels").fill("32")
    start(page)
    eyes.images(page, timeout_s=240)
    counts = page.locator(".rail-count").all_inner_texts()
    assert sum(int(count) for count in counts) == 100
    page.locator(".main-pane .tile").first.click()
    page.get_by_text("Image, original file").wait_for()
    eyes.until(page, "document.querySelector('.pane[data-kind=\"raw\"] img').naturalWidth > 100")


@pytest.mark.slow
def test_a_run_is_cancelled_and_goes_on(open_page: Open, server: Any, eyes: Any) -> None:
    made = server.call(
        "POST",
        "experiments",
        {
            "notebook": "dti_clustering",
            "name": "Long",
            "parameters": {"n_prototypes": 3, "epochs": 4000, "seed": 2},
        },
    )
    page = open_page(f"#/e/{made['id']}")
    page.locator(".run-head").wait_for()
    eyes.until(page, "document.querySelectorAll('.forming canvas').length === 3", 240)
    page.get_by_role("button", name="Cancel the run").click()
    page.get_by_text("The run was cancelled").wait_for(timeout=120_000)
    assert page.title().startswith("Cancelled · Long")
    page.get_by_role("button", name="Go on from where it stopped").click()
    eyes.until(page, f"!location.hash.includes('{made['id']}')")
    again = page.evaluate("() => location.hash.split('/').pop()")
    page.get_by_role("button", name="Cancel the run").click()
    page.get_by_text("The run was cancelled").wait_for(timeout=120_000)
    assert server.call("GET", f"experiments/{again}")["resume_from"] == made["id"]
