"""The report and the overview: complete, escaped, self-contained, bounded in size."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dti_sprites.results.charts import area_chart, line_chart, ticks
from dti_sprites.results.overview import render_overview
from dti_sprites.results.report import ReportContent, render
from dti_sprites.results.report_tables import number
from dti_sprites.results.snapshots import Snapshots
from dti_sprites.results.tables import Assignments

HOSTILE = "<script>alert(1)</script>\"' onerror=x &amp;.png"


class Page(HTMLParser):
    """Collects what a browser would fetch, run or read aloud."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if tag not in ("img", "meta", "input", "br", "line", "circle", "path", "link"):
            self.open.append(tag)
        if tag == "img":
            self.images.append(values)
        self.addresses += [str(values[name]) for name in ("src", "href", "srcset") if name in values]
        if values.get("id"):
            self.ids.add(str(values["id"]))
        assert not any(name.startswith("on") for name in values), f"{tag} runs a script"

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += data


def make_content(n: int = 60, k: int = 5, side: int = 16, channels: int = 1, **changes: Any) -> ReportContent:
    rng = np.random.default_rng(0)
    distances = rng.random((n, k), dtype=np.float32)
    distances[:, k - 1] += 2.0  # the last cluster stays empty
    labels = distances.argmin(1)
    pictures = rng.integers(0, 256, (n, side, side, channels), dtype=np.uint8)

    def picture(i: int) -> Image.Image:
        return Image.fromarray(pictures[i].squeeze())

    film = Snapshots()
    for iteration in range(0, 120, 10):
        film.add(iteration, np.full((k, side, side, channels), iteration, np.uint8))
    shares = {f"prop_clus{c}": [1 / k] * 12 for c in range(k)}
    values: dict[str, Any] = {
        "assignments": Assignments([f"{i}.png" for i in range(n)], labels, distances),
        "prototypes": rng.integers(0, 256, (k, side, side, channels), dtype=np.uint8),
        "picture": picture,
        "fitted": picture,
        "metrics": {"loss": 0.1, "iterations": 120},
        "config": {"model": {"n_prototypes": k}},
        "environment": {"python": "3.13.0", "packages": {"torch": "2.6.0"}},
        "history": {
            "iteration": list(range(0, 120, 10)),
            "loss": [1 / (1 + i) for i in range(12)],
            **shares,
        },
        "events": [{"kind": "stage", "iteration": 50, "stage": 1}],
        "film": film,
    }
    return ReportContent(**{**values, **changes})


def test_page_is_whole_and_self_contained() -> None:
    text = render(make_content())
    page = Page(text)
    assert not page.open
    assert "script" not in page.tags
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert not re.search(r"@import|url\(", text)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= page.ids
    for expected in ("Prototypes", "Clusters", "Doubtful images", "Training", "model.n_prototypes", "3.13.0"):
        assert expected in page.text
    assert "partial" not in page.text


def test_every_picture_has_a_text_alternative() -> None:
    page = Page(render(make_content()))
    assert page.images
    assert all(image.get("alt") for image in page.images)
    assert {f"{i}.png" for i in range(60)} <= {image["alt"] for image in page.images}


def test_members_run_from_the_best_fit_to_the_worst() -> None:
    content = make_content(k=2, n=30)
    page = Page(render(content))
    order = [str(image["alt"]) for image in page.images if image.get("class", "").startswith("raw")]  # type: ignore[union-attr]
    best = content.assignments.best
    expected = np.lexsort((best,))
    members = [f"{i}.png" for i in expected if content.assignments.labels[i] == 0]
    assert order == members


def test_text_from_outside_is_escaped() -> None:
    content = make_content()
    content.assignments.names[:] = [f"{i}{HOSTILE}" for i in range(60)]
    content.assignments.known_labels = [HOSTILE + str(i % 2) for i in range(60)]
    content.assignments.sources = [{"document": HOSTILE + str(i % 3)} for i in range(60)]
    content.title = HOSTILE
    content.config = {"data": {HOSTILE: HOSTILE}}
    content.skipped = [(HOSTILE, HOSTILE)]
    content.events = [{"kind": HOSTILE, "iteration": 3, HOSTILE: HOSTILE}]
    content.environment = {HOSTILE: HOSTILE}
    text = render(content)
    page = Page(text)
    assert "script" not in page.tags
    assert "<script" not in text
    assert not page.open
    assert f"0{HOSTILE}" in {image["alt"] for image in page.images}


def test_overview_is_escaped_and_links_to_the_files_beside_it() -> None:
    content = make_content(n=6)
    content.assignments.names[:] = [f"{i}{HOSTILE}" for i in range(6)]
    page = Page(render_overview(content.assignments, "masked_prototypes", "jpg"))
    assert "script" not in page.tags
    assert f"clusters/cluster{content.assignments.labels[3]}/3_raw.jpg" in page.addresses
    assert {f"masked_prototypes/prototype{k}.png" for k in range(5)} <= set(page.addresses)
    assert not page.open


def test_a_thousand_large_images_stay_below_eight_megabytes() -> None:
    text = render(make_content(n=1000, k=20, side=128, channels=3))
    assert len(text) < 8e6
    assert re.search(r"\d+ images are not shown", text)


def test_many_clusters_stay_bounded() -> None:
    text = render(make_content(n=3000, k=600, side=24))
    assert len(text) < 8e6
    assert Page(text).text.count("Cluster 17") >= 1


def test_what_is_hidden_and_what_is_shown_adds_up() -> None:
    content = make_content(n=900, k=4)
    text = render(content)
    shown = len(re.findall(r'<img class="raw', text))
    hidden = sum(
        int(count.replace(",", "")) for count in re.findall(r"([\d,]+) images? (?:is|are) not", text)
    )
    assert hidden > 0
    assert shown + hidden == 900


def test_partial_results_say_so() -> None:
    assert "stopped at iteration 1,234" in render(make_content(metrics={"partial": True, "iterations": 1234}))


def test_bare_content_renders() -> None:
    content = make_content(
        n=3,
        k=1,
        fitted=lambda i: None,
        history={},
        events=(),
        film=Snapshots(),
        metrics={},
        config={},
        environment={},
    )
    page = Page(render(content))
    assert "input" not in page.tags
    assert "Doubtful" not in page.text
    assert "Training" not in page.text


def test_transparent_prototypes_are_shown() -> None:
    assert 'class="pixel clear"' in render(make_content(channels=4))


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (3, 3, [3]), (0, 1000, None)]
)
def test_ticks_are_round(low: float, high: float, expected: list[float] | None) -> None:
    values = ticks(low, high)
    assert 1 <= len(values) <= 8
    if expected is not None:
        assert values == pytest.approx(expected)


@pytest.mark.parametrize("points", [1, 2, 5000])
def test_line_chart_draws_within_its_frame(points: int) -> None:
    y = np.exp(-np.arange(points) / 50) + 1.0
    chart = line_chart(list(range(points)), list(y), "Loss <x>")
    assert "Loss &lt;x&gt;" in chart
    heights = [float(pair.split()[1]) for pair in re.findall(r"[ML]([\d.-]+ [\d.-]+)", chart)]
    assert 1 <= len(heights) <= 400
    assert min(heights) >= 0
    assert max(heights) <= 220


def test_charts_without_points_are_empty() -> None:
    assert line_chart([], [], "x") == ""
    assert line_chart([1.0], [float("nan")], "x") == ""
    assert area_chart([1.0], np.ones((1, 2)), ["a", "b"], "x") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.000"), (0.012345, "0.0123"), (12.34, "12.3"), (1e-7, "1.00e-07"), (None, "n/a")],
)
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text
