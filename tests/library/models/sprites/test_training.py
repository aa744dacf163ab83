"""Training, results and reopening of DTI-Sprites through the library's own entry points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dti_sprites import RunConfig, load_run, train
from dti_sprites.data.imageset import ImageSet
from dti_sprites.data.scenes import generate_shapes
from dti_sprites.evaluation.scenes import predict_scenes, scene_metrics, without_background
from dti_sprites.models import build_model
from dti_sprites.training import Callback, fit


class Watcher(Callback):
    def __init__(self, stop_at=None):
        self.left, self.events, self.pictures = stop_at, [], []

    def on_event(self, kind, **data):
        self.events.append((kind, data))

    def on_prototypes(self, iteration, images):
        self.pictures.append(images)

    def should_stop(self):
        if self.left is not None:
            self.left -= 1
        return self.left == 0


def configuration(**sprites):
    """Twelve iterations with everything that happens on the way: thawing, activations, a drop, restarts."""
    settings = {
        "n_layers": 2, "sprite_size": 8, "layer_transformation_sequence": "color_position", "empty_sprite": True,
        "background_transformation_sequence": "color_affine", "background_curriculum": [2], "freeze_sprite": 1,
        "occlusion": "predicted", "greedy_iterations": 2, "empty_penalty": 0.001, **sprites,
    }  # fmt: skip
    model = {
        "kind": "sprites", "n_prototypes": 3, "transformation_sequence": "identity_similarity", "padding": "zeros",
        "color_clamp": "soft", "n_hidden_units": 8, "sprites": settings,
    }  # fmt: skip
    training = {
        "epochs": 4, "batch_size": 5, "curriculum": [2], "milestones": [3], "gamma": [1.0, 0.1], "device": "cpu",
        "check_cluster_interval": 2, "empty_cluster_threshold": 0.3, "encoder_updates": 2, "log_every": 2,
        "checkpoint_every_s": 1000.0,
    }  # fmt: skip
    return RunConfig.from_dict({"model": model, "training": training, "results": {"animation": True}})


@pytest.fixture(scope="module")
def shapes() -> ImageSet:
    return generate_shapes(14, size=16, n_objects=(1, 2), radius=(3, 4))


@pytest.fixture(scope="module")
def trained(shapes):
    config, watcher = configuration(), Watcher()
    model = build_model(config, 3, (16, 16))
    result = fit(model, shapes, config, callbacks=[watcher])
    return model, result, watcher


def test_what_happens_during_training(trained):
    _, result, watcher = trained
    assert result.epochs_done == 4
    assert np.isfinite(result.history["loss"]).all()
    kinds = [(kind, data["iteration"]) for kind, data in watcher.events]
    assert ("curriculum", 6) in kinds
    assert ("lr", 9) in kinds
    restarts = [iteration for kind, iteration in kinds if kind == "reassignment"]
    assert restarts
    assert min(restarts) > 3  # not in the first epoch, while sprites are frozen
    activated = next(data["activated"] for kind, data in watcher.events if kind == "curriculum")
    assert activated == ["similarity", "backgrounds: affine"]
    assert set(watcher.pictures[-1]) == {"prototypes", "masked_prototypes", "masks", "backgrounds"}
    shares = np.array(result.history["proportions"]).reshape(-1, 2, 4)
    np.testing.assert_allclose(shares.sum(2), 1, atol=1e-6)


def test_frozen_sprites_do_not_move(shapes):
    config = configuration()
    model = build_model(config, 3, (16, 16))
    fit(model, shapes, config, callbacks=[Watcher(3)])
    assert model.bank.colours.pixels.unique().tolist() == pytest.approx([0.9])
    assert model.bank.masks.pixels.std(0).max() == 0
    fit(model, shapes, config, callbacks=[Watcher(6)])
    assert model.bank.colours.pixels.unique().numel() > 100
    assert model.bank.masks.pixels.std(0).max() > 0  # the noise tells sprites apart


@pytest.mark.parametrize("stop_at", [2, 3, 6, 7, 10])
def test_resume_is_bit_identical(shapes, trained, tmp_path, stop_at):
    whole, result, _ = trained
    config = configuration()
    for stop in (stop_at, None):
        model = build_model(config, 3, (16, 16))
        again = fit(model, shapes, config, checkpoint_dir=tmp_path, callbacks=[Watcher(stop)])
    assert again.history["loss"] == result.history["loss"]
    for name, value in model.state_dict().items():
        assert value.equal(whole.state_dict()[name]), name


def test_train_export_reopen_assign(shapes, tmp_path):
    run = train(configuration(), shapes, tmp_path / "run")
    assert run.distances.shape == (14, 4)
    assert set(np.unique(run.labels)) <= {0, 1, 2, 3}
    assert {"prototypes", "masked_prototypes", "masks", "backgrounds"} <= {p.name for p in run.out.iterdir()}
    again = load_run(tmp_path / "run")
    assert again.model.stage == run.model.stage
    assigned = again.assign(shapes)
    assert assigned.labels.tolist() == run.labels.tolist()
    np.testing.assert_allclose(assigned.distances, run.distances, atol=1e-6)
    assert "layer2_position" in assigned.matrices


def test_a_stopped_model_is_reopened_in_its_phase(shapes, tmp_path):
    from dti_sprites.errors import TrainingStopped

    with pytest.raises(TrainingStopped):
        train(configuration(), shapes, tmp_path / "run", callbacks=[Watcher(4)])
    model = load_run(tmp_path / "run").model
    assert (model.renderer.sprites.active, model.renderer.backgrounds.active) == (1, 1)
    assert not model.frozen


def test_alpha_counts_in_training_choice_and_evaluation(shapes):
    """What is transparent may show anything."""
    alpha = torch.zeros(14, 1, 16, 16, dtype=torch.uint8)
    alpha[:, :, :, :8] = 255
    noisy = shapes.images.clone()
    noisy[:, :, :, 8:] = torch.randint(0, 256, (14, 3, 16, 8), dtype=torch.uint8)
    config = configuration()
    model = build_model(config, 3, (16, 16))
    model.initialise(shapes.images, torch.Generator().manual_seed(0))
    weight = alpha[:4].float() / 255
    features = model.encoder(shapes.images[:4].float() / 255).detach()
    model.encoder.forward = lambda x: features  # the encoder would see the difference
    found = []
    for images in (shapes.images, noisy):
        torch.manual_seed(0)
        x = images[:4].float() / 255
        out, seen = model.step(x, weight), model.infer(x, weight)
        found.append((out.loss, out.distances, seen.distances, seen.extras["choices"]))
    for a, b in zip(*found):
        torch.testing.assert_close(a, b)
    assert not model.infer(noisy[:4].float() / 255).distances.allclose(found[0][2])


class TestScenes:
    def test_scores_of_a_perfect_model(self):
        """Sprites, places and colours given by hand explain the scenes exactly."""
        model = build_model(
            configuration(n_layers=1, empty_sprite=False, background_transformation_sequence="identity",
                          background_curriculum=None, freeze_sprite=0, occlusion="fixed"), 3, (16, 16)
        )  # fmt: skip
        with torch.no_grad():
            model.bank.colours.pixels.fill_(0.0)
            model.bank.colours.pixels[torch.arange(3), torch.arange(3)] = 1.0  # red, green, blue
            model.bank.masks.pixels.fill_(1.0)
            model.backgrounds.images.pixels.fill_(0.5)
        images = torch.full((6, 3, 16, 16), 128, dtype=torch.uint8)
        semantic = torch.zeros(6, 16, 16, dtype=torch.uint8)
        for i in range(6):
            images[i, :, 4:12, 4:12] = 0
            images[i, i % 3, 4:12, 4:12] = 255
            semantic[i, 4:12, 4:12] = (i + 1) % 3 + 1  # classes need not have the sprites' numbers
        masks = {"instance": (semantic > 0).to(torch.uint8), "semantic": semantic}
        scores = scene_metrics(model, ImageSet(images, [str(i) for i in range(6)], masks=masks))
        for name in ("ari", "ari_fg", "instance_miou", "miou", "mean_class_accuracy", "miou_fg"):
            assert scores[name] == pytest.approx(1.0), name

    def test_background_goes_to_the_layer_of_closest_colour(self, trained, shapes):
        model = trained[0]
        x = shapes.images.float() / 255
        found = model.infer(x)
        labels = without_background(x, found)
        for i in range(len(x)):
            shown = [layer for layer in range(2) if found.extras["choices"][i, layer] < 3]
            for y, z in ((0, 0), (5, 9), (8, 8)):
                before = int(found.extras["instance"][i, y, z])
                colours = found.extras["layers"][i, :, :3, y, z]
                errors = {
                    layer + 1: float((colours[layer] - x[i, :, y, z]).square().sum()) for layer in shown
                }
                expected = before or (min(errors, key=errors.get) if errors else 0)
                assert labels[i, y, z] == expected

    def test_only_the_first_images_count(self, trained, shapes):
        model = trained[0]
        some = scene_metrics(model, shapes, n_images=5, batch_size=2)
        assert some == pytest.approx(scene_metrics(model, shapes.subset(range(5)), n_images=None))
        assert predict_scenes(model, shapes).instance.shape == (14, 16, 16)

    def test_without_masks(self, trained):
        from dti_sprites.errors import DataError

        images = ImageSet(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), ["a", "b"])
        with pytest.raises(DataError, match="no known masks"):
            scene_metrics(trained[0], images)
