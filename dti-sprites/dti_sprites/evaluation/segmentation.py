"""How well segmented images agree with ground truth: instances, classes, and one object against the rest.

Label maps are integers (N, H, W); 0 is the background, negative ground truth is ignored. Everything is computed from
contingency tables that are counted for all images in one pass.
"""

from __future__ import annotations

import numpy as np

from dti_sprites.evaluation.clustering import ari_of_tables
from dti_sprites.evaluation.matching import linear_sum_assignment


def tables_per_image(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Contingency tables (N, A, B), int64, of two label maps (N, H, W): pixels of each pair of labels.

    Raises ValueError when shapes differ or a prediction is negative.
    """
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.shape != predicted.shape or true.ndim != 3:
        raise ValueError(f"label maps must both be (N, H, W), not {true.shape} and {predicted.shape}")
    if predicted.min(initial=0) < 0:
        raise ValueError("predicted labels must not be negative")
    n = len(true)
    rows, columns = max(int(true.max(initial=0)), 0) + 1, int(predicted.max(initial=0)) + 1
    index = (np.arange(n)[:, None, None] * rows + true) * columns + predicted
    return np.bincount(index[true >= 0], minlength=n * rows * columns).reshape(n, rows, columns)


def ari(true: np.ndarray, predicted: np.ndarray) -> float:
    """Adjusted Rand index of the pixels, background included, averaged over images."""
    return _mean_ari(tables_per_image(true, predicted), "no ground truth in any image")


def ari_fg(true: np.ndarray, predicted: np.ndarray) -> float:
    """ARI over the pixels of ground-truth objects only, averaged over the images that have any.

    Predicted background inside an object counts as one more segment: assign such pixels to an object beforehand where
    the protocol asks for it.
    """
    return _mean_ari(tables_per_image(true, predicted)[:, 1:], "no object in any ground-truth mask")


def _mean_ari(tables: np.ndarray, nothing: str) -> float:
    occupied = tables.sum(axis=(1, 2)) > 0
    if not occupied.any():
        raise ValueError(nothing)
    return float(ari_of_tables(tables[occupied]).mean())


def _iou(table: np.ndarray) -> np.ndarray:
    """Intersection over union (A, B) of every pair of labels of one table; 0 where both are absent."""
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    return np.divide(table, union, out=np.zeros(table.shape), where=union > 0)


def instance_miou(true: np.ndarray, predicted: np.ndarray) -> float:
    """Mean IoU of ground-truth instances (background included), matched one to one in each image."""
    scores = []
    for table in tables_per_image(true, predicted):
        present = table.sum(axis=1) > 0
        if present.any():
            iou = _iou(table)[present]
            scores.append(iou[linear_sum_assignment(iou, maximize=True)].sum() / present.sum())
    if not scores:
        raise ValueError("no ground truth in any image")
    return float(np.mean(scores))


def semantic_metrics(
    true: np.ndarray, predicted: np.ndarray, n_classes: int | None = None
) -> dict[str, float | np.ndarray]:
    """Scores per class over all pixels, after a one-to-one matching of predicted labels with classes.

    The background takes part in the matching. `n_classes` counts the background; None: as many as occur.

    Returns:
        accuracy, mean_class_accuracy, miou; the same three without the background class (suffix _fg); class_accuracy
        and class_iou (n_classes,), NaN for a class without pixels.
    """
    table = tables_per_image(true, predicted).sum(axis=0)
    size = max(*table.shape, n_classes or 0)
    square = np.zeros((size, size), dtype=np.int64)
    square[: table.shape[0], : table.shape[1]] = table
    _, columns = linear_sum_assignment(square, maximize=True)
    matched = square[:, columns]  # column i is now the label matched to class i
    classes = table.shape[0] if n_classes is None else max(n_classes, table.shape[0])
    hits, of_class = np.diagonal(matched)[:classes], matched.sum(axis=1)[:classes]
    union = of_class + matched.sum(axis=0)[:classes] - hits
    if of_class.sum() == 0:
        raise ValueError("no ground truth in any image")
    present = of_class > 0
    accuracy = np.divide(hits, of_class, out=np.full(classes, np.nan), where=present)
    iou = np.divide(hits, union, out=np.full(classes, np.nan), where=present)
    scores: dict[str, float | np.ndarray] = {"class_accuracy": accuracy, "class_iou": iou}
    for suffix, chosen in (("", slice(None)), ("_fg", slice(1, None))):
        if present[chosen].any():
            scores["accuracy" + suffix] = float(hits[chosen].sum() / of_class[chosen].sum())
            scores["mean_class_accuracy" + suffix] = float(np.nanmean(accuracy[chosen]))
            scores["miou" + suffix] = float(np.nanmean(iou[chosen]))
    return scores


def miou(true: np.ndarray, predicted: np.ndarray) -> float:
    """Mean IoU over classes, background included, of `semantic_metrics`."""
    return float(semantic_metrics(true, predicted)["miou"])


def cosegmentation(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """{"accuracy", "iou"} of one common object (non-zero) against the rest, over all pixels of all images."""
    table = tables_per_image(np.where(np.asarray(true) > 0, 1, true), np.asarray(predicted) > 0).sum(axis=0)
    square = np.zeros((2, 2), dtype=np.int64)
    square[: table.shape[0], : table.shape[1]] = table
    if square.sum() == 0:
        raise ValueError("no ground truth in any image")
    union = square.sum() - square[0, 0]
    return {
        "accuracy": float(np.trace(square) / square.sum()),
        "iou": float(square[1, 1] / union) if union else 1.0,  # no object, and none found
    }
