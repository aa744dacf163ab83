"""The list of experiments, and the frame around all pages: languages, themes, keys."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

Open = Callable[..., Page]
PICTURES = Path("test-artifacts/web")
TABLET = {"width": 1024, "height": 768}


def row(page: Page, name: str) -> Any:
    return page.locator(".experiment-row", has_text=name)


def test_the_list_tells_what_there_is(open_page: Open, eyes: Any) -> None:
    page = open_page()
    digits = row(page, "Digits of two books")
    digits.wait_for()
    text = digits.inner_text()
    for word in ("240 images", "6 clusters", "Done", "marie", "digits"):
        assert word in text
    eyes.until(
        page,
        "[...document.querySelectorAll('.experiment-row img')].filter(i => i.naturalWidth > 0).length >= 8",
    )
    expect(row(page, "Coins, a failure")).to_contain_text("The input could not be used")
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", page.locator("main").inner_text())  # never bare ids


def test_search_state_and_order(open_page: Open, eyes: Any) -> None:
    page = open_page()
    row(page, "Digits").wait_for()
    page.get_by_role("radio", name="Failed").click()
    row(page, "Coins").wait_for()
    row(page, "Digits").wait_for(state="detached")
    page.get_by_role("radio", name="All").click()
    row(page, "Digits").wait_for()
    names = page.locator(".experiment-name")
    newest = names.all_text_contents()
    assert newest != sorted(newest)
    page.get_by_label("Order").select_option("name")
    eyes.becomes(page, lambda: (shown := names.all_text_contents()) == sorted(shown), True)
    page.get_by_label("Search names and tags").fill("digits")
    row(page, "Coins").wait_for(state="detached")
    page.get_by_label("Search names and tags").fill("nothing like it")
    page.get_by_text("Nothing matches").wait_for()
    page.get_by_text("Show all experiments").click()
    row(page, "Coins").wait_for()


def test_rename_tag_and_keep(open_page: Open, server: Any, runs: Any) -> None:
    page = open_page()
    seals = row(page, "Seals")
    seals.get_by_label("Keep", exact=True).click()
    seals.get_by_label(re.compile("Actions for")).click()
    page.get_by_role("menuitem", name="Edit tags").click()
    page.locator("dialog[open] input").fill("wax, wax, 13th c.")
    with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        page.keyboard.press("Enter")
    seals.get_by_text("13th c.").wait_for()
    # The page shows what it is about to save.
    end = time.monotonic() + 20
    item: dict[str, Any] = {}
    while (item.get("keep"), item.get("tags")) != (True, ["wax", "13th c."]):
        assert time.monotonic() < end, item
        item = next(one for one in server.call("GET", "experiments?q=Seals")["items"])
    seals.get_by_label("Keep", exact=True).click()


def test_delete_can_be_taken_back(open_page: Open, server: Any, runs: Any, eyes: Any) -> None:
    kept = runs.put("To keep after all", "cancelled")
    gone = runs.put("To be deleted", "cancelled")
    page = open_page()
    for name in ("To keep after all", "To be deleted"):
        row(page, name).get_by_label(re.compile("Actions for")).click()
        page.get_by_role("menuitem", name="Delete").click()
        row(page, name).wait_for(state="detached")
        if name == "To keep after all":
            page.locator(".toast").get_by_text("Undo").click()
            row(page, name).wait_for()
    assert server.call("GET", f"experiments/{kept.id}")["name"] == "To keep after all"
    # The other one really goes when the page is left.
    page.get_by_role("link", name="New experiment").first.click()
    page.get_by_role("heading", name="New experiment").wait_for()

    def is_there() -> bool:
        return any(item["id"] == gone.id for item in server.call("GET", "experiments?limit=100")["items"])

    eyes.becomes(page, is_there, False)
    assert gone.id != kept.id


def test_what_is_kept_is_not_deleted(open_page: Open, server: Any, runs: Any) -> None:
    kept = runs.put("Kept for good", "cancelled")
    server.call("PATCH", f"experiments/{kept.id}", {"keep": True})
    page = open_page()
    row(page, "Kept for good").get_by_label(re.compile("Actions for")).click()
    page.get_by_role("menuitem", name="Delete").click()
    page.locator(".toast").get_by_text("is kept").wait_for()
    row(page, "Kept for good").wait_for()
    assert server.call("GET", f"experiments/{kept.id}")["keep"]


def test_news_reach_the_list(open_page: Open, server: Any, runs: Any, watch: Any) -> None:
    """What others do is seen without asking for the list again: here asking is made impossible."""
    watch.expected += ["ERR_FAILED", "Failed to load"]
    one = runs.put("Named by hand", "cancelled")
    page = open_page()
    row(page, "Named by hand").wait_for()
    page.route("**/api/experiments?*", lambda route: route.abort())
    server.call("PATCH", f"experiments/{one.id}", {"name": "Renamed elsewhere"})
    row(page, "Renamed elsewhere").wait_for()
    server.call("DELETE", f"experiments/{one.id}")
    row(page, "Renamed elsewhere").wait_for(state="detached")


def test_a_search_leads_to_the_comparison(open_page: Open, runs: Any) -> None:
    page = open_page()
    row(page, "Digits").wait_for()
    expect(page.get_by_role("link", name="Compare these")).to_have_count(0)
    page.get_by_label("Search names and tags").fill("o")
    page.get_by_role("link", name="Compare these").click()
    page.locator(".versus-group tbody tr", has_text="Eight motifs").wait_for()


def test_a_running_one_says_how_many_images_it_has(open_page: Open, runs: Any) -> None:
    """Not only when it is over: as soon as the training has begun."""
    started = runs.put("Half way through", "running")
    runs.store.events(started.id).append(
        "progress", step=30, total=60, unit="iterations", phase="training", images=1234
    )
    page = open_page()
    text = row(page, "Half way through").inner_text()
    assert "1,234 images" in text
    assert "30 of 60" in text


def test_a_list_that_is_being_put_together_says_so(open_page: Open, server: Any) -> None:
    """As after a first start on very many experiments: the newest are there, and the rest follows by itself."""
    building = True

    def answer(route: Route) -> None:
        response = route.fetch()
        page = response.json()
        if building:
            page |= {
                "items": page["items"][:1],
                "total": 1,
                "next_cursor": None,
                "index": {"building": True, "done": 1, "total": 4},
            }
        route.fulfill(response=response, json=page)

    page = open_page("#/new")
    page.route("**/api/experiments?*", answer)
    page.get_by_role("link", name="Experiments").first.click()
    count = page.locator(".list-title [role=status]")
    count.get_by_text("1 experiment · the newest; the list is being put together, 25%").wait_for()
    building = False
    row(page, "Digits").wait_for()
    expect(count).not_to_contain_text("put together")


def test_a_fresh_server_shows_how_to_begin(
    contexts: Callable[..., BrowserContext], own_server: Any, watch: Any
) -> None:
    watch.host = own_server.url.split("/a%40b")[0]
    context = contexts()
    context.request.get(f"{own_server.url}?token=web-tests")
    page = context.new_page()
    page.goto(own_server.url)
    page.get_by_role("heading", name="No experiments yet").wait_for()
    expect(page.locator(".empty")).to_contain_text("sample images")
    page.screenshot(path=PICTURES / "a-fresh-server.png")
    page.locator(".empty").get_by_role("link").click()
    page.get_by_role("heading", name="New experiment").wait_for()
    assert watch.verdict() == []


@pytest.fixture
def ten_thousand(runs: Any, server: Any) -> Iterator[int]:
    """Ten thousand more experiments on the disk: records copied from one."""
    model = runs.put("Model", "cancelled")
    source = runs.store.directory(model.id)
    text = (source / "experiment.json").read_text()
    made = []
    for number in range(10_000):
        id = f"01900000-0000-7000-8000-{number:012d}"
        folder = runs.store.root / id
        folder.mkdir()
        name = f"Trial {number:05d}"
        (folder / "experiment.json").write_text(text.replace(model.id, id).replace('"Model"', f'"{name}"'))
        made.append(folder)
    server.call("GET", "experiments?limit=1")
    yield len(made)
    for folder in made:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_ten_thousand_experiments(open_page: Open, server: Any, ten_thousand: int, eyes: Any) -> None:
    end = time.monotonic() + 60
    while (
        server.call("GET", "experiments?limit=1")["total"] < ten_thousand
    ):  # it catches up beside its requests
        assert time.monotonic() < end
        time.sleep(0.2)
    page = open_page()
    eyes.until(page, "document.querySelectorAll('.experiment-row[data-id]').length > 5", 60)
    assert page.locator(".experiment-row").count() < 40
    scroller = page.locator(".list-scroll")
    scroller.evaluate("e => { e.scrollTop = 84 * 2500; }")
    expect(page.locator(".experiment-row[data-id]").first).to_contain_text("Trial")
    assert page.locator(".experiment-row").count() < 40


# -- the frame ----------------------------------------------------------------------------------------------------


def test_french(open_page: Open) -> None:
    page = open_page(locale="fr-FR")
    row(page, "Digits").wait_for()
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    expect(page.locator("h1")).to_contain_text("Expériences")
    page.get_by_label("Langue").click()
    page.get_by_role("menuitemradio", name="English").click()
    page.get_by_role("heading", name="Experiments").wait_for()
    page.reload()
    page.get_by_role("heading", name="Experiments").wait_for()


def test_light_and_dark(open_page: Open) -> None:
    page = open_page(color_scheme="dark")
    page.locator("h1").wait_for()
    expect(page.locator("body")).to_have_attribute("data-theme", "dark")
    page.get_by_label("Light or dark").click()
    page.get_by_role("menuitemradio", name="Light", exact=True).click()
    expect(page.locator("body")).to_have_attribute("data-theme", "light")
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(246, 244, 240)"


def test_keys_are_explained(open_page: Open) -> None:
    page = open_page()
    page.locator("h1").wait_for()
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keyboard").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.type") == "search"


def test_an_experiment_that_is_not_there(open_page: Open, watch: Any) -> None:
    watch.expected.append("404")
    page = open_page("#/e/01900000-0000-7000-8000-000000000000")
    page.get_by_role("heading", name="There is no such experiment").wait_for()
    page.get_by_role("link", name="Experiments").last.click()
    row(page, "Digits").wait_for()


def test_a_server_that_is_away(open_page: Open, watch: Any) -> None:
    watch.expected += ["ERR_FAILED", "Failed to load"]
    page = open_page()
    row(page, "Digits").wait_for()
    page.route("**/api/experiments?*", lambda route: route.abort())
    page.get_by_role("radio", name="Failed").click()
    page.get_by_text("The server cannot be reached").first.wait_for()
    page.unroute("**/api/experiments?*")
    page.get_by_role("button", name="Try again").click()
    row(page, "Coins").wait_for()


@pytest.mark.parametrize("address", ["", "#/new"])
def test_tablet(open_page: Open, address: str) -> None:
    page = open_page(address, viewport=TABLET, has_touch=True)
    page.locator("h1").wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    small = page.locator("main button:visible, main a.button:visible").evaluate_all(
        "items => items.map(e => e.getBoundingClientRect()).filter(r => r.height < 24 || r.width < 24).length"
    )
    assert small == 0
