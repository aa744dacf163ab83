"""Runs and readings side by side: what moved where, checked against the tables of the runs themselves."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

Open = Callable[..., Page]


@pytest.fixture
def places(runs: Any) -> Callable[[str], dict[str, int]]:
    """The cluster of each image, as the table of a run has it."""

    def read(key: str) -> dict[str, int]:
        path = runs.store.directory(runs.ids[key]) / "results" / "cluster_by_path.csv"
        with path.open(encoding="utf-8-sig") as file:
            return {row["path"]: int(row["cluster_id"]) for row in csv.DictReader(file)}

    return read


def facts(page: Page) -> dict[str, str]:
    page.locator(".versus-facts").wait_for()
    return dict(
        page.locator(".versus-facts > div").evaluate_all(
            "items => items.map(e => [e.querySelector('dt').textContent, e.querySelector('dd').textContent])"
        )
    )


def test_two_runs(open_page: Open, runs: Any, places: Callable[[str], dict[str, int]], eyes: Any) -> None:
    a, b = runs.ids["digits"], runs.ids["eight"]
    page = open_page(f"#/compare?a={a}&b={b}")
    found = facts(page)
    first, second = places("digits"), places("eight")
    flows = Counter((first[name], second[name]) for name in first)
    assert found["Images in both"] == "240"
    kept, moved = int(found["In matching clusters"].split(" ")[0]), int(found["Moved"])
    assert kept + moved == 240
    assert 0 < moved < 240
    # One ribbon for each pair of clusters that share images; those that match are grey.
    expect(page.locator(".ribbon")).to_have_count(len(flows))
    matched = page.locator(".ribbon.matched").count()
    assert matched <= 6
    labels = page.locator(".ribbon").evaluate_all("items => items.map(e => e.getAttribute('aria-label'))")
    assert sorted(int(label.split(" ")[0]) for label in labels) == sorted(flows.values())
    # The largest group of moved images is shown at once; another one by keyboard.
    chosen = page.locator(".ribbon:not(.matched)").first
    n = int((chosen.get_attribute("aria-label") or "").split(" ")[0])
    chosen.focus()
    page.keyboard.press("Enter")
    detail = page.locator(".versus-detail")
    expect(detail.locator("h2")).to_contain_text(f"{n} image")
    expect(detail.locator(".compare-images img")).to_have_count(min(n, 60))
    eyes.until(
        page, "[...document.querySelectorAll('.versus-detail .compare-images img')].some(i => i.naturalWidth)"
    )
    page.get_by_role("button", name="Swap the two").click()
    eyes.until(page, f"location.hash.includes('a={b}') && document.querySelector('.versus-facts')")
    assert facts(page)["Moved"] == str(moved)
    page.reload()
    assert facts(page)["Moved"] == str(moved)


def test_a_reading_and_its_run(
    open_page: Open, open_result: Open, fresh: str, runs: Any, server: Any, eyes: Any
) -> None:
    page = open_result()
    page.locator(".main-pane .tile").first.focus()
    page.keyboard.press("u")
    eyes.saved(page)
    page.get_by_role("button", name="Next", exact=True).click()
    page.get_by_role("menuitem", name="Compare with another run").click()
    page.locator("#versus-run-1").select_option(runs.ids["digits"])
    found = facts(page)
    assert (found["Images in both"], found["Moved"]) == ("240", "1")
    [reading] = server.call("GET", f"experiments/{runs.ids['digits']}/curations")["items"]
    assert page.evaluate("() => decodeURIComponent(location.hash)").count(f"/{reading['name']}") == 1
    # The one image left its cluster for the unsorted.
    page.locator(".versus-moves button", has_text="Unsorted → Cluster").wait_for()


def test_a_group(open_page: Open, runs: Any, eyes: Any) -> None:
    page = open_page(f"#/compare?ids={runs.ids['eight']},{runs.ids['digits']}")
    facts(page)
    rows = page.locator(".versus-group tbody tr")
    expect(rows.locator("th")).to_have_text(["Eight motifs", "Digits of two books"])
    for at, count in enumerate((8, 6)):
        expect(rows.nth(at).locator("img")).to_have_count(count)
    eyes.until(
        page, "[...document.querySelectorAll('.versus-prototypes img')].every(i => i.naturalWidth > 0)"
    )
    expect(page.locator(".versus-group thead")).to_contain_text("Loss")
    page.get_by_label("Compare with Eight motifs").check()
    eyes.until(page, f"location.hash.includes('b={runs.ids['eight']}')")
    page.get_by_text("The two are the same").wait_for()


def test_nothing_to_compare(open_page: Open, runs: Any) -> None:
    page = open_page(f"#/compare?a={runs.ids['digits']}&b={runs.ids['colours']}")
    page.get_by_text("no images in common").wait_for()
