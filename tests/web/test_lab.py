"""JupyterLab itself in the browser: the tile, the menu and the page in a tab, and the views in notebooks."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
import pytest
from playwright.sync_api import Browser, Error, Locator, Page, expect

from dti_service.demos import notebooks_dir
from dti_service.store import Store

ROOT = Path(__file__).parents[2]
TOKEN = "lab-tests"
PICTURES = Path("test-artifacts/web")
TILES = "[...document.querySelectorAll('.dti-embed .tile img')].filter(i => i.complete && i.naturalWidth > 0)"

Open = Callable[[str], Page]


class Lab:
    """`jupyter lab` as the README starts it, on a data directory with finished runs."""

    def __init__(self, folder: Path, data_dir: Path, port: int) -> None:
        self.folder = folder
        self.data_dir = data_dir
        self.url = f"http://127.0.0.1:{port}/"
        home = {
            name: str(folder / name.lower())
            for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "HOME")
        }
        settings = {key: value for key, value in os.environ.items() if not key.startswith("DTI_")}
        self.environment = {**settings, **home, "OMP_NUM_THREADS": "1"}
        options = [
            f"--config={ROOT / 'jupyter_config.py'}",
            f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.allow_root=True",
            f"--ServerApp.root_dir={folder}",
            f"--IdentityProvider.token={TOKEN}",
            f"--DTIServiceApp.data_dir={data_dir}",
            "--DTIServiceApp.devices=cpu",
            "--no-browser",
        ]
        self.log = folder / "lab.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyter", "lab", *options],
                cwd=folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(self.url + "dti/api/health", timeout=5):
                    return
            except OSError:
                assert self.process.poll() is None, self.log.read_text(errors="replace")[-4000:]
                assert time.monotonic() < end, self.log.read_text(errors="replace")[-4000:]
                time.sleep(0.2)

    def notebook(self, name: str, *cells: str) -> str:
        """Write a notebook into the folder that JupyterLab shows; returns its address."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.folder / f"{name}.ipynb")
        return f"lab/tree/{name}.ipynb"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_results: Path) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(tiny_results, folder / "data")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab = Lab(folder, folder / "data", port)
    yield lab
    lab.process.terminate()
    try:
        lab.process.wait(60)
    except subprocess.TimeoutExpired:
        lab.process.kill()
        lab.process.wait()


@pytest.fixture
def open_lab(browser: Browser, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Open]:
    """`open_lab("lab")`. At the end: a picture, and nothing that our code did wrong."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    context.set_default_timeout(60_000)
    context.request.get(f"{lab.url}?token={TOKEN}")
    problems: list[str] = []
    pages: list[Page] = []

    def heard(message: Any) -> None:
        where = message.location.get("url", "")
        if message.type == "error" and ("/dti/" in where or "dti-service" in where):
            problems.append(f"{message.text} {where}")

    def asked(address: str) -> None:
        if not address.startswith((lab.url, "data:", "blob:", "about:", lab.url.replace("http", "ws"))):
            problems.append(f"request to another host: {address}")

    def open_(address: str) -> Page:
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: problems.append(f"{error}\n{error.stack}"))
        page.on("request", lambda one: asked(one.url))
        page.goto(f"{lab.url}{address}?reset")  # without the tabs of the test before
        pages.append(page)
        return page

    yield open_
    PICTURES.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    for number, page in enumerate(pages):
        page.screenshot(path=PICTURES / f"{name}{f'-{number}' if number else ''}.png")
    context.close()
    assert problems == []


def output(page: Page, cell: int) -> Locator:
    return page.locator(".jp-CodeCell").nth(cell).locator(".jp-OutputArea-output")


def into_view(found: Locator) -> None:
    """Scroll there. JupyterLab lays cells out anew while they change: what was found may be gone at once."""
    end = time.monotonic() + 30
    while True:
        try:
            return found.scroll_into_view_if_needed()
        except Error as error:
            if "not attached" not in str(error) or time.monotonic() > end:
                raise


def run_all(page: Page) -> None:
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.wait_for_timeout(500)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


def test_the_tile_opens_the_page_in_a_tab(open_lab: Open, lab: Lab) -> None:
    page = open_lab("lab")
    page.locator(".jp-LauncherCard", has_text="DTI Service").click()
    frame = page.frame_locator('iframe[title="DTI Service"]')
    frame.get_by_text("4 clusters").first.wait_for()
    expect(page.locator('iframe[title="DTI Service"]')).to_have_attribute("src", f"{lab.url}dti/")
    # A second click brings that tab back, also from behind the launcher, and makes no other.
    page.keyboard.press("Control+Shift+L")
    page.locator(".jp-LauncherCard:visible", has_text="DTI Service").click()
    page.locator('iframe[title="DTI Service"]:visible').wait_for()
    expect(page.locator('iframe[title="DTI Service"]')).to_have_count(1)


def test_the_menu_and_the_palette_lead_there_too(open_lab: Open, lab: Lab) -> None:
    page = open_lab("lab")
    page.locator(".jp-LauncherCard", has_text="DTI Service").wait_for()
    page.get_by_role("menuitem", name="View", exact=True).click()
    page.get_by_text("Activate Command Palette", exact=True).click()
    palette = page.locator("#modal-command-palette")
    palette.locator("input").fill("DTI Service")
    palette.locator(".lm-CommandPalette-itemLabel", has_text="New experiment").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("menuitem", name="DTI Service", exact=True).click()
    menu = page.locator("#jp-mainmenu-dti-service")
    labels = menu.locator(".lm-Menu-itemLabel").all_inner_texts()
    assert labels == ["Experiments", "New experiment", "Open in a browser tab"]
    menu.get_by_text("New experiment").click()
    page.frame_locator('iframe[title="DTI Service"]').get_by_role("heading", level=1).wait_for()
    expect(page.locator('iframe[title="DTI Service"]')).to_have_attribute("src", f"{lab.url}dti/#/new")


def test_a_result_leads_to_its_notebook_in_jupyterlab(open_lab: Open, lab: Lab) -> None:
    with urllib.request.urlopen(f"{lab.url}dti/api/experiments?state=succeeded&token={TOKEN}") as answer:
        id = json.load(answer)["items"][0]["id"]
    executed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("Four squares")])
    nbformat.write(executed, Store(lab.data_dir).directory(id) / "notebook.ipynb")
    result = open_lab(f"dti/#/e/{id}")
    result.get_by_label("About this run").click()
    with result.context.expect_page() as opened:
        result.locator(".dock").get_by_role("link", name="JupyterLab").click()
    page = opened.value
    page.locator(".jp-NotebookPanel").get_by_role("paragraph").get_by_text("Four squares").wait_for()
    assert f"{id}/notebook.ipynb" in unquote(page.url)


def test_a_widget_is_the_page_s_viewer_and_what_is_curated_in_it_is_taken_home(
    open_lab: Open, lab: Lab, eyes: Any
) -> None:
    browse = "from dti_service.widgets import open_experiment\nbrowser = open_experiment().browse()\nbrowser"
    page = open_lab(lab.notebook("browse", browse, "print(browser.to_csv(), browser.selected)"))
    run_all(page)
    eyes.until(page, f"{TILES}.length >= 8", 60)
    view = page.locator(".dti-embed")
    expect(view.locator("h1")).to_have_text("four")
    output(page, 1).get_by_text("four.csv []").wait_for()
    view.locator(".tile").first.click(modifiers=["Control"])
    view.get_by_role("button", name="New cluster").last.click()
    eyes.saved(page)
    cell = page.locator(".jp-CodeCell").nth(1)
    cell.locator(".cm-content").click()
    for _ in range(20):  # what was done reaches the kernel a moment later
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(300)
        if "four.csv" not in output(page, 1).inner_text():
            break
    [written] = list(lab.folder.glob("four *.csv"))
    expect(output(page, 1)).to_contain_text(written.name)
    rows = list(csv.DictReader(io.StringIO(written.read_text(encoding="utf-8-sig"))))
    alone = [row for row in rows if row["cluster_id"] not in "0123"]
    assert (len(rows), len(alone)) == (36, 1)


def test_a_notebook_opened_again_has_its_view_without_its_kernel(open_lab: Open, lab: Lab, eyes: Any) -> None:
    id = next(item.id for item in Store(lab.data_dir).page().items if item.name == "three")
    address = lab.notebook("again", f"from dti_service.widgets import ClusterBrowser\nClusterBrowser({id!r})")
    notebook = str(lab.folder / "again.ipynb")
    done = subprocess.run(
        [sys.executable, "-m", "papermill", notebook, notebook],
        cwd=lab.folder,
        env={**lab.environment, "DTI_DATA_DIR": str(lab.data_dir)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    page = open_lab(address)
    eyes.until(page, f"{TILES}.length >= 8", 60)
    expect(page.locator(".dti-embed h1")).to_have_text("three")


@pytest.fixture
def images(lab: Lab) -> Path:
    """A folder with the images of a finished run."""
    folder = lab.folder / "images"
    folder.mkdir(exist_ok=True)
    results = next((lab.data_dir / "experiments").glob("*/results/clusters"))
    for path in results.glob("*/*_raw.png"):
        shutil.copy(path, folder)
    return folder


def by_hand(lab: Lab, name: str, given: dict[str, Any]) -> str:
    """A notebook of ours with other parameters, as somebody would type them in a cell; its address."""
    notebook = nbformat.read(notebooks_dir() / f"{name}.ipynb", as_version=4)
    after = next(
        at for at, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])
    )
    code = "\n".join(f"{name} = {value!r}" for name, value in given.items())
    notebook.cells.insert(after + 1, nbformat.v4.new_code_cell(code))
    nbformat.write(notebook, lab.folder / f"{name}.ipynb")
    return f"lab/tree/{name}.ipynb"


def no_error(page: Page) -> None:
    expect(page.locator('.jp-OutputArea-output[data-mime-type*="stderr"]')).to_have_count(0)
    expect(page.locator(".jp-OutputArea-output", has_text="Traceback")).to_have_count(0)


def test_the_list_and_the_form_in_a_notebook(open_lab: Open, lab: Lab, images: Path, eyes: Any) -> None:
    """One line each: an experiment is started from the form in one cell, and appears in the list of the other."""
    from_widgets = "from dti_service.widgets import ExperimentList, Launcher\n"
    page = open_lab(lab.notebook("begin", from_widgets + "ExperimentList()", "Launcher()"))
    run_all(page)
    listed, form = (page.locator(".dti-embed").nth(at) for at in (0, 1))
    listed.locator(".experiment-row", has_text="four").first.wait_for()
    form.get_by_label("Number of clusters").wait_for()
    form.locator("input[type=file]").first.set_input_files(sorted(images.glob("*.png")))
    form.get_by_text("images found").wait_for()
    form.get_by_label("Number of clusters").fill("2")
    form.get_by_label("Name of the experiment").fill("From a cell")
    form.locator("details.advanced summary").click()
    form.get_by_label("Passes over the images (epochs)").fill("1")
    form.get_by_label("Image size in pixels").fill("16")
    form.get_by_role("button", name="Start", exact=True).click()
    into_view(listed)
    listed.locator(".experiment-row", has_text="From a cell").wait_for()
    into_view(form)
    # The form becomes the run, and the run its result, in the same cell.
    eyes.until(page, f"{TILES}.length >= 8", 240)
    expect(form.locator("h1")).to_have_text("From a cell")
    into_view(listed)
    listed.locator(".experiment-row", has_text="From a cell").locator(".state", has_text="Done").wait_for()
    # A link leads from the row to the result, within its cell.
    listed.get_by_role("link", name="From a cell").click()
    listed.locator("h1", has_text="From a cell").wait_for()


def test_sprites_by_hand(open_lab: Open, lab: Lab, images: Path, eyes: Any) -> None:
    given = {"dataset": str(images), "n_prototypes": 3, "epochs": 3, "image_size": 16, "device": "cpu"}
    page = open_lab(by_hand(lab, "dti_sprites", given))
    run_all(page)
    view = page.locator('.dti-embed[data-kind="progress"]')
    page.locator(".jp-RenderedText", has_text="/experiments/").wait_for()
    no_error(page)
    into_view(view)
    view.locator("h1", has_text="dti sprites: images").wait_for()
    eyes.until(page, f"{TILES}.length >= 8", 120)
    expect(view.locator(".prototype img.checkered")).not_to_have_count(0)


def test_exploring_by_hand(open_lab: Open, lab: Lab, eyes: Any) -> None:
    id = next(item.id for item in Store(lab.data_dir).page().items if item.name == "four")
    page = open_lab(by_hand(lab, "explore_experiment", {"experiment": id}))
    run_all(page)
    page.locator(".jp-OutputArea-output", has_text=".zip").wait_for()
    no_error(page)
    into_view(page.locator(".dti-embed"))
    eyes.until(page, f"{TILES}.length >= 8", 60)
    expect(page.locator(".dti-embed h1")).to_have_text("four")


def test_launching_by_hand(open_lab: Open, lab: Lab, images: Path) -> None:
    """Two runs are queued, watched to their end, and laid side by side."""
    given = {
        "dataset": str(images),
        "sweep": {"n_prototypes": [2, 3]},
        "settings": {"epochs": 2, "image_size": 16},
    }
    before = {item.id for item in Store(lab.data_dir).page().items}
    page = open_lab(by_hand(lab, "launch", given))
    run_all(page)
    last = page.locator(".jp-CodeCell").last
    last.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for(timeout=240_000)
    no_error(page)
    made = [item for item in Store(lab.data_dir).page().items if item.id not in before]
    assert sorted(item.parameters["n_prototypes"] for item in made) == [2, 3]
    assert {item.state for item in made} == {"succeeded"}
    into_view(page.locator(".jp-OutputArea-output table").last)


def test_the_cell_that_trains_shows_the_run_which_becomes_its_result(
    open_lab: Open, lab: Lab, images: Path, eyes: Any
) -> None:
    given = {"dataset": str(images), "n_prototypes": 3, "epochs": 40, "image_size": 16, "device": "cpu"}
    page = open_lab(by_hand(lab, "dti_clustering", given))
    run_all(page)
    view = page.locator('.dti-embed[data-kind="progress"]')
    view.locator(".run").wait_for(state="attached")
    eyes.until(page, f"{TILES}.length >= 8", 120)
    expect(view.locator("h1")).to_have_text("dti clustering: images")
    newest = Store(lab.data_dir).page().items[0]
    assert (newest.state, newest.origin) == ("succeeded", "interactive")
