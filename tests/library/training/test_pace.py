from __future__ import annotations

import pytest

from dti_sprites.training.pace import FULL_COST, Pace


def test_nothing_is_foretold_before_the_first_change() -> None:
    pace = Pace(first_change=10)
    pace.start(0, 100.0)
    assert pace.left(90, 1000, 9, 109.0) is None


def test_the_pace_is_that_since_the_last_change() -> None:
    pace = Pace(first_change=10)
    pace.start(0, 100.0)
    pace.start(100, 110.0)
    assert pace.left(100, 1000, 10, 110.0) is None
    assert pace.left(110, 1000, 11, 120.0) == pytest.approx(890.0)


def test_without_curriculum_it_is_known_at_once_also_when_resumed() -> None:
    pace = Pace(first_change=0)
    pace.start(50, 3.0)
    assert pace.left(60, 100, 6, 4.0) == pytest.approx(4.0)


def test_what_follows_the_coarse_epochs_takes_longer() -> None:
    pace = Pace(first_change=0, coarse=300)
    pace.start(0, 0.0)
    assert pace.left(100, 400, 10, 10.0) == pytest.approx(0.1 * (200 + 100 * FULL_COST))
    pace.start(300, 30.0)
    assert pace.left(310, 400, 31, 34.0) == pytest.approx(0.4 * 90)
