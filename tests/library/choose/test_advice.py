"""What a sweep suggests from loss, use and stability."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dti_sprites.choose import advise
from dti_sprites.choose.advice import find_knee


@dataclass
class Row:
    n_prototypes: int
    best_loss: float
    used: float
    stability: float | None


def test_knee_of_curves_made_by_hand():
    assert find_knee([2, 4, 6, 8, 10], [10, 6, 2, 1.9, 1.8]) == 6
    assert find_knee([2, 4, 6], [3, 2, 1]) is None  # a straight line
    assert find_knee([2, 4, 6], [1, 1, 1]) is None  # flat
    assert find_knee([2, 4, 6], [1, 2, 3]) is None  # rising
    assert find_knee([2, 4], [3, 1]) is None


def test_bend_and_stability_agree():
    rows = [Row(4, 10, 4, 0.7), Row(6, 2, 6, 0.95), Row(8, 1.9, 8, 0.6), Row(10, 1.8, 10, 0.5)]
    advice = advise(rows)
    assert (advice.suggested, advice.knee, advice.most_stable) == (6, 6, 6)
    assert "Up to K = 6" in advice.text
    assert "Seeds agree best at K = 6 (ARI 0.95)" in advice.text


def test_unused_clusters_bound_the_suggestion():
    advice = advise([Row(5, 4, 5, 0.5), Row(10, 3, 10, 0.6), Row(20, 2, 12, 0.9), Row(40, 1, 12, 0.9)])
    assert advice.suggested == 10
    assert "At K = 20 only about 12 clusters are really used" in advice.text


def test_instability_one_seed_and_one_number_are_said():
    assert "use several restarts" in advise([Row(5, 4, 5, 0.3), Row(9, 3, 9, 0.4)]).text
    assert "use at least 2 seeds" in advise([Row(5, 4, 5, None), Row(9, 3, 9, None)]).text
    alone = advise([Row(7, 4, 7, 0.3)])
    assert alone.suggested == 7
    assert "nothing to compare" in alone.text
    with pytest.raises(ValueError, match="at least one"):
        advise([])
