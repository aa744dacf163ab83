"""Sprites that are generated, and choices that are predicted."""

from __future__ import annotations

import math

import pytest
import torch

from dti_sprites.config import RunConfig
from dti_sprites.data.scenes import generate_shapes
from dti_sprites.errors import ConfigError
from dti_sprites.models import build_model
from dti_sprites.models.sprites import PredictedSprites
from dti_sprites.training import fit

SELECTION = {"method": "linear", "activation": "softmax"}


def predicted(scenes, selection=None, **options):
    model = scenes.tiny(selection={**SELECTION, **(selection or {})}, **options)
    assert isinstance(model, PredictedSprites)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(4)
        noise = torch.randn(model.selection.logits.weight.shape, generator=generator, dtype=torch.float32)
        model.selection.logits.weight.copy_(noise)
    return model


def by_loops(scenes, model, x, noise, weight=None):
    """(total, reconstruction, p (B, L, choices)) by the written formulas, with gradient."""
    plain = scenes.reference(model, x, weight, noise)
    options, selection = model.options, model.config.model.selection
    n_choices = model.n_prototypes + options.empty_sprite
    tau = model.selection.temperature
    errors, rows = [], []
    for i in range(len(x)):
        logits = model.selection.logits.weight @ plain.phi[i] + model.selection.logits.bias
        logits = logits.view(options.n_layers, n_choices)
        layers, row = [], []
        for layer in range(options.n_layers):
            allowed = logits[layer, :-1] if options.empty_sprite and model.frozen else logits[layer]
            p = torch.exp(allowed / tau) / torch.exp(allowed / tau).sum()
            mask = colour = 0.0
            for k in range(model.n_prototypes):
                m, c = plain.layer(i, layer, k)
                mask, colour = mask + p[k] * m, colour + p[k] * m * c
            layers.append((mask, colour))
            row.append(p)
        delta, image = plain.delta(i), 0.0
        for a, (_, colour) in enumerate(layers):
            for b, (mask, _) in enumerate(layers):
                colour = colour if a == b else colour * (1 - delta[b][a] * mask)
            image = image + colour
        behind = plain.background(i, 0)
        if behind is not None:
            for mask, _ in layers:
                behind = behind * (1 - mask)
            image = image + behind
        errors.append(plain.error(i, image))
        rows.append(torch.stack(row))
    p = torch.stack(rows)
    total = reconstruction = torch.stack(errors).mean()
    if selection.freq_weight:
        f = (p / p.max(2, keepdim=True).values)[..., : model.n_prototypes].mean(0).flatten()
        penalty = 1 - torch.minimum(f / f.sum(), torch.tensor(0.2 / model.n_prototypes)).sum()
        total = total + selection.freq_weight * penalty
    if selection.bin_weight and not model.frozen:
        q = p.clamp(1e-5, 1 - 1e-5)
        total = total + selection.bin_weight * (6 * q * (1 - q)).mean()
    if options.empty_sprite and not model.frozen:
        total = total + options.empty_penalty * p[..., :-1].sum() / p.numel()
    return total, reconstruction, p


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("selection", "options"),
    [
        ({}, {}),
        ({"temperature": 0.7, "learn_temperature": True}, {"sprites": {"occlusion": "predicted"}}),
        (
            {"freq_weight": 0.3, "bin_weight": 0.2},
            {"sprites": {"empty_sprite": True, "empty_penalty": 0.1, "freeze_sprite": 2}},
        ),
        ({"freq_weight": 0.3}, {"sprites": {"n_layers": 1, "n_backgrounds": 0, "inject_noise": 0.0}}),
        ({}, {"shared_heads": True, "transformation_sequence": "affine", "sprites": {"occlusion": "none"}}),
    ],
)
def test_parity(scenes, selection, options):
    model = predicted(scenes, selection, **options)
    x, weight = scenes.batch()
    for epoch in (0, 5):
        model.set_epoch(epoch)
        for alpha in (None, weight):
            model.train()
            torch.manual_seed(7)
            noise = model.draw_noise(x)
            torch.manual_seed(7)
            out = model.step(x, alpha)
            total, reconstruction, p = by_loops(scenes, model, x, noise, alpha)
            torch.testing.assert_close(out.loss, total)
            torch.testing.assert_close(out.terms["loss_rec"], reconstruction.detach())
            assert sum(out.terms.values()).item() == pytest.approx(out.loss.item())
            used = torch.nn.functional.one_hot(p.argmax(2), out.proportions.shape[1]).double().mean(0)
            torch.testing.assert_close(out.proportions.double(), used)
            parameters = list(model.parameters())
            fast = torch.autograd.grad(out.loss, parameters, allow_unused=True)
            slow = torch.autograd.grad(total, parameters, allow_unused=True)
            for a, b in zip(fast, slow):
                if a is None or b is None:
                    assert a is None or not a.any()
                    assert b is None or not b.any()
                else:
                    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("float64")
def test_infer_shows_the_most_probable_sprites(scenes):
    model = predicted(scenes, sprites={"empty_sprite": True, "occlusion": "predicted"})
    x, weight = scenes.batch(5)
    model.eval()
    result = model.infer(x, weight)
    plain = scenes.reference(model, x, weight)
    _, _, p = by_loops(scenes, model, x, None)
    torch.testing.assert_close(result.extras["probabilities"], p.detach())
    assert result.extras["choices"].equal(p.argmax(2))
    for i in range(5):
        choice = p[i].argmax(1).tolist()
        torch.testing.assert_close(result.reconstruction[i], plain.composition(i, choice, 0).detach())
        layer = choice.index(int(result.labels[i]))
        changed = [*choice[:layer], 1, *choice[layer + 1 :]]
        expected = plain.error(i, plain.composition(i, changed, 0)).item()
        candidates = [
            plain.error(i, plain.composition(i, [*choice[:a], 1, *choice[a + 1 :]], 0)).item() for a in (0, 1)
        ]
        assert min(abs(result.distances[i, 1].item() - e) for e in (expected, *candidates)) < 1e-10


def test_while_frozen_the_empty_sprite_has_no_probability(scenes):
    model = predicted(scenes, sprites={"empty_sprite": True, "freeze_sprite": 1})
    features = torch.rand(4, model.encoder.n_features)
    model.set_epoch(0)
    p = model.probabilities(features)
    assert not p[..., -1].any()
    torch.testing.assert_close(p.sum(2), torch.ones(4, 2))
    model.set_epoch(1)
    assert model.probabilities(features)[..., -1].min() > 0


def test_names_of_terms_do_not_change_when_sprites_thaw(scenes):
    model = predicted(
        scenes, {"freq_weight": 0.1, "bin_weight": 0.1}, sprites={"empty_sprite": True, "freeze_sprite": 1}
    )
    names = []
    for epoch in (0, 1):
        model.set_epoch(epoch)
        names.append(list(model.step(scenes.batch()[0]).terms))
    assert names[0] == names[1] == ["loss_rec", "loss_freq", "loss_bin", "loss_em"]


@pytest.mark.parametrize("source", ["pixels", "mlp"])
def test_marionette_compares_latents(scenes, source):
    model = predicted(
        scenes, {"method": "marionette"}, source=source, latent_size=16,
        sprites={"empty_sprite": True, "init_foreground": "constant"},
    )  # fmt: skip
    features = torch.rand(3, model.encoder.n_features)
    if source == "mlp":
        latents = torch.cat([model.bank.latents, model.empty_latent])
    else:
        latents = model.selection.latents
    assert latents.shape == (4, 16)
    p = model.probabilities(features)
    query = model.selection.logits(features).view(3, 2, 16)

    def normal(v):
        return (v - v.mean(-1, keepdim=True)) / (v.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    logits = torch.einsum("blz,kz->blk", normal(query), normal(latents)) / math.sqrt(features.shape[1])
    torch.testing.assert_close(p, logits.softmax(2))
    p.square().sum().backward()
    if source == "mlp":
        assert model.bank.latents.grad.any()
        assert model.empty_latent.grad.any()


class TestGenerated:
    def build(self, source="mlp", size=(16, 16), **sprites):
        settings = {
            "n_layers": 2, "sprite_size": size[0], "layer_transformation_sequence": "color_position",
            "background_transformation_sequence": "color", "gaussian_std": 3.0, **sprites,
        }  # fmt: skip
        model = {"kind": "sprites", "n_prototypes": 3, "source": source, "padding": "zeros", "n_hidden_units": 8,
                 "transformation_sequence": "identity", "sprites": settings}  # fmt: skip
        return build_model(RunConfig.from_dict({"model": model}), 3, (32, 32))

    def test_starts(self):
        model = self.build(value_foreground=0.9)
        images = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8)
        model.initialise(images, torch.Generator().manual_seed(0))
        colours, masks = model.bank.colours(), model.bank.masks()
        torch.testing.assert_close(colours, torch.full_like(colours, 0.9), atol=1e-4, rtol=0)
        y, x = torch.meshgrid(torch.arange(16.0) - 7.5, torch.arange(16.0) - 7.5, indexing="ij")
        window = torch.exp(-(x**2 + y**2) / 18).expand(3, 1, 16, 16)
        torch.testing.assert_close(masks, window, atol=0.02, rtol=0)
        mean = images.float().mean(0, keepdim=True) / 255
        torch.testing.assert_close(model.backgrounds(), mean, atol=0.02, rtol=0)

    @pytest.mark.parametrize("source", ["mlp", "unet"])
    def test_one_latent_per_sprite_learns_from_colours_and_masks(self, source):
        model = self.build(source)
        assert model.bank.colours.latents is model.bank.masks.latents
        parameters = list(model.parameters())
        assert len({id(p) for p in parameters}) == len(parameters)
        for part, flag in (("colours", "frozen_masks"), ("masks", "frozen_colours")):
            model.zero_grad(set_to_none=True)
            model.bank.frozen_masks = model.bank.frozen_colours = False
            setattr(model.bank, flag, True)
            model.step(torch.rand(3, 3, 32, 32)).loss.backward()
            assert model.bank.latents is None or model.bank.latents.grad.any()
            assert getattr(model.bank, part).last.weight.grad is not None
            frozen = {"frozen_masks": model.bank.masks, "frozen_colours": model.bank.colours}[flag]
            assert frozen.last.weight.grad is None

    def test_restart_copies_the_latent(self):
        model = self.build()
        adam = torch.optim.Adam(model.parameter_groups(model.config.training))
        model.step(torch.rand(3, 3, 32, 32)).loss.backward()
        adam.step()
        latents, last = model.bank.latents, model.bank.masks.last.weight
        before, weights = latents.detach().clone(), last.detach().clone()
        moment = adam.state[latents]["exp_avg"].clone()
        model.reassign(0, [2], adam, torch.Generator().manual_seed(0))
        assert 0 < (latents[2] - before[0]).abs().max() < 1e-3
        assert adam.state[latents]["exp_avg"][2].equal(moment[0])
        assert last.equal(weights)

    def test_looking_at_sprites_changes_nothing(self):
        model = self.build("unet").train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        assert model.prototype_images()["masked_prototypes"].shape == (3, 4, 16, 16)
        assert all(value.equal(before[name]) for name, value in model.state_dict().items())
        assert model.bank.training

    def test_sizes_of_the_unet(self):
        with pytest.raises(ConfigError) as caught:
            self.build("unet", (12, 12))
        assert caught.value.errors[0][0] == "model.sprites.sprite_size"


def test_training_with_everything_predicted_and_generated(tmp_path):
    """Also resumed: the state of all parts is saved, shared latents included."""
    shapes = generate_shapes(12, size=16, n_objects=(1, 2), radius=(3, 4))
    sprites = {
        "n_layers": 2, "sprite_size": 8, "layer_transformation_sequence": "color_position", "freeze_sprite": 1,
        "empty_sprite": True, "background_transformation_sequence": "color", "occlusion": "predicted",
    }  # fmt: skip
    selection = {"method": "marionette", "learn_temperature": True, "freq_weight": 0.1, "bin_weight": 0.01}
    model = {
        "kind": "sprites", "n_prototypes": 3, "transformation_sequence": "identity", "padding": "zeros",
        "source": "mlp", "latent_size": 16, "selection": selection, "sprites": sprites,
    }  # fmt: skip
    training = {"epochs": 3, "batch_size": 6, "reassign": False, "log_every": 2, "device": "cpu"}
    whole = RunConfig.from_dict({"model": model, "training": training})
    part = whole.with_overrides(["training.epochs=2"])
    expected = build_model(whole, 3, (16, 16))
    fit(expected, shapes, whole)
    fit(build_model(part, 3, (16, 16)), shapes, part, checkpoint_dir=tmp_path)
    resumed = build_model(whole, 3, (16, 16))
    result = fit(resumed, shapes, whole, checkpoint_dir=tmp_path)
    assert result.epochs_done == 3
    assert {"loss_rec", "loss_freq", "loss_bin", "loss_em"} <= result.history.keys()
    for name, value in expected.state_dict().items():
        assert value.equal(resumed.state_dict()[name]), name
    assert resumed.bank.masks.latents is resumed.bank.colours.latents
