"""What stands in for SciPy and scikit-learn where they are not installed, against them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
import torch
from sklearn.cluster import KMeans

from dti_sprites.evaluation.assignment import linear_sum_assignment
from dti_sprites.evaluation.kmeans import kmeans


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 7), (8, 3), (40, 40)])
def test_matching_is_as_good_as_scipys(shape, maximize):
    rng = np.random.default_rng(shape[0] * 100 + shape[1])
    for values in (rng.normal(size=shape), rng.integers(0, 4, shape)):  # the second has many ties
        rows, columns = linear_sum_assignment(values, maximize)
        assert len(rows) == len(set(rows.tolist())) == len(set(columns.tolist())) == min(shape)
        assert (np.diff(rows) > 0).all()
        expected = values[scipy.optimize.linear_sum_assignment(values, maximize)].sum()
        assert values[rows, columns].sum() == pytest.approx(expected)


def test_matching_refuses_what_is_no_finite_matrix():
    for wrong in (np.zeros(3), np.array([[np.nan]]), np.array([[np.inf, 0.0]])):
        with pytest.raises(ValueError, match="finite matrix"):
            linear_sum_assignment(wrong)


def test_kmeans_is_as_good_as_scikit_learns():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 10)) * 3
    points = (centres[rng.integers(0, 6, 400)] + rng.normal(size=(400, 10))).astype(np.float32)
    labels, inertia = kmeans(torch.from_numpy(points), 6)
    theirs = KMeans(6, n_init=10, random_state=0).fit(points)
    assert inertia == pytest.approx(theirs.inertia_, rel=0.01)
    means = np.stack([points[labels.numpy() == k].mean(0) for k in range(6)])
    assert np.square(points - means[labels.numpy()]).sum() == pytest.approx(inertia, rel=1e-4)
    again, _ = kmeans(torch.from_numpy(points), 6)
    assert torch.equal(labels, again)


def test_kmeans_with_repeated_points_and_with_too_few():
    labels, inertia = kmeans(torch.tensor([[0.0], [0.0], [1.0]]), 3, n_init=2)
    assert inertia == pytest.approx(0.0, abs=1e-6)
    assert labels[0] == labels[1] or inertia == 0
    with pytest.raises(ValueError, match="2 points cannot make 3 clusters"):
        kmeans(torch.zeros(2, 1), 3)


def test_evaluation_works_where_neither_is_installed():
    program = """
import sys
for name in ("scipy", "sklearn"):
    sys.modules[name] = None
import numpy as np
from dti_sprites.evaluation import clustering_metrics, kmeans_baseline
images = np.repeat(np.arange(0, 200, 50, dtype=np.uint8), 5).reshape(20, 1, 1)
labels = np.repeat(np.arange(4), 5)
print(clustering_metrics(labels, kmeans_baseline(images, 4), 4)["accuracy"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1.0"


def test_what_only_the_evaluation_needs_does_not_delay_the_start():
    program = (
        "import sys, dti_sprites.api; print(sorted({'scipy', 'sklearn', 'torchvision'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
