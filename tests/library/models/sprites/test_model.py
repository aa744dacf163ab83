"""Decompositions, schedules, restarts and pictures of DTI-Sprites."""

from __future__ import annotations

import pytest
import torch

from dti_sprites.config import RunConfig
from dti_sprites.errors import ConfigError
from dti_sprites.models import build_model
from dti_sprites.models.sprites.schedule import Schedule


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "sprites",
    [
        {"occlusion": "predicted", "empty_sprite": True, "empty_penalty": 0.002},
        {"n_layers": 1, "n_backgrounds": 2, "init_background": "random"},
        {"estimate_minimum": False, "n_backgrounds": 0},
    ],
)
def test_infer_describes_the_best_composition(scenes, sprites):
    model = scenes.tiny(sprites=sprites)
    x, weight = scenes.batch(4)
    model.train()
    model.step(x)  # moves the running statistics
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = model.infer(x, weight)
    assert model.training
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    model.eval()
    plain = scenes.reference(model, x, weight)
    n_choices = model.n_prototypes + bool(sprites.get("empty_sprite"))
    assert result.distances.shape == (4, n_choices)
    for i in range(4):
        choice, m = plain.best(i)
        assert tuple(result.extras["choices"][i].tolist()) == choice
        assert result.extras["background_choices"][i] == m
        torch.testing.assert_close(result.reconstruction[i], plain.composition(i, choice, m).detach())
        for layer, k in enumerate(choice):
            mask, colour = plain.layer(i, layer, k)
            torch.testing.assert_close(result.extras["masks"][i, layer], mask[0].detach())
            if k < model.n_prototypes:
                torch.testing.assert_close(result.extras["layers"][i, layer, :-1], colour.detach())
        if model.backgrounds is not None:
            torch.testing.assert_close(result.extras["background"][i], plain.background(i, m).detach())
        area = result.extras["instance_shares"][i, 1:].sum((1, 2))
        area[[k == model.n_prototypes for k in choice]] = -1.0
        layer = int(area.argmax())
        assert result.labels[i] == choice[layer]
        for k in range(n_choices):
            changed = (*choice[:layer], k, *choice[layer + 1 :])
            expected = plain.error(i, plain.composition(i, changed, m))
            torch.testing.assert_close(result.distances[i, k], expected.detach())


@pytest.mark.usefixtures("float64")
def test_parameters_are_named_by_part_and_mean_their_matrices(scenes):
    model = scenes.tiny(sprites={"n_layers": 2})
    x, _ = scenes.batch(2)
    result = model.infer(x)
    matrices = model.matrices(result.parameters)
    assert set(matrices) == {
        *("sprite1_similarity", "sprite2_similarity", "layer1_color", "layer2_color"),
        *("layer1_position", "layer2_position", "background_color"),
    }
    model.eval()
    phi = model.encoder(x)
    k = int(result.extras["choices"][1, 1])
    plain = scenes.reference(model, x).plain
    b = plain.head(model.renderer.sprites.heads["similarity"], model.n_prototypes + k, phi[1])
    torch.testing.assert_close(
        matrices["sprite2_similarity"][1], plain.affine_matrix("similarity", b).detach()
    )
    single = scenes.tiny(sprites={"n_layers": 1})
    assert "similarity" in single.matrices(single.infer(x).parameters)


def test_pictures(scenes):
    for channels in (1, 3):
        model = scenes.tiny(channels)
        images = model.prototype_images()
        assert {name: tuple(values.shape) for name, values in images.items()} == {
            "prototypes": (3, channels, 5, 4),
            "masked_prototypes": (3, 4, 5, 4),
            "masks": (3, 1, 5, 4),
            "backgrounds": (1, channels, 7, 6),
        }
        assert images["masked_prototypes"][:, 3:].equal(images["masks"])
        assert all(values.min() >= 0 and values.max() <= 1 for values in images.values())
    assert "backgrounds" not in scenes.tiny(sprites={"n_backgrounds": 0}).prototype_images()


@pytest.mark.parametrize(
    "kind", ["constant", "sample", "kmeans", "random", "random_color", "mean", "gaussian"]
)
def test_starts(scenes, kind):
    images = torch.randint(
        0, 256, (20, 3, 7, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    model = scenes.tiny(sprites={"init_foreground": kind, "value_foreground": 0.8, "gaussian_std": 2.0})
    model.initialise(images, torch.Generator().manual_seed(0))
    colours, masks = model.bank.colours.pixels, model.bank.masks.pixels
    if kind == "constant":
        assert colours.unique().tolist() == pytest.approx([0.8])
    elif kind == "random_color":
        assert colours.flatten(2).std(2).max() < 1e-6
        assert colours[:, :, 0, 0].unique().numel() == 9
    elif kind == "mean":
        expected = torch.nn.functional.interpolate(
            images.float().mean(0, keepdim=True) / 255, (5, 4), mode="bilinear"
        )
        torch.testing.assert_close(colours[1], expected[0])
    y, x = torch.meshgrid(torch.arange(5.0) - 2, torch.arange(4.0) - 1.5, indexing="ij")
    torch.testing.assert_close(masks[2, 0], torch.exp(-(x**2 + y**2) / 8))
    torch.testing.assert_close(model.backgrounds.images.pixels[0], images.float().mean(0) / 255)


def schedule_of(**settings):
    sprites = {
        "layer_transformation_sequence": "color_position", "background_transformation_sequence": "color_affine",
        "sprite_size": None, **settings.pop("sprites", {}),
    }  # fmt: skip
    model = {"kind": "sprites", "transformation_sequence": "identity_affine_tps", "sprites": sprites}
    return RunConfig.from_dict({"model": model, "training": {"epochs": 20, **settings}})


def test_three_curricula(scenes):
    config = schedule_of(curriculum=[2, 6], sprites={"layer_curriculum": [4], "background_curriculum": [2]})
    model = build_model(config, 3, (8, 8))
    found = {epoch: model.set_epoch(epoch) for epoch in range(8)}
    assert {epoch: names for epoch, names in found.items() if names} == {
        2: ["affine", "backgrounds: affine"],
        4: ["layers: position"],
        6: ["tps"],
    }
    x = torch.rand(2, 3, 8, 8)
    model.set_epoch(3)
    model.step(x).loss.backward()
    heads = model.renderer.sprites.heads
    assert next(heads["affine"].parameters()).grad is not None
    assert next(heads["tps"].parameters()).grad is None
    assert next(model.renderer.layers.heads["position"].parameters()).grad is None


def test_a_phase_says_what_is_active_and_what_is_frozen():
    config = schedule_of(
        curriculum=[2, 6], sprites={"freeze_sprite": 3, "freeze_background": 9, "freeze_mask": True}
    )
    schedule = Schedule(config)
    assert schedule.starts == [0, 2, 3, 6, 9]
    model, again = build_model(config, 3, (8, 8)), build_model(config, 3, (8, 8))
    for epoch in range(12):
        model.set_epoch(epoch)
        again.set_stage(model.stage)
        for part in (model, again):
            assert part.renderer.sprites.active == 1 + (epoch >= 2) + (epoch >= 6)
            assert part.frozen == (epoch < 3)
            assert part.bank.frozen_masks
            assert part.bank.frozen_colours == (epoch < 3)
            assert part.backgrounds.frozen == (epoch < 9)


class TestRestart:
    def trained(self, scenes, **options):
        model = scenes.tiny(**options)
        adam = torch.optim.Adam(model.parameter_groups(model.config.training), lr=0.1)
        model.step(scenes.batch(6)[0]).loss.backward()
        adam.step()
        return model, adam

    def test_copies_everything_of_a_sprite(self, scenes):
        model, adam = self.trained(scenes, sprites={"n_layers": 2})
        colours, masks = model.bank.colours.pixels, model.bank.masks.pixels
        heads = model.renderer.sprites.row_parameters()
        others = [p for p in model.parameters() if all(p is not q for q in (colours, masks, *heads))]
        state = {
            p: {name: value.clone() for name, value in (("value", p.detach()), *adam.state[p].items())}
            for p in model.parameters()
        }
        model.reassign(1, [2], adam, torch.Generator().manual_seed(0))
        for parameter, rows in ((colours, 3), (masks, 3), *((head, 6) for head in heads)):
            assert len(parameter) == rows
            for first in range(0, rows, 3):
                for name in ("exp_avg", "exp_avg_sq"):
                    assert adam.state[parameter][name][first + 2].equal(state[parameter][name][first + 1])
                    assert adam.state[parameter][name][first].equal(state[parameter][name][first])
                if parameter is not colours:
                    assert parameter[first + 2].equal(state[parameter]["value"][first + 1])
                    assert parameter[first + 1].equal(state[parameter]["value"][first + 1])
                assert parameter[first].equal(state[parameter]["value"][first])
        noise = colours[2] - state[colours]["value"][1]
        assert 0 < noise.abs().max() < 1e-3
        assert not colours[1].equal(state[colours]["value"][1])
        assert all(p.equal(state[p]["value"]) for p in others)

    def test_shared_heads_stay(self, scenes):
        model, adam = self.trained(scenes, shared_heads=True)
        before = [p.detach().clone() for p in model.renderer.sprites.row_parameters()]
        model.reassign(0, [1, 2], adam, torch.Generator())
        assert all(a.equal(b) for a, b in zip(model.renderer.sprites.row_parameters(), before))

    def test_one_random_layer_decides(self, scenes):
        model, adam = self.trained(scenes, sprites={"n_layers": 2})
        used = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
        found = [model.restart_unused(used, 0.05, adam, torch.Generator().manual_seed(i)) for i in range(12)]
        assert any(f is None for f in found)  # the second layer uses all
        restarts = [f for f in found if f is not None]
        assert restarts
        assert all((f.source, f.empty) == (0, [2]) for f in restarts)

    def test_the_empty_sprite_does_not_count(self, scenes):
        model, adam = self.trained(scenes, sprites={"n_layers": 1, "empty_sprite": True})
        generator = torch.Generator()
        relative = torch.tensor([[0.04, 0.009, 0.001, 0.95]])
        found = model.restart_unused(relative, 0.2 / 3, adam, generator)
        assert (found.source, found.empty) == (0, [2])  # 0.009 / 0.04 is enough
        assert model.restart_unused(torch.tensor([[0, 0, 0, 1.0]]), 0.2 / 3, adam, generator) is None

    def test_not_while_frozen(self, scenes):
        model, adam = self.trained(scenes, sprites={"n_layers": 1, "freeze_sprite": 2})
        used = torch.tensor([[1.0, 0.0, 0.0]])
        model.set_epoch(1)
        assert model.restart_unused(used, 0.05, adam, torch.Generator()) is None
        model.set_epoch(2)
        assert model.restart_unused(used, 0.05, adam, torch.Generator()) is not None


def test_groups(scenes):
    model = scenes.tiny(training={"lr": 1e-3, "sprite_lr": 1e-2})
    prototypes, encoder, heads = model.parameter_groups(model.config.training)
    assert [id(p) for p in prototypes["params"]] == [
        id(part.pixels) for part in (model.bank.colours, model.bank.masks, model.backgrounds.images)
    ]
    assert (prototypes["lr"], prototypes["weight_decay"]) == (1e-2, 0.0)
    count = sum(len(group["params"]) for group in (prototypes, encoder, heads))
    assert count == len(list(model.parameters()))


def test_a_sprite_larger_than_the_images_is_refused():
    config = schedule_of(sprites={"sprite_size": 9})
    with pytest.raises(ConfigError) as caught:
        build_model(config, 3, (8, 12))
    assert caught.value.errors[0][0] == "model.sprites.sprite_size"


def test_memory_of_the_search_does_not_grow_with_the_batch(scenes, monkeypatch):
    """The largest tensor made while searching is that of one block of images."""
    from dti_sprites.ops import blocks

    monkeypatch.setattr(blocks, "CPU_SEARCH_ELEMENTS", 40_000)
    model = scenes.tiny(n_prototypes=8, size=(12, 12))

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.elements = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.device.type == "cpu":
                self.elements = max(self.elements, out.untyped_storage().nbytes() // out.element_size())
            return out

    def largest(b):
        x, _ = scenes.batch(b, size=(12, 12))
        with Largest() as seen, torch.no_grad():
            pixels, stack = model.weight_of(x, None), model.bank.stack(False)
            prediction = model.renderer.predict(model.features(x))
            seen.elements = 0
            model.search(x, pixels, stack, model.backgrounds(), prediction, None, model.solve)
        return seen.elements

    one_layer = 8 * 9 * 144  # where sprites fill the canvas
    assert one_layer / 4 <= largest(2) <= 45_000
    assert largest(40) <= 45_000  # the images themselves are still fewer


@pytest.mark.parametrize("method", ["min", "linear"])
@pytest.mark.parametrize(
    ("sequence", "sprites"),
    [
        ("identity", {"n_layers": 3}),
        ("identity_projective", {"n_layers": 8, "occlusion": "predicted"}),
        ("color_projective_tps", {"n_layers": 1, "sprite_size": None, "layer_transformation_sequence": None}),
    ],
)
def test_estimate_of_memory_is_that_of_the_saved_tensors(scenes, method, sequence, sprites):
    settings = {"selection": {"method": method}, "sprites": {"sprite_size": 12, **sprites}}
    model = scenes.tiny(size=(24, 24), n_prototypes=4, transformation_sequence=sequence, **settings)
    x, _ = scenes.batch(6, size=(24, 24))
    features = model.encoder(x).detach()
    model.encoder.forward = lambda x: features
    saved, kept = {}, []

    def pack(tensor):
        kept.append(tensor)  # so that no address is used twice
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.step(x)
    for parameter in model.parameters():
        saved.pop(parameter.untyped_storage().data_ptr(), None)
    assert 0.6 < model.activation_bytes(6) / sum(saved.values()) < 1.6


def test_more_layers_than_memory_allows_are_refused_with_the_estimate(scenes, monkeypatch):
    from dti_sprites.data.imageset import ImageSet
    from dti_sprites.training import fit, memory

    model = scenes.tiny()
    images = ImageSet(torch.zeros(4, 3, 7, 6, dtype=torch.uint8), list("abcd"))
    monkeypatch.setattr(memory, "total_memory", lambda device: 1000)
    with pytest.raises(ConfigError, match=r"model.sprites.n_layers: a step of 4 images needs about .* GiB"):
        fit(model, images, model.config)
