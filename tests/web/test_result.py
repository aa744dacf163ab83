"""A finished run on the page: pictures at once, orders, filters, permalinks, one image in full."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

Open = Callable[..., Page]
TABLET = {"width": 1024, "height": 768}


def table(runs: Any, key: str = "digits") -> list[dict[str, str]]:
    path = runs.store.directory(runs.ids[key]) / "results" / "cluster_by_path.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def captions(page: Page, cluster: int = 0) -> list[float]:
    """Distances below the images of a cluster, as shown."""
    tiles = page.locator(f'[data-cluster="{cluster}"] .tile .caption')
    return [float(text) for text in tiles.all_text_contents()]


def choice(page: Page, name: str) -> Locator:
    """What a line of the filter chooses from."""
    return page.locator(".filter-line", has=page.get_by_text(name, exact=True)).locator("select")


def largest(runs: Any) -> int:
    labels = [int(row["cluster_id"]) for row in table(runs)]
    return max(set(labels), key=labels.count)


@pytest.mark.parametrize("viewport", [{"width": 1440, "height": 900}, TABLET])
def test_pictures_at_once(open_result: Open, eyes: Any, viewport: dict[str, int]) -> None:
    """In the old viewer not one image was visible on arrival at 900 pixels."""
    page = open_result(viewport=viewport)
    # All that is in sight is painted: 12 pictures and more, without a scroll or a click.
    inside = (
        "[...document.querySelectorAll('.tile img')].filter(i => i.naturalWidth > 0"
        " && i.getBoundingClientRect().bottom < innerHeight).length"
    )
    eyes.until(page, f"{inside} >= 12")
    assert page.evaluate("() => document.querySelector('.main-pane .cluster-view').scrollTop") == 0
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.title() == "Digits of two books · DTI"
    expect(page.locator("h1")).to_have_text("Digits of two books")


def test_every_image_can_be_reached(open_result: Open, runs: Any) -> None:
    """In the old viewer 8 of 15 images of a cluster could be seen."""
    page = open_result()
    big = largest(runs)
    page.locator(f'[data-cluster="{big}"] .more').click()
    seen: set[str] = set()
    view = page.locator(".main-pane .cluster-view")
    height = view.evaluate("e => e.scrollHeight")
    for top in range(0, height, 300):
        view.evaluate("(e, top) => { e.scrollTop = top; }", top)
        page.wait_for_timeout(60)
        seen |= set(
            page.locator(f'[data-cluster="{big}"] .tile').evaluate_all("t => t.map(e => e.dataset.row)")
        )
    assert len(seen) == sum(int(row["cluster_id"]) == big for row in table(runs))


def test_best_to_worst_with_distances(open_result: Open, runs: Any) -> None:
    page = open_result()
    big = largest(runs)
    known = sorted(float(row["distance"]) for row in table(runs) if int(row["cluster_id"]) == big)
    shown = captions(page, big)
    assert shown == sorted(shown)
    assert shown[0] == pytest.approx(known[0], abs=6e-4)
    page.get_by_role("radio", name="Worst first", exact=True).click()
    worst = captions(page, big)
    assert worst == sorted(worst, reverse=True)
    assert worst[0] == pytest.approx(known[-1], abs=6e-4)


def test_doubtful_first(open_result: Open, runs: Any) -> None:
    page = open_result()
    big = largest(runs)
    page.get_by_role("radio", name="Doubtful first", exact=True).click()

    def doubt(row: dict[str, str]) -> float:
        others = [float(row[f"dist_cluster_{k}"]) for k in range(6) if k != big]
        return float(row["distance"]) / min(others)

    members = [row for row in table(runs) if int(row["cluster_id"]) == big]
    expected = max(members, key=doubt)["path"]
    first = page.locator(f'[data-cluster="{big}"] .tile[title="{expected}"][aria-posinset="1"]')
    first.wait_for()


def test_grouped_by_source(open_result: Open, runs: Any) -> None:
    page = open_result()
    page.get_by_role("radio", name="By source", exact=True).click()
    rows = {row["path"]: row for row in table(runs)}
    big = largest(runs)
    page.locator(f'[data-cluster="{big}"] .more').click()
    page.get_by_label("Size of the images").fill("40")
    count = sum(int(row["cluster_id"]) == big for row in rows.values())
    expect(page.locator(f'[data-cluster="{big}"] .tile')).to_have_count(count)
    shown = page.locator(f'[data-cluster="{big}"] .tile').evaluate_all("all => all.map(e => e.title)")
    assert shown == sorted(shown, key=lambda path: (path.startswith("Ms."), path))
    assert {path.split("/")[0] for path in shown} == {"Livre d'heures", "Ms. 12"}


def test_raw_fitted_and_difference(open_result: Open, eyes: Any) -> None:
    page = open_result()
    first = page.locator(".tile img").first
    expect(first).to_have_attribute("src", re.compile(r"_raw\.png"))
    page.get_by_role("radio", name="Fitted", exact=True).click()
    expect(page.locator(".tile img").first).to_have_attribute("src", re.compile(r"_tsf\.png"))
    eyes.images(page)
    page.get_by_role("radio", name="Difference", exact=True).click()
    second = page.locator(".tile.difference img.second").first
    expect(second).to_have_attribute("src", re.compile(r"_tsf\.png"))
    assert second.evaluate("e => getComputedStyle(e).mixBlendMode") == "difference"


def test_cards_and_sizes(open_result: Open) -> None:
    page = open_result()
    page.locator("label", has=page.get_by_label("Cards")).click()
    boxes = page.locator(".cluster.card").evaluate_all(
        "cards => cards.map(c => { const r = c.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; })"
    )
    assert len(boxes) >= 4
    for at, one in enumerate(boxes):
        for other in boxes[at + 1 :]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, "cards cover each other"
    # Nothing of a card lies outside it: in the old viewer prototype and button were cut by the next card.
    outside = page.locator(".cluster.card").evaluate_all(
        "cards => cards.flatMap(c => { const r = c.getBoundingClientRect();"
        " return [...c.querySelectorAll('button, img')]"
        ".filter(e => e.offsetParent && !e.hidden).map(e => e.getBoundingClientRect())"
        ".filter(b => b.right > r.right + 1 || b.bottom > r.bottom + 1); }).length"
    )
    assert outside == 0
    before = page.locator(".tile .frame").first.bounding_box()
    page.get_by_label("Size of the images").fill("160")
    after = page.locator(".tile .frame").first.bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] == 160 > before["width"]


def test_permalinks(open_result: Open, runs: Any, open_page: Open, eyes: Any) -> None:
    page = open_result(tail="/c/4")
    top = page.locator('[data-cluster="4"]').bounding_box()
    pane = page.locator(".main-pane .cluster-view").bounding_box()
    assert top is not None
    assert pane is not None
    assert pane["y"] - 2 <= top["y"] < pane["y"] + pane["height"] - 100
    page.locator('[data-cluster="4"] .tile').first.click()
    page.locator("dialog.viewer").wait_for()
    address = page.url
    assert "/i/" in address
    page.go_back()
    page.locator("dialog.viewer").wait_for(state="detached")
    page.goto("about:blank")
    page.goto(address)
    page.locator("dialog.viewer[open]").wait_for()


def test_search_and_filter(open_result: Open, runs: Any, eyes: Any) -> None:
    page = open_result()
    rows = table(runs)
    page.get_by_label("Search names, notes, tags").fill("Ms. 12")
    wanted = sum(row["path"].startswith("Ms. 12/") for row in rows)
    eyes.becomes(page, lambda: sum(map(int, page.locator(".rail-count").all_text_contents())), wanted)
    page.get_by_label("Search names, notes, tags").fill("no such name")
    page.get_by_text("No image matches").wait_for()
    page.locator(".empty").get_by_text("Show all images").click()
    page.locator(".tile").first.wait_for()
    page.get_by_label("Filter", exact=True).first.click()
    choice(page, "Source").select_option("Livre d'heures")
    page.locator(".filter-foot").get_by_text(f"{len(rows) - wanted} images found").wait_for()
    eyes.becomes(
        page, lambda: sum(map(int, page.locator(".rail-count").all_text_contents())), len(rows) - wanted
    )
    choice(page, "Cluster").select_option("Cluster 0")
    both = sum(not row["path"].startswith("Ms. 12/") and row["cluster_id"] == "0" for row in rows)
    page.locator(".filter-foot").get_by_text(f"{both} images found").wait_for()
    counts = page.locator(".rail-count").all_text_contents()
    assert sorted(counts) == sorted([str(both), *["0"] * 5])


def test_filtering_by_keyboard(open_result: Open, runs: Any, eyes: Any) -> None:
    """Whoever chooses is not thrown out of the panel by what the choice does, and Escape leads back."""
    page = open_result()
    page.get_by_label("Filter", exact=True).first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    eyes.until(page, "/[0-9]+ images found/.test(document.querySelector('.filter-foot').innerText)")
    assert page.evaluate("() => document.activeElement.closest('label').innerText").startswith("Source")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('.filter-panel') !== null")
    page.get_by_role("button", name="Show all images").focus()
    page.keyboard.press("Enter")
    eyes.becomes(
        page, lambda: sum(map(int, page.locator(".rail-count").all_text_contents())), len(table(runs))
    )
    expect(choice(page, "Source")).to_have_value("")
    page.keyboard.press("Escape")
    assert page.locator(".filter-panel").is_hidden()
    assert page.evaluate("() => document.activeElement.ariaLabel") == "Filter"


def test_what_stands_below_an_image_is_chosen(open_result: Open) -> None:
    page = open_result()
    caption = page.locator(".main-pane .tile .caption").first
    expect(caption).to_have_text(re.compile(r"^\d+[.\d]*$"))
    for choice, text in (
        ("Where it comes from", r"Ms\. 12|Livre d'heures"),
        ("File name", r"\d{3}\.png"),
        ("Nothing", ""),
    ):
        page.get_by_role("button", name="Below the images").click()
        page.get_by_role("menuitemradio", name=choice).click()
        expect(caption).to_have_text(re.compile(f"^(?:{text})$"))
    page.get_by_role("button", name="Below the images").click()
    expect(page.get_by_role("menuitemradio", name="Nothing")).to_have_attribute("aria-checked", "true")


def test_what_a_filter_leaves_fits_below_the_prototype(open_result: Open, runs: Any) -> None:
    """ "117 of 387 images" once touched the first image."""
    page = open_result()
    page.get_by_label("Search names, notes, tags").fill("Ms. 12")
    page.get_by_text(re.compile(r"^\d+ of \d+ · ")).first.wait_for()
    ends = page.evaluate(
        "() => [...document.querySelectorAll('.main-pane .cluster')].map(c => ["
        "c.querySelector('.cluster-facts').getBoundingClientRect().right,"
        " c.querySelector('.prototype').getBoundingClientRect().right,"
        " c.querySelector('.tile').getBoundingClientRect().left])"
    )
    assert ends
    for facts, prototype, tile in ends:
        assert facts <= prototype + 1 < tile - 8


def test_jpeg_runs_are_shown_too(open_result: Open, eyes: Any) -> None:
    """Their files are asked for by the right name: a miss would be an error in the console."""
    page = open_result("colours")
    expect(page.locator('.tile img[src*="_raw.jpg"]')).not_to_have_count(0)
    expect(page.locator('.tile img[src*="_raw.png"]')).to_have_count(0)
    open_image(page)
    eyes.until(page, "document.querySelector('.pane[data-kind=\"fitted\"] img').naturalWidth > 0")
    expect(page.locator('.pane[data-kind="fitted"] img')).to_have_attribute("src", re.compile(r"_tsf\.jpg"))


def test_pictures_do_not_wait_for_all_distances(open_page: Open, runs: Any, eyes: Any) -> None:
    """The table with the distances to all clusters is many times as large as what the first pictures need."""
    held: list[Any] = []
    page = open_page()
    page.locator(".experiment-row[data-id]").first.wait_for()
    page.route("**/cluster_by_path.csv", lambda route: held.append(route))
    page.evaluate("(hash) => { location.hash = hash; }", f"#/e/{runs.ids['digits']}")
    eyes.images(page)
    page.locator(".main-pane .tile").first.focus()
    page.keyboard.press(
        "r"
    )  # the most doubtful images take all distances: the window comes when they are there
    page.locator("main.waiting").wait_for()
    eyes.until(page, "document.querySelector('.dialog[open]') === null")
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    page.locator(".review-image img").wait_for()
    expect(page.locator("main.waiting")).to_have_count(0)
    assert len(held) == 1


def test_about_the_run(open_result: Open, runs: Any) -> None:
    page = open_result()
    page.get_by_label("About this run").click()
    dock = page.locator(".dock")
    dock.locator(".chart-line").wait_for()
    text = dock.inner_text()
    for word in ("Loss", "240", "torch", "Executed notebook"):
        assert word in text
    parameters = dock.locator("section", has=page.get_by_role("heading", name="Parameters")).inner_text()
    assert parameters.split("\n")[1:3] == ["Clusters", "6"]
    page.get_by_text("Clusters by source").click()
    cells = page.locator("table.cross tbody tr").first.locator("td").all_text_contents()
    assert len(cells) == 3  # two books and their sum
    head = page.locator("table.cross thead th").all_text_contents()
    assert head[1:3] == ["Livre d'heures", "Ms. 12"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as csv").click()
    lines = download.value.path().read_text(encoding="utf-8-sig").splitlines()
    saved = list(csv.reader(lines))
    assert saved[0][1:] == ["Livre d'heures", "Ms. 12", "All"]
    assert sum(int(line[2]) for line in saved[1:]) == sum(
        row["path"].startswith("Ms.") for row in table(runs)
    )


# -- one image --------------------------------------------------------------------------------------------------


def open_image(page: Page, number: int = 2) -> None:
    page.locator('[data-cluster="0"] .tile').nth(number).click()
    page.locator("dialog.viewer[open] .pane img").first.wait_for()


def test_beside_its_prototype(open_result: Open, eyes: Any) -> None:
    page = open_result()
    open_image(page)
    eyes.until(page, "document.querySelector('.stage img').src.includes('/originals/')")
    expect(page.locator(".stage img")).to_have_count(3)
    sources = page.locator(".stage img").evaluate_all("images => images.map(i => i.src)")
    assert [re.search(r"(originals|_tsf|prototype)", source).group(1) for source in sources] == [  # type: ignore[union-attr]
        "originals",  # the file itself, at its full resolution
        "_tsf",
        "prototype",
    ]
    expect(page.locator(".near-card")).to_have_count(3)
    distances = [float(text) for text in page.locator(".near-card .num").all_text_contents()]
    assert distances == sorted(distances)


def test_a_click_on_a_near_prototype_moves_the_image_there(open_result: Open, fresh: str, eyes: Any) -> None:
    page = open_result()
    before = eyes.clusters(page)
    open_image(page)
    card = page.locator(".near-card").nth(2)
    name = card.locator(".near-name").inner_text()
    assert name != "Cluster 0"
    card.click()
    page.keyboard.press("Escape")
    eyes.saved(page)
    after = eyes.clusters(page)
    assert after["Cluster 0"] == before["Cluster 0"] - 1
    assert after[name] == before[name] + 1


def test_next_and_previous_by_keys(open_result: Open) -> None:
    page = open_result()
    open_image(page, 0)
    names = [page.locator(".viewer-title").inner_text()]
    for _ in range(2):
        page.keyboard.press("ArrowRight")
        names.append(page.locator(".viewer-title").inner_text())
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".viewer-title")).to_have_text(names[1])
    assert len(set(names)) == 3
    page.keyboard.press("Escape")
    page.locator("dialog.viewer").wait_for(state="detached")
    # The focus is on the image that was shown last, and the address is that of the result again.
    assert names[1] in (page.evaluate("() => document.activeElement.title") or "")
    assert "/i/" not in page.url


def test_zoom_drag_turn_and_mirror(open_result: Open) -> None:
    page = open_result()
    open_image(page)
    pane = page.locator(".pane-view").first
    box = pane.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -400)
    expect(page.locator(".zoom-text")).not_to_have_text("100 %")
    zoom = int(page.locator(".zoom-text").inner_text().split()[0])
    assert zoom > 150
    before = page.locator(".stage img").first.evaluate("e => e.style.transform")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.6, steps=4)
    page.mouse.up()
    transforms = page.locator(".stage img").evaluate_all("images => images.map(i => i.style.transform)")
    assert len(set(transforms)) == 1  # all panes move together
    assert transforms[0] != before
    page.keyboard.press("w")
    page.keyboard.press("x")
    turned = page.locator(".stage img").first.evaluate("e => e.style.transform")
    assert "rotate(90deg)" in turned
    assert "scale(-1, 1)" in turned
    page.keyboard.press("0")
    expect(page.locator(".zoom-text")).to_have_text("100 %")


def test_overlay_difference_and_blink(open_result: Open) -> None:
    page = open_result()
    open_image(page)
    page.get_by_role("radio", name="Overlay", exact=True).click()
    over = page.locator(".stage img.over")
    page.get_by_label("From the image to the prototype").fill("0.25")
    expect(over).to_have_css("opacity", "0.25")
    page.get_by_role("radio", name="Difference", exact=True).last.click()
    assert page.locator(".stage img.over").evaluate("e => getComputedStyle(e).mixBlendMode") == "difference"
    page.get_by_role("radio", name="Side by side", exact=True).click()
    page.locator(".stage").focus()
    # Blinking shows one in the very place of the other, from wherever one begins.
    page.keyboard.press("b")
    expect(over).to_have_attribute("src", re.compile("_tsf"))
    expect(over).to_have_css("opacity", "1")
    boxes = page.locator(".stage img").evaluate_all(
        "all => all.map((e) => JSON.stringify(e.getBoundingClientRect()))"
    )
    assert len(boxes) == 2
    assert len(set(boxes)) == 1
    page.keyboard.press("b")
    expect(over).to_have_css("opacity", "0")


def test_pinned_beside_another(open_result: Open, eyes: Any) -> None:
    page = open_result()
    open_image(page, 0)
    name = page.locator(".viewer-title").inner_text()
    page.keyboard.press("p")
    page.keyboard.press("ArrowRight")
    expect(page.locator('.pane[data-kind="pin"] figcaption')).to_contain_text(name)
    # Both are seen as their files are, not as small as the network saw them.
    eyes.until(page, "document.querySelector('.pane[data-kind=\"pin\"] img').src.includes('/originals/')")
    expect(page.locator(".viewer-title")).not_to_have_text(name)


def test_others_like_this_one(open_result: Open) -> None:
    page = open_result()
    open_image(page)
    page.keyboard.press("f")
    page.locator(".similar").first.wait_for()
    expect(page.locator(".similar")).to_have_count(60)
    page.locator(".similar input").nth(0).check()
    page.locator(".similar input").nth(3).check()
    page.get_by_text("Choose the ticked ones").click()
    page.keyboard.press("Escape")
    expect(page.locator(".selection-bar strong")).to_have_text("2 chosen")


@pytest.fixture
def scenes(runs: Any, server: Any) -> Iterator[str]:
    """A run with sprites: two layers on a background."""
    sprites = {
        "n_layers": 2,
        "n_backgrounds": 1,
        "sprite_size": 12,
        "layer_transformation_sequence": "position",
    }
    config = {
        "data": {"image_size": 24},
        "model": {
            "kind": "sprites",
            "n_prototypes": 3,
            "transformation_sequence": "identity",
            "encoder": "resnet20",
            "sprites": sprites,
        },
        "training": {"epochs": 1, "batch_size": 16, "seed": 1, "device": "cpu", "threads": 1},
        "results": {"report": False},
    }
    images = np.full((20, 24, 24, 3), 40, np.uint8)
    for number, image in enumerate(images):
        image[number % 12 : number % 12 + 8, 4:12] = (200, 60, 60)
        image[12:20, number % 14 : number % 14 + 8] = (60, 200, 90)
    experiment = runs.train("scenes", "Scenes", images, config, notebook="dti_sprites")
    record = runs.store.get(experiment)
    runs.store.save(dataclasses.replace(record, parameters={**record.parameters, "n_layers": 2}))
    yield experiment
    server.call("DELETE", f"experiments/{experiment}")


def test_a_run_that_follows_sprites_says_what_it_is(scenes: str, open_result: Open) -> None:
    """Clusters do not say what lies in which layer; the page says what follows before anything is started."""
    page = open_result("scenes")
    page.get_by_role("button", name="Next").click()
    page.get_by_role("menuitem", name="New run from these clusters").click()
    note = page.get_by_role("note")
    note.wait_for()
    expect(note).to_contain_text("clusters do not say what lies in which of several layers")
    expect(page.get_by_role("radio", name="Motifs inside images")).to_have_count(0)
    page.locator(".begin-clusters img").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_where_a_sprite_is_transparent_is_seen(scenes: str, open_result: Open, scheme: str) -> None:
    """Sprites are mostly paper or ink: two greys between them lie behind, in both themes."""
    page = open_result("scenes", color_scheme=scheme)
    for selector in (".cluster .prototype img", ".rail-item img"):
        behind = page.locator(selector).first.evaluate("e => getComputedStyle(e).backgroundImage")
        greys = [int(red) for red in re.findall(r"rgb\((\d+)", behind)]
        assert len(set(greys)) == 2
        assert all(110 < grey < 180 for grey in greys)


def test_sprites_masks_and_layers(scenes: str, open_result: Open, eyes: Any) -> None:
    page = open_result("scenes")
    page.locator(".cluster .prototype").first.click()
    page.locator(".learned figure").nth(3).wait_for()
    shown = page.locator(".learned figcaption").all_inner_texts()
    assert {"Prototype", "Prototype with its mask", "Mask", "Background"} <= set(shown)
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")
    page.locator(".main-pane .tile").first.click()
    page.locator("dialog.viewer[open] .pane img").first.wait_for()
    page.get_by_role("radio", name="Layers").check(force=True)
    page.locator('.pane[data-kind="layer"]').nth(1).wait_for()
    expect(page.locator('.pane[data-kind="background"]')).to_have_count(1)
    pictures = "[...document.querySelectorAll('.stage .pane[data-kind=layer] img')]"
    eyes.until(page, f"{pictures}.length === 2 && {pictures}.every(i => i.naturalWidth === 24)")
    assert (
        page.locator('.pane[data-kind="layer"] figcaption').first.inner_text().startswith("Layer 1: Cluster ")
    )


def test_texts_from_users_are_only_text(open_result: Open, runs: Any, server: Any) -> None:
    evil = '<img src=x onerror="window.hacked=1"><b>bold</b>'
    experiment = runs.ids["digits"]
    server.call("PATCH", f"experiments/{experiment}", {"name": evil})
    try:
        page = open_result()
        expect(page.locator("h1")).to_have_text(evil)
        assert page.evaluate("() => window.hacked") is None
    finally:
        server.call("PATCH", f"experiments/{experiment}", {"name": "Digits of two books"})


def test_strict_policy(open_page: Open, server: Any) -> None:
    page = open_page()
    answer = page.request.get(server.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
