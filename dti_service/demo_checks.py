"""What is wrong with the parameters of a built-in notebook that its schema cannot see, before anything is queued.

Each function takes the parameters and returns problems as (name, reason); `dti_service.built_in` names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Problems = list[tuple[str, str]]


def check_clustering(parameters: Mapping[str, Any]) -> Problems:
    """Problems that only the library's configuration knows, such as an unknown transformation."""
    from dti_sprites.recipe import FIELDS, configure

    return _problems(configure, parameters, {*FIELDS, "preset", "epochs"})


def check_discover(parameters: Mapping[str, Any]) -> Problems:
    """Problems in what a front of the DISCOVER platform asks for."""
    from dti_service.discover.start import check_notebook

    return check_notebook(parameters)


def check_launch(parameters: Mapping[str, Any]) -> Problems:
    """A run of the service reaches no other server: it would do so with this server's rights."""
    if parameters.get("server"):
        return [
            ("server", "is for the notebook opened by hand: a queued run works in its own data directory")
        ]
    return []


def check_sprites(parameters: Mapping[str, Any]) -> Problems:
    """Problems that only the library's configuration knows, such as layers without room for their sprites."""
    from dti_sprites.recipe import FIELDS, SPRITE_FIELDS
    from dti_sprites.sprites_recipe import configure_sprites

    names = {*FIELDS, *SPRITE_FIELDS, "background_option", "preset", "epochs"}
    return _problems(configure_sprites, parameters, names)


def _problems(configure: Callable[..., Any], parameters: Mapping[str, Any], names: set[str]) -> Problems:
    from dti_sprites import ConfigError

    known = {name: value for name, value in parameters.items() if name in names}
    try:
        configure(known, sample=parameters.get("dataset", "sample") == "sample")
    except ConfigError as error:
        return error.errors
    return []
