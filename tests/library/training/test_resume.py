"""A run that is interrupted anywhere and goes on ends bit for bit like one that was not."""

from __future__ import annotations

import json

import pytest
import torch

from dti_sprites.errors import ConfigError
from dti_sprites.training import fit
from dti_sprites.training.checkpoint import load_checkpoint, save_checkpoint


def run(small, images, config, **options):
    torch.manual_seed(torch.randint(1000, ()).item())  # the caller's state must not matter
    model = small.model_for(config, images)
    return model, fit(model, images, config, **options)


def equal(a, b):
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


@pytest.fixture(scope="module")
def reference_runs():
    return {}


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("stop_at", range(1, 13))
def test_resume_is_bit_identical(small, tmp_path, reference_runs, stop_at, alpha):
    images, config = small.image_set(alpha=alpha), small.configuration(log_every=5)
    if alpha not in reference_runs:
        model, result = run(small, images, config, checkpoint_dir=tmp_path / "whole")
        whole = load_checkpoint(tmp_path / "whole")
        reference_runs[alpha] = (model.state_dict(), whole.optimizer, result.history)
    state, optimizer, history = reference_runs[alpha]
    run(small, images, config, checkpoint_dir=tmp_path, callbacks=[small.Watcher(stop_at)])
    watcher = small.Watcher()
    model, result = run(small, images, config, checkpoint_dir=tmp_path, callbacks=[watcher])
    assert watcher.named("start")[0].start_iteration == stop_at
    assert equal(model.state_dict(), state)
    assert equal(load_checkpoint(tmp_path).optimizer, optimizer)
    for name, series in history.items():
        if name != "time_per_image":
            assert result.history[name] == series
    assert result.epochs_done == 4


@pytest.mark.parametrize("stop_at", [2, 6, 7])
def test_resume_around_the_last_coarse_epoch(small, tmp_path, stop_at):
    """Two coarse epochs of three iterations each."""
    images, config = small.image_set(alpha=True), small.configuration(coarse_epochs=2)
    whole, result = run(small, images, config)
    run(small, images, config, checkpoint_dir=tmp_path, callbacks=[small.Watcher(stop_at)])
    model, resumed = run(small, images, config, checkpoint_dir=tmp_path)
    assert equal(model.state_dict(), whole.state_dict())
    assert resumed.history["epoch_loss"] == result.history["epoch_loss"]


def test_resume_among_images_that_are_moved(small, tmp_path):
    images, config = small.image_set(alpha=True), small.configuration(augmentation=0.2)
    whole, _ = run(small, images, config)
    run(small, images, config, checkpoint_dir=tmp_path, callbacks=[small.Watcher(5)])
    model, _ = run(small, images, config, checkpoint_dir=tmp_path)
    assert equal(model.state_dict(), whole.state_dict())


def test_resume_after_each_iteration(small, tmp_path):
    images, config = small.image_set(), small.configuration()
    whole, _ = run(small, images, config)
    for _ in range(13):
        model, result = run(small, images, config, checkpoint_dir=tmp_path, callbacks=[small.Watcher(1)])
    assert not result.stopped
    assert equal(model.state_dict(), whole.state_dict())


def test_finished_run_is_only_loaded(small, tmp_path):
    images, config = small.image_set(), small.configuration()
    first, result = run(small, images, config, checkpoint_dir=tmp_path)
    watcher = small.Watcher()
    second, again = run(small, images, config, checkpoint_dir=tmp_path, callbacks=[watcher])
    assert equal(first.state_dict(), second.state_dict())
    assert again.history["loss"] == result.history["loss"]
    assert watcher.polled == 0
    assert second.stage == 3


def test_more_epochs_go_on(small, tmp_path):
    images = small.image_set()
    run(small, images, small.configuration(), checkpoint_dir=tmp_path)
    _, result = run(small, images, small.configuration(epochs=6), checkpoint_dir=tmp_path)
    _whole, expected = run(small, images, small.configuration(epochs=6))
    assert result.epochs_done == 6
    assert result.history["epoch_loss"] == expected.history["epoch_loss"]


def test_no_resume_starts_again(small, tmp_path):
    images, config = small.image_set(), small.configuration()
    run(small, images, config, checkpoint_dir=tmp_path, callbacks=[small.Watcher(5)])
    watcher = small.Watcher()
    run(small, images, config, checkpoint_dir=tmp_path, callbacks=[watcher], resume=False)
    assert watcher.named("start")[0].start_iteration == 0


def test_another_model_is_refused_by_name(small, tmp_path):
    images = small.image_set()
    run(small, images, small.configuration(), checkpoint_dir=tmp_path)
    changed = small.configuration({"n_prototypes": 2, "padding": "zeros"}, empty_cluster_threshold=None)
    with pytest.raises(ConfigError, match=r"model.n_prototypes, model.padding: differs from the checkpoint"):
        run(small, images, changed, checkpoint_dir=tmp_path)


def test_images_of_another_size_are_refused(small, tmp_path):
    config = small.configuration()
    run(small, small.image_set(), config, checkpoint_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"images of \[1, 8, 8\]: differs"):
        run(small, small.image_set(size=(8, 9)), config, checkpoint_dir=tmp_path)


def test_other_images_start_the_epoch_again(small, tmp_path):
    config = small.configuration()
    run(small, small.image_set(), config, checkpoint_dir=tmp_path, callbacks=[small.Watcher(5)])
    _, result = run(small, small.image_set(20, seed=1), config, checkpoint_dir=tmp_path)
    assert result.iterations == 5 + 3 * 5
    assert len(result.history["epoch_loss"]) == 4


def test_checkpoint_files_are_plain_and_the_older_ones_go(small, tmp_path):
    images = small.image_set()
    watcher = small.Watcher()
    run(
        small, images, small.configuration(checkpoint_every_s=0), checkpoint_dir=tmp_path, callbacks=[watcher]
    )
    assert [iteration for _, iteration in watcher.named("checkpoint")] == [3, 6, 9, 12]
    (only,) = tmp_path.iterdir()
    assert sorted(p.name for p in only.iterdir()) == [
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    state = json.loads((only / "state.json").read_text())
    assert (state["iteration"], state["epoch"], state["stage"]) == (12, 4, 3)


def test_torn_checkpoint_is_passed_over(small, tmp_path):
    images, config = small.image_set(), small.configuration()
    run(small, images, config, checkpoint_dir=tmp_path, callbacks=[small.Watcher(5)])
    torn = tmp_path / "00000009"
    torn.mkdir()
    (torn / "state.json").write_text('{"format": 1')
    (tmp_path / ".00000010.abcd.partial").mkdir()
    assert load_checkpoint(tmp_path).state["iteration"] == 5
    run(small, images, config, checkpoint_dir=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["00000012"]


def test_failure_while_writing_leaves_the_previous_one(tmp_path):
    tensors = {"a": torch.ones(2)}
    save_checkpoint(tmp_path, 1, tensors, tensors, {"iteration": 1})
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path, 2, tensors, tensors, {"iteration": float("nan")})
    assert [p.name for p in tmp_path.iterdir()] == ["00000001"]
    assert load_checkpoint(tmp_path).state["iteration"] == 1


def test_nothing_there(tmp_path):
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "missing") is None
