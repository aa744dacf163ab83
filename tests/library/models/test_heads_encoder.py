"""Stacked heads against one MLP per head; encoders by their shapes and known sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dti_sprites.errors import ConfigError
from dti_sprites.models.encoder import CifarBlock, Encoder
from dti_sprites.models.heads import StackedHeads


@pytest.mark.parametrize("n_hidden", [0, 1, 2, 3])
@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.usefixtures("float64")
def test_parity_with_separate_mlps(n, n_hidden):
    torch.manual_seed(0)
    heads = StackedHeads(n, 6, 5, hidden=7, n_hidden=n_hidden)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    mlps = []
    for k in range(n):
        layers: list[nn.Module] = []
        for weight, bias in zip(heads.weights, heads.biases):
            linear = nn.Linear(weight.shape[2], weight.shape[1])
            linear.weight.data, linear.bias.data = weight[k].detach().clone(), bias[k].detach().clone()
            layers += [linear, nn.ReLU()]
        mlps.append(nn.Sequential(*layers[:-1]))
    features = torch.randn(3, 6, requires_grad=True)
    seed = torch.randn(n, 3, 5)
    stacked, separate = heads(features), torch.stack([mlp(features) for mlp in mlps])
    torch.testing.assert_close(stacked, separate)
    (a,) = torch.autograd.grad((stacked * seed).sum(), features, retain_graph=True)
    (b,) = torch.autograd.grad((separate * seed).sum(), features, retain_graph=True)
    torch.testing.assert_close(a, b)
    (stacked * seed).sum().backward()
    (separate * seed).sum().backward()
    for i, (weight, bias) in enumerate(zip(heads.weights, heads.biases)):
        for k in range(n):
            torch.testing.assert_close(weight.grad[k], mlps[k][2 * i].weight.grad)
            torch.testing.assert_close(bias.grad[k], mlps[k][2 * i].bias.grad)


def test_start_is_zero_with_hidden_layers_as_linear_makes_them():
    torch.manual_seed(0)
    heads = StackedHeads(5, 64, 6)
    assert not heads(torch.randn(4, 64)).any()
    assert not heads.weights[-1].any()
    assert not heads.biases[-1].any()
    bound = 1 / 64**0.5
    assert heads.weights[0].abs().max() <= bound
    assert heads.weights[0].std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not torch.equal(heads.weights[0][0], heads.weights[0][1])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("name", "size", "features"),
    [
        ("resnet20", (9, 7), 64), ("resnet32", (8, 8), 64), ("resnet18", (28, 28), 512), ("resnet34", (33, 40), 512),
        ("resnet50", (32, 32), 2048), ("default", (28, 28), 10), ("vgg16", (32, 32), 512),
    ],
)  # fmt: skip
def test_shapes(name, size, features, channels):
    encoder = Encoder(name, channels, size)
    assert encoder.n_features == features
    assert encoder(torch.rand(2, channels, *size)).shape == (2, features)


def test_known_number_of_parameters():
    """0.27 M for ResNet-20 as published (He et al. 2016) without its classifier of 650."""
    assert sum(p.numel() for p in Encoder("resnet20", 3, (32, 32)).parameters()) == 269_722 - 650
    assert sum(p.numel() for p in Encoder("resnet18", 3, (32, 32)).parameters()) == 11_689_512 - 513_000


@pytest.mark.parametrize(("pool", "features"), [(1, 64), (4, 64 * 16), ((2, 3), 64 * 6), (None, 64 * 7 * 5)])
def test_pooling(pool, features):
    encoder = Encoder("resnet20", 1, (28, 20), pool=pool)
    assert encoder.n_features == features
    assert encoder(torch.rand(2, 1, 28, 20)).shape == (2, features)


def test_pooling_to_one_is_the_mean_of_the_layers():
    encoder = Encoder("resnet20", 1, (12, 12)).eval()
    x = torch.rand(2, 1, 12, 12)
    torch.testing.assert_close(encoder(x), encoder.layers(x).mean((2, 3)))


def test_smaller_input_is_the_same_as_resizing_before():
    torch.manual_seed(0)
    encoder = Encoder("resnet20", 3, (40, 40), input_size=16).eval()
    x = torch.rand(2, 3, 40, 40)
    small = F.interpolate(x, (16, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(encoder(x), encoder(small))


def test_option_a_shortcut_subsamples_and_pads_channels():
    block = CifarBlock(2, 4, stride=2).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 2, 6, 6)
    out = block(x)
    assert out.shape == (1, 4, 3, 3)
    torch.testing.assert_close(out[:, 1:3], x[:, :, ::2, ::2])
    assert not out[:, [0, 3]].any()


def test_images_that_are_too_small_are_refused_with_the_remedy():
    with pytest.raises(
        ConfigError, match=r"model.encoder: vgg16 needs larger images than 16 x 16: take resnet20"
    ):
        Encoder("vgg16", 3, (16, 16))


def test_a_last_batch_of_one_image_can_be_trained_on():
    encoder = Encoder("resnet18", 3, (28, 28)).train()
    encoder(torch.rand(1, 3, 28, 28)).sum().backward()
    assert encoder.layers[0].weight.grad is not None
    assert all(module.training for module in encoder.modules())


def test_batch_statistics_in_training_and_running_ones_in_evaluation():
    torch.manual_seed(0)
    encoder = Encoder("resnet20", 1, (12, 12))
    x = torch.rand(4, 1, 12, 12)
    trained = encoder(x)
    encoder.eval()
    torch.testing.assert_close(encoder(x)[:2], encoder(x[:2]))
    assert not torch.allclose(trained, encoder(x), atol=1e-3)


def test_channels_last_changes_nothing_but_the_order_of_sums():
    torch.manual_seed(0)
    encoder = Encoder("resnet20", 3, (16, 16)).eval()
    x = torch.rand(4, 3, 16, 16)
    before = encoder(x)
    encoder.channels_last = True
    torch.testing.assert_close(encoder(x), before, rtol=1e-4, atol=1e-5)
