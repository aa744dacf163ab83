"""DTI GMM against loops with gradient through every component, in float64."""

from __future__ import annotations

import math

import pytest
import torch

from dti_sprites.models.prototypes.initialisation import cluster_deviations
from dti_sprites.ops import blocks
from dti_sprites.training import fit

SPATIAL = {
    "affine",
    "position",
    "similarity",
    "rotation",
    "translation",
    "isotranslation",
    "projective",
    "tps",
}


def batch(b=4, channels=1, size=(6, 5)):
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(b, channels, *size, generator=generator)
    return x, torch.rand(b, 1, *size, generator=generator)


def gmm(plain, channels=1, **options):
    model = plain.tiny_model(channels, kind="gmm", sigma_min=0.25, **options)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        model.sigmas.copy_(0.2 + torch.rand(model.sigmas.shape, generator=generator))
        model.mixing.copy_(torch.rand(model.mixing.shape, generator=generator))
    return model


def log_densities_by_loops(plain, model, x, weight=None):
    """(B, K) by the written definition, with gradient."""
    _, c, h, w = x.shape
    window = torch.ones(h, w)
    std = model.config.model.gaussian_window_std
    if std is not None:
        gy = torch.exp(-0.5 * ((torch.arange(h) - (h - 1) / 2) / std) ** 2)
        gx = torch.exp(-0.5 * ((torch.arange(w) - (w - 1) / 2) / std) ** 2)
        window = gy[:, None] * gx[None]
    means = plain.candidates(model, model.prototypes.pixels, x)
    features = model.encoder(x)
    columns = []
    for k in range(model.n_prototypes):
        column = []
        for i in range(len(x)):
            s = model.sigmas[k]
            for name in model.transformation_names:
                if name in SPATIAL:
                    beta = plain.head(model.sequence.heads[name], k, features[i])
                    s = plain.transform(name, s, beta, k=3)
            variance = s**2 + 0.25**2
            terms = ((x[i] - means[k][i]) ** 2 / variance + torch.log(variance)) * window
            n = c * h * w
            if weight is not None:
                terms, n = terms * weight[i], c * weight[i].sum()
            column.append(-0.5 * terms.sum() - 0.5 * n * math.log(2 * math.pi))
        columns.append(torch.stack(column))
    return torch.stack(columns, 1)


def check(plain, model, x, weight=None):
    out = model.step(x, weight)
    densities = log_densities_by_loops(plain, model, x, weight)
    mixture = densities + torch.log_softmax(model.mixing, 0)
    gamma = mixture.detach().softmax(1)
    expected = -(gamma * mixture).sum(1).mean()
    torch.testing.assert_close(out.distances, -densities.detach())
    assert out.labels.equal(densities.argmax(1))
    torch.testing.assert_close(out.loss, expected)
    parameters = list(model.parameters())
    fast = torch.autograd.grad(out.loss, parameters, allow_unused=True)
    slow = torch.autograd.grad(expected, parameters, allow_unused=True)
    for a, b in zip(fast, slow):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    return gamma


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("channels", "sequence"),
    [
        (1, "identity"),
        (1, "identity_affine"),
        (3, "color_affine"),
        (1, "affine_morpho_tps"),
        (3, "color_projective"),
    ],
)
def test_parity(plain, channels, sequence):
    model = gmm(plain, channels, transformation_sequence=sequence)
    x, weight = batch(channels=channels)
    check(plain, model, x)
    check(plain, model, x, weight)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", [{"gaussian_window_std": 1.5}, {"n_prototypes": 1}])
def test_parity_of_options(plain, options):
    model = gmm(plain, **options)
    x, weight = batch()
    check(plain, model, x)
    check(plain, model, x, weight)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("budget", [1, 61, 250])
def test_blocks_do_not_change_the_result(plain, monkeypatch, budget):
    monkeypatch.setattr(blocks, "CPU_ELEMENTS", budget)
    check(plain, gmm(plain), *batch())


@pytest.mark.usefixtures("float64")
def test_components_without_responsibility_are_left_out_exactly(plain):
    """Means far away: their responsibilities underflow to zero, and the gradient is still the full one."""
    model = gmm(plain, n_prototypes=4)
    model.prototypes.pixels.data[1] += 100.0
    model.prototypes.pixels.data[3] -= 100.0
    gamma = check(plain, model, batch()[0])
    assert (gamma == 0).any()
    model.step(batch()[0]).loss.backward()
    assert not model.prototypes.pixels.grad[[1, 3]].any()


def test_variance_has_a_floor(plain):
    model = gmm(plain, transformation_sequence="identity")
    model.sigmas.data.zero_()
    x = model.prototypes.pixels.detach()[:1]
    n = x.numel()
    expected = -0.5 * n * (math.log(0.0625) + math.log(2 * math.pi))
    assert -model.infer(x).distances[0, 0].item() == pytest.approx(expected, rel=1e-5)
    assert model.prototype_images()["variances"].unique().tolist() == pytest.approx([0.0625])


def test_assignment_ignores_the_mixing_weights_but_responsibilities_do_not(plain):
    model = gmm(plain, n_prototypes=2, transformation_sequence="identity")
    model.sigmas.data.fill_(0.5)
    model.prototypes.pixels.data[0], model.prototypes.pixels.data[1] = 0.4, 0.6
    x = torch.full((1, 1, 6, 5), 0.45)
    model.mixing.data.copy_(torch.tensor([0.0, 50.0]))
    result = model.infer(x)
    assert result.labels.item() == 0
    assert result.extras["responsibilities"].argmax().item() == 1


def test_kmeans_start_takes_the_variances_of_the_clusters(plain):
    values = torch.tensor([0, 255, 100, 100], dtype=torch.uint8).repeat_interleave(10)
    images = torch.zeros(40, 1, 6, 5, dtype=torch.uint8)
    images[:20, :, 0, 0] = values[:20].view(-1, 1)  # one pixel varies in the first group
    images[20:, :, 3:] = 200
    model = gmm(plain, n_prototypes=2, init="kmeans", transformation_sequence="identity")
    model.initialise(images, torch.Generator().manual_seed(0))
    first = int(model.prototypes.pixels[:, 0, 5, 0].argmin())
    assert model.sigmas[first, 0, 0, 0].item() == pytest.approx((0.25 - 0.0625) ** 0.5, rel=1e-4)
    assert model.sigmas[first].flatten()[1:].max() == 0
    assert model.sigmas[1 - first].max() == 0
    centres, variances = cluster_deviations(images, 2, (6, 5), torch.Generator().manual_seed(0))
    assert centres.shape == variances.shape == (2, 1, 6, 5)


def test_other_starts_take_the_configured_deviation(plain):
    model = plain.tiny_model(kind="gmm", sigma_init=0.3)
    model.initialise(torch.zeros(5, 1, 6, 5, dtype=torch.uint8), torch.Generator())
    assert model.sigmas.unique().tolist() == pytest.approx([0.3])
    assert model.mixing.tolist() == [1.0, 1.0, 1.0]


def test_restart_copies_deviations_and_mixing_with_their_moments(plain):
    model = gmm(plain)
    adam = torch.optim.Adam(model.parameter_groups(model.config.training), lr=0.1)
    model.step(batch()[0]).loss.backward()
    adam.step()
    before = {p: (p.detach().clone(), adam.state[p]["exp_avg"].clone()) for p in (model.sigmas, model.mixing)}
    model.reassign(1, [2], adam, torch.Generator().manual_seed(0))
    for parameter, (values, moment) in before.items():
        assert parameter[2].equal(values[1])
        assert parameter[:2].equal(values[:2])
        assert adam.state[parameter]["exp_avg"][2].equal(moment[1])
    assert not model.prototypes.pixels[2].equal(model.prototypes.pixels[1])
    torch.testing.assert_close(model.prototypes.pixels[2], model.prototypes.pixels[1], atol=1e-3, rtol=0)


def test_groups_keep_decay_off_the_components(plain):
    model = gmm(plain)
    group = model.parameter_groups(model.config.training)[0]
    assert group["params"] == [model.prototypes.pixels, model.sigmas, model.mixing]
    assert group["weight_decay"] == 0.0


def test_training_lowers_the_loss_and_resumes(small_images, plain, tmp_path):
    training = {"epochs": 6, "batch_size": 6, "lr": 0.02, "check_cluster_interval": 3, "device": "cpu"}
    options = {"kind": "gmm", "transformation_sequence": "identity_affine"}
    whole = plain.tiny_model(1, (8, 8), training, **options)
    result = fit(whole, small_images, whole.config)
    assert result.history["epoch_loss"][-1] < result.history["epoch_loss"][0]
    for stop in (True, False):
        again = plain.tiny_model(1, (8, 8), training, **options)
        callbacks = [plain.StopAt(7)] if stop else []
        fit(again, small_images, again.config, checkpoint_dir=tmp_path, callbacks=callbacks)
    assert all(a.equal(b) for a, b in zip(whole.parameters(), again.parameters()))
