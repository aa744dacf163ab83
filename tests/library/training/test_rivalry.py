"""Challengers: the better model goes on, and an interruption changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dti_sprites.training import fit


def trained(stuck, config, images, callbacks=(), **options):
    model = stuck.model(config, images)
    model.initialise = lambda *_: None  # begins where it is stuck
    return model, fit(model, images, config, callbacks=callbacks, **options)


def victories(watcher):
    return [data for kind, data in watcher.named("event") if kind == "split_merge"]


def test_a_wrong_optimum_is_left_only_when_asked_to(small, stuck):
    images, watcher = stuck.images(), small.Watcher()
    _, plain = trained(stuck, stuck.configuration(), images)
    model, result = trained(stuck, stuck.configuration(split_merge_interval=3), images, [watcher])
    assert result.loss < 0.7 * plain.loss
    assert len(set(stuck.labels(model, images)[0].tolist())) == 3
    # 3 iterations an epoch: found after the third iteration, better after three more; none after it is.
    assert [(event["iteration"], event["epoch"], event["split"]) for event in victories(watcher)] == [
        (6, 1, 0)
    ]


def test_a_challenger_that_is_worse_leaves_no_trace(small, stuck):
    """From the right optimum: the same training as without challengers."""
    images = stuck.images()
    models = []
    for interval in (None, 2):
        config, watcher = stuck.configuration(split_merge_interval=interval), small.Watcher()
        model = stuck.right(config, images)
        model.initialise = lambda *_: None
        fit(model, images, config, callbacks=[watcher])
        assert victories(watcher) == []
        models.append(model.state_dict())
    assert all(a.equal(b) for a, b in zip(models[0].values(), models[1].values()))


def test_nobody_challenges_late_or_what_a_person_said(small, stuck):
    images = stuck.images()
    pinned = replace(images, pins=torch.tensor([0, -1, -1] * 10))
    for interval, milestones, given in ((3, [1], images), (40, [], images), (3, [], pinned)):
        config = stuck.configuration(split_merge_interval=interval, milestones=milestones)
        watcher = small.Watcher()
        trained(stuck, config, given, [watcher])
        assert victories(watcher) == []


@pytest.mark.parametrize("stop_at", [2, 4, 5, 6, 7, 9])
def test_an_interrupted_run_ends_as_the_uninterrupted_one(small, tmp_path, stuck, stop_at):
    """Also within a challenge, and between two."""
    images = stuck.images()
    config = stuck.configuration(
        "identity_affine",
        split_merge_interval=2,
        epochs=4,
        milestones=[3],
        curriculum=[1],
        check_cluster_interval=5,
    )
    watcher = small.Watcher()
    whole, _ = trained(stuck, config, images, [watcher])
    assert victories(watcher)
    _, first = trained(stuck, config, images, [small.Watcher(stop_at=stop_at)], checkpoint_dir=tmp_path)
    assert first.iterations == stop_at
    again, _ = trained(stuck, config, images, checkpoint_dir=tmp_path)
    assert all(a.equal(b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))
