"""Curating on the page: every action, its number of clicks, saving, undoing, and two people at once."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

Open = Callable[..., Page]


def centre(locator: Locator) -> tuple[float, float]:
    box = locator.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Page, source: Locator, target: Locator) -> None:
    page.mouse.move(*centre(source))
    page.mouse.down()
    x, y = centre(source)
    page.mouse.move(x + 12, y + 12, steps=3)
    page.mouse.move(*centre(target), steps=6)
    page.mouse.up()


def tile(page: Page, cluster: str, number: int) -> Locator:
    return page.locator(f'.main-pane [data-cluster="{cluster}"] .tile').nth(number)


def choose(page: Page, cluster: str, first: int, last: int) -> None:
    """The images first..last of a cluster, with two clicks."""
    tile(page, cluster, first).hover()
    tile(page, cluster, first).locator(".check").click()
    tile(page, cluster, last).click(modifiers=["Shift"])


def document(server: Any, runs: Any, name: str = "reading-1") -> dict[str, Any]:
    return dict(server.call("GET", f"experiments/{runs.ids['digits']}/curations/{name}"))


def pixels(page: Page, path: str, server: Any) -> np.ndarray:
    """(H, W) of a picture of the server, 0 to 255."""
    body = page.request.get(server.api + path).body()
    return np.asarray(Image.open(io.BytesIO(body)), dtype=float)


# -- the table of clicks, saving included ---------------------------------------------------------------------


def test_rename_takes_one_click(open_result: Open, fresh: str, eyes: Any, server: Any, runs: Any) -> None:
    page = open_result()
    eyes.clicks(page)
    page.locator('[data-cluster="0"] .cluster-name').click()
    page.keyboard.type("Lombards, rouges")
    page.keyboard.press("Enter")
    eyes.saved(page)
    assert eyes.clicks(page) == 1
    assert document(server, runs)["state"]["clusters"][0]["name"] == "Lombards, rouges"
    assert "v=reading-1" in page.url


def test_moving_five_images_takes_three_clicks(
    open_result: Open, fresh: str, eyes: Any, server: Any, runs: Any
) -> None:
    page = open_result()
    before = eyes.clusters(page)
    eyes.clicks(page)
    choose(page, "0", 1, 5)
    drag(page, tile(page, "0", 3), page.locator(".rail-item").nth(2))
    eyes.saved(page)
    assert eyes.clicks(page) <= 4
    after = eyes.clusters(page)
    assert after["Cluster 0"] == before["Cluster 0"] - 5
    assert after["Cluster 2"] == before["Cluster 2"] + 5
    assert len(document(server, runs)["state"]["moved"]) == 5
    page.locator(".toast", has_text="Moved 5 images from Cluster 0 to Cluster 2").wait_for()


def test_merging_takes_three_clicks(open_result: Open, fresh: str, eyes: Any, server: Any, runs: Any) -> None:
    page = open_result()
    before = eyes.clusters(page)
    eyes.clicks(page)
    page.locator('[data-cluster="0"] [data-act="merge"]').click()
    page.locator('.choice[data-cluster="1"]').click()
    page.locator(".dialog-foot").get_by_text("Merge").click()
    eyes.saved(page)
    assert eyes.clicks(page) == 3
    after = eyes.clusters(page)
    assert len(after) == len(before) - 1
    assert before["Cluster 0"] + before["Cluster 1"] in after.values()


def test_who_survives_a_merge_is_chosen(
    open_result: Open, fresh: str, eyes: Any, server: Any, runs: Any
) -> None:
    """Both are shown in full; name and prototype that live on are chosen; and it can be undone."""
    page = open_result()
    before = eyes.clusters(page)
    page.locator('[data-cluster="1"] [data-act="merge"]').click()
    page.locator('.choice[data-cluster="3"]').click()
    sides = page.locator(".merge-side")
    for at, name in enumerate(("Cluster 1", "Cluster 3")):
        expect(sides.nth(at).locator(".merge-members img")).to_have_count(min(before[name], 60))
    smaller = min((1, 3), key=lambda k: before[f"Cluster {k}"])
    page.locator(f'.merge-side input[value="{smaller}"]').check()
    page.get_by_label("Name of the merged cluster").fill("Both of them")
    page.locator(".dialog-foot").get_by_text("Merge").click()
    after = eyes.moved(page, before)
    eyes.saved(page)
    assert after["Both of them"] == before["Cluster 1"] + before["Cluster 3"]
    (one,) = [
        cluster
        for cluster in document(server, runs)["state"]["clusters"]
        if cluster.get("name") == "Both of them"
    ]
    assert one["prototype"] == smaller
    page.keyboard.press("Control+z")
    eyes.becomes(page, lambda: eyes.clusters(page), before)
    eyes.saved(page)


def test_one_click_each_for_worst_beside_full_and_undo(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    eyes.clicks(page)
    page.get_by_role("radio", name="Worst first", exact=True).click()
    assert eyes.clicks(page) == 1
    tile(page, "0", 0).click()
    page.locator('.pane[data-kind="prototype"]').wait_for()
    assert eyes.clicks(page) == 1
    page.keyboard.press("Escape")
    tile(page, "0", 1).hover()
    tile(page, "0", 1).locator(".full").click()
    page.locator('.stage[data-mode="single"]').wait_for()
    assert eyes.clicks(page) == 1
    page.keyboard.press("Escape")
    page.locator("dialog.viewer").wait_for(state="detached")
    before = eyes.clusters(page)
    tile(page, "0", 0).focus()
    page.keyboard.press("u")
    eyes.becomes(page, lambda: eyes.clusters(page).get("Cluster 0"), before["Cluster 0"] - 1)
    eyes.clicks(page)
    page.get_by_label("Undo", exact=True).click()
    assert eyes.clicks(page) == 1
    eyes.becomes(page, lambda: eyes.clusters(page), before)


def test_exporting_takes_two_clicks(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    eyes.clicks(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
        page.get_by_role("menuitem", name="Table for a spreadsheet").click()
    assert eyes.clicks(page) == 2
    text = download.value.path().read_bytes().decode("utf-8-sig")
    assert text.startswith("image_id,path,cluster_id,cluster_name,distance")
    assert len(text.splitlines()) == 241


# -- moving ---------------------------------------------------------------------------------------------------


def test_move_by_choosing_pictures(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    before = eyes.clusters(page)
    choose(page, "0", 0, 1)
    page.get_by_role("button", name="Move to…").click()
    page.locator(".choice").first.wait_for()
    names = page.locator(".choice .choice-name").all_text_contents()
    assert names[:2] == ["New cluster", "Unsorted"]
    assert "Cluster 0" not in names
    page.get_by_label("Search cluster names").fill("cluster 3")
    page.keyboard.press("Enter")
    page.locator(".toast", has_text="Moved 2 images").wait_for()
    eyes.becomes(page, lambda: eyes.clusters(page).get("Cluster 3"), before["Cluster 3"] + 2)
    eyes.saved(page)


def test_move_across_clusters_into_a_new_one(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    choose(page, "0", 0, 1)
    tile(page, "1", 2).click()  # with a choice begun, a click goes on with it
    expect(page.locator(".selection-bar strong")).to_have_text("3 chosen")
    drag(page, tile(page, "1", 2), page.locator('.rail-drop[data-drop="+new"]'))
    page.keyboard.type("Odd ones")
    page.keyboard.press("Enter")
    eyes.becomes(page, lambda: eyes.clusters(page).get("Odd ones"), 3)
    eyes.saved(page)


def test_select_all_invert_and_frame(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    sizes = eyes.clusters(page)
    choose(page, "0", 0, 2)
    page.locator(".selection-bar").get_by_text("Invert").click()
    expect(page.locator(".selection-bar strong")).to_have_text(f"{sizes['Cluster 0'] - 3} chosen")
    page.locator(".selection-bar").get_by_text("All", exact=True).click()
    expect(page.locator(".selection-bar strong")).to_have_text(f"{sizes['Cluster 0']} chosen")
    page.keyboard.press("Escape")
    assert page.locator(".selection-bar").is_hidden()
    page.keyboard.press("l")
    x, y = centre(tile(page, "0", 0))
    x2, y2 = centre(tile(page, "0", 2))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x2, y2 + 10, steps=5)
    page.mouse.up()
    expect(page.locator(".selection-bar strong")).to_have_text("3 chosen")
    expect(page.locator('.tile[aria-selected="true"]')).to_have_count(3)


def test_two_clusters_side_by_side(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    before = eyes.clusters(page)
    tile(page, "1", 0).focus()
    page.keyboard.press("b")
    beside = page.locator(".beside [data-cluster='1']")
    beside.wait_for()
    drag(page, tile(page, "0", 0), beside.locator(".cluster-head"))
    eyes.becomes(page, lambda: eyes.clusters(page).get("Cluster 1"), before["Cluster 1"] + 1)
    assert beside.locator(".tile").count() > 1
    beside.get_by_label("Close this cluster").click()
    expect(page.locator(".beside")).to_be_hidden()


def test_the_tray(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    before = eyes.clusters(page)
    choose(page, "0", 0, 2)
    page.keyboard.press("t")
    page.get_by_label("Tray", exact=True).last.click()
    page.locator(".tray-item").first.wait_for()
    expect(page.locator(".tray-item")).to_have_count(3)
    eyes.becomes(page, lambda: eyes.clusters(page), before)  # they stay where they are
    page.reload()
    eyes.images(page)
    page.locator(".result-title [data-tab=tray]").click()
    expect(page.locator(".tray-item")).to_have_count(3)
    page.get_by_text("Choose all").click()
    page.locator(".selection-bar").get_by_text("Unsorted").click()
    eyes.becomes(page, lambda: eyes.clusters(page).get("Unsorted"), 3)
    expect(page.locator(".tray-item")).to_have_count(0)
    eyes.saved(page)


def test_split_with_a_proposal(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    before = eyes.clusters(page)
    tile(page, "0", 0).focus()
    page.keyboard.press("s")
    page.locator(".split-box").first.wait_for()
    expect(page.locator(".split-box").nth(1).locator(".split-image")).not_to_have_count(0)
    proposed = page.locator(".split-box").nth(1).locator(".split-image").count()
    assert 0 < proposed <= before["Cluster 0"] / 2
    page.locator(".split-box").nth(0).locator(".split-image").first.click()
    page.locator(".dialog-foot").get_by_text("Split").click()
    page.locator("dialog[open]").wait_for(state="detached")
    page.locator(".toast").first.wait_for()
    after = eyes.clusters(page)
    assert after["Cluster 0, second part"] == proposed + 1
    assert after["Cluster 0"] == before["Cluster 0"] - proposed - 1
    eyes.saved(page)


def test_dialogs_close_by_key_and_confirm_only_a_choice(open_result: Open, fresh: str, eyes: Any) -> None:
    """In the old viewer the button to confirm threw an error without a target, and Escape closed nothing."""
    page = open_result()
    before = eyes.clusters(page)
    tile(page, "0", 0).focus()
    page.keyboard.press("s")
    split = page.locator(".dialog-foot").get_by_role("button", name="Split")
    second = page.locator(".split-box").nth(1).locator(".split-image")
    second.first.wait_for()
    while second.count():
        second.first.click()
    expect(split).to_be_disabled()
    for key in ("Escape", "g", "Escape"):
        page.keyboard.press(key)
        page.locator("dialog[open]").wait_for(state="visible" if key == "g" else "detached")
        if key == "g":
            assert page.locator("dialog[open]").get_attribute("aria-labelledby")
            assert page.evaluate(
                "() => document.querySelector('dialog[open]').contains(document.activeElement)"
            )
    eyes.becomes(page, lambda: eyes.clusters(page), before)


def test_outliers_are_lifted_out(open_result: Open, fresh: str, eyes: Any, runs: Any) -> None:
    path = runs.store.directory(runs.ids["digits"]) / "results" / "cluster_by_path.json"
    members: dict[str, list[float]] = {}
    for row in json.loads(path.read_text()).values():
        members.setdefault(str(row["cluster_id"]), []).append(row["distance"])
    expected = {}
    for cluster, values in members.items():
        low, high = np.quantile(values, [0.25, 0.75])
        expected[cluster] = (
            sum(value > high + 1.5 * (high - low) for value in values) if len(values) >= 8 else 0
        )
    cluster = max(expected, key=lambda key: expected[key])
    assert expected[cluster] > 0
    page = open_result(tail=f"/c/{cluster}")
    page.locator(f'[data-cluster="{cluster}"] [data-act="menu"]').click()
    page.get_by_role("menuitem", name="Choose the outliers").click()
    expect(page.locator(".selection-bar strong")).to_have_text(f"{expected[cluster]} chosen")
    page.keyboard.press("u")
    eyes.becomes(page, lambda: eyes.clusters(page).get("Unsorted"), expected[cluster])
    eyes.saved(page)


def test_notes_tags_and_states(open_result: Open, fresh: str, eyes: Any, server: Any, runs: Any) -> None:
    page = open_result()
    tile(page, "0", 0).focus()
    page.keyboard.press("x")
    page.keyboard.press("k")
    page.locator("dialog[open] input").fill("copy, uncertain")
    page.keyboard.press("Enter")
    page.keyboard.press("c")
    page.locator("dialog[open] textarea").fill("same block <i>damaged</i>")
    page.locator("dialog[open] .primary").click()
    eyes.saved(page)
    state = document(server, runs)["state"]
    assert state["clusters"][0]["state"] == "checked"
    assert list(state["images"].values()) == [
        {"note": "same block <i>damaged</i>", "tags": ["copy", "uncertain"], "reviewed": False}
    ]
    expect(page.locator(".checked-count")).to_contain_text("1 of 6 checked")
    page.get_by_label("Filter", exact=True).first.click()
    line = page.locator(".filter-line", has=page.get_by_text("Tag", exact=True))
    line.locator("select").select_option("uncertain")
    page.locator(".filter-foot").get_by_text("1 image found").wait_for()


def test_review_by_one_key_each(open_result: Open, fresh: str, eyes: Any, server: Any, runs: Any) -> None:
    page = open_result()
    page.keyboard.press("r")
    page.locator(".review-image img").wait_for()
    expect(page.locator(".review-head .num")).to_have_text("1 of 50")
    eyes.until(page, "document.querySelector('.review-image img').src.includes('/originals/')")  # in full
    page.keyboard.press("s")
    page.keyboard.press("2")
    page.keyboard.press("u")
    expect(page.locator(".review-head .num")).to_have_text("4 of 50")
    page.keyboard.press("ArrowLeft")  # back, and what was settled is open again
    expect(page.locator(".review-head .num")).to_have_text("3 of 50")
    page.keyboard.press("Escape")
    eyes.saved(page)
    state = document(server, runs)["state"]
    assert sum(image["reviewed"] for image in state["images"].values()) == 2
    assert len(state["moved"]) == 1
    page.keyboard.press("r")
    expect(page.locator(".review-head .num")).to_have_text("1 of 48")
    # To another cluster, chosen by its pictures: from there the queue goes on.
    page.locator(".review-image img").wait_for()
    page.keyboard.press("o")
    page.locator(".choice").first.wait_for()
    page.keyboard.press("Enter")
    page.locator(".choice").first.wait_for(state="detached")
    expect(page.locator(".review-head .num")).to_have_text("2 of 48")
    page.keyboard.press("Escape")
    eyes.saved(page)
    state = document(server, runs)["state"]
    assert sum(image["reviewed"] for image in state["images"].values()) == 3
    assert len(state["moved"]) == 2


def test_empty_clusters_are_deleted_on_request(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    page.locator(".rail-item").nth(5).click()
    tile(page, "5", 0).focus()
    page.keyboard.press("Control+a")
    page.keyboard.press("u")
    eyes.becomes(page, lambda: eyes.clusters(page).get("Cluster 5"), 0)
    page.locator(".variant").click()
    page.get_by_role("menuitem", name="Delete empty clusters").click()
    eyes.becomes(page, lambda: "Cluster 5" in eyes.clusters(page), False)
    page.keyboard.press("Control+z")
    eyes.becomes(page, lambda: eyes.clusters(page).get("Cluster 5"), 0)
    eyes.saved(page)


# -- nothing is lost, nothing jumps ---------------------------------------------------------------------------------


def test_the_raw_result_is_never_touched(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    before = eyes.clusters(page)
    tile(page, "0", 0).focus()
    page.keyboard.press("u")
    eyes.saved(page)
    page.locator(".variant").click()
    page.get_by_role("menuitemradio", name="Raw result").click()
    eyes.becomes(page, lambda: eyes.clusters(page), before)
    eyes.becomes(page, lambda: "v=" in page.url, False)


def test_nothing_jumps(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    page.get_by_label("Order of the clusters").select_option("size")
    view = page.locator(".main-pane .cluster-view")
    view.evaluate("e => { e.scrollTop = 600; }")
    page.wait_for_timeout(200)
    order = page.locator(".rail-item").evaluate_all("b => b.map(e => e.title)")
    seen = page.locator(".main-pane .cluster").nth(2)
    name = seen.get_attribute("data-cluster")
    seen.locator(".tile").nth(1).hover()
    seen.locator(".tile").nth(1).locator(".check").click()
    place = seen.bounding_box()
    top = page.evaluate("() => document.querySelector('.result-body').getBoundingClientRect().top")
    page.locator(".selection-bar").get_by_text("Unsorted").click()
    page.wait_for_timeout(300)
    now = page.locator(f'.main-pane [data-cluster="{name}"]').bounding_box()
    assert place is not None
    assert now is not None
    assert now["y"] == pytest.approx(place["y"], abs=1)
    assert page.evaluate("() => document.querySelector('.result-body').getBoundingClientRect().top") == top
    # The smaller cluster is still in its place; it is sorted again when asked for.
    assert page.locator(".rail-item").evaluate_all("b => b.map(e => e.title)")[: len(order)] == order
    expect(page.get_by_label("Sort again")).to_be_enabled()
    eyes.saved(page)


def test_history_undo_and_redo_survive_a_reload(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    begin = eyes.clusters(page)
    for key in ("u", "n"):
        tile(page, "0", 0).focus()
        page.keyboard.press(key)
        page.keyboard.press("Escape")
    tile(page, "1", 0).focus()
    before = eyes.clusters(page)
    page.keyboard.press("2")
    end = eyes.moved(page, before)
    eyes.saved(page)
    page.reload()
    eyes.images(page)
    eyes.becomes(page, lambda: eyes.clusters(page), end)
    page.locator(".result-title [data-tab=history]").click()
    expect(page.locator(".history-step")).to_have_count(4)
    steps = page.locator(".history-step").all_text_contents()
    assert steps[0].startswith("Moved 1 image from Cluster 1 to")
    assert "Made New cluster 1 of 1 image" in steps[1]
    page.locator(".history-step").last.click()
    eyes.becomes(page, lambda: eyes.clusters(page), begin)
    for _ in range(3):
        page.keyboard.press("Control+y")
    eyes.becomes(page, lambda: eyes.clusters(page), end)
    eyes.saved(page)


def test_a_moved_image_keeps_true_facts(
    open_result: Open, fresh: str, eyes: Any, runs: Any, server: Any
) -> None:
    page = open_result()
    name = tile(page, "0", 0).get_attribute("title")
    tile(page, "0", 0).focus()
    before = eyes.clusters(page)
    page.keyboard.press("2")
    eyes.moved(page, before)
    eyes.saved(page)
    page.get_by_label("Search names, notes, tags").fill(str(name))
    shown = page.locator(".tile")
    eyes.becomes(page, shown.count, 1)
    moved_to = page.locator(".main-pane .cluster").get_attribute("data-cluster")
    path = runs.store.directory(runs.ids["digits"]) / "results" / "cluster_by_path.json"
    row_id, row = next(item for item in json.loads(path.read_text()).items() if item[1]["path"] == name)
    expect(shown.locator(".caption")).to_have_text(re.compile(r"^\d"))
    assert float(shown.locator(".caption").inner_text()) == pytest.approx(
        row[f"dist_cluster_{moved_to}"], abs=6e-4
    )
    # The fitted picture is the model's own: it differs from the image by just that distance.
    page.get_by_role("radio", name="Fitted", exact=True).click()
    eyes.until(page, "document.querySelector('.tile img').naturalWidth > 0")
    expect(shown.locator("img").first).to_have_attribute("src", re.compile(f"/fits/{row_id}/{moved_to}.png"))
    picture = pixels(page, f"experiments/{runs.ids['digits']}/fits/{row_id}/{moved_to}.png", server)
    results = runs.store.directory(runs.ids["digits"]) / "results"
    raw = next(results.glob(f"clusters/*/{row_id}_raw.png"))
    difference = (picture - np.asarray(Image.open(raw), dtype=float)) / 255
    assert (difference**2).mean() == pytest.approx(row[f"dist_cluster_{moved_to}"], rel=0.05)
    # A new cluster stands for no prototype: there nothing is invented.
    tile_key = page.locator(".tile").first
    tile_key.focus()
    page.keyboard.press("n")
    page.keyboard.press("Enter")
    expect(page.locator(".tile").first).to_contain_text("not fitted")
    eyes.saved(page)


def test_two_people_do_not_overwrite_each_other(
    contexts: Any, open_page: Open, runs: Any, fresh: str, eyes: Any, server: Any, watch: Any
) -> None:
    watch.expected.append("412")
    address = f"#/e/{runs.ids['digits']}"
    one = open_page(address)
    eyes.images(one)
    tile(one, "0", 0).focus()
    one.keyboard.press("u")
    eyes.saved(one)
    two = open_page(address + "?v=reading-1", context=contexts())
    eyes.images(two)
    tile(two, "1", 0).focus()
    two.keyboard.press("u")
    eyes.saved(two)
    tile(one, "2", 0).focus()
    one.keyboard.press("u")
    one.get_by_text("Keep mine as a copy").click()
    eyes.saved(one)
    items = server.call("GET", f"experiments/{runs.ids['digits']}/curations")["items"]
    assert [item["title"] for item in items] == ["Reading 1", "Reading 1, my copy"]
    theirs = document(server, runs)["state"]["moved"]
    mine = document(server, runs, items[1]["name"])["state"]["moved"]
    assert len(theirs) == len(mine) == 2
    assert theirs != mine


def test_work_survives_a_server_that_is_away(
    open_result: Open, fresh: str, eyes: Any, watch: Any, server: Any, runs: Any
) -> None:
    watch.expected += ["ERR_INTERNET_DISCONNECTED", "ERR_FAILED", "Failed to load resource"]
    page = open_result()
    tile(page, "0", 0).focus()
    page.keyboard.press("u")
    eyes.saved(page)
    page.route("**/curations/**", lambda route: route.abort())
    tile(page, "0", 1).focus()
    page.keyboard.press("u")
    page.get_by_text("Not saved yet").wait_for()
    # The window is closed before the server is back, without a word of warning heeded.
    page.evaluate("() => addEventListener('beforeunload', (event) => event.stopImmediatePropagation(), true)")
    page.unroute("**/curations/**")
    page.route(
        "**/curations/reading-1",
        lambda route: route.abort() if route.request.method == "PUT" else route.continue_(),
    )
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    eyes.images(page)
    page.locator(".toast", has_text="was recovered").wait_for()
    eyes.becomes(page, lambda: eyes.clusters(page).get("Unsorted"), 2)
    page.unroute("**/curations/reading-1")
    eyes.saved(page)
    assert len(document(server, runs)["state"]["moved"]) == 2


def test_a_warning_only_when_something_could_be_lost(
    open_result: Open, fresh: str, eyes: Any, watch: Any
) -> None:
    watch.expected += ["ERR_FAILED", "Failed to load resource"]
    page = open_result()
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    eyes.images(page)
    tile(page, "0", 0).focus()
    page.keyboard.press("u")
    eyes.saved(page)
    page.reload()
    eyes.images(page)
    assert asked == []
    page.route(
        "**/curations/**", lambda route: route.abort() if route.request.method == "PUT" else route.continue_()
    )
    # A browser only asks who has touched the page: an image is opened and closed again.
    tile(page, "0", 0).click(position={"x": 40, "y": 40})
    page.locator("dialog.viewer[open] .pane img").first.wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog.viewer").wait_for(state="detached")
    tile(page, "0", 0).focus()
    page.keyboard.press("u")
    page.reload()
    assert asked == ["beforeunload"]


def test_a_reading_has_an_author_and_a_note(
    open_result: Open, fresh: str, eyes: Any, server: Any, runs: Any
) -> None:
    """Here all share a token, so nobody is known: a person says once who they are."""
    page = open_result()
    choose(page, "0", 0, 0)
    page.keyboard.press("u")
    eyes.saved(page)
    page.locator(".variant").click()
    page.get_by_role("menuitem", name="Name, author and note").click()
    page.locator("dialog[open]").get_by_label("Name").fill("After the watermarks")
    page.locator("dialog[open]").get_by_label("Author").fill("Ada")
    page.locator("dialog[open]").get_by_label("Note").fill("Only what Briquet has.")
    page.locator("dialog[open] .primary").click()
    eyes.saved(page)
    saved = document(server, runs)
    said = [saved[name] for name in ("title", "author", "note")]
    assert said == ["After the watermarks", "Ada", "Only what Briquet has."]
    page.reload()
    page.locator(".variant", has_text="After the watermarks").click()
    page.get_by_role("menuitemradio", name="After the watermarks · Ada").wait_for()
    page.get_by_role("menuitem", name="Name, author and note").click()
    expect(page.locator("dialog[open] textarea")).to_have_value("Only what Briquet has.")
    page.keyboard.press("Escape")
    # What the same person does from now on is signed.
    choose(page, "0", 0, 0)
    page.keyboard.press("u")
    eyes.saved(page)
    assert [one["by"] for one in document(server, runs)["operations"]] == ["", "Ada"]


def test_readings_are_named_copied_compared_deleted(
    open_result: Open, fresh: str, eyes: Any, server: Any, runs: Any
) -> None:
    page = open_result()
    choose(page, "0", 0, 3)
    page.keyboard.press("u")
    page.locator('[data-cluster="1"] .cluster-name').click()
    page.keyboard.type("Renamed")
    page.keyboard.press("Enter")
    eyes.saved(page)
    page.locator(".variant").click()
    page.get_by_role("menuitem", name="Copy as a new reading").click()
    page.locator("dialog[open] input").fill("Second look")
    page.keyboard.press("Enter")
    eyes.until(page, "document.querySelector('.variant').textContent.includes('Second look')")
    page.keyboard.press("Control+z")
    eyes.saved(page)
    page.locator(".variant").click()
    page.get_by_role("menuitem", name="Compare two readings").click()
    page.locator("#compare-a").select_option("")
    page.locator("#compare-b").select_option("reading-1")
    page.get_by_text("4 images (2%) lie in another cluster").wait_for()
    page.locator(".compare-move", has_text="Cluster 0").wait_for()
    page.get_by_text("Cluster 1 → Renamed").wait_for()
    page.keyboard.press("Escape")
    page.locator(".variant").click()
    page.get_by_role("menuitem", name="Delete this reading").click()
    page.locator("dialog[open] .primary").click()
    eyes.until(page, "document.querySelector('.variant').textContent.includes('Raw result')")

    def names() -> list[str]:
        path = f"experiments/{runs.ids['digits']}/curations"
        return [item["name"] for item in server.call("GET", path)["items"]]

    eyes.becomes(page, names, ["reading-1"])
