"""Named settings, one YAML file each: published runs, the platform's defaults, and starting points.

A file has a `description`, a `source`, the `dataset` that `load_benchmark` knows (if any), and the sections of
RunConfig where they differ from its defaults.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from dti_sprites.config import RunConfig
from dti_sprites.errors import ConfigError


@dataclass(frozen=True)
class PresetInfo:
    """What a list of presets shows."""

    name: str
    description: str
    source: str
    dataset: str | None
    config: RunConfig

    @property
    def n_prototypes(self) -> int:
        return self.config.model.n_prototypes

    @property
    def schedule(self) -> str:
        """Length, learning rate and its drops, and when transformations become active, in words."""
        training = self.config.training
        said = [f"{training.epochs} epochs of batches of {training.batch_size}", f"lr {training.lr:g}"]
        if training.milestones:
            said[-1] += f", drops at {_listed(training.milestones)}"
        names = self.config.model.transformations
        if training.curriculum:
            said.append(f"{', '.join(names[1:])} from {_listed(training.curriculum)}")
        return "; ".join(said)


def _listed(epochs: tuple[int, ...]) -> str:
    return ", ".join(map(str, epochs))


@cache
def _names() -> tuple[str, ...]:
    files = resources.files(__package__).iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


@cache
def _read(name: str) -> PresetInfo:
    text = resources.files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    about = {key: content.pop(key, None) for key in ("description", "source", "dataset")}
    return PresetInfo(name=name, config=RunConfig.from_dict(content | {"preset_name": name}), **about)


def list_presets() -> list[PresetInfo]:
    """All presets by name."""
    return [_read(name) for name in _names()]


def preset_info(name: str) -> PresetInfo:
    """The preset of that name. Raises ConfigError that lists the names most like it, or all."""
    if name not in _names():
        near = difflib.get_close_matches(str(name), _names(), n=5) or _names()
        raise ConfigError([("preset", f"unknown preset {name!r}; possible: {', '.join(near)}")])
    return _read(name)


def load_preset(name: str) -> RunConfig:
    """The configuration of that preset. Raises ConfigError."""
    return preset_info(name).config
