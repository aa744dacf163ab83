"""Encoders: the network whose features, one vector per image, all heads share."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dti_sprites.errors import ConfigError

CIFAR_BLOCKS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}


class CifarBlock(nn.Module):
    """(B, c_in, H, W) -> (B, c, H/stride, W/stride); the shortcut has no parameters (He et al. 2016, option A)."""

    def __init__(self, c_in: int, c: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.conv2 = nn.Conv2d(c, c, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)
        self.stride = stride
        self.grow = c - c_in

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.grow:
            x = F.pad(x, (0, 0, 0, 0, self.grow // 2, self.grow - self.grow // 2))
        return F.relu(out + x, inplace=True)


class CifarResNet(nn.Module):
    """ResNet for small images: three stages of 16, 32 and 64 channels: (B, C, H, W) -> (B, 64, H/4, W/4)."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        layers: list[nn.Module] = []
        width = 16
        for c in (16, 32, 64):
            for i in range(blocks):
                layers.append(CifarBlock(width, c, stride=2 if c > 16 and i == 0 else 1))
                width = c
        self.blocks = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(F.relu(self.bn(self.conv(x)), inplace=True))


def _small(channels: int) -> nn.Module:
    """Two convolutions: (B, C, H, W) -> (B, 10, H/4, W/4), about."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 7), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(8, 10, 5), nn.BatchNorm2d(10), nn.ReLU(inplace=True), nn.MaxPool2d(2),
    )  # fmt: skip


def _torchvision_resnet(name: str, channels: int) -> nn.Module:
    """The standard ImageNet layout without its classifier, for any number of input channels."""
    import torchvision  # slow to import, and needed by few

    net = getattr(torchvision.models, name)(weights=None)
    if channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    stem = [net.conv1, net.bn1, net.relu, net.maxpool]
    return nn.Sequential(*stem, net.layer1, net.layer2, net.layer3, net.layer4)


def _vgg16(channels: int) -> nn.Module:
    import torchvision

    features = torchvision.models.vgg16_bn(weights=None).features
    if channels != 3:
        features[0] = nn.Conv2d(channels, 64, 3, 1, 1)
        nn.init.kaiming_normal_(features[0].weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(features[0].bias)
    return features


def _layers(name: str, channels: int) -> nn.Module:
    if name in CIFAR_BLOCKS:
        return CifarResNet(channels, CIFAR_BLOCKS[name])
    makers: dict[str, Callable[[int], nn.Module]] = {"default": _small, "vgg16": _vgg16}
    if name in makers:
        return makers[name](channels)
    return _torchvision_resnet(name, channels)


class Encoder(nn.Module):
    """x (B, C, H, W) in [0, 1] -> features (B, F).

    `pool`: side (or sides) of the grid to which features are averaged, None for no pooling; `input_size`: the
    network sees a smaller copy of the image with this side. Raises ConfigError when the images are too small
    for the network.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        image_size: tuple[int, int],
        pool: int | tuple[int, int] | None = 1,
        input_size: int | None = None,
    ) -> None:
        super().__init__()
        self.layers = _layers(name, channels)
        self.pool = (pool, pool) if isinstance(pool, int) else pool
        self.input_size = None if input_size is None else (input_size, input_size)
        self.channels_last = False
        self.bf16 = False
        # Deep networks reduce a small image to one pixel, of which a batch of one image has no statistics.
        self.deep = name not in CIFAR_BLOCKS
        self.eval()
        try:
            with torch.no_grad():
                self.n_features = self(torch.zeros(1, channels, *image_size)).shape[1]
        except RuntimeError as error:
            size = self.input_size or image_size
            reason = f"{name} needs larger images than {size[0]} x {size[1]}: take resnet20 or another data.image_size"
            raise ConfigError([("model.encoder", reason)]) from error
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        if self.input_size is not None and x.shape[2:] != self.input_size:
            x = F.interpolate(x, self.input_size, mode="bilinear", align_corners=False, antialias=True)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        single = self.deep and self.training and x.shape[0] == 1
        if single:
            self.layers.eval()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            x = self.layers(x)
        if single:
            self.layers.train()
        x = x.to(torch.get_default_dtype()) if self.bf16 else x
        if self.pool is not None:
            x = x.mean((2, 3), keepdim=True) if self.pool == (1, 1) else F.adaptive_avg_pool2d(x, self.pool)
        return x.flatten(1)
