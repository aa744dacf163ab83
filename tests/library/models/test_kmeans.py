"""DTI K-means against loops with gradient through every candidate, in float64, and its curriculum."""

from __future__ import annotations

import pytest
import torch

from dti_sprites.config import RunConfig
from dti_sprites.models import build_model
from dti_sprites.models.sequence import active_count
from dti_sprites.ops import blocks

SEQUENCES = [
    "identity", "color", "identity_color", "identity_affine", "affine_color", "identity_affine_morpho_tps",
    "color_projective", "linearcolor_similarity_tps", "position_rotation", "translation_isotranslation",
]  # fmt: skip


def batch(b=5, channels=1, size=(6, 5), seed=3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(b, channels, *size, generator=generator)
    return x, torch.rand(b, 1, *size, generator=generator).round()


def check_step(plain, model, x, weight=None):
    """Loss, distances, labels and every gradient."""
    model.train()
    out = model.step(x, weight)
    distances = plain.kmeans_distances(model, x, weight)
    torch.testing.assert_close(out.distances, distances.detach(), rtol=1e-8, atol=1e-10)
    assert out.labels.equal(distances.argmin(1))
    expected = distances.min(1).values.mean()
    torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=1e-11)
    parameters = list(model.parameters())
    fast = torch.autograd.grad(out.loss, parameters, allow_unused=True)
    slow = torch.autograd.grad(expected, parameters, allow_unused=True)
    compared = 0
    for a, b in zip(fast, slow):
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
            compared += 1
        else:
            assert a is None or not a.any()
            assert b is None or not b.any()
    assert compared
    return out


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize(("channels", "padding", "grid"), [(1, "border", "legacy"), (3, "zeros", "exact")])
def test_parity(plain, sequence, channels, padding, grid):
    model = plain.tiny_model(
        channels, transformation_sequence=sequence, padding=padding, grid=grid, tps_grid_size=3
    )
    check_step(plain, model, batch(channels=channels)[0])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "options",
    [
        {"gaussian_window_std": 1.5}, {"shared_heads": True}, {"n_prototypes": 1}, {"color_clamp": "soft"},
        {"n_hidden_layers": 0}, {"encoder_pool": 2}, {"n_prototypes": 7},
    ],
)  # fmt: skip
def test_parity_of_options(plain, options):
    model = plain.tiny_model(transformation_sequence="identity_color_affine", **options)
    x, weight = batch()
    check_step(plain, model, x)
    check_step(plain, model, x, weight)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("budget", [1, 31, 60, 200])
@pytest.mark.parametrize("b", [1, 4])
def test_blocks_do_not_change_the_result(plain, monkeypatch, budget, b):
    """One image per block, a part of the batch, one prototype, several prototypes."""
    monkeypatch.setattr(blocks, "CPU_ELEMENTS", budget)
    model = plain.tiny_model(transformation_sequence="identity_affine_tps", n_prototypes=4)
    x, weight = batch(b)
    check_step(plain, model, x, weight)


def test_window_and_weight_change_the_assignment_too(plain):
    """Two prototypes, one right at the centre, the other at the border."""
    x = torch.zeros(1, 1, 9, 9)
    centre = torch.zeros(9, 9, dtype=torch.bool)
    centre[3:6, 3:6] = True
    prototypes = torch.stack([torch.where(centre, 0.0, 0.5), torch.where(centre, 1.0, 0.0)])[:, None]
    settings = {"size": (9, 9), "n_prototypes": 2, "transformation_sequence": "identity"}
    plain_model, windowed = (
        plain.tiny_model(**settings),
        plain.tiny_model(**settings, gaussian_window_std=1.0),
    )
    for model in (plain_model, windowed):
        model.prototypes.pixels.data.copy_(prototypes)
    assert plain_model.step(x).labels.item() == 1
    assert windowed.step(x).labels.item() == 0
    assert plain_model.step(x, centre.float().view(1, 1, 9, 9)).labels.item() == 0
    assert plain_model.infer(x, centre.float().view(1, 1, 9, 9)).labels.item() == 0


def test_losers_have_gradients_of_zero_not_none(plain):
    model = plain.tiny_model(n_prototypes=4)
    out = model.step(batch(3)[0])
    out.loss.backward()
    losers = sorted(set(range(4)) - set(out.labels.tolist()))
    assert losers
    for parameter in [model.prototypes.pixels, *model.sequence.row_parameters()]:
        assert parameter.grad is not None
        assert not parameter.grad[losers].any()


def test_proportions_are_the_shares_of_labels(plain):
    model = plain.tiny_model(n_prototypes=4)
    out = model.step(batch(5)[0])
    assert out.proportions.tolist() == pytest.approx(
        [(out.labels == k).float().mean().item() for k in range(4)]
    )


@pytest.mark.usefixtures("float64")
def test_infer_is_the_evaluation_of_the_chosen_prototype(plain):
    model = plain.tiny_model(transformation_sequence="identity_affine_morpho")
    x, weight = batch()
    model.train()
    for _ in range(2):
        model.step(x)  # moves the running statistics
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = model.infer(x, weight)
    assert model.training
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    model.eval()
    torch.testing.assert_close(result.distances, plain.kmeans_distances(model, x, weight).detach())
    table = plain.candidates(model, model.prototypes.pixels, x)
    for i, k in enumerate(result.labels.tolist()):
        torch.testing.assert_close(result.reconstruction[i], table[k][i].detach())
        feature = model.encoder(x)[i]
        expected = plain.head(model.sequence.heads["affine"], k, feature)
        torch.testing.assert_close(result.parameters["affine"][i], expected.detach())
    assert set(model.matrices(result.parameters)) == {"affine", "morpho", "morpho_alpha"}


def test_prototype_images_are_clamped_copies(plain):
    model = plain.tiny_model(3)
    model.prototypes.pixels.data[0] = 2.0
    images = model.prototype_images()["prototypes"]
    assert images.shape == (3, 3, 6, 5)
    assert images.max() == 1.0
    assert model.prototypes.pixels.max() == 2.0


@pytest.mark.parametrize(
    ("curriculum", "expected"),
    [(None, [3, 3, 3]), ((0, 0), [3, 3, 3]), ((1, 2), [1, 2, 3]), ((0, 2), [2, 2, 3]), ((2, 2), [1, 1, 3])],
)
def test_curriculum_counts_completed_epochs(curriculum, expected):
    assert [active_count(curriculum, 3, epoch) for epoch in range(3)] == expected


def test_inactive_heads_have_no_gradient_and_no_adam_state(plain):
    training = {"curriculum": [2, 4]}
    model = plain.tiny_model(transformation_sequence="identity_affine_tps", training=training)
    adam = torch.optim.Adam(model.parameter_groups(model.config.training))
    heads = {name: list(model.sequence.heads[name].parameters()) for name in ("affine", "tps")}
    x = batch()[0]
    seen = []
    for epoch in range(6):
        activated = model.set_epoch(epoch)
        adam.zero_grad()
        model.step(x).loss.backward()
        adam.step()
        seen.append(activated)
        for name, start in (("affine", 2), ("tps", 4)):
            active = epoch >= start
            assert all((p.grad is not None) == active for p in heads[name])
            assert all((p in adam.state) == active for p in heads[name])
        assert all((p.grad is not None) == (epoch >= 2) for p in model.encoder.parameters())
    assert seen == [[], [], ["affine"], [], ["tps"], []]


def test_encoder_rests_while_only_the_identity_is_active(plain, monkeypatch):
    model = plain.tiny_model()
    model.set_stage(1)
    monkeypatch.setattr(model.encoder, "forward", None)
    model.step(batch()[0]).loss.backward()
    assert model.infer(batch()[0]).parameters == {}


def used_optimiser(model, x):
    adam = torch.optim.Adam(model.parameter_groups(model.config.training))
    for _ in range(2):
        adam.zero_grad()
        model.step(x).loss.backward()
        adam.step()
    return adam


def test_restart_copies_weights_and_moments_as_values(plain):
    model = plain.tiny_model(n_prototypes=4)
    adam = used_optimiser(model, batch(8)[0])
    before = {p: p.detach().clone() for p in model.parameters()}
    moments = {p: {k: v.clone() for k, v in adam.state[p].items()} for p in model.parameters()}
    restart = model.restart_unused(
        torch.tensor([0.3, 0.0, 0.6, 0.1]), 0.2, adam, torch.Generator().manual_seed(0)
    )
    assert restart.source == 2
    assert restart.empty == [1, 3]
    noise = (model.prototypes.pixels - before[model.prototypes.pixels][2])[[1, 2, 3]]
    assert noise.abs().max() < 1e-3
    assert noise.std().item() == pytest.approx(1e-4, rel=0.2)
    assert model.prototypes.pixels[0].equal(before[model.prototypes.pixels][0])
    for parameter in model.sequence.row_parameters():
        for k, origin in enumerate([0, 2, 2, 2]):
            assert parameter[k].equal(before[parameter][origin])
    for parameter in [model.prototypes.pixels, *model.sequence.row_parameters()]:
        for name in ("exp_avg", "exp_avg_sq"):
            for k, origin in enumerate([0, 2, 2, 2]):
                assert adam.state[parameter][name][k].equal(moments[parameter][name][origin])
    # The rows do not share memory: a change of one leaves its origin alone.
    moment = adam.state[model.prototypes.pixels]["exp_avg"]
    moment[1] += 1
    assert moment[2].equal(moments[model.prototypes.pixels]["exp_avg"][2])


def test_restart_before_the_heads_are_active_copies_them_without_state(plain):
    model = plain.tiny_model(n_prototypes=3)
    model.set_stage(1)
    adam = used_optimiser(model, batch(8)[0])
    model.reassign(0, [2], adam, torch.Generator())
    for parameter in model.sequence.row_parameters():
        assert parameter[2].equal(parameter[0])
        assert parameter not in adam.state


@pytest.mark.parametrize(
    ("proportions", "threshold", "empty"),
    [
        ([0.4, 0.3, 0.3], 0.2 / 3, None), ([0.9, 0.06, 0.04], 0.2 / 3, [1, 2]), ([0.9, 0.07, 0.03], 0.2 / 3, [2]),
        ([0.9, 0.1, 0.0], 0.0, None), ([1.0, 0.0, 0.0], 0.01, [1, 2]),
    ],
)  # fmt: skip
def test_restart_threshold(plain, proportions, threshold, empty):
    model = plain.tiny_model()
    adam = used_optimiser(model, batch()[0])
    restart = model.restart_unused(torch.tensor(proportions), threshold, adam, torch.Generator())
    assert (restart and restart.empty) == empty


def test_shared_heads_are_left_alone_by_a_restart(plain):
    model = plain.tiny_model(shared_heads=True)
    adam = used_optimiser(model, batch()[0])
    before = [p.detach().clone() for p in model.sequence.row_parameters()]
    model.reassign(0, [1], adam, torch.Generator())
    assert all(a.equal(b) for a, b in zip(before, model.sequence.row_parameters()))


def test_groups_cover_every_parameter_once(plain):
    model = plain.tiny_model(training={"lr": 0.01, "sprite_lr": 0.1, "weight_decay": 1e-3})
    groups = {group["name"]: group for group in model.parameter_groups(model.config.training)}
    parameters = [p for group in groups.values() for p in group["params"]]
    assert len(parameters) == len(set(parameters)) == len(list(model.parameters()))
    assert groups["prototypes"]["params"] == [model.prototypes.pixels]
    assert [(g["lr"], g["weight_decay"]) for g in groups.values()] == [(0.1, 0.0), (0.01, 1e-3), (0.01, 1e-3)]


def test_weights_come_from_the_seed_and_leave_the_global_state_alone():
    config = RunConfig.from_dict({"model": {"n_prototypes": 2}, "training": {"seed": 5}})
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = build_model(config, 1, (8, 8))
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(1)
    second = build_model(config, 1, (8, 8))
    other = build_model(config.replace(training={"seed": 6}), 1, (8, 8))
    weights = [model.encoder.layers.conv.weight for model in (first, second, other)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_step_on_the_gpu_is_that_on_the_cpu(plain):
    model = plain.tiny_model(3, (16, 16), transformation_sequence="color_affine_morpho_tps")
    x, weight = batch(8, 3, (16, 16))
    on_cpu = model.step(x, weight)
    on_gpu = model.cuda().step(x.cuda(), weight.cuda())
    torch.testing.assert_close(on_gpu.distances.cpu(), on_cpu.distances, rtol=1e-3, atol=1e-5)
    assert on_gpu.labels.cpu().equal(on_cpu.labels)
