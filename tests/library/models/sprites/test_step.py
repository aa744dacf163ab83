"""Training steps of DTI-Sprites against the plain version in float64: loss, choices and every gradient."""

from __future__ import annotations

import pytest
import torch

from dti_sprites.models.sprites.search import exhaustive
from dti_sprites.ops import blocks

pytestmark = pytest.mark.usefixtures("float64")

FULL_SIZE = {"sprite_size": None, "layer_transformation_sequence": None}


def check(scenes, model, x, weight=None):
    model.train()
    torch.manual_seed(7)
    noise = model.draw_noise(x)
    torch.manual_seed(7)
    out = model.step(x, weight)
    expected, choices = scenes.reference(model, x, weight, noise).loss()
    torch.testing.assert_close(out.loss, expected, rtol=1e-9, atol=1e-11)
    used = torch.zeros_like(out.proportions)
    for choice, _ in choices:
        for layer, k in enumerate(choice):
            used[layer, k] += 1 / len(x)
    torch.testing.assert_close(out.proportions, used)
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
    return out, choices


@pytest.mark.parametrize(
    "sprites",
    [
        {},
        {"inject_noise": 0.0},
        {"occlusion": "predicted", "n_layers": 3},
        {"occlusion": "none"},
        {"empty_sprite": True, "empty_penalty": 0.002, "occlusion": "predicted"},
        {"estimate_minimum": False},
        {"estimate_minimum": False, "empty_sprite": True, "occlusion": "predicted", "n_layers": 3},
        {"n_backgrounds": 0, "greedy_iterations": 1},
        {"n_backgrounds": 2, "init_background": "random"},
        {"n_layers": 1},
        {"sprite_size": None},
    ],
)
def test_parity(scenes, sprites):
    model = scenes.tiny(sprites=sprites)
    x, weight = scenes.batch()
    check(scenes, model, x)
    check(scenes, model, x, weight)


@pytest.mark.parametrize(
    "options",
    [
        {"transformation_sequence": "identity"},
        {"transformation_sequence": "color_projective_tps", "grid": "exact"},
        {"transformation_sequence": "color_affine", "padding": "border"},
        {"shared_heads": True},
        {"n_prototypes": 1},
        {"encoder_pool": 2},
    ],
)
def test_parity_of_options(scenes, options):
    check(scenes, scenes.tiny(**options), scenes.batch()[0])


@pytest.mark.parametrize(
    "options", [{}, {"sprites": {"empty_sprite": True, "n_backgrounds": 2, "init_background": "random"}}]
)
def test_parity_of_one_layer_without_placing(scenes, options):
    """Sprites of the images' size, as for traffic signs; one channel."""
    sprites = {
        **FULL_SIZE,
        "n_layers": 1,
        "background_transformation_sequence": None,
        **options.get("sprites", {}),
    }
    model = scenes.tiny(1, transformation_sequence="color_projective", sprites=sprites)
    out, choices = check(scenes, model, scenes.batch(channels=1)[0])
    assert out.labels.tolist() == [choice[0] for choice, _ in choices]


def test_the_choices_differ_between_images(scenes):
    """The comparisons above would be worth little if one sprite won everywhere."""
    model = scenes.tiny(sprites={"empty_sprite": True, "empty_penalty": 0.002, "n_layers": 3})
    x, _ = scenes.batch(6)
    _, choices = check(scenes, model, x)
    assert len({choice for choice, _ in choices}) > 2
    assert any(3 in choice for choice, _ in choices)


@pytest.mark.parametrize("budget", [1, 3000, 10**6])
def test_blocks_of_images_do_not_change_the_result(scenes, monkeypatch, budget):
    model = scenes.tiny(sprites={"occlusion": "predicted", "n_backgrounds": 2, "init_background": "random"})
    x, weight = scenes.batch(5)
    whole = model.infer(x, weight)
    monkeypatch.setattr(blocks, "CPU_SEARCH_ELEMENTS", budget)
    again = model.infer(x, weight)
    torch.testing.assert_close(again.distances, whole.distances)
    assert again.extras["choices"].equal(whole.extras["choices"])
    assert again.extras["background_choices"].equal(whole.extras["background_choices"])


@pytest.mark.parametrize("budget", [1, 200, 10**6])
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_of_one_layer_do_not_change_the_result(scenes, monkeypatch, budget, weighted):
    sprites = {"n_layers": 1, "n_backgrounds": 2, "init_background": "random", "empty_sprite": True}
    model = scenes.tiny(sprites=sprites)
    x, weight = scenes.batch(5)
    weight = weight if weighted else None
    pixels = model.weight_of(x, weight)
    prediction = model.renderer.predict(model.features(x))
    noise, stack, backgrounds = model.draw_noise(x), model.bank.stack(True), model.backgrounds()

    def solve(scene, images):
        return exhaustive(scene)

    searched = model.search(x, pixels, stack, backgrounds, prediction, noise, solve)
    monkeypatch.setattr(blocks, "CPU_ELEMENTS", budget)
    chosen = model.choose(x, pixels, stack, backgrounds, prediction, noise)
    torch.testing.assert_close(chosen.errors, searched.errors, rtol=1e-9, atol=1e-12)
    assert chosen.sprites.equal(searched.sprites)
    assert chosen.background.equal(searched.background)
    assert not chosen.errors.requires_grad


@pytest.mark.parametrize(
    "layer_sequence",
    ["color_position", "position", "affine_color", "position_projective", "color", "position_morpho"],
)
@pytest.mark.parametrize("size", [(7, 6), (12, 9)])
def test_windows_hold_all_that_candidates_show(scenes, layer_sequence, size):
    """And they are smaller than the image where a warp comes last."""
    sprites = {"n_layers": 3, "layer_transformation_sequence": layer_sequence}
    if layer_sequence == "color":
        sprites["sprite_size"] = None
    model = scenes.tiny(sprites=sprites, size=size)
    x, _ = scenes.batch(2, size=size)
    model.train()
    noise, stack, renderer = model.draw_noise(x), model.bank.stack(True), model.renderer
    with torch.no_grad():
        prediction = renderer.predict(model.features(x))
        colours, masks = renderer.candidates(stack, prediction, 2, noise)
        windows = list(renderer.windows(stack, prediction, 2, noise))
    assert len(windows) == 3
    smaller = 0
    for layer, (window, part, part_masks) in enumerate(windows):
        inside = (..., *window)
        shown, found = masks[layer] * colours[layer], torch.zeros_like(colours[layer])
        found[inside] = part_masks * part
        torch.testing.assert_close(found, shown, rtol=1e-12, atol=1e-13)
        found = torch.zeros_like(masks[layer])
        found[inside] = part_masks
        torch.testing.assert_close(found, masks[layer], rtol=1e-12, atol=1e-13)
        smaller += part_masks[0, 0].numel() < x[0, 0].numel()
    assert (smaller > 0) == (layer_sequence in ("color_position", "position", "position_projective"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("budget", [1, 10**6])
def test_parity_of_sprites_beside_the_image(scenes, monkeypatch, channels, empty, budget):
    """Placed at random, some of them partly or wholly out of sight; an odd size."""
    monkeypatch.setattr(blocks, "CPU_SEARCH_ELEMENTS", budget)
    sprites = {"n_layers": 3, "occlusion": "predicted", "empty_sprite": empty, "empty_penalty": 0.001}
    model = scenes.tiny(channels, size=(9, 11), n_prototypes=2, sprites=sprites)
    with torch.no_grad():
        bias = model.renderer.layers.heads["position"].biases[-1]
        bias += torch.tensor([[1.0, 0.9, -0.7], [0.6, -4.0, 0.3], [1.4, 1.5, 0.2]])
    for b in (1, 3):
        x, weight = scenes.batch(b, channels, size=(9, 11))
        check(scenes, model, x)
        check(scenes, model, x, weight)


def test_losers_have_gradients_of_zero_not_none(scenes):
    model = scenes.tiny(n_prototypes=6, sprites={"n_layers": 1, "empty_sprite": True})
    out = model.step(scenes.batch(3)[0])
    out.loss.backward()
    losers = sorted(set(range(6)) - set(out.labels.tolist()))
    assert losers
    parameters = [
        model.bank.colours.pixels,
        model.bank.masks.pixels,
        *model.renderer.sprites.row_parameters(),
    ]
    for parameter in parameters:
        assert parameter.grad is not None
        assert not parameter.grad[losers].any()
        assert parameter.grad.any()


def test_noise_is_of_the_sprite_within_its_canvas_and_only_in_training(scenes):
    """Drawn once per step for each sprite, whatever the image and the layer."""
    model = scenes.tiny(transformation_sequence="identity", sprites={"n_layers": 2, "inject_noise": 0.3})
    x, _ = scenes.batch(2)
    for heads in model.renderer.layers.heads.values():
        for parameter in heads.parameters():
            parameter.data.zero_()  # every layer of every image places sprites alike, at half the canvas
    model.train()
    prediction = model.renderer.predict(model.features(x))
    noise = model.draw_noise(x)
    assert noise.shape == (3, 1, 7, 6)
    assert -0.3 <= noise.min() < -0.2 < 0.2 < noise.max() <= 0.3
    quiet = model.renderer.candidates(model.bank.stack(True), prediction, 2, torch.zeros_like(noise))[1]
    noisy = model.renderer.candidates(model.bank.stack(True), prediction, 2, noise)[1]
    added = noisy - quiet
    assert added.flatten(0, 1).std(0).max() < 1e-12
    assert (added[0, 0, :, 0, 0] == 0).all()  # the first row is outside the canvas
    assert added[0, 0, :, 0, 3, 1:5].abs().min() > 0
    model.eval()
    assert model.draw_noise(x) is None
    first, second = model.infer(x), model.infer(x)
    assert first.distances.equal(second.distances)


@pytest.mark.parametrize(
    ("sprites", "still"),
    [
        ({"freeze_sprite": 2}, {"colours", "masks"}),
        ({"freeze_mask": 2}, {"masks"}),
        ({"freeze_foreground": 2}, {"colours"}),
        ({"freeze_background": 2}, {"backgrounds"}),
        ({"freeze_background": True, "freeze_foreground": True}, {"colours", "backgrounds"}),
    ],
)
def test_frozen_parts_have_no_gradient(scenes, sprites, still):
    model = scenes.tiny(sprites=sprites)
    parts = {
        "colours": model.bank.colours,
        "masks": model.bank.masks,
        "backgrounds": model.backgrounds.images,
    }
    x, _ = scenes.batch(2)
    for epoch in (0, 1, 2):
        model.set_epoch(epoch)
        model.zero_grad(set_to_none=True)
        if epoch == 1:
            check(scenes, model, x)
        model.step(x).loss.backward()
        expected = still if epoch < 2 else {"backgrounds", "colours"} if True in sprites.values() else set()
        assert {name for name, part in parts.items() if part.pixels.grad is None} == expected
        assert next(model.renderer.layers.parameters()).grad is not None


def test_no_layer_is_empty_while_sprites_are_frozen(scenes):
    model = scenes.tiny(sprites={"freeze_sprite": 1, "empty_sprite": True, "empty_penalty": 0.5})
    x, _ = scenes.batch(4)
    model.set_epoch(0)
    out, _ = check(scenes, model, x)
    assert not out.proportions[:, -1].any()
    model.set_epoch(1)
    out, _ = check(scenes, model, x)
    assert (out.proportions[:, -1] == 1).all()  # at that price nothing is worth showing
    assert out.labels.tolist() == [3] * 4
