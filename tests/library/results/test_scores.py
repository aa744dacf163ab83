"""Agreement with known classes, for whatever a model may predict."""

from __future__ import annotations

import numpy as np
import pytest

from dti_sprites.results.scores import score


def test_images_of_the_empty_sprite_are_a_cluster_of_their_own():
    labels, predictions = np.array([0, 0, 1, 1, -1]), np.array([1, 1, 0, 2, 2])
    figures = score(labels, predictions, 2)
    assert figures["accuracy"] == 1.0  # three clusters for two classes: each is of its majority
    assert figures["n_labelled"] == 4


def test_one_cluster_for_each_class_is_matched_one_to_one():
    assert score(np.array([0, 0, 1, 1]), np.array([1, 1, 1, 0]), 2)["accuracy"] == pytest.approx(0.75)


def test_nothing_known_nothing_scored():
    assert score(np.array([-1, -1]), np.array([0, 1]), 2) == {}
