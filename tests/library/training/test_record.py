"""Averages do not depend on when the device is read."""

from __future__ import annotations

import itertools
import json

import pytest
import torch

from dti_sprites.models import StepOutput
from dti_sprites.training import record as record_module
from dti_sprites.training.record import NotFinite, Record


def step(loss, shares=(0.5, 0.5), **terms):
    values = {name: torch.tensor(value) for name, value in terms.items()}
    return StepOutput(torch.tensor(loss), values, torch.zeros(2, 2), torch.zeros(2), torch.tensor(shares))


@pytest.mark.parametrize("read_every", [1, 2, 100])
def test_spans_are_independent(read_every):
    record = Record()
    points, checks = [], []
    for i in range(1, 7):
        record.add(step(float(i), (i / 10, 1 - i / 10), extra=2.0 * i), 4)
        if i % read_every == 0:
            record.read()
        if i % 2 == 0:
            points.append(record.point(epoch=0))
        if i % 3 == 0:
            checks.append(record.proportions().tolist())
    assert [p["loss"] for p in points] == [1.5, 3.5, 5.5]
    assert [p["extra"] for p in points] == [3.0, 7.0, 11.0]
    assert checks == [pytest.approx([0.2, 0.8]), pytest.approx([0.5, 0.5])]
    assert record.history["iteration"] == [2, 4, 6]
    assert record.history["proportions"][0] == pytest.approx([0.15, 0.85])
    assert record.end_epoch() == pytest.approx(3.5)


def test_state_goes_through_json_at_any_moment():
    whole = Record()
    for i in range(1, 8):
        whole.add(step(float(i)), 1 + i % 2)
        state = json.loads(json.dumps(whole.state_dict()))
        again = Record()
        again.load_state_dict(state)
        whole = again
        if i % 3 == 0:
            whole.point()
    assert whole.history["loss"] == [2.0, 5.0]
    assert whole.open_iterations == 1
    expected = sum(i * (1 + i % 2) for i in range(1, 8)) / sum(1 + i % 2 for i in range(1, 8))
    assert whole.end_epoch() == pytest.approx(expected)


def test_proportions_keep_their_shape():
    record = Record()
    out = StepOutput(torch.tensor(1.0), {}, torch.zeros(1, 1), torch.zeros(1), torch.rand(2, 3))
    record.add(out, 1)
    torch.testing.assert_close(record.proportions().float(), out.proportions)


@pytest.mark.parametrize(
    "bad", [{"loss": float("nan")}, {"loss": float("inf")}, {"loss": 1.0, "extra": float("nan")}]
)
def test_the_iteration_that_is_not_finite_is_named(bad):
    record = Record()
    record.add(step(1.0, extra=0.0), 1)
    record.add(step(1.0, extra=0.0), 1)
    record.read()
    record.add(step(1.0, extra=0.0), 1)
    record.add(step(**{"extra": 0.0, **bad}), 1)
    record.add(step(float("nan"), extra=0.0), 1)
    with pytest.raises(NotFinite, match="iteration 4"):
        record.read()


def test_history_stays_bounded(monkeypatch):
    monkeypatch.setattr(record_module, "MAX_POINTS", 8)
    record = Record()
    for i in range(100):
        record.add(step(float(i)), 1)
        record.point()
    iterations = record.history["iteration"]
    assert len(iterations) <= 8
    assert iterations[0] == 1
    assert len({b - a for a, b in itertools.pairwise(iterations)}) == 1
    assert record.history["loss"] == [i - 1.0 for i in iterations]
