"""Makes the pictures of the user guide anew: a run on the sample digits, looked at with headless Chromium.

python docs/guide_pictures.py [--chromium /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from dti_sprites import RunConfig, train

HERE = Path(__file__).parent
CONFIG: dict[str, Any] = {
    "data": {"image_size": 16},
    "model": {"n_prototypes": 10, "transformation_sequence": "identity_affine", "encoder": "resnet20"},
    "training": {"epochs": 40, "batch_size": 64, "lr": 1e-3, "seed": 3, "device": "cpu", "curriculum": [5]},
}


def browser_tests() -> Any:
    """How the browser tests make runs and start their server."""
    path = HERE.parent / "tests" / "web" / "conftest.py"
    spec = importlib.util.spec_from_file_location("web_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["web_conftest"] = module
    spec.loader.exec_module(module)
    return module


def keep(page: Page, name: str) -> None:
    """The window as docs/images/<name>.png, in few colours: small, and text stays sharp."""
    page.mouse.move(2, 2)
    page.wait_for_timeout(700)
    target = HERE / "images" / f"{name}.png"
    page.screenshot(path=target)
    with Image.open(target) as picture:
        small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(target, optimize=True)
    print(f"{target.name} {target.stat().st_size // 1000} kB")


def finished(runs: Any, name: str, config: dict[str, Any], images: Path) -> str:
    """A finished run of the library as an experiment; its id."""
    count = config["model"]["n_prototypes"]
    experiment = runs.put(name, parameters={"n_prototypes": count}, dataset="sample", tags=["first run"])
    out = runs.store.directory(experiment.id) / "results"
    train(RunConfig.from_dict(config), images, out=out)
    metrics = json.loads((out / "metrics.json").read_text())
    runs.store.save(dataclasses.replace(runs.store.get(experiment.id), metrics=metrics))
    return str(experiment.id)


def pictures(web: Any, browser: Browser, server: Any, id: str, other: str) -> None:
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, locale="en-GB", color_scheme="light"
    )
    context.set_default_timeout(30_000)
    context.request.get(f"{server.url}?token={web.TOKEN}")
    page = context.new_page()
    page.goto(f"{server.url}#/new")
    page.get_by_label("Number of clusters").wait_for()
    page.get_by_role("radio", name="Sample images").click()
    keep(page, "start")
    page.goto(f"{server.url}#/e/{id}")
    page.locator(".main-pane .tile img").first.wait_for()
    tile = page.locator(".main-pane .tile")
    keep(page, "result")
    tile.nth(3).click()
    page.locator("dialog.viewer[open] .pane img").first.wait_for()
    keep(page, "image")
    page.keyboard.press("Escape")
    page.locator("dialog.viewer").wait_for(state="detached")
    page.locator('[data-cluster="0"] .cluster-name').click()
    page.keyboard.type("Ones, leaning to the left")
    page.keyboard.press("Enter")
    tile.nth(2).focus()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    keep(page, "choose")
    page.keyboard.press("m")
    page.locator(".choice").first.wait_for()
    keep(page, "move")
    page.keyboard.press("Enter")
    page.locator("dialog[open]").wait_for(state="detached")
    page.locator(".result-title [data-tab=history]").click()
    keep(page, "history")
    page.locator(".dock .dock-head button").click()
    page.keyboard.press("r")
    page.locator(".review-image img").wait_for()
    keep(page, "review")
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")
    page.get_by_role("button", name="Export").click()
    keep(page, "export")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Next", exact=True).click()
    page.get_by_role("menuitem", name="New run from this reading").click()
    page.locator(".begin-clusters img").first.wait_for()
    keep(page, "begin")
    page.goto(f"{server.url}#/compare?a={id}&b={other}&ids={id},{other}")
    page.locator(".flow").wait_for()
    keep(page, "compare")
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    web = browser_tests()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        runs = web.Runs(root / "data", web.Store(root / "data"))
        images = web.digit_files(root / "digits", 700)
        id = finished(runs, "Digits", CONFIG, images)
        fewer = {**CONFIG, "model": {**CONFIG["model"], "n_prototypes": 7}}
        other = finished(runs, "Digits, 7 clusters", fewer, images)
        runs.store.index.close()
        server = web.start_server(root, root / "data")
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=options.chromium, args=web.ARGUMENTS)
                pictures(web, browser, server, id, other)
                browser.close()
        finally:
            server.process.terminate()
            server.process.wait(60)


if __name__ == "__main__":
    main()
