"""Clustering scores against scikit-learn and against counts made by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from dti_sprites.evaluation import (
    accuracy_hungarian,
    accuracy_majority,
    ari,
    clustering_metrics,
    confusion,
    contingency,
    kmeans_baseline,
    nmi,
    per_class_accuracy,
)


def random_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n, classes, clusters = rng.integers(1, 200), rng.integers(1, 6), rng.integers(1, 9)
    labels = rng.integers(0, classes, n)
    agreeing = rng.random(n) < rng.random()
    return labels, np.where(agreeing, labels % clusters, rng.integers(0, clusters, n))


@pytest.mark.parametrize("seed", range(20))
def test_parity_with_scikit_learn(seed):
    labels, predictions = random_pair(seed)
    assert ari(labels, predictions) == pytest.approx(adjusted_rand_score(labels, predictions), abs=1e-12)
    assert nmi(labels, predictions) == pytest.approx(
        normalized_mutual_info_score(labels, predictions), abs=1e-12
    )
    table = contingency(labels, predictions)
    kept = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    np.testing.assert_array_equal(kept, contingency_matrix(labels, predictions))


@pytest.mark.parametrize("seed", range(10))
def test_hungarian_accuracy_is_the_best_of_all_permutations(seed):
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, 4, 40), rng.integers(0, 4, 40)
    best = max(np.mean(np.array(p)[predictions] == labels) for p in itertools.permutations(range(4)))
    assert accuracy_hungarian(labels, predictions) == pytest.approx(best)


LABELS = [0, 0, 0, 1, 1, 2]
CLUSTERS = [3, 3, 0, 0, 0, 1]


def test_by_hand_one_to_one():
    # class 0 takes cluster 3 (2 images), class 1 cluster 0 (2), class 2 cluster 1 (1): 5 of 6
    assert accuracy_hungarian(LABELS, CLUSTERS) == pytest.approx(5 / 6)


def test_by_hand_majority():
    predictions = [0, 1, 2, 2, 2, 3]
    assert accuracy_majority(LABELS, predictions) == pytest.approx(5 / 6)
    # one to one, only one of the clusters 0 and 1 may stand for class 0
    assert accuracy_hungarian(LABELS, predictions) == pytest.approx(4 / 6)


def test_metrics_match_one_to_one_only_when_counts_agree():
    labels, predictions = [0, 0, 1, 1], [0, 0, 0, 1]
    assert clustering_metrics(labels, predictions, 2)["accuracy"] == pytest.approx(0.75)
    assert clustering_metrics([0, 0, 1, 1], [0, 1, 2, 2], 3)["accuracy"] == 1.0
    # A third cluster that no image uses still makes the counts differ: majority.
    assert clustering_metrics([0, 1, 1, 1], [0, 0, 0, 1], 2)["accuracy"] == pytest.approx(0.5)
    assert clustering_metrics([0, 1, 1, 1], [0, 0, 0, 1], 3)["accuracy"] == pytest.approx(0.75)


def test_mean_class_accuracy_weighs_classes_equally():
    scores = clustering_metrics([0] * 8 + [1, 1], [0] * 8 + [0, 1], 2)
    assert scores["accuracy"] == pytest.approx(0.9)
    assert scores["mean_class_accuracy"] == pytest.approx((1 + 0.5) / 2)


def test_per_class_and_confusion():
    np.testing.assert_allclose(per_class_accuracy([0] * 8 + [1, 1], [0] * 8 + [0, 1]), [1, 0.5])
    np.testing.assert_array_equal(confusion([0, 0, 1, 1], [1, 1, 0, 1]), [[2, 0, 0], [1, 1, 0]])
    assert np.isnan(per_class_accuracy([0, 0, 2, 2], [0, 0, 1, 1])[1])


def test_unknown_labels_do_not_count():
    assert clustering_metrics([0, 1, -1, -1], [0, 1, 0, 0], 2)["accuracy"] == 1.0
    with pytest.raises(ValueError, match="no label is known"):
        clustering_metrics([-1, -1], [0, 1], 2)


def test_gaps_in_the_classes_do_not_count():
    assert clustering_metrics([3, 3, 7, 7], [0, 0, 1, 1], 2) == {
        "accuracy": 1.0,
        "nmi": pytest.approx(1.0),
        "ari": pytest.approx(1.0),
        "mean_class_accuracy": 1.0,
    }


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [([0], [0]), ([0, 0], [0, 0]), ([0, 1], [0, 0]), ([0, 0], [0, 1]), ([0, 1], [1, 0])],
)
def test_tiny_cases_follow_scikit_learn(labels, predictions):
    assert ari(labels, predictions) == adjusted_rand_score(labels, predictions)
    assert nmi(labels, predictions) == pytest.approx(normalized_mutual_info_score(labels, predictions))


@pytest.mark.parametrize(
    ("labels", "predictions", "n_clusters"), [([0, 1], [0], None), ([0], [-1], None), ([0, 0], [0, 5], 3)]
)
def test_wrong_input(labels, predictions, n_clusters):
    with pytest.raises(ValueError, match=r"labels|negative"):
        clustering_metrics(labels, predictions, n_clusters)


def test_kmeans_baseline_separates_what_is_apart():
    rng = np.random.default_rng(0)
    levels = np.repeat([20, 120, 220], 10)
    images = np.clip(levels[:, None, None] + rng.normal(0, 5, (30, 4, 4)), 0, 255).astype(np.uint8)
    found = kmeans_baseline(images, 3, seed=1, n_init=3)
    assert accuracy_hungarian(np.repeat([0, 1, 2], 10), found) == 1.0
    np.testing.assert_array_equal(found, kmeans_baseline(images, 3, seed=1, n_init=3))
