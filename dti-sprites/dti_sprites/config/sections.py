# ruff: noqa: RUF009 (setting() makes a dataclass field)
"""The sections of a run's configuration. Sizes are (height, width) in pixels, pixel values in [0, 1]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dti_sprites.config.fields import setting
from dti_sprites.config.names import parse_sequence
from dti_sprites.config.sprites import SelectionConfig, SpritesConfig, check_sequence

Encoder = Literal[
    "resnet20", "resnet32", "resnet44", "resnet56", "resnet110",  # CIFAR layout, 64 features
    "resnet18", "resnet34", "resnet50",  # ImageNet layout
    "default", "vgg16",
]  # fmt: skip


@dataclass(frozen=True)
class DataConfig:
    """How images become tensors of one size."""

    image_size: int | tuple[int, int] | None = setting(
        None,
        "Side in pixels, or [height, width]. Empty: the images' own size when all are equal, otherwise 128.",
        minimum=4,
        maximum=1024,
    )
    resize: Literal["crop", "pad", "stretch"] = setting(
        "crop",
        "crop: the shorter side is resized, then the centre is cut out; pad: the whole image with margins; "
        "stretch: the aspect ratio is not kept.",
    )
    channels: Literal["auto", "grey", "rgb"] = setting("auto", "auto: one channel when all images are grey.")
    alpha: Literal["weight", "composite", "ignore"] = setting(
        "weight",
        "Transparency: weight: transparent pixels do not count in the comparison; composite: laid on "
        "`background`; ignore: dropped.",
    )
    background: int = setting(
        255,
        "Grey level behind transparent pixels and in the margins of padded images.",
        minimum=0,
        maximum=255,
    )
    unreadable: Literal["error", "skip"] = setting("error", "What to do about a file that cannot be read.")
    max_pixels: int = setting(
        89_000_000, "An image with more pixels than this is refused.", minimum=1, maximum=178_000_000
    )
    jpeg_draft: bool = setting(
        False,
        "Decode large JPEGs at a reduced size: quicker, with slightly different pixels.",
    )


def _odd(value: int) -> str | None:
    return None if value % 2 else f"must be odd, not {value}"


@dataclass(frozen=True)
class ModelConfig:
    """What is learnt: prototypes and the transformations that map them onto each image."""

    kind: Literal["kmeans", "gmm", "sprites"] = setting("kmeans", "DTI K-means, DTI GMM or DTI-Sprites.")
    n_prototypes: int = setting(10, "Number of prototypes (clusters) or of sprites.", minimum=1, maximum=1000)
    transformation_sequence: str = setting(
        "identity_affine_tps",
        'Transformations of a prototype (of a sprite), in the order of application, joined by "_".',
        check=check_sequence,
    )
    encoder: Encoder = setting("resnet20", "Network that predicts the transformations from the image.")
    encoder_pool: int | tuple[int, int] | None = setting(
        1, "Side of the grid that features are averaged to; empty: no pooling.", minimum=1, maximum=16
    )
    encoder_size: int | None = setting(
        None,
        "The encoder sees the image resized to this side; empty: the image itself.",
        minimum=8,
        maximum=1024,
    )
    n_hidden_units: int = setting(128, "Width of the hidden layers of the heads.", minimum=1, maximum=8192)
    n_hidden_layers: int = setting(2, "Hidden layers of the heads.", minimum=0, maximum=8)
    padding: Literal["border", "zeros"] = setting("border", "What a prototype is beyond its edge.")
    grid: Literal["legacy", "exact"] = setting(
        "legacy",
        "legacy: sampling grids as in the published runs (the TPS at rest zooms by one pixel); exact: each "
        "transformation at rest is the identity.",
    )
    tps_grid_size: int = setting(
        4, "Control points per side of the thin plate spline.", minimum=2, maximum=10
    )
    morpho_kernel_size: int = setting(
        7, "Side of the structuring element, odd.", minimum=1, maximum=15, check=_odd
    )
    shared_heads: bool = setting(False, "One set of heads for all prototypes: smaller, less accurate.")
    color_clamp: Literal["none", "soft", "hard"] = setting(
        "none", "Clamp of the colour transformation's output."
    )
    init: Literal["sample", "kmeans", "kmeans++", "random", "constant", "mean", "gaussian"] = setting(
        "sample", "Where prototypes start: images drawn at random, K-means centres, noise, ..."
    )
    init_value: float = setting(0.5, "Pixel value of init=constant.", minimum=0, maximum=1)
    init_std: float = setting(25.0, "Standard deviation of init=gaussian, in pixels.", above=0, maximum=4096)
    gaussian_window_std: float | None = setting(
        None,
        "Errors count less away from the centre: deviation in pixels of a Gaussian window on the loss.",
        above=0,
        maximum=4096,
    )
    source: Literal["pixels", "mlp", "unet"] = setting(
        "pixels", "pixels: prototypes are learnt directly; mlp, unet: generated from a learnt latent vector."
    )
    latent_size: int = setting(128, "Latent values of a prototype when source=mlp.", minimum=1, maximum=4096)
    sigma_init: float = setting(0.5, "GMM: initial standard deviation of a pixel.", above=0, maximum=10)
    sigma_min: float = setting(0.25, "GMM: least standard deviation of a pixel.", above=0, maximum=10)
    selection: SelectionConfig = setting(factory=SelectionConfig)
    sprites: SpritesConfig = setting(factory=SpritesConfig)

    @property
    def transformations(self) -> list[str]:
        """Canonical names of `transformation_sequence`."""
        return parse_sequence(self.transformation_sequence)


@dataclass(frozen=True)
class FastConfig:
    """Speed options that may change results slightly; all off by default."""

    precision: Literal["float32", "tf32", "bf16"] = setting("float32", "Arithmetic of the encoder.")
    channels_last: bool = setting(False, "Memory layout of the encoder's images.")
    compile: bool = setting(False, "Compile the encoder with torch.compile.")


def _device(value: str) -> str | None:
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        return None
    return f"must be auto, cpu, cuda or cuda:N, not {value!r}"


SETTLE = 0.85  # share of the epochs after which what is learnt settles


@dataclass(frozen=True)
class TrainingConfig:
    """The schedule. Curriculum and milestones count completed epochs."""

    epochs: int = setting(100, "Passes over the images.", minimum=1, maximum=1_000_000)
    batch_size: int = setting(128, "Images per iteration.", minimum=1, maximum=65536)
    lr: float = setting(1e-3, "Learning rate of Adam.", above=0, maximum=1)
    sprite_lr: float | None = setting(
        None, "Learning rate of prototypes, sprites and backgrounds; empty: lr.", above=0, maximum=1
    )
    weight_decay: float = setting(1e-6, "L2 penalty on encoder and heads.", minimum=0, maximum=1)
    gamma: float | tuple[float, float] = setting(
        0.1,
        "Factor on the learning rate at each milestone, or one for [prototypes, networks].",
        above=0,
        maximum=1,
    )
    milestones: tuple[int, ...] = setting((), "Epochs at which the learning rate drops.", minimum=1)
    curriculum: tuple[int, ...] | None = setting(
        None,
        "Epoch at which each transformation after the first becomes active; empty: all from the start.",
        minimum=0,
    )
    coarse_epochs: int | None = setting(
        None,
        "In so many epochs at the start images and prototypes are compared at half their height and width, at about "
        "a quarter of the cost. Empty: none, as published.",
        minimum=1,
    )
    reassign: bool = setting(True, "Prototypes that hardly any image uses restart from the most used one.")
    check_cluster_interval: int = setting(
        50, "Iterations between two checks for unused prototypes.", minimum=1, maximum=1_000_000
    )
    empty_cluster_threshold: float | None = setting(
        None, "A prototype with a smaller share of the images is unused; empty: 0.2 / K.", minimum=0, below=1
    )
    split_merge_interval: int | None = setting(
        None,
        "DTI K-means: iterations of a challenger, a copy in which a prototype that seems to stand for two motifs is "
        "split and the one that is missed least given up; it trains along, and whichever fits the images better goes "
        "on. From the second transformation to the first drop of the learning rate. Empty: none, as published.",
        minimum=1,
        maximum=1_000_000,
    )
    augmentation: float = setting(
        0.0,
        "Images are moved a little whenever they are trained on, by an affine map whose six entries differ from those "
        "of the identity by this standard deviation; from the first transformation that moves pixels to the first drop "
        "of the learning rate. A good value is 0.1. 0: not at all, as published.",
        minimum=0,
        maximum=0.5,
    )
    encoder_updates: int = setting(
        1,
        "Adam updates of the encoder per iteration (published DTI-Sprites runs: 1 to 8).",
        minimum=1,
        maximum=16,
    )
    seed: int = setting(0, "Seed of everything random.", minimum=0, maximum=2**32 - 1)
    device: str = setting("auto", "auto, cpu, cuda or cuda:N.", check=_device)
    threads: int | None = setting(None, "CPU threads; empty: PyTorch's choice.", minimum=1, maximum=1024)
    checkpoint_every_s: float = setting(20.0, "Seconds between two checkpoints; 0: every epoch.", minimum=0)
    snapshot_every_s: float = setting(10.0, "Seconds between two pictures of the prototypes.", minimum=0)
    log_every: int = setting(10, "Iterations between two points of the curves.", minimum=1, maximum=1_000_000)
    fast: FastConfig = setting(factory=FastConfig)

    @property
    def settling_epoch(self) -> float:
        """From here on nothing is tried any more: the learning rate drops, or little time is left."""
        return min((*self.milestones, SETTLE * self.epochs))


@dataclass(frozen=True)
class ResultsConfig:
    """What a finished run leaves besides its tables and model."""

    transformed: bool = setting(True, "The reconstruction of every image.")
    decompositions: bool = setting(True, "Sprites: the layers and label maps of every image.")
    aligned_side: int = setting(
        1024,
        "Every image with its transformation undone, at its own resolution but with no side above this; 0: none.",
        minimum=0,
        maximum=8192,
    )
    report: bool = setting(True, "report.html")
    animation: bool = setting(True, "Animation of each prototype over training.")
    image_format: Literal["png", "jpeg"] = setting("png", "Format of the images of clusters.")
    jpeg_quality: int = setting(85, "Quality of JPEG files.", minimum=1, maximum=100)
