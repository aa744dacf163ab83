# ruff: noqa: RUF009 (setting() makes a dataclass field)
"""RunConfig: everything that decides what a run computes, in one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dti_sprites.config.checks import IN_PLACE, cross_check
from dti_sprites.config.fields import Problem, parse_section, section_schema, setting, to_plain
from dti_sprites.config.names import parse_sequence
from dti_sprites.config.sections import DataConfig, ModelConfig, ResultsConfig, TrainingConfig
from dti_sprites.errors import ConfigError

SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "results": ResultsConfig,
}


@dataclass(frozen=True)
class RunConfig:
    """A checked configuration: whoever holds one need not check again.

    Building one raises ConfigError with every problem found, in whatever way it is built.
    """

    data: DataConfig = setting(factory=DataConfig)
    model: ModelConfig = setting(factory=ModelConfig)
    training: TrainingConfig = setting(factory=TrainingConfig)
    results: ResultsConfig = setting(factory=ResultsConfig)
    preset_name: str | None = setting(None, "The preset that this configuration started from.")

    def __post_init__(self) -> None:
        problems: list[Problem] = []
        for name, section in SECTIONS.items():
            parsed = parse_section(section, getattr(self, name), name, problems)
            object.__setattr__(self, name, section(**parsed))
        if not problems:
            problems = cross_check(self)
        if problems:
            raise ConfigError(problems)

    def activations(self) -> list[tuple[str, int]]:
        """All transformations (of prototypes, layers, background), each with the epoch from which it is active."""
        sprites = self.model.sprites
        curricula = [(self.model.transformations, self.training.curriculum)]
        if self.model.kind == "sprites":
            curricula.append((sprites.layer_transformations, sprites.layer_curriculum))
            curricula.append((self.background_transformations, self.background_curriculum))
        return [
            (name, epoch)
            for names, curriculum in curricula
            for name, epoch in zip(names, (0, *(curriculum or [0] * len(names))), strict=False)
        ]

    def warp_epochs(self) -> list[int]:
        """The epochs from which transformations that move pixels are active."""
        return [epoch for name, epoch in self.activations() if name not in IN_PLACE]

    @property
    def background_transformations(self) -> list[str]:
        """Canonical names of the background's sequence: its own, or that of the sprites."""
        own = self.model.sprites.background_transformation_sequence
        return parse_sequence(own) if own is not None else self.model.transformations

    @property
    def background_curriculum(self) -> tuple[int, ...] | None:
        """The background's curriculum: its own, or that of the sprites when it shares their sequence."""
        sprites = self.model.sprites
        if sprites.background_curriculum is None and sprites.background_transformation_sequence is None:
            return self.training.curriculum
        return sprites.background_curriculum

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunConfig:
        """Build from nested dictionaries; missing settings take the default.

        With a key `preset`, missing settings take that preset's value. Raises ConfigError.
        """
        if not isinstance(values, Mapping):
            raise ConfigError([("", f"must be sections of settings, not {type(values).__name__}")])
        values = dict(values)
        base: dict[str, Any] = {}
        preset = values.pop("preset", None)
        if preset is not None:
            base = cls.preset(preset).to_dict()
        problems: list[Problem] = []
        for key in values.keys() - SECTIONS.keys() - {"preset_name"}:
            problems.append((str(key), f"unknown section; possible: preset, {', '.join(SECTIONS)}"))
        name = values.pop("preset_name", base.pop("preset_name", None))
        if name is not None and not isinstance(name, str):
            problems.append(("preset_name", "must be text"))
        merged = _merge(base, {key: values[key] for key in SECTIONS if key in values})
        sections = {
            key: SECTIONS[key](**parse_section(SECTIONS[key], value, key, problems))
            for key, value in merged.items()
        }
        if problems:
            raise ConfigError(sorted(problems))
        return cls(**sections, preset_name=name)

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries of plain values; `from_dict` of it gives an equal configuration."""
        return to_plain(self)

    @classmethod
    def from_yaml(cls, source: str | Path) -> RunConfig:
        """Read a YAML file (a Path), or YAML text (a str). Raises ConfigError, OSError."""
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError([("", f"not valid YAML: {error}")]) from None
        return cls.from_dict({} if values is None else values)

    def to_yaml(self, path: Path | None = None) -> str:
        """YAML text of all settings, also written to `path` when given."""
        text = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        if path is not None:
            path.write_text(text, encoding="utf-8")
        return text

    @classmethod
    def preset(cls, name: str) -> RunConfig:
        """The preset of that name (see `dti_sprites.presets.list_presets`). Raises ConfigError."""
        from dti_sprites.presets import load_preset

        return load_preset(name)

    def replace(self, **sections: Any) -> RunConfig:
        """A copy with other settings: `config.replace(model={"n_prototypes": 12})`. Raises ConfigError.

        A section is a mapping of the settings to change, or a whole section object.
        """
        changes = {
            key: to_plain(value) if dataclasses.is_dataclass(value) else value
            for key, value in sections.items()
        }
        return RunConfig.from_dict(_merge(self.to_dict(), changes))

    def with_overrides(self, overrides: Iterable[str]) -> RunConfig:
        """A copy with settings given as text: `["model.n_prototypes=20", "training.curriculum=[5,18]"]`.

        The value is read as YAML. Raises ConfigError.
        """
        changes: dict[str, Any] = {}
        problems: list[Problem] = []
        for override in overrides:
            field, equals, text = override.partition("=")
            path = field.strip().split(".")
            if not equals or len(path) < 2:
                problems.append((field.strip(), f"write section.setting=value, not {override!r}"))
                continue
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError:
                problems.append((field.strip(), f"{text!r} cannot be read as a value"))
                continue
            for name in reversed(path):
                value = {name: value}
            changes = _merge(changes, value)
        if problems:
            raise ConfigError(problems)
        return RunConfig.from_dict(_merge(self.to_dict(), changes))

    def with_epochs(self, epochs: int) -> RunConfig:
        """A copy of another length with the whole schedule (curricula, milestones, freezing) scaled."""
        if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
            raise ConfigError([("training.epochs", f"must be a whole number, at least 1, not {epochs!r}")])
        ratio = epochs / self.training.epochs

        def scaled(value: Any) -> Any:
            if isinstance(value, tuple):
                return [scaled(entry) for entry in value]
            if value is None or isinstance(value, bool):
                return value
            return min(round(value * ratio), epochs - 1)

        sprites, training = self.model.sprites, self.training
        names = [
            *("layer_curriculum", "background_curriculum", "freeze_sprite"),
            *("freeze_foreground", "freeze_background", "freeze_mask"),
        ]
        milestones = sorted({epoch for epoch in scaled(training.milestones) if epoch >= 1})
        schedule = {"epochs": epochs, "curriculum": scaled(training.curriculum), "milestones": milestones}
        schedule["coarse_epochs"] = scaled(training.coarse_epochs) or None
        return self.replace(
            training=schedule, model={"sprites": {name: scaled(getattr(sprites, name)) for name in names}}
        )

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """JSON Schema (draft 2020-12) of `to_dict()`; rules between settings are not in it."""
        schema = section_schema(RunConfig)
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        schema["title"] = "Run configuration"
        schema["properties"]["preset"] = {
            "anyOf": [{"type": "string"}, {"type": "null"}],
            "description": "Take what is not given from this preset.",
        }
        return schema


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` on top, mapping by mapping."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
