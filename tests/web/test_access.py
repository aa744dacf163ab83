"""The page for those who do not use a mouse, or do not see the screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

Open = Callable[..., Page]
LAPTOP = {"width": 1440, "height": 900}
TABLET = {"width": 1024, "height": 768}


# Nothing moves, nothing is on its way, and no element is lit up because the pointer happens to be over it.
AT_REST = (
    "document.fonts.status === 'loaded' && document.getAnimations().every(a => a.playState !== 'running')"
    " && [...document.styleSheets].length >= 3 && !document.querySelector('.skeleton, main.waiting')"
    " && [...document.images].every(i => i.complete || i.loading === 'lazy')"
)


def findings(page: Page, eyes: Any) -> list[str]:
    """What axe finds serious or critical, each with the element, when the page has come to rest."""
    page.mouse.move(0, 0)
    eyes.until(page, AT_REST)
    answer = Axe().run(page).response
    return [
        f"{one['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for one in answer["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def to(page: Page, selector: str, key: str = "Tab", most: int = 80) -> None:
    """Press Tab until the focus is on something of this kind."""
    for _ in range(most):
        if page.evaluate("(s) => document.activeElement?.matches(s) ?? false", selector):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{selector} was not reached with {most} times {key}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_finding(open_result: Open, fresh: str, scheme: str, eyes: Any) -> None:
    # Without motion nothing fades in: the colours are at once those to judge.
    viewport = TABLET if scheme == "dark" else LAPTOP
    page = open_result(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    found: dict[str, list[str]] = {}

    def look(what: str) -> None:
        found[what] = findings(page, eyes)

    look("rows")
    first = page.locator(".main-pane .tile").first
    first.focus()
    page.keyboard.press(" ")
    page.get_by_label("Filter", exact=True).first.click()
    look("selection and filter")
    page.get_by_label("Filter", exact=True).first.click()
    first.focus()
    page.keyboard.press("m")
    page.keyboard.press("m")  # pressed twice while the dialog is on its way: still one dialog
    page.locator(".choice").first.wait_for()
    look("choose a cluster")
    page.keyboard.press("Enter")
    for tab, ready in (("history", ".history-step"), ("tray", ".tray-empty"), ("about", ".dock .chart-line")):
        page.locator(f".result-title [data-tab={tab}]").click()
        page.locator(ready).first.wait_for()
        look(tab)
    page.locator(".dock .dock-head button").click()
    page.locator("label", has=page.get_by_label("Cards")).click()
    look("cards")
    page.locator(".main-pane .tile").first.click()
    page.locator("dialog.viewer[open] .pane img").first.wait_for()
    look("one image")
    page.keyboard.press("Escape")
    page.locator("dialog.viewer").wait_for(state="detached")
    page.keyboard.press("r")
    page.locator(".review-image img").wait_for()
    look("review")
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")
    page.locator(".main-pane .tile").first.focus()
    for key, what in (("s", "split"), ("f", "similar")):
        page.keyboard.press(key)
        page.locator("dialog[open]").wait_for()
        look(what)
        page.keyboard.press("Escape")
        page.locator("dialog[open]").wait_for(state="detached")
        page.locator(".main-pane .tile").first.focus()
    page.get_by_role("button", name="Export").click()
    look("menu")
    page.keyboard.press("Escape")
    assert {what: one for what, one in found.items() if one} == {}
    eyes.saved(page)


def test_every_task_of_the_table_by_keyboard_alone(open_result: Open, fresh: str, eyes: Any) -> None:
    """Rename, move five, merge, undo, worst first, beside the prototype, full size, export: not one click."""
    page = open_result()
    sizes = eyes.clusters(page)
    to(page, ".tile")
    page.keyboard.press("e")
    page.keyboard.type("Named")
    page.keyboard.press("Enter")
    eyes.becomes(page, lambda: "Named" in eyes.clusters(page), True)

    to(page, ".tile")
    page.keyboard.press(" ")
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".selection-bar strong")).to_have_text("5 chosen")
    page.keyboard.press("m")
    page.locator(".choice").first.wait_for()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    eyes.until(page, "!document.querySelector('dialog[open]')")
    eyes.becomes(page, lambda: eyes.clusters(page).get("Named"), sizes["Cluster 0"] - 5)
    page.keyboard.press("Control+z")
    eyes.becomes(page, lambda: eyes.clusters(page).get("Named"), sizes["Cluster 0"])

    to(page, ".tile")
    page.keyboard.press("g")
    page.locator(".choice").first.wait_for()
    page.keyboard.press("Enter")
    page.locator("#merge-name").wait_for()
    page.keyboard.press("Enter")
    eyes.until(page, "!document.querySelector('dialog[open]')")
    eyes.becomes(page, lambda: len(eyes.clusters(page)), len(sizes) - 1)
    page.keyboard.press("Control+z")
    eyes.becomes(page, lambda: len(eyes.clusters(page)), len(sizes))

    page.keyboard.press("d")
    expect(page.get_by_role("radio", name="Worst first", exact=True)).to_be_checked()
    to(page, ".tile")
    page.keyboard.press("Enter")
    page.locator('.pane[data-kind="prototype"] img').wait_for()
    page.keyboard.press("z")
    page.locator('.stage[data-mode="single"]').wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog.viewer").wait_for(state="detached")
    eyes.saved(page)

    to(page, ".result-title .button[aria-haspopup=menu]:not(.variant)", "Shift+Tab")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
        page.locator("[role=menu]").wait_for()
        page.keyboard.press("Enter")
    assert download.value.suggested_filename.endswith(".csv")
    assert eyes.clicks(page) == 0


def test_what_happens_is_said(open_result: Open, fresh: str, eyes: Any) -> None:
    """Moves, their undoing and the saving reach a live region; every image has a name and a state."""
    page = open_result()
    regions = "[...document.querySelectorAll('[aria-live], [role=status], [role=alert]')]"
    live = f"{regions}.map(e => e.textContent).join(' | ')"
    page.locator(".main-pane .tile").first.focus()
    page.keyboard.press("u")
    eyes.until(page, f"{live}.includes('Moved 1 image from Cluster 0 to Unsorted')")
    page.keyboard.press("Control+z")
    eyes.until(page, f"{live}.includes('Undone')")
    tile = page.locator(".main-pane .tile").first
    label = tile.get_attribute("aria-label") or ""
    assert ".png" in label
    assert "distance" in label
    page.keyboard.press(" ")
    expect(page.locator('.tile[aria-selected="true"]')).to_have_count(1)
    expect(page.locator("main")).to_have_count(1)
    eyes.saved(page)


def test_motion_is_reduced_when_asked_for(open_result: Open) -> None:
    page = open_result(reduced_motion="reduce", tail="/c/3")
    moving = page.evaluate(
        "() => [...document.querySelectorAll('.dti *')].filter(e => { const s = getComputedStyle(e);"
        " const long = (t) => t.split(',').some(v => parseFloat(v) > 0.01);"
        " return (s.animationName !== 'none' && long(s.animationDuration)) || (s.transitionProperty !== 'none'"
        " && long(s.transitionDuration)); }).map(e => e.className)"
    )
    assert moving == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_finding_in_lists_and_forms(
    open_page: Open, runs: Any, server: Any, watch: Any, scheme: str, eyes: Any
) -> None:
    viewport = TABLET if scheme == "dark" else LAPTOP
    page = open_page(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    digits, eight = runs.ids["digits"], runs.ids["eight"]
    states = {item["state"]: item["id"] for item in server.call("GET", "experiments?limit=100")["items"]}
    views = {
        "": ".experiment-row[data-id]",
        "#/new": ".variation",
        f"#/new?start={digits}": ".begin-clusters img",
        f"#/assign?from={digits}": ".drop-zone",
        f"#/compare?a={digits}&b={eight}&ids={digits},{eight}": ".versus-pairs img",
        "#/compare": ".versus-sides",
        f"#/e/{states['failed']}": ".run-head",
        f"#/e/{states['cancelled']}": ".run-head",
        "#/e/01900000-0000-7000-8000-000000000000": ".empty h1",
    }
    watch.expected.append("404")
    found = {}
    for address, ready in views.items():
        page.evaluate("(hash) => { location.hash = hash || '#/'; }", address)
        page.locator(ready).first.wait_for()
        if address == "#/new":
            page.locator("details.advanced summary").click()
            page.get_by_label("Number of clusters").fill("none")
            page.get_by_role("button", name="Start", exact=True).click()
            page.locator(".notice.bad").wait_for()
        found[address] = findings(page, eyes)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), address
    assert {what: one for what, one in found.items() if one} == {}


@pytest.mark.slow
def test_a_sweep_by_keyboard_alone(open_page: Open, few_digits: str, runs: Any, eyes: Any) -> None:
    """From the list to two runs side by side without one click."""
    page = open_page()
    page.locator(".experiment-row[data-id]").first.wait_for()
    page.keyboard.press("n")
    page.locator(".start-part").first.wait_for()
    to(page, "input[value=files]")
    page.keyboard.press("ArrowRight")
    page.locator(".dataset", has_text="A few digits").wait_for()
    page.keyboard.press("Tab")
    while page.evaluate("(id) => document.activeElement.value !== id", few_digits):
        page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    page.get_by_text("24 images found").wait_for()
    to(page, "input.short")
    page.keyboard.press("Control+a")
    page.keyboard.type("2, 3")
    page.keyboard.press("Tab")
    page.keyboard.type("By keyboard")
    to(page, ".advanced summary")
    page.keyboard.press("Enter")
    for label, value in (("Passes over the images (epochs)", "2"), ("Image size in pixels", "16")):
        field = page.get_by_label(label).get_attribute("id")
        to(page, f"#{field}")
        page.keyboard.type(value)
    page.keyboard.press("Enter")
    page.locator(".versus-group").wait_for()
    assert page.locator(".versus-group th[scope=row]").all_inner_texts() == [
        "By keyboard, 2 clusters",
        "By keyboard, 3 clusters",
    ]
    page.locator(".versus-facts").wait_for(timeout=240_000)
    expect(page.locator(".versus-facts")).to_contain_text("Images in both\n24", use_inner_text=True)
    for at, count in enumerate((2, 3)):
        expect(page.locator(".versus-group tbody tr").nth(at).locator("img")).to_have_count(count)
    assert eyes.clicks(page) == 0
