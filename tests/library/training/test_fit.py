"""The training loop: its calls, its ends, and that the same seed gives the same run."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest
import torch

from dti_sprites.errors import ConfigError, TrainingError
from dti_sprites.training import fit, resolve_device
from dti_sprites.training.checkpoint import load_checkpoint


def train(small, images=None, config=None, **options):
    images = small.image_set() if images is None else images
    config = small.configuration() if config is None else config
    model = small.model_for(config, images)
    return model, fit(model, images, config, **options)


def test_smoke_and_calls(small, tmp_path):
    watcher = small.Watcher()
    _, result = train(small, checkpoint_dir=tmp_path, callbacks=[watcher])
    info = watcher.named("start")[0]
    assert (info.epochs, info.iterations_per_epoch, info.total_iterations) == (4, 3, 12)
    assert (info.start_iteration, info.n_images, info.batch_size, info.device) == (0, 11, 4, "cpu")
    assert info.transformation_names == ["identity", "affine", "tps"]
    assert [iteration for iteration, _ in watcher.named("metrics")] == [2, 4, 6, 8, 10, 12]
    assert {"loss", "lr"} <= set(watcher.named("metrics")[0][1])
    first, last = watcher.named("prototypes")[0], watcher.named("prototypes")[-1]
    assert (first[0], last[0]) == (0, 12)
    assert first[1]["prototypes"].shape == (3, 8, 8, 1)
    assert first[1]["prototypes"].dtype == np.uint8
    assert watcher.named("checkpoint")[-1] == (tmp_path / "00000012", 12)
    assert watcher.named("end") == [result]
    assert watcher.polled == 12
    assert (result.iterations, result.epochs_done, result.stopped) == (12, 4, False)
    assert len(result.history["epoch_loss"]) == 4
    assert result.loss == result.history["epoch_loss"][-1]
    lengths = {name: len(series) for name, series in result.history.items() if name != "epoch_loss"}
    assert set(lengths.values()) == {6}
    assert all(sum(point) == pytest.approx(1) for point in result.history["proportions"])


def test_schedule_is_announced_when_it_happens(small):
    watcher = small.Watcher()
    train(small, callbacks=[watcher])
    events = watcher.named("event")
    curriculum = [
        (data["epoch"], data["iteration"], data["activated"], data["stage"])
        for kind, data in events
        if kind == "curriculum"
    ]
    assert curriculum == [(1, 3, ["affine"], 2), (2, 6, ["tps"], 3)]
    assert [(d["epoch"], d["iteration"], d["lr"]) for kind, d in events if kind == "lr"] == [
        (3, 9, pytest.approx(1e-4))
    ]
    restarts = [data for kind, data in events if kind == "reassignment"]
    assert restarts
    assert all(data["iteration"] % 2 == 0 and data["source"] not in data["empty"] for data in restarts)


def test_coarse_epochs_come_first_and_their_end_is_announced(small):
    images, watcher, seen = small.image_set(), small.Watcher(), []
    config = small.configuration(curriculum=None, coarse_epochs=2)
    model = small.model_for(config, images)
    model.encoder.layers.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[2:])))
    fit(model, images, config, callbacks=[watcher])
    assert seen == [(4, 4)] * 6 + [(8, 8)] * 6
    announced = [data for kind, data in watcher.named("event") if kind == "full_resolution"]
    assert announced == [{"iteration": 6, "epoch": 2}]
    assert [images["prototypes"].shape for _, images in watcher.named("prototypes")] == [(3, 8, 8, 1)] * 2


def test_no_restart_when_switched_off(small):
    watcher = small.Watcher()
    train(small, config=small.configuration(reassign=False), callbacks=[watcher])
    assert "reassignment" not in [kind for kind, _ in watcher.named("event")]


def test_prototypes_are_learnt(small):
    images = small.image_set(40, size=(6, 6))
    config = small.configuration(
        {"transformation_sequence": "identity"},
        curriculum=[],
        epochs=60,
        milestones=[],
        lr=0.05,
        batch_size=20,
    )
    _, result = train(small, images, config)
    losses = result.history["epoch_loss"]
    assert losses[-1] < 0.9 * losses[0]
    assert losses[-1] < images.images.float().div(255).var()


def test_epoch_loss_counts_images_not_batches(small):
    """Nothing moves at a rate of nearly zero, so the mean is that of all images."""
    images = small.image_set(11)
    config = small.configuration(
        {"transformation_sequence": "identity"},
        curriculum=[],
        milestones=[],
        lr=1e-30,
        epochs=1,
        reassign=False,
    )
    model, result = train(small, images, config)
    distances = model.infer(images.images.float() / 255).distances
    assert result.loss == pytest.approx(distances.min(1).values.mean().item(), rel=1e-5)


@pytest.mark.parametrize("alpha", [False, True])
def test_same_seed_same_run_and_another_seed_another(small, alpha):
    images = small.image_set(alpha=alpha)
    runs = [train(small, images, small.configuration(seed=seed)) for seed in (1, 1, 2)]
    first, second, third = ({k: v.clone() for k, v in model.state_dict().items()} for model, _ in runs)
    assert all(first[name].equal(second[name]) for name in first)
    assert not first["prototypes.pixels"].equal(third["prototypes.pixels"])
    assert runs[0][1].history["loss"] == runs[1][1].history["loss"]


def test_random_state_of_the_caller_is_left_alone(small):
    state = torch.get_rng_state()
    train(small)
    assert torch.get_rng_state().equal(state)


def test_should_stop_saves_and_says_so(small, tmp_path):
    watcher = small.Watcher(stop_at=5)
    _, result = train(small, checkpoint_dir=tmp_path, callbacks=[watcher])
    assert result.stopped
    assert (result.iterations, result.epochs_done) == (5, 1)
    assert load_checkpoint(tmp_path).state["iteration"] == 5
    assert watcher.named("end")[0].stopped


class Interrupting:
    """Sends SIGINT to this process while an iteration is computed."""

    def __init__(self, model, at, times=1):
        self.step, self.at, self.times, self.calls = model.step, at, times, 0

    def __call__(self, x, weight=None):
        self.calls += 1
        if self.calls == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)
        return self.step(x, weight)


def test_interrupt_finishes_the_iteration_and_saves(small, tmp_path, monkeypatch):
    images, config = small.image_set(), small.configuration()
    model = small.model_for(config, images)
    monkeypatch.setattr(model, "step", Interrupting(model, 4))
    handler = signal.getsignal(signal.SIGINT)
    result = fit(model, images, config, checkpoint_dir=tmp_path)
    assert result.stopped
    assert result.iterations == 4
    assert load_checkpoint(tmp_path).state["iteration"] == 4
    assert signal.getsignal(signal.SIGINT) is handler


def test_second_interrupt_stops_at_once_and_keeps_the_last_checkpoint(small, tmp_path, monkeypatch):
    images, config = small.image_set(), small.configuration(checkpoint_every_s=0)
    model = small.model_for(config, images)
    monkeypatch.setattr(model, "step", Interrupting(model, 5, times=2))
    result = fit(model, images, config, checkpoint_dir=tmp_path)
    assert result.stopped
    assert result.iterations == 3  # end of the first epoch
    assert load_checkpoint(tmp_path).state["iteration"] == 3


def test_interrupt_raised_by_a_callback_is_a_stop(small, tmp_path):
    class Impatient(small.Watcher):
        def on_metrics(self, iteration, metrics):
            if iteration == 4:
                raise KeyboardInterrupt

    _, result = train(small, checkpoint_dir=tmp_path, callbacks=[Impatient()])
    assert result.stopped
    assert result.iterations == 4


def test_training_in_another_thread(small):
    """No signal handler can be set there."""
    results = []
    thread = threading.Thread(target=lambda: results.append(train(small)[1]))
    thread.start()
    thread.join()
    assert results[0].iterations == 12


def nan_from(model, iteration):
    step, calls = model.step, []

    def broken(x, weight=None):
        calls.append(1)
        out = step(x * float("nan") if len(calls) >= iteration else x, weight)
        return out

    return broken


def test_nan_stops_and_keeps_the_last_good_checkpoint(small, tmp_path, monkeypatch):
    images, config = small.image_set(), small.configuration(checkpoint_every_s=0, log_every=100)
    model = small.model_for(config, images)
    monkeypatch.setattr(model, "step", nan_from(model, 8))
    where = r"the loss \(nan\) is not a finite number at iteration 8 \(epoch 3, batch 2\)"
    message = where + "; the last good checkpoint is that of iteration 6"
    with pytest.raises(TrainingError, match=message):
        fit(model, images, config, checkpoint_dir=tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.state["iteration"] == 6
    assert all(value.isfinite().all() for value in checkpoint.model.values())


def test_nan_without_checkpoint_says_so(small, monkeypatch):
    images, config = small.image_set(), small.configuration()
    model = small.model_for(config, images)
    monkeypatch.setattr(model, "step", nan_from(model, 1))
    with pytest.raises(TrainingError, match=r"iteration 1 .*no checkpoint was saved before"):
        fit(model, images, config)


def test_broken_parameters_are_not_saved_over_good_ones(small, tmp_path):
    class Breaker(small.Watcher):
        def on_event(self, kind, **data):
            if kind == "lr":  # after the last epoch but one was saved
                model.prototypes.pixels.data[0] = float("inf")

    images, config = small.image_set(), small.configuration(checkpoint_every_s=0, reassign=False)
    model = small.model_for(config, images)
    with pytest.raises(TrainingError, match="not a finite number"):
        fit(model, images, config, checkpoint_dir=tmp_path, callbacks=[Breaker()])
    assert load_checkpoint(tmp_path).state["iteration"] == 9


@pytest.mark.parametrize("device", ["cuda:99", "cuda:0"])
def test_missing_device_is_an_error_with_the_remedy(device):
    if device == "cuda:0" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match=rf"training.device: {device} was asked for.*take cpu or auto"):
        resolve_device(device)


def test_auto_device():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(("n", "batch_size"), [(1, 4), (3, 100), (9, 4)])
def test_odd_numbers_of_images(small, n, batch_size):
    """One image; a batch larger than the set; a last batch of one image."""
    config = small.configuration({"n_prototypes": 1, "encoder": "resnet18"}, batch_size=batch_size)
    _, result = train(small, small.image_set(n), config)
    assert result.epochs_done == 4


@pytest.mark.parametrize("fast", [{"channels_last": True}, {"precision": "bf16"}, {"precision": "tf32"}])
def test_speed_options_train(small, fast):
    tf32 = torch.backends.cuda.matmul.allow_tf32
    _, result = train(small, config=small.configuration(fast=fast))
    _, exact = train(small)
    assert result.loss == pytest.approx(exact.loss, rel=0.1)
    assert torch.backends.cuda.matmul.allow_tf32 == tf32


def test_compiling_without_a_compiler_is_an_error_with_the_remedy(small, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"training.fast.compile: needs a C\+\+ compiler"):
        train(small, config=small.configuration(fast={"compile": True}))
