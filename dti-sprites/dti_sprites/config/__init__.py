"""The configuration of a run: typed sections, checks, YAML and JSON Schema."""

from dti_sprites.config.names import TRANSFORMATIONS, parse_sequence
from dti_sprites.config.run import RunConfig
from dti_sprites.config.sections import DataConfig, FastConfig, ModelConfig, ResultsConfig, TrainingConfig
from dti_sprites.config.sprites import SelectionConfig, SpritesConfig
from dti_sprites.errors import ConfigError

__all__ = [
    "TRANSFORMATIONS",
    "ConfigError",
    "DataConfig",
    "FastConfig",
    "ModelConfig",
    "ResultsConfig",
    "RunConfig",
    "SelectionConfig",
    "SpritesConfig",
    "TrainingConfig",
    "parse_sequence",
]
