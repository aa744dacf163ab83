"""Segmentation scores against scikit-learn and against masks made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, confusion_matrix

from dti_sprites.evaluation.segmentation import (
    ari,
    ari_fg,
    cosegmentation,
    instance_miou,
    miou,
    semantic_metrics,
    tables_per_image,
)


@pytest.fixture
def masks() -> tuple[np.ndarray, np.ndarray]:
    """Ground truth and prediction (5, 9, 11): labels 0..3 and 0..4 that partly agree."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, (5, 9, 11))
    return true, np.where(rng.random(true.shape) < 0.6, true, rng.integers(0, 5, true.shape))


def test_tables(masks):
    true, predicted = masks
    tables = tables_per_image(true, predicted)
    for i in range(5):
        expected = confusion_matrix(true[i].ravel(), predicted[i].ravel(), labels=range(5))[:4]
        np.testing.assert_array_equal(tables[i], expected)


def test_ari_is_the_mean_of_scikit_learn_s(masks):
    true, predicted = masks
    expected = np.mean([adjusted_rand_score(t.ravel(), p.ravel()) for t, p in zip(*masks, strict=True)])
    assert ari(true, predicted) == pytest.approx(expected)


def test_ari_fg_looks_at_objects_only(masks):
    true, predicted = masks
    pairs = zip(*masks, strict=True)
    expected = np.mean([adjusted_rand_score(t[t > 0], p[t > 0]) for t, p in pairs])
    assert ari_fg(true, predicted) == pytest.approx(expected)
    changed = np.where(true == 0, 4, predicted)
    assert ari_fg(true, changed) == pytest.approx(expected)


def test_ari_does_not_depend_on_the_numbers_of_the_instances():
    true = np.zeros((1, 4, 4), int)
    true[0, :2, :2], true[0, 2:, 2:] = 1, 2
    assert ari(true, np.array([7, 3, 0])[true]) == 1.0
    assert ari_fg(true, np.array([0, 3, 5])[true]) == 1.0


def test_images_without_objects_do_not_count_for_ari_fg():
    true = np.zeros((2, 3, 3), int)
    true[0, 0], true[0, 1] = 1, 2
    assert ari_fg(true, true) == 1.0
    with pytest.raises(ValueError, match="no object"):
        ari_fg(true[1:], true[1:])


def test_one_object_wholly_found_is_perfect():
    true = np.zeros((1, 3, 3), int)
    true[0, 0] = 1
    assert ari_fg(true, true) == 1.0


def test_ignored_pixels():
    true = np.array([[[1, 1, 2, -1]]])
    predicted = np.array([[[1, 1, 2, 1]]])
    assert ari(true, predicted) == 1.0
    assert tables_per_image(true, predicted).sum() == 3


def test_semantic_by_hand():
    # 8 pixels: class 0 has 4 (3 found), class 1 has 2 (both found), class 2 has 2 (1 found)
    true = np.array([[[0, 0, 0, 0, 1, 1, 2, 2]]])
    predicted = np.array([[[2, 2, 2, 0, 0, 0, 1, 0]]])  # 2 stands for 0, 0 for 1, 1 for 2
    scores = semantic_metrics(true, predicted)
    np.testing.assert_allclose(scores["class_accuracy"], [3 / 4, 1, 1 / 2])
    np.testing.assert_allclose(scores["class_iou"], [3 / 4, 2 / 4, 1 / 2])
    assert scores["accuracy"] == pytest.approx(6 / 8)
    assert scores["mean_class_accuracy"] == pytest.approx((3 / 4 + 1 + 1 / 2) / 3)
    assert scores["miou"] == miou(true, predicted) == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    assert scores["accuracy_fg"] == pytest.approx(3 / 4)
    assert scores["mean_class_accuracy_fg"] == pytest.approx(3 / 4)
    assert scores["miou_fg"] == pytest.approx(1 / 2)


def test_semantic_matching_spans_all_images():
    """A label stands for one class in the whole set, unlike an instance."""
    true = np.array([[[1, 1]], [[2, 2]]])
    assert semantic_metrics(true, np.array([[[1, 1]], [[1, 1]]]))["mean_class_accuracy"] == pytest.approx(0.5)
    assert instance_miou(true, np.array([[[1, 1]], [[1, 1]]])) == 1.0


def test_more_predicted_labels_than_classes():
    scores = semantic_metrics(np.array([[[0, 1, 1, 1]]]), np.array([[[5, 2, 2, 3]]]))
    np.testing.assert_allclose(scores["class_accuracy"], [1, 2 / 3])


def test_absent_classes_are_nan_and_do_not_count():
    scores = semantic_metrics(np.array([[[0, 2]]]), np.array([[[0, 2]]]), n_classes=4)
    assert np.isnan(scores["class_iou"][[1, 3]]).all()
    assert scores["miou"] == 1.0


def test_instance_miou_by_hand():
    true = np.array([[[0, 0, 1, 1]]])
    predicted = np.array([[[0, 0, 0, 1]]])
    assert instance_miou(true, predicted) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert instance_miou(true, np.zeros_like(true)) == pytest.approx((1 / 2) / 2)  # the second is missed


def test_cosegmentation_by_hand():
    true = np.array([[[0, 0, 1, 1]], [[0, 1, 1, 1]]])
    predicted = np.array([[[0, 3, 3, 3]], [[0, 0, 0, 1]]])
    scores = cosegmentation(true, predicted)
    assert scores == {"accuracy": pytest.approx(5 / 8), "iou": pytest.approx(3 / 6)}
    empty = np.zeros((1, 2, 2), int)
    assert cosegmentation(empty, empty) == {"accuracy": 1.0, "iou": 1.0}


@pytest.mark.parametrize("score", [ari, ari_fg, miou, instance_miou, cosegmentation])
def test_wrong_input(score):
    with pytest.raises(ValueError, match="label maps"):
        score(np.zeros((1, 2, 2), int), np.zeros((1, 2, 3), int))
    with pytest.raises(ValueError, match=r"no ground truth|no object|negative|nothing"):
        score(np.full((1, 2, 2), -1), np.zeros((1, 2, 2), int))
