"""The dashboard asks for metrics that /dti/metrics has, by labels that they carry."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dti_service.metrics import DeviceState, Metrics, Snapshot

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "dti.json"
GIVEN_BY_PROMETHEUS = {"instance"}


@pytest.fixture(scope="module")
def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text())


@pytest.fixture(scope="module")
def samples() -> dict[str, set[str]]:
    """Every sample of a server where everything has happened once: name -> labels."""
    devices = [DeviceState("cuda:0", 1, memory_used=1, memory_total=2)]
    metrics = Metrics(lambda: Snapshot({"queued": 1}, devices))
    metrics.started(1.0)
    for state in ("succeeded", "failed", "cancelled"):
        metrics.finished(state, 2.0, "lost")
    families = text_string_to_metric_families(metrics.render().decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def expressions(dashboard: Any) -> list[str]:
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    found += [item["query"]["query"] for item in dashboard["templating"]["list"] if item["type"] == "query"]
    return found


def test_every_metric_of_the_dashboard_exists(dashboard: Any, samples: dict[str, set[str]]) -> None:
    asked = {name for text in expressions(dashboard) for name in re.findall(r"\bdti_[a-z_]+", text)}
    assert asked
    assert asked <= samples.keys()


def test_every_metric_is_on_the_dashboard(dashboard: Any, samples: dict[str, set[str]]) -> None:
    shown = " ".join(expressions(dashboard))
    useful = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in samples}
    assert {name for name in useful if name not in shown} == set()


def test_labels_are_those_of_the_metrics(dashboard: Any, samples: dict[str, set[str]]) -> None:
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            text = target["expr"]
            have = set.union(*(samples[name] for name in re.findall(r"\bdti_[a-z_]+", text)))
            matched = {
                name for part in re.findall(r"\{([^}]*)\}", text) for name in re.findall(r"(\w+)=", part)
            }
            grouped = {
                name.strip() for part in re.findall(r"by \(([^)]*)\)", text) for name in part.split(",")
            }
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert (matched | grouped | named) <= have | GIVEN_BY_PROMETHEUS, panel["title"]


def test_panels_do_not_overlap_and_have_numbers_of_their_own(dashboard: Any) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
