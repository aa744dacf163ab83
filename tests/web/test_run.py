"""A run while it lasts: what it shows survives a restart of the server, and ends as the result in the same place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

SAY = """() => {
    window.said = [];
    const note = () => window.said.push(...[...document.querySelectorAll('[aria-live]')].map(e => e.textContent));
    new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


@pytest.mark.slow
def test_a_run_survives_a_restart_and_becomes_its_result(
    contexts: Callable[..., BrowserContext], own_server: Any, watch: Any, eyes: Any
) -> None:
    host = own_server.url.split("/a%40b")[0]
    watch.expected += [f"another host: {host}", "ERR_", "Failed to load resource"]
    context = contexts()
    context.request.get(f"{own_server.url}?token=web-tests")
    parameters = {
        "n_prototypes": 4,
        "epochs": 60,
        "transformation_sequence": "identity_affine",
        "image_size": 16,
        "batch_size": 30,
        "seed": 1,
    }
    dataset = str(own_server.data_dir.parent / "digits")
    request = {
        "notebook": "dti_clustering",
        "name": "Through a restart",
        "dataset": dataset,
        "parameters": parameters,
    }
    made = own_server.call("POST", "experiments", request)

    page, beside = context.new_page(), context.new_page()
    page.goto(f"{own_server.url}#/e/{made['id']}")
    beside.goto(own_server.url)
    page.locator(".run-head").wait_for()
    page.evaluate(SAY)
    row = beside.locator(".experiment-row", has_text="Through a restart")
    eyes.until(page, "document.querySelectorAll('.forming canvas').length === 4", 240)
    eyes.until(page, "/^\\d+% · Through a restart/.test(document.title)")
    eyes.until(beside, "document.querySelectorAll('.experiment-row canvas:not([hidden])').length === 4", 60)
    expect(row).to_contain_text("Running")

    own_server.stop()
    page.get_by_text("The connection was lost").wait_for()
    own_server.start_again()
    page.get_by_text("The connection was lost").wait_for(state="hidden", timeout=60_000)
    eyes.images(page, timeout_s=240)
    said = page.evaluate("() => window.said")  # it was never loaded anew
    assert any("is done" in text for text in said)
    expect(page.locator("h1")).to_have_text("Through a restart")
    assert page.title() == "Through a restart · DTI"
    assert page.evaluate("() => location.hash") == f"#/e/{made['id']}"
    assert own_server.call("GET", f"experiments/{made['id']}")["attempt"] == 2
    eyes.until(beside, "document.querySelector('.experiment-row').innerText.includes('Done')", 60)
    eyes.until(beside, "document.querySelectorAll('.experiment-row img').length === 4", 60)


@pytest.mark.slow
def test_a_run_waits_for_its_turn_and_its_reader(
    contexts: Callable[..., BrowserContext], own_server: Any, watch: Any, eyes: Any
) -> None:
    """The place in the queue is told, then time gone and time left; who has scrolled down is left where he is."""
    watch.expected.append(f"another host: {own_server.url.split('/a%40b')[0]}")
    dataset = str(own_server.data_dir.parent / "digits")
    made = []
    for name, epochs in (("First", 4000), ("Second", 400)):
        parameters = {"n_prototypes": 3, "epochs": epochs, "image_size": 16, "batch_size": 30, "seed": 1}
        request = {"notebook": "dti_clustering", "name": name, "dataset": dataset, "parameters": parameters}
        made.append(own_server.call("POST", "experiments", request)["id"])
    context = contexts(viewport={"width": 1024, "height": 420})
    context.request.get(f"{own_server.url}?token=web-tests")
    page = context.new_page()
    page.goto(f"{own_server.url}#/e/{made[1]}")
    page.get_by_text("Number 1 in the queue").wait_for()
    own_server.call("POST", f"experiments/{made[0]}/cancel")
    said = "document.querySelector('.run-progress').innerText"
    eyes.until(page, f"/so far.* left/.test({said}) && /\\d of [\\d,]+ /.test({said})", 240)
    assert page.evaluate("() => { const m = document.querySelector('main'); return m.scrollTop = 90; }") == 90
    show = page.get_by_role("button", name="Show the result")
    show.wait_for(timeout=240_000)
    assert page.evaluate("() => document.querySelector('main').scrollTop") > 0
    expect(page.locator(".run-head")).to_have_count(1)
    show.click()
    eyes.images(page)
