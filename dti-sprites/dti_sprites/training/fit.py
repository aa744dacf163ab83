"""fit: the training loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dti_sprites.config import RunConfig
from dti_sprites.data.batches import DeviceBatches
from dti_sprites.data.imageset import ImageSet
from dti_sprites.errors import ConfigError, TrainingError
from dti_sprites.models import DTIModel
from dti_sprites.models.coarse import coarse_model, halve
from dti_sprites.models.kmeans import DTIKMeans
from dti_sprites.start import Start
from dti_sprites.training.augmentation import Augmentation
from dti_sprites.training.callbacks import Callback, FitResult, Progress, TrainingInfo
from dti_sprites.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from dti_sprites.training.device import Backends, prepare_encoder, resolve_device
from dti_sprites.training.given import as_startable, check_start
from dti_sprites.training.interrupt import DeferredInterrupt
from dti_sprites.training.memory import check_memory
from dti_sprites.training.optimiser import GroupedAdam
from dti_sprites.training.pace import Pace
from dti_sprites.training.record import NotFinite, Record
from dti_sprites.training.rivalry import Rivalry

PROGRESS_EVERY_S = 0.1


def fit(
    model: DTIModel,
    images: ImageSet,
    config: RunConfig,
    *,
    checkpoint_dir: Path | None = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = True,
    start: Start | None = None,
) -> FitResult:
    """Train `model` on `images` as `config.training` says; the model is left on the device it was trained on.

    With `checkpoint_dir` the state is saved there now and then, at the end and when asked to stop; with
    `resume` training goes on from what lies there. On the CPU the result is the same, bit for bit, as
    without the interruption. Ctrl-C, or a callback whose `should_stop` is true, ends training after the
    iteration in progress with `stopped` set.

    With `start` it begins from those prototypes. Raises ConfigError when the device does not exist, the checkpoint
    is of another model or the model cannot begin from given prototypes, TrainingError
    when the loss is no longer a number (the last good checkpoint is kept).
    """
    device = resolve_device(config.training.device)
    if config.training.threads is not None:
        torch.set_num_threads(config.training.threads)
    checkpoint = load_checkpoint(checkpoint_dir) if checkpoint_dir is not None and resume else None
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), Backends(config.training.fast):
        torch.manual_seed(config.training.seed)
        trainer = Trainer(model.to(device), images, config, device, checkpoint_dir, callbacks, start)
        if checkpoint is None:
            trainer.begin()
        else:
            trainer.restore(checkpoint)
        return trainer.run()


class Trainer:
    """One training: model, optimiser, data order, record, and what is saved of them."""

    def __init__(
        self,
        model: DTIModel,
        images: ImageSet,
        config: RunConfig,
        device: torch.device,
        checkpoint_dir: Path | None,
        callbacks: Sequence[Callback],
        start: Start | None = None,
    ) -> None:
        self.model, self.images, self.config, self.device = model, images, config, device
        self.training = config.training
        self.checkpoint_dir, self.callbacks = checkpoint_dir, callbacks
        self.noise = torch.Generator().manual_seed(self.training.seed)  # initial prototypes, restarts
        order = torch.Generator().manual_seed(self.training.seed)
        self.given = check_start(model, start, images)
        self.pins = None if images.pins is None else images.pins.to(device)
        self.batches = DeviceBatches(images, self.training.batch_size, device, order)
        check_memory(model, self.batches.batch_size, device)
        self.optimizer = GroupedAdam(model, self.training)
        self.record = Record()
        self.epoch = 0  # completed epochs
        self.total = self.training.epochs * len(self.batches)
        self.coarse_epochs = self.training.coarse_epochs or 0
        self.coarse = coarse_model(model) if self.coarse_epochs else None
        self.augmentation = Augmentation(config)
        self.pace = Pace(min(self.training.curriculum or (0,)), self.coarse_epochs * len(self.batches))
        self.fingerprint = images.fingerprint()
        self.saved: int | None = None  # iteration of the last checkpoint
        self.before_s = 0.0  # trained in earlier sessions
        self.between = True  # whether the state is that between two iterations
        share = self.training.empty_cluster_threshold
        self.threshold = 0.2 / model.n_prototypes if share is None else share
        prepare_encoder(model, self.training.fast, device)
        if self.coarse is not None:
            prepare_encoder(self.coarse, self.training.fast, device)
        self.rivalry = self.find_rivalry()

    def find_rivalry(self) -> Rivalry | None:
        """Challengers when they are asked for; never of clusters that a person gave."""
        if self.training.split_merge_interval is None or self.given is not None or self.pins is not None:
            return None
        assert isinstance(self.model, DTIKMeans)  # checked with the configuration
        return Rivalry(self.model, self.optimizer, self.batches, self.training, self.noise)

    # Start and end of a session

    def begin(self) -> None:
        """Start from the images."""
        self.model.initialise(self.images.images, self.noise)
        if self.given is not None:
            as_startable(self.model).start_from(self.given.prototypes, self.given.masks)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        state = checkpoint.state
        changed = _changes(state["config"]["model"], self.config.to_dict()["model"], "model")
        if changed or tuple(state["image_shape"]) != tuple(self.images.images.shape[1:]):
            what = ", ".join(changed) or f"images of {state['image_shape']}"
            reason = "set them back, take another checkpoint directory, or train without resume"
            raise ConfigError([(what, f"differs from the checkpoint in {checkpoint.path}: {reason}")])
        self.model.load_state_dict(checkpoint.model)
        self.model.set_stage(state["stage"])
        restore_optimizer(self.model, self.optimizer.adam, checkpoint.optimizer)
        self.record.load_state_dict(state["record"])
        self.epoch = state["epoch"]
        self.before_s = state["duration_s"]
        self.saved = self.record.iteration
        rng = {key.removeprefix("rng|"): value for key, value in checkpoint.optimizer.items()}
        self.noise.set_state(rng["noise"])
        torch.set_rng_state(rng["torch"])
        if self.device.type == "cuda" and "cuda" in rng:
            torch.cuda.set_rng_state(rng["cuda"], self.device)
        same_order = [self.fingerprint, self.batches.batch_size] == [
            state["fingerprint"],
            state["batch_size"],
        ]
        if same_order:
            states = {"position": state["position"], "epoch_state": rng["epoch"], "state": rng["order"]}
            self.batches.load_state_dict(states)
        else:  # other images or batches: the epoch starts again
            self.record.start_epoch()
        if self.rivalry is not None and "rivalry" in state:
            self.rivalry.load(state["rivalry"], checkpoint.optimizer)

    def save(self) -> None:
        """Write a checkpoint, unless this iteration has one. Raises TrainingError rather than save NaN."""
        if self.checkpoint_dir is None or self.saved == self.record.iteration:
            return
        self.read()
        model = self.model.state_dict()
        finite = torch.stack(
            [value.isfinite().all() for value in model.values() if value.is_floating_point()]
        )
        if not finite.all():
            raise self.failure(self.record.iteration, "a parameter")
        order = self.batches.state_dict()
        rng = {"noise": self.noise.get_state(), "torch": torch.get_rng_state()}
        rng |= {"epoch": order["epoch_state"], "order": order["state"]}
        if self.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        optimizer = optimizer_tensors(self.model, self.optimizer.adam)
        optimizer |= {f"rng|{name}": value for name, value in rng.items()}
        if self.rivalry is not None:
            optimizer |= self.rivalry.tensors()
        state = {
            "iteration": self.record.iteration,
            "epoch": self.epoch,
            "stage": self.model.stage,
            "position": order["position"],
            "batch_size": self.batches.batch_size,
            "image_shape": list(self.images.images.shape[1:]),
            "fingerprint": self.fingerprint,
            "duration_s": self.duration(),
            "record": self.record.state_dict(),
            "config": self.config.to_dict(),
        }
        if self.rivalry is not None:
            state["rivalry"] = self.rivalry.state_dict()
        path = save_checkpoint(self.checkpoint_dir, self.record.iteration, model, optimizer, state)
        self.saved = self.record.iteration
        for callback in self.callbacks:
            callback.on_checkpoint(path, self.record.iteration)

    # The loop

    def run(self) -> FitResult:
        """Train to the end, or until asked to stop."""
        now = time.monotonic()
        self.started = self.last_save = self.last_progress = self.last_point = now
        self.pace.start(self.record.iteration, now)
        self.stopping = False
        info = TrainingInfo(
            epochs=self.training.epochs,
            iterations_per_epoch=len(self.batches),
            total_iterations=self.total,
            start_iteration=self.record.iteration,
            n_images=len(self.images),
            batch_size=self.batches.batch_size,
            n_prototypes=self.model.n_prototypes,
            transformation_names=list(self.model.transformation_names),
            device=str(self.device),
        )
        with DeferredInterrupt() as interrupt:
            try:
                for callback in self.callbacks:
                    callback.on_start(info)
                self.show()
                while self.epoch < self.training.epochs and not self.stopping:
                    self.run_epoch(interrupt)
                if self.record.open_iterations and not self.stopping:
                    self.point()
            except KeyboardInterrupt:
                self.stopping = True
            if self.between:
                self.save()
        if not self.stopping:
            self.show()
        losses = self.record.history.get("epoch_loss", [])
        result = FitResult(
            history=self.record.history,
            epochs_done=self.epoch,
            # Interrupted within an iteration, the model is of no use: what counts is the last checkpoint.
            iterations=self.record.iteration if self.between else self.saved or 0,
            duration_s=self.duration(),
            stopped=self.stopping,
            loss=losses[-1] if losses else None,
        )
        for callback in self.callbacks:
            callback.on_end(result)
        return result

    def run_epoch(self, interrupt: DeferredInterrupt) -> None:
        activated = self.model.set_epoch(self.epoch)
        if self.coarse is not None:
            self.coarse.set_epoch(self.epoch)
        rates = self.optimizer.set_epoch(self.epoch)
        where = {"iteration": self.record.iteration, "epoch": self.epoch}
        if activated and self.epoch:
            self.pace.start(self.record.iteration, time.monotonic())
            self.event("curriculum", activated=activated, stage=self.model.stage, **where)
        if self.coarse is not None and self.epoch == self.coarse_epochs and self.record.epoch_is_new:
            self.pace.start(self.record.iteration, time.monotonic())
            self.event("full_resolution", **where)
        if self.epoch in self.training.milestones and self.record.epoch_is_new:
            self.event("lr", lr=max(rates), **where)
        self.model.train()
        if self.coarse is not None:
            self.coarse.train()
        for x, weight, indices in self.batches:
            self.between = False
            self.iterate(x, weight, indices)
            self.between = True
            self.after_iteration()
            if interrupt.requested or any(callback.should_stop() for callback in self.callbacks):
                self.stopping = True
                return
        self.read()
        self.record.end_epoch()
        self.epoch += 1
        if self.training.checkpoint_every_s == 0:
            self.save()

    def iterate(self, x: Tensor, weight: Tensor | None, indices: Tensor) -> None:
        self.optimizer.zero_grad()
        model = self.model
        if self.augmentation.active(self.epoch):
            x, weight = self.augmentation(x, weight, self.record.iteration)
        if self.coarse is not None and self.epoch < self.coarse_epochs:
            model = self.coarse
            x, weight = halve(x, weight)
        if self.pins is None:
            out = model.step(x, weight)
        else:
            out = as_startable(model).step(x, weight, self.pins[indices.to(self.device)])
        out.loss.backward()
        self.optimizer.step()
        self.record.add(out, len(x))
        if self.rivalry is not None:  # never beside coarse epochs
            self.rivalry.iterate(x, weight)

    def after_iteration(self) -> None:
        """Log, reassign, show and save when it is time."""
        iteration = self.record.iteration
        if iteration % self.training.log_every == 0:
            self.point()
        fixed = self.given is not None and self.given.fixed
        if self.training.reassign and not fixed and iteration % self.training.check_cluster_interval == 0:
            self.reassign()
        self.challenge()
        now = time.monotonic()
        if now - self.last_progress >= PROGRESS_EVERY_S:
            self.progress(now)
        if now - self.last_show >= self.training.snapshot_every_s:
            self.show()
        every = self.training.checkpoint_every_s
        if every and self.checkpoint_dir is not None and now - self.last_save >= every:
            self.save()
            self.last_save = time.monotonic()

    def reassign(self) -> None:
        self.read()
        proportions = self.record.proportions()
        keep = 0 if self.given is None else len(self.given.prototypes)
        restart = self.model.restart_unused(
            proportions, self.threshold, self.optimizer.adam, self.noise, keep
        )
        if restart is not None:
            self.event(
                "reassignment", iteration=self.record.iteration, source=restart.source, empty=restart.empty
            )

    def challenge(self) -> None:
        victory = None if self.rivalry is None else self.rivalry.after_iteration(self.epoch)
        if victory is not None:
            self.record.proportions()  # how much either was used before says nothing about its use from now on
            where = {"iteration": self.record.iteration, "epoch": self.epoch}
            self.event("split_merge", split=victory.split, merged=victory.merged, **where)

    # What watchers see

    def point(self) -> None:
        self.read()
        now = time.monotonic()
        images = self.record.open_iterations * self.batches.batch_size
        done = self.record.iteration - 1
        metrics = self.record.point(
            epoch=done // len(self.batches),
            batch=done % len(self.batches),
            lr=max(self.optimizer.rates()),
            time_per_image=(now - self.last_point) / images,
        )
        self.last_point = now
        metrics["lr"] = max(self.optimizer.rates())
        for callback in self.callbacks:
            callback.on_metrics(self.record.iteration, metrics)

    def progress(self, now: float) -> None:
        self.last_progress = now
        iteration = self.record.iteration
        progress = Progress(
            iteration=iteration,
            total_iterations=self.total,
            epoch=self.epoch,
            epochs=self.training.epochs,
            loss=self.record.last_loss,
            eta_s=self.pace.left(iteration, self.total, self.epoch, now),
        )
        for callback in self.callbacks:
            callback.on_progress(progress)

    def show(self) -> None:
        self.last_show = time.monotonic()
        if not self.callbacks:
            return
        pictures = {name: to_pictures(values) for name, values in self.model.prototype_images().items()}
        for callback in self.callbacks:
            callback.on_prototypes(self.record.iteration, pictures)

    def event(self, kind: str, **data: Any) -> None:
        for callback in self.callbacks:
            callback.on_event(kind, **data)

    # Helpers

    def duration(self) -> float:
        return self.before_s + time.monotonic() - self.started

    def read(self) -> None:
        try:
            self.record.read()
        except NotFinite as error:
            raise self.failure(error.iteration, f"the loss ({error.value})") from error

    def failure(self, iteration: int, what: str) -> TrainingError:
        epoch, batch = divmod(iteration - 1, len(self.batches))
        kept = "no checkpoint was saved before"
        if self.saved is not None:
            kept = f"the last good checkpoint is that of iteration {self.saved}"
        return TrainingError(
            f"{what} is not a finite number at iteration {iteration} (epoch {epoch + 1}, batch {batch + 1}); "
            f"{kept}; try a smaller training.lr"
        )


def to_pictures(values: Tensor) -> np.ndarray:
    """(K, C, H, W) in [0, 1] -> (K, H, W, C) uint8."""
    return values.mul(255.0).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def _changes(before: Any, after: Any, path: str) -> list[str]:
    """Names of the settings in which two nested dictionaries differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [name for key in keys for name in _changes(before.get(key), after.get(key), f"{path}.{key}")]
    return [] if before == after else [path]
