"""Generated prototypes, and assignment by prediction."""

from __future__ import annotations

import math

import pytest
import torch

from dti_sprites.config import SelectionConfig
from dti_sprites.errors import ConfigError
from dti_sprites.models.prototypes.generators import MLPPrototypes, UNetPrototypes
from dti_sprites.models.selection import Selection, binary_penalty, frequency_penalty
from dti_sprites.training import fit


def selective(plain, channels=1, size=(6, 5), training=None, **options):
    selection = {"method": "linear", "activation": "softmax", **options.pop("selection", {})}
    model = plain.tiny_model(channels, size, training, selection=selection, **options)
    with torch.no_grad():
        for parameter in model.selection.parameters():
            generator = torch.Generator().manual_seed(4)
            parameter.add_(
                torch.randn(parameter.shape, generator=generator, dtype=torch.float32).to(parameter.dtype)
            )
    return model


def batch(b=4, channels=1, size=(6, 5)):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(b, channels, *size, generator=generator), torch.rand(b, 1, *size, generator=generator)


# Generators


@pytest.mark.parametrize("channels", [1, 3])
def test_generators_shapes_and_gradients(channels):
    for prototypes in (MLPPrototypes(5, channels, (16, 32)), UNetPrototypes(5, channels, (16, 32), width=4)):
        images = prototypes()
        assert images.shape == (5, channels, 16, 32)
        images.square().sum().backward()
        assert all(parameter.grad is not None for parameter in prototypes.parameters())
        assert prototypes.latents.grad.flatten(1).abs().sum(1).min() > 0


def test_mlp_is_its_formula():
    torch.manual_seed(0)
    prototypes = MLPPrototypes(3, 1, (4, 4), latent_size=8)
    hidden = prototypes.latents @ prototypes.hidden.weight.T + prototypes.hidden.bias
    groups = hidden.view(3, 8, 128)
    normal = (groups - groups.mean(2, keepdim=True)) / (
        groups.var(2, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    expected = torch.sigmoid(torch.relu(normal.view(3, -1)) @ prototypes.last.weight.T + prototypes.last.bias)
    torch.testing.assert_close(prototypes(), expected.view(3, 1, 4, 4))


@pytest.mark.parametrize(("constant", "spread"), [(True, 1e-6), (False, 0.02)])
def test_mlp_starts_from_an_image(constant, spread):
    image = torch.rand(1, 5, 5)
    image[0, 0, 0], image[0, 4, 4] = 0.0, 1.0
    prototypes = MLPPrototypes(4, 1, (5, 5))
    prototypes.start_from(image, constant)
    assert (prototypes() - image).abs().max() < spread + 2e-4


def test_unet_starts_from_a_colour():
    prototypes = UNetPrototypes(2, 3, (16, 16), width=4)
    prototypes.start_from(torch.full((3, 16, 16), 0.3))
    torch.testing.assert_close(prototypes(), torch.full((2, 3, 16, 16), 0.3))


def test_looking_at_prototypes_changes_nothing(plain):
    model = plain.tiny_model(1, (16, 16), source="unet", init="random")
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.prototype_images()["prototypes"].shape == (3, 1, 16, 16)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert model.prototypes.training


@pytest.mark.parametrize("source", ["mlp", "unet"])
def test_restart_copies_the_latent_with_its_moments(plain, source):
    model = plain.tiny_model(1, (16, 16), source=source, init="random")
    adam = torch.optim.Adam(model.parameter_groups(model.config.training))
    model.step(batch(size=(16, 16))[0]).loss.backward()
    adam.step()
    moments = adam.state[model.prototypes.latents]["exp_avg"].clone()
    before = model.prototypes.latents.detach().clone()
    network = [p.detach().clone() for p in model.prototypes.parameters() if p is not model.prototypes.latents]
    model.reassign(2, [0], adam, torch.Generator().manual_seed(0))
    after = model.prototypes.latents.detach()
    assert 0 < (after[0] - before[2]).abs().max() < 1e-3
    assert after[1].equal(before[1])
    assert adam.state[model.prototypes.latents]["exp_avg"][0].equal(moments[2])
    rest = [p for p in model.prototypes.parameters() if p is not model.prototypes.latents]
    assert all(a.equal(b) for a, b in zip(network, rest))


@pytest.mark.parametrize("source", ["mlp", "unet"])
def test_generated_kmeans_trains_and_resumes(plain, small_images, tmp_path, source):
    training = {"epochs": 3, "batch_size": 6, "device": "cpu"}
    if source == "unet":
        small_images = plain.enlarge(small_images, (16, 16))
    results = []
    for stop_at in (None, 4, None):
        model = plain.tiny_model(1, small_images.size, training, source=source, init="random")
        callbacks = [plain.StopAt(stop_at)] if stop_at else []
        where = tmp_path if results else None
        fit(model, small_images, model.config, checkpoint_dir=where, callbacks=callbacks)
        results.append(model.state_dict())
    assert all(results[0][name].equal(results[2][name]) for name in results[0])


@pytest.mark.parametrize(
    ("options", "size", "message"),
    [
        ({"source": "mlp", "init": "kmeans"}, (8, 8), r"model.init: must be one of random, constant"),
        ({"source": "unet", "init": "random"}, (16, 20), r"data.image_size: must be a multiple of 16"),
    ],
)
def test_impossible_generators_are_refused(plain, options, size, message):
    with pytest.raises(ConfigError, match=message):
        plain.tiny_model(1, size, **options)


# Selection


@pytest.mark.parametrize("n_layers", [1, 3])
def test_selection_shapes_and_evaluation(n_layers):
    torch.manual_seed(0)
    features = torch.randn(4, 6)
    for method in ("linear", "marionette"):
        selection = Selection(SelectionConfig(method=method), 6, 5, n_layers=n_layers, latent_size=7)
        selection.eval()
        p = selection(features)
        assert p.shape == (4, n_layers, 5)
        torch.testing.assert_close(p.sum(2), torch.ones(4, n_layers))
        torch.testing.assert_close(p, selection.predict_logits(features).softmax(2))
        selection.train()
        assert not torch.allclose(selection(features), selection(features))  # Gumbel noise


def test_marionette_is_its_formula():
    torch.manual_seed(0)
    selection = Selection(SelectionConfig(method="marionette"), 9, 4, latent_size=6, own_latents=False)
    features, latents = torch.randn(2, 9), torch.randn(4, 6)

    def normal(v):
        return (v - v.mean()) / (v.var(unbiased=False) + 1e-5).sqrt()

    logits = selection.predict_logits(features, latents)
    for i in range(2):
        query = normal(selection.logits.weight @ features[i] + selection.logits.bias)
        for k in range(4):
            assert logits[i, 0, k].item() == pytest.approx(
                (normal(latents[k]) @ query).item() / 3.0, abs=1e-5
            )


@pytest.mark.parametrize("learnt", [False, True])
def test_temperature(learnt):
    config = SelectionConfig(method="linear", activation="softmax", temperature=2.5, learn_temperature=learnt)
    selection = Selection(config, 3, 4)
    assert selection.temperature.item() == pytest.approx(2.5, rel=1e-5)
    features = torch.randn(2, 3)
    torch.testing.assert_close(selection(features), (selection.predict_logits(features) / 2.5).softmax(2))
    assert len(list(selection.parameters())) == (3 if learnt else 2)


def test_penalties_known_values():
    assert frequency_penalty(torch.tensor([0.5, 0.5]), 0.1).item() == pytest.approx(0.8)
    assert frequency_penalty(torch.tensor([2.0, 0.0]), 0.1).item() == pytest.approx(0.9)
    assert binary_penalty(torch.tensor([0.5, 0.5])).item() == pytest.approx(1.5)
    assert binary_penalty(torch.tensor([0.0, 1.0])).item() == pytest.approx(0.0, abs=1e-4)
    assert math.isclose(binary_penalty(torch.tensor([0.25])).item(), 6 * 0.25 * 0.75, rel_tol=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("weighting", ["comp", "01"])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_by_loops(plain, weighting, weighted):
    selection = {"weighting": weighting, "freq_weight": 0.3, "bin_weight": 0.2}
    model = selective(plain, transformation_sequence="identity_affine", selection=selection)
    x, weight = batch()
    weight = weight if weighted else None
    out = model.step(x, weight)
    table = plain.candidates(model, model.prototypes.pixels, x)
    p = (model.encoder(x) @ model.selection.logits.weight.T + model.selection.logits.bias).softmax(1)

    def error(i, image):
        if weight is None:
            return ((x[i] - image) ** 2).mean()
        return ((x[i] - image) ** 2 * weight[i]).sum() / weight[i].sum().clamp(min=1)

    rec = 0
    for i in range(len(x)):
        if weighting == "comp":
            rec = rec + error(i, sum(p[i, k] * table[k][i] for k in range(3)))
        else:
            rec = rec + sum(p[i, k] * error(i, table[k][i]) for k in range(3))
    freq = 1 - p.mean(0).clamp(max=0.2 / 3).sum()
    expected = rec / len(x) + 0.3 * freq + 0.2 * (6 * p * (1 - p)).mean()
    torch.testing.assert_close(out.loss, expected, rtol=1e-6, atol=1e-8)
    assert out.labels.equal(p.argmax(1))
    assert set(out.terms) == {"loss_rec", "loss_freq", "loss_bin"}
    for i in range(len(x)):
        for k in range(3):
            torch.testing.assert_close(out.distances[i, k], error(i, table[k][i]).detach())
    fast = torch.autograd.grad(out.loss, model.prototypes.pixels, retain_graph=True)[0]
    slow = torch.autograd.grad(expected, model.prototypes.pixels)[0]
    torch.testing.assert_close(fast, slow, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", ["linear", "marionette"])
@pytest.mark.parametrize("source", ["pixels", "mlp"])
def test_prediction_trains_and_infers(plain, small_images, method, source):
    training = {"epochs": 2, "batch_size": 6, "device": "cpu", "reassign": False, "curriculum": [1]}
    selection = {"method": method, "activation": "gumbel", "learn_temperature": True}
    model = selective(plain, 1, (8, 8), training, source=source, init="random", selection=selection)
    own = model.selection.latents
    assert (own is None) == (method == "linear" or source == "mlp")
    result = fit(model, small_images, model.config)
    assert result.epochs_done == 2
    assert "loss_rec" in result.history
    said = model.infer(small_images.images[:5].float() / 255)
    assert said.labels.equal(said.extras["probabilities"].argmax(1))
    assert said.distances.shape == (5, 3)
