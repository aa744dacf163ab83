"""Split and merge: a known wrong optimum is left, a right one is not, and what the steps are made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dti_sprites.config import RunConfig
from dti_sprites.data.batches import DeviceBatches
from dti_sprites.data.imageset import ImageSet
from dti_sprites.errors import ConfigError
from dti_sprites.models import build_model
from dti_sprites.training import fit
from dti_sprites.training.split_merge import look, split_and_merge

SIZE = (8, 8)


def motifs() -> torch.Tensor:
    """Three motifs (3, 1, 8, 8); the first two resemble each other more than the last."""
    bars = torch.zeros(3, 1, *SIZE)
    bars[0, :, :, 1], bars[1, :, :, 3], bars[2, :, 5:7] = 1.0, 1.0, 1.0
    return bars


def images_of(n: int = 30, alpha: bool = False) -> ImageSet:
    noise = 20 * torch.randn(n, 1, *SIZE, generator=torch.Generator().manual_seed(1))
    values = (motifs().repeat(n // 3, 1, 1, 1) * 200 + 25 + noise).clamp(0, 255).to(torch.uint8)
    opaque = torch.full((n, 1, *SIZE), 255, dtype=torch.uint8) if alpha else None
    return ImageSet(values, [f"{i:03d}" for i in range(n)], alpha=opaque)


def configuration(names: str = "identity", **training) -> RunConfig:
    model = {"n_prototypes": 3, "transformation_sequence": names, "n_hidden_units": 8, "encoder": "resnet20"}
    schedule = {"epochs": 12, "batch_size": 10, "lr": 0.02, "milestones": [10], "device": "cpu", **training}
    return RunConfig.from_dict({"model": model, "training": schedule})


def stuck(config: RunConfig, images: ImageSet):
    """A model where one prototype stands for motifs 0 and 1, and two for motif 2."""
    model = build_model(config, images.channels, images.size)
    model.set_epoch(100)
    model.initialise(images.images, torch.Generator().manual_seed(0))
    truth = motifs() * 200 / 255 + 0.1
    with torch.no_grad():
        model.prototypes.pixels.copy_(torch.stack([truth[:2].mean(0), truth[2], truth[2] + 0.01]))
    return model


def labels_of(model, images):
    return model.infer(images.images.float() / 255).labels.view(-1, 3)


@pytest.mark.parametrize("alpha", [False, True])
def test_a_wrong_optimum_is_left(alpha):
    images, config = images_of(alpha=alpha), configuration()
    model = stuck(config, images)
    assert (labels_of(model, images)[:, :2] == 0).all()
    adam = torch.optim.Adam(model.parameters())
    batches = DeviceBatches(images, 7)
    done = split_and_merge(model, batches, 1.0, adam, torch.Generator().manual_seed(0))
    assert done.split == 0
    assert done.merged in (1, 2)
    assert done.promise > 1
    labels = labels_of(model, images)
    assert (labels == labels[0]).all()  # each motif has one prototype
    assert len(set(labels[0].tolist())) == 3
    # With identity alone a step ends in the mean of the images.
    halves = model.prototypes.pixels.detach()[labels[0, :2]]
    means = (images.images.float() / 255).view(-1, 3, 1, *SIZE).mean(0)[:2]
    torch.testing.assert_close(halves, means, rtol=0, atol=1e-3)
    # What is right stays.
    before = model.prototypes.pixels.detach().clone()
    assert split_and_merge(model, batches, 1.0, adam, torch.Generator().manual_seed(0)) is None
    assert model.prototypes.pixels.equal(before)


def test_cost_and_gain_are_changes_of_the_loss():
    images, config = images_of(), configuration()
    model = stuck(config, images)
    survey = look(model, DeviceBatches(images, 8), torch.Generator().manual_seed(0))
    x = images.images.float() / 255
    distances = model.infer(x).distances
    loss = distances.min(1).values.mean()
    for k in range(3):
        without = distances[:, [i for i in range(3) if i != k]].min(1).values.mean()
        assert survey.cost[k].item() == pytest.approx((without - loss).item(), abs=1e-7)
    # Of two point masses the largest variation is all that a cut removes; the factor is for a Gaussian.
    pair = (x.view(-1, 3, 64)[:, :2].mean(0)[0] - x.view(-1, 3, 64)[:, :2].mean(0)[1]).square().mean()
    assert survey.gain[0].item() == pytest.approx(2 / torch.pi * pair.item() / 4 * 20 / 30, rel=0.05)
    assert sorted(survey.halves[0].tolist()) == [False] * 10 + [True] * 10


def test_steps_go_through_the_transformations():
    images, config = images_of(), configuration("identity_affine_tps")
    model = stuck(config, images)
    with torch.no_grad():
        for parameter in model.sequence.row_parameters():
            parameter.add_(0.003 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    model.eval()
    x = images.images.float() / 255
    before = model.infer(x).distances.min(1).values.mean()
    weights = [p.detach().clone() for p in model.encoder.parameters()]
    adam = torch.optim.Adam(model.parameters())
    assert split_and_merge(model, DeviceBatches(images, 7), 0.5, adam, torch.Generator().manual_seed(0))
    assert model.infer(x).distances.min(1).values.mean() < 0.7 * before
    assert all(p.grad is None for p in model.parameters())
    assert all(a.equal(b) for a, b in zip(weights, model.encoder.parameters()))


@pytest.mark.parametrize(("n", "k"), [(30, 2), (30, 1), (6, 3)])
def test_nothing_is_split_when_there_is_too_little(n, k):
    images = images_of(n)
    config = configuration().replace(model={"n_prototypes": k})
    model = build_model(config, images.channels, images.size)
    model.initialise(images.images, torch.Generator().manual_seed(0))
    adam = torch.optim.Adam(model.parameters())
    assert split_and_merge(model, DeviceBatches(images, 7), 1e-3, adam, torch.Generator()) is None


def trained(config, images, callbacks=(), **options):
    model = stuck(config, images)
    model.initialise = lambda *_: None  # begins where it is stuck
    return model, fit(model, images, config, callbacks=callbacks, **options)


def test_training_leaves_a_wrong_optimum_only_when_asked_to(small):
    images = images_of()
    _, plain = trained(configuration(), images)
    watcher = small.Watcher()
    model, result = trained(configuration(split_merge_interval=4), images, [watcher])
    assert result.loss < 0.7 * plain.loss
    assert len(set(labels_of(model, images)[0].tolist())) == 3
    done = [data for kind, data in watcher.named("event") if kind == "split_merge"]
    assert [(event["iteration"], event["split"]) for event in done] == [(4, 0)]
    # Not once the learning rate has dropped, and not where the user said what clusters are.
    pinned = replace(images, pins=torch.tensor([0, -1, -1] * 10))
    for interval, given in ((35, images), (4, pinned)):
        watcher = small.Watcher()
        trained(configuration(split_merge_interval=interval), given, [watcher])
        assert "split_merge" not in [kind for kind, _ in watcher.named("event")]


def test_an_interrupted_run_ends_as_the_uninterrupted_one(small, tmp_path):
    images = small.image_set(24)
    config = small.configuration(
        split_merge_interval=1, split_merge_promise=0.01, reassign=False, checkpoint_every_s=0
    )

    def run(**options):
        model = small.model_for(config, images)
        return model, fit(model, images, config, **options)

    watcher = small.Watcher()
    whole, _ = run(callbacks=[watcher])
    assert "split_merge" in [kind for kind, _ in watcher.named("event")]
    _, first = run(checkpoint_dir=tmp_path, callbacks=[small.Watcher(stop_at=11)])
    assert first.stopped
    again, _ = run(checkpoint_dir=tmp_path)
    assert all(a.equal(b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))


@pytest.mark.parametrize("model", [{"kind": "gmm"}, {"kind": "sprites"}, {"source": "mlp"}])
def test_models_that_cannot_are_named(model):
    with pytest.raises(ConfigError, match=r"training\.split_merge_interval"):
        RunConfig.from_dict({"model": model, "training": {"split_merge_interval": 10}})
