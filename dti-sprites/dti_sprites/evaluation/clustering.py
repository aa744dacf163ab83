"""How well clusters agree with known classes.

All scores come from one contingency table, counted in one pass. Images whose class is not known (label -1) do not
count. Protocol: Monnier, Groueix and Aubry, "Deep Transformation-Invariant Clustering" (NeurIPS 2020), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dti_sprites.evaluation.matching import linear_sum_assignment

Labels = np.ndarray | Sequence[int]


def contingency(
    labels: Labels, predictions: Labels, n_classes: int | None = None, n_clusters: int | None = None
) -> np.ndarray:
    """Table (n_classes, n_clusters), int64: images of each class in each cluster.

    Raises ValueError when the lengths differ, no label is known, or an index is outside the table.
    """
    true, predicted = np.asarray(labels).reshape(-1), np.asarray(predictions).reshape(-1)
    if len(true) != len(predicted):
        raise ValueError(f"{len(true)} labels for {len(predicted)} predictions")
    known = true >= 0
    true, predicted = true[known].astype(np.int64), predicted[known].astype(np.int64)
    if len(true) == 0:
        raise ValueError("no label is known: nothing to compare with")
    if predicted.min() < 0:
        raise ValueError("predictions must not be negative")
    classes = int(true.max()) + 1 if n_classes is None else n_classes
    clusters = int(predicted.max()) + 1 if n_clusters is None else n_clusters
    if true.max() >= classes or predicted.max() >= clusters:
        raise ValueError(f"labels and predictions must be below {classes} and {clusters}")
    return np.bincount(true * clusters + predicted, minlength=classes * clusters).reshape(classes, clusters)


def present_classes(table: np.ndarray) -> np.ndarray:
    """The table without classes that no image has."""
    return table[table.sum(axis=1) > 0]


def match_hungarian(table: np.ndarray) -> np.ndarray:
    """Class of each cluster (n_clusters,), int64, one to one, with the most images in agreement; -1 where none."""
    rows, columns = linear_sum_assignment(table, maximize=True)
    matched = np.full(table.shape[1], -1, dtype=np.int64)
    matched[columns] = rows
    return matched


def match_majority(table: np.ndarray) -> np.ndarray:
    """Most frequent class of each cluster (n_clusters,), int64; -1 for an empty cluster."""
    return np.where(table.sum(axis=0) > 0, table.argmax(axis=0), -1)


def match(table: np.ndarray, n_clusters: int | None = None) -> np.ndarray:
    """One to one when there are as many clusters as classes that occur, otherwise by majority."""
    clusters = table.shape[1] if n_clusters is None else n_clusters
    classes = int((table.sum(axis=1) > 0).sum())
    return match_hungarian(table) if clusters == classes else match_majority(table)


def confusion(labels: Labels, predictions: Labels, n_clusters: int | None = None) -> np.ndarray:
    """Table (n_classes, n_classes + 1): class against the class matched to the cluster; the last column: none."""
    table = contingency(labels, predictions, n_clusters=n_clusters)
    matched = match(table, n_clusters)
    classes = table.shape[0]
    result = np.zeros((classes, classes + 1), dtype=np.int64)
    np.add.at(result.T, np.where(matched < 0, classes, matched), table.T)
    return result


def _accuracy(table: np.ndarray, matched: np.ndarray) -> float:
    hit = matched >= 0
    return float(table[matched[hit], np.flatnonzero(hit)].sum() / table.sum())


def accuracy_hungarian(labels: Labels, predictions: Labels) -> float:
    """Share of images in the cluster matched to their class, one cluster per class."""
    table = contingency(labels, predictions)
    return _accuracy(table, match_hungarian(table))


def accuracy_majority(labels: Labels, predictions: Labels) -> float:
    """Share of images that belong to the most frequent class of their cluster (purity)."""
    table = contingency(labels, predictions)
    return _accuracy(table, match_majority(table))


def per_class_accuracy(labels: Labels, predictions: Labels, n_clusters: int | None = None) -> np.ndarray:
    """Share of each class in clusters matched to it (n_classes,); NaN for a class without images."""
    table = confusion(labels, predictions, n_clusters)
    total = table.sum(axis=1)
    return np.divide(np.diagonal(table), total, out=np.full(len(total), np.nan), where=total > 0)


def nmi(labels: Labels, predictions: Labels) -> float:
    """Mutual information over the arithmetic mean of the entropies, in [0, 1]."""
    return _nmi(contingency(labels, predictions))


def _entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _nmi(table: np.ndarray) -> float:
    by_class, by_cluster, joint = table.sum(axis=1), table.sum(axis=0), table.reshape(-1)
    entropies = _entropy(by_class) + _entropy(by_cluster)
    if entropies == 0:  # one class and one cluster: they agree
        return 1.0
    information = entropies - _entropy(joint)
    return min(max(2 * information / entropies, 0.0), 1.0)


def ari(labels: Labels, predictions: Labels) -> float:
    """Adjusted Rand index, at most 1; 0 is what chance gives."""
    return float(ari_of_tables(contingency(labels, predictions)[None])[0])


def ari_of_tables(tables: np.ndarray) -> np.ndarray:
    """Adjusted Rand index (N,) of contingency tables (N, A, B); NaN for an empty table."""

    def pairs(counts: np.ndarray) -> np.ndarray:
        counts = counts.astype(np.float64)
        return counts * (counts - 1) / 2

    total = pairs(tables.sum(axis=(1, 2)))
    together = pairs(tables).sum(axis=(1, 2))
    in_rows = pairs(tables.sum(axis=2)).sum(axis=1)
    in_columns = pairs(tables.sum(axis=1)).sum(axis=1)
    expected = in_rows * in_columns / np.maximum(total, 1)
    span = (in_rows + in_columns) / 2 - expected
    # No span: both put everything together, or everything apart, and agree.
    score = np.divide(
        together - expected, span, out=np.ones_like(span), where=np.abs(span) > 1e-12 * (1 + total)
    )
    return np.where(tables.sum(axis=(1, 2)) > 0, score, np.nan)


def clustering_metrics(
    labels: Labels, predictions: Labels, n_clusters: int | None = None
) -> dict[str, float]:
    """{"accuracy", "nmi", "ari", "mean_class_accuracy"}, each at most 1.

    Clusters are matched to classes one to one when `n_clusters` is the number of classes, otherwise each cluster
    takes its most frequent class. `n_clusters` None: the largest prediction plus one. Raises ValueError.
    """
    table = present_classes(contingency(labels, predictions, n_clusters=n_clusters))
    matched = match(table, n_clusters)
    of_class = np.zeros(table.shape[0])
    np.add.at(of_class, matched[matched >= 0], table[matched[matched >= 0], np.flatnonzero(matched >= 0)])
    return {
        "accuracy": _accuracy(table, matched),
        "nmi": _nmi(table),
        "ari": float(ari_of_tables(table[None])[0]),
        "mean_class_accuracy": float((of_class / table.sum(axis=1)).mean()),
    }
