"""What is proposed to be split and merged, in the unit of the loss, and what that does to a model."""

from __future__ import annotations

import pytest
import torch

from dti_sprites.config import RunConfig
from dti_sprites.data.batches import DeviceBatches
from dti_sprites.errors import ConfigError
from dti_sprites.training.split_merge import apply, draw_sample, fit_of, look, propose

ALL = torch.arange(30)


def apply_best(model, batches, sample, adam):
    proposal = propose(model, batches, sample)
    apply(proposal, model, batches, adam, torch.Generator().manual_seed(0))
    return proposal


@pytest.mark.parametrize("alpha", [False, True])
def test_a_prototype_of_two_motifs_is_split_and_one_of_a_pair_given_up(stuck, alpha):
    images = stuck.images(alpha=alpha)
    model, batches = stuck.model(stuck.configuration(), images), DeviceBatches(images, 7)
    assert (stuck.labels(model, images)[:, :2] == 0).all()
    done = apply_best(model, batches, ALL, torch.optim.Adam(model.parameters()))
    assert done.split == 0
    assert done.merged in (1, 2)
    labels = stuck.labels(model, images)
    assert (labels == labels[0]).all()  # each motif has one prototype
    assert len(set(labels[0].tolist())) == 3
    # With identity alone a step ends in the mean of the images.
    halves = model.prototypes.pixels.detach()[labels[0, :2]]
    means = (images.images.float() / 255).unflatten(0, (-1, 3)).mean(0)[:2]
    torch.testing.assert_close(halves, means, rtol=0, atol=1e-3)


def test_cost_and_gain_are_changes_of_the_loss(stuck):
    images = stuck.images()
    model, batches = stuck.model(stuck.configuration(), images), DeviceBatches(images, 8)
    survey = look(model, batches, ALL)
    x = images.images.float() / 255
    distances = model.infer(x).distances
    loss = distances.min(1).values.mean()
    assert fit_of(model, batches, ALL) == pytest.approx(loss.item())
    for k in range(3):
        without = distances[:, [i for i in range(3) if i != k]].min(1).values.mean()
        assert survey.cost[k].item() == pytest.approx((without - loss).item(), abs=1e-7)
    first, second = survey.halves[0]
    assert sorted([sorted((first % 3).unique().tolist()), sorted((second % 3).unique().tolist())]) == [
        [0],
        [1],
    ]
    # Cut in two means, the cluster loses what lies between them, whatever the prototype was.
    own = x[torch.cat([first, second])]
    before = (own - own.mean(0)).square().mean((1, 2, 3)).sum()
    after = sum((x[half] - x[half].mean(0)).square().mean((1, 2, 3)).sum() for half in (first, second))
    assert survey.gain[0].item() == pytest.approx((before - after).item() / 30, rel=1e-4)


def test_what_was_refused_is_not_proposed_again(stuck):
    images = stuck.images()
    model, batches = stuck.model(stuck.configuration(), images), DeviceBatches(images, 8)
    refused: set[tuple[int, int]] = set()
    while (proposal := propose(model, batches, ALL, refused)) is not None:
        pair = (proposal.split, proposal.merged)
        assert pair not in refused
        assert proposal.split != proposal.merged
        refused.add(pair)
    assert (0, 1) in refused
    assert (0, 2) in refused


def test_steps_go_through_the_transformations(stuck):
    images = stuck.images()
    model = stuck.model(stuck.configuration("identity_affine_tps"), images)
    with torch.no_grad():
        for parameter in model.sequence.row_parameters():
            parameter.add_(0.003 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    batches = DeviceBatches(images, 7)
    before = fit_of(model, batches, ALL)
    weights = [p.detach().clone() for p in model.encoder.parameters()]
    apply_best(model, batches, ALL, torch.optim.Adam(model.parameters()))
    assert fit_of(model, batches, ALL) < 0.7 * before
    assert all(p.grad is None for p in model.parameters())
    assert all(a.equal(b) for a, b in zip(weights, model.encoder.parameters()))


@pytest.mark.parametrize(("n", "k"), [(30, 2), (30, 1), (6, 3)])
def test_nothing_is_proposed_where_there_is_too_little(stuck, n, k):
    images = stuck.images(n)
    config = stuck.configuration().replace(model={"n_prototypes": k})
    model = stuck.fresh(config, images)
    assert propose(model, DeviceBatches(images, 7), torch.arange(n)) is None


def test_the_sample_is_bounded_in_images_and_in_memory(stuck):
    batches = DeviceBatches(stuck.images(), 7)
    assert sorted(draw_sample(batches, torch.Generator(), 64).tolist()) == ALL.tolist()
    assert len(draw_sample(batches, torch.Generator(), 2**23)) == 4
    assert len(draw_sample(batches, torch.Generator(), 2**26)) == 1


@pytest.mark.parametrize(
    "model", [{"kind": "gmm"}, {"kind": "sprites"}, {"source": "mlp"}, {"selection": {"method": "linear"}}]
)
def test_models_that_cannot_are_named(model):
    with pytest.raises(ConfigError, match=r"training\.split_merge_interval"):
        RunConfig.from_dict({"model": model, "training": {"split_merge_interval": 10}})
