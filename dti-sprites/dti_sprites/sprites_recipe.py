"""From the flat parameters of the sprites notebook to a checked configuration.

`background_option` says what is learnt besides the shapes, under the platform's names or plainer ones. The
platform's own forms are read in `dti_sprites.platform`, with exactly its constants; here the constants follow
the images, which may as well be light on dark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dti_sprites.config import RunConfig
from dti_sprites.config.checks import as_pair
from dti_sprites.errors import ConfigError
from dti_sprites.recipe import (
    FIELDS,
    LAYERS_PRESET,
    OWN_IMAGES_PRESET,
    SAMPLE_PRESET,
    SPRITE_FIELDS,
    SPRITES_PRESET,
    SPRITES_SAMPLE_PRESET,
    flat_names,
    given_of,
    with_given,
)

if TYPE_CHECKING:
    from dti_sprites.data import ImageSet

LEARNED, CONSTANT, INK, NONE = OPTIONS = ("learned", "constant", "ink", "none")
ALIASES = {"1_learn_bg": LEARNED, "2_const_bg": CONSTANT, "3_learn_fg": INK, "0_dti": NONE}
DARK, BRIGHT = 0.1, 0.9
_ALL_FIELDS = {**FIELDS, **SPRITE_FIELDS, "background_option": "background_option"}


def configure_sprites(parameters: Mapping[str, Any], *, sample: bool = False) -> RunConfig:
    """The configuration that `parameters` describe: those of `recipe.configure`, SPRITE_FIELDS, `background_option`.

    Raises ConfigError whose fields are the flat names.
    """
    given = given_of(parameters, _ALL_FIELDS)
    option = _option(given.pop("background_option", LEARNED))
    preset = given.pop("preset", "auto")
    if option == NONE:
        return _clustering(given, preset, sample)
    if preset == "auto":
        several = given.get("n_layers", 1) != 1
        preset = LAYERS_PRESET if several else SPRITES_SAMPLE_PRESET if sample else SPRITES_PRESET
    with flat_names(_ALL_FIELDS):
        config = RunConfig.preset(preset)
        if config.model.kind != "sprites":
            raise ConfigError(
                [("preset", f"{preset} has no sprites: choose another, or background_option none")]
            )
        config = _scaled(config, given)
        if given.get("n_layers", config.model.sprites.n_layers) != config.model.sprites.n_layers:
            config = config.replace(model={"sprites": {"estimate_minimum": None}})
        config = with_given(config, given, _ALL_FIELDS)
        return config.replace(model={"sprites": _option_settings(option, page=BRIGHT)})


def suit_brightness(config: RunConfig, images: ImageSet, option: str | None) -> RunConfig:
    """`config` with the constant colours of its background option the right way round for `images`.

    The page is what most images have along their border.
    """
    if config.model.kind != "sprites":
        return config
    planes = images.images.float().mean(1) / 255
    border = [planes[:, 0], planes[:, -1], planes[:, :, 0], planes[:, :, -1]]
    page = float(sum(part.mean() for part in border) / len(border))
    return config.replace(model={"sprites": _option_settings(_option(option or LEARNED), page)})


def _option(option: Any) -> str:
    name = ALIASES.get(option, option)
    if name not in OPTIONS:
        possible = ", ".join((*OPTIONS, *ALIASES))
        raise ConfigError([("background_option", f"must be one of {possible}, not {option!r}")])
    return name


def _option_settings(option: str, page: float) -> dict[str, Any]:
    """Changes to model.sprites; `page` is the brightness of the background, from 0 to 1."""
    ink = DARK if page >= 0.5 else BRIGHT
    settings: dict[str, Any] = {
        "init_foreground": "constant",
        "value_foreground": ink,
        "freeze_foreground": option == INK,
    }
    if option == LEARNED:
        return settings | {"freeze_background": False}
    constant = BRIGHT if page >= 0.5 else DARK
    return settings | {
        "n_backgrounds": 1,
        "init_background": "constant",
        "value_background": constant,
        "freeze_background": True,
    }


def _clustering(given: dict[str, Any], preset: str, sample: bool) -> RunConfig:
    """Without sprites: DTI K-means with prototypes of whole images."""
    useless = [name for name in given if name in SPRITE_FIELDS and (name, given[name]) != ("n_layers", 1)]
    if useless:
        raise ConfigError([(name, "needs sprites: choose another background_option") for name in useless])
    given.pop("n_layers", None)
    if preset == "auto":
        preset = SAMPLE_PRESET if sample else OWN_IMAGES_PRESET
    with flat_names(_ALL_FIELDS):
        config = RunConfig.preset(preset)
        if config.model.kind == "sprites":
            raise ConfigError([("preset", f"{preset} has sprites: choose another background_option")])
        return with_given(config, given, _ALL_FIELDS)


def _scaled(config: RunConfig, given: Mapping[str, Any]) -> RunConfig:
    """Sizes in pixels of the preset, in proportion to another size of the images."""
    before, now = as_pair(config.data.image_size), given.get("image_size")
    if before is None or not isinstance(now, int) or now < 1:
        return config
    ratio, sprites = now / max(before), config.model.sprites
    changes: dict[str, Any] = {}
    if sprites.gaussian_std is not None:
        changes["gaussian_std"] = round(sprites.gaussian_std * ratio, 2)
    if sprites.sprite_size is not None:
        changes["sprite_size"] = [max(2, round(side * ratio)) for side in as_pair(sprites.sprite_size) or ()]
    return config.replace(data={"image_size": now}, model={"sprites": changes}) if changes else config
