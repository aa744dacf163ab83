# ruff: noqa: RUF009 (setting() makes a dataclass field)
"""Settings of DTI-Sprites, and of the choice of a prototype by prediction.

Sources: Monnier et al., "Unsupervised Layered Image Decomposition into Object Prototypes" (ICCV 2021);
Baltacı, Loiseau and Aubry, "Deep sprite-based image models: an analysis" (TMLR 2026).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dti_sprites.config.fields import setting
from dti_sprites.config.names import parse_sequence


def check_sequence(value: str | None) -> str | None:
    """What is wrong with a transformation sequence, or None."""
    try:
        if value is not None:
            parse_sequence(value)
    except ValueError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class SelectionConfig:
    """Which prototype explains an image: the best one (min), or one that a network predicts."""

    method: Literal["min", "linear", "marionette"] = setting(
        "min",
        "min: smallest error; linear, marionette: probabilities predicted from the image's features, by a "
        "linear layer or by comparison with a latent vector per prototype.",
    )
    activation: Literal["softmax", "gumbel"] = setting(
        "gumbel", "Probabilities in training: softmax, or with Gumbel noise. Evaluation always uses softmax."
    )
    temperature: float = setting(
        1.0, "Of the softmax; the initial value when it is learnt.", above=0, maximum=100
    )
    learn_temperature: bool = setting(False, "Learn the temperature.")
    weighting: Literal["comp", "01"] = setting(
        "comp",
        "comp: error of the probability-weighted sum of prototypes; 01: probability-weighted sum of errors.",
    )
    freq_weight: float = setting(
        0.0, "Weight of the penalty on rarely used prototypes.", minimum=0, maximum=100
    )
    bin_weight: float = setting(
        0.0, "Weight of the penalty on undecided probabilities.", minimum=0, maximum=100
    )


Freeze = bool | int


@dataclass(frozen=True)
class SpritesConfig:
    """Layers, backgrounds and masks of DTI-Sprites (used when model.kind is sprites)."""

    n_layers: int = setting(1, "Objects per image at most (L).", minimum=1, maximum=20)
    n_backgrounds: int = setting(1, "Backgrounds (M); 0: a black canvas.", minimum=0, maximum=16)
    sprite_size: int | tuple[int, int] | None = setting(
        None, "Side of a sprite, or [height, width]; empty: the image's.", minimum=2, maximum=1024
    )
    # The sprites' own sequence and curriculum are model.transformation_sequence and training.curriculum.
    layer_transformation_sequence: str | None = setting(
        None,
        "Transformations that place a sprite in the image, the same for all sprites of a layer; empty: none.",
        check=check_sequence,
    )
    layer_curriculum: tuple[int, ...] | None = setting(
        None, "Curriculum of the layers' sequence; empty: all active from the start.", minimum=0
    )
    background_transformation_sequence: str | None = setting(
        None, "Transformations of the background; empty: those of the sprites.", check=check_sequence
    )
    background_curriculum: tuple[int, ...] | None = setting(
        None,
        "Curriculum of the background's sequence; empty: the sprites' if it shares their sequence, else "
        "all active.",
        minimum=0,
    )
    occlusion: Literal["fixed", "predicted", "none"] = setting(
        "fixed",
        "Which layer hides which: fixed: the later one; predicted for each image; none: layers add up.",
    )
    empty_sprite: bool = setting(False, "One more sprite that draws nothing, for images with fewer objects.")
    empty_penalty: float = setting(
        1e-4, "Cost of each sprite that is not the empty one (with empty_sprite).", minimum=0, maximum=1
    )
    inject_noise: float = setting(
        0.4, "Half-width of the noise on masks in training: makes them binary.", minimum=0, maximum=1
    )
    freeze_sprite: int = setting(0, "Epochs during which colours and masks are not learnt.", minimum=0)
    freeze_foreground: Freeze = setting(
        False, "true: colours are never learnt; n: not in the first n epochs.", minimum=0
    )
    freeze_background: Freeze = setting(
        False, "true: the background is never learnt; n: not in the first n epochs.", minimum=0
    )
    freeze_mask: Freeze = setting(
        False, "true: masks are never learnt; n: not in the first n epochs.", minimum=0
    )
    init_foreground: Literal["constant", "sample", "kmeans", "random", "random_color", "mean", "gaussian"] = (
        setting("constant", "Where the sprites' colours start.")
    )
    init_background: Literal["constant", "sample", "kmeans", "random", "mean", "gaussian"] = setting(
        "mean", "Where the background starts."
    )
    init_mask: Literal["gaussian", "constant", "random", "sample", "kmeans"] = setting(
        "gaussian",
        "Where the masks start; sample: what stands out from the page in windows of the images; kmeans: the "
        "centres of many such windows.",
    )
    value_foreground: float = setting(0.9, "Pixel value of init_foreground=constant.", minimum=0, maximum=1)
    value_background: float = setting(0.5, "Pixel value of init_background=constant.", minimum=0, maximum=1)
    value_mask: float = setting(1.0, "Value of init_mask=constant.", minimum=0, maximum=1)
    gaussian_std: float | None = setting(
        None,
        "Standard deviation in pixels of Gaussian inits; empty: a fifth of the shorter side.",
        above=0,
        maximum=4096,
    )
    estimate_minimum: bool | None = setting(
        None,
        "true: greedy search over the layers; false: all combinations; empty: all when there is one layer.",
    )
    greedy_iterations: int = setting(3, "Sweeps of the greedy search.", minimum=1, maximum=20)
    clamp: Literal["soft", "hard", "straight", "none"] = setting(
        "soft", "How colours and masks are kept in [0, 1]; straight: hard values, gradient of the identity."
    )

    @property
    def layer_transformations(self) -> list[str]:
        """Canonical names of the layers' sequence; empty without one."""
        sequence = self.layer_transformation_sequence
        return parse_sequence(sequence) if sequence is not None else []
