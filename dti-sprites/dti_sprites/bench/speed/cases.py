"""What is measured: models, images and batches by name. The marks are what the ratio of a step is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dti_sprites.config import RunConfig
from dti_sprites.errors import ConfigError

SCALING = "scaling-k"
SCALING_K = (10, 20, 40, 80, 160)


@dataclass(frozen=True)
class Mark:
    """The largest ratio of step to encoder that is aimed at, on two processors and on a GPU."""

    cpu: float
    gpu: float


@dataclass(frozen=True)
class Case:
    """A model and a batch. `variant` tells apart the cases of one name."""

    name: str
    variant: str
    preset: str | None
    model: dict[str, Any]
    channels: int
    size: int
    batch: int
    mark: Mark | None = None
    scaling: tuple[str, int] | None = None  # of SCALING: what grows, and K
    sprites: dict[str, Any] = field(default_factory=dict)

    @property
    def k(self) -> int:
        return self.config().model.n_prototypes

    def config(self, overrides: Sequence[str] = ()) -> RunConfig:
        """The settings. `overrides`: "section.setting=value" as of the command line. Raises ConfigError."""
        base = RunConfig() if self.preset is None else RunConfig.preset(self.preset)
        model = {**self.model, **({"sprites": self.sprites} if self.sprites else {})}
        training = {"batch_size": self.batch, "encoder_updates": 1}
        config = base.replace(data={"image_size": self.size}, model=model, training=training)
        return config.with_overrides(overrides) if overrides else config


def _kmeans(name: str, variant: str, sequence: str, k: int, mark: Mark | None, **more: Any) -> Case:
    model = {"kind": "kmeans", "n_prototypes": k, "transformation_sequence": sequence, "encoder": "resnet20"}
    shape = {"channels": 3, "size": 128, "batch": 16} | more
    return Case(name, variant, None, model, mark=mark, **shape)


def _sprites(name: str, variant: str, k: int, mark: Mark | None, **more: Any) -> Case:
    model = {"n_prototypes": k, "transformation_sequence": "color_projective"}
    return Case(name, variant, "platform-learn-bg", model, 3, 128, 32, mark, **more)


def all_cases() -> list[Case]:
    """Every case, in the order of the report."""
    platform, cases = Mark(1.3, 1.5), []
    cases.append(
        _kmeans(
            *("kmeans-mnist", "", "identity_affine_morpho_tps", 10, Mark(1.5, 2.0)),
            channels=1,
            size=28,
            batch=128,
        )
    )
    for sequence in ("color_affine", "color_projective"):
        cases.append(_kmeans("kmeans-platform", sequence, f"identity_{sequence}", 20, platform))
    cases.append(_kmeans("kmeans-platform-morpho", "", "identity_affine_morpho_tps", 10, Mark(1.6, 1.5)))
    for k, mark in ((10, Mark(1.4, 1.5)), (40, Mark(2.0, 1.8))):
        cases.append(_sprites(f"sprites-platform-k{k}", "", k, mark))
    cases.append(Case("sprites-tetro", "", "sprites-tetrominoes", {}, 3, 35, 32, Mark(1.5, 2.5)))
    cases.append(Case("sprites-dsprites", "", "sprites-multi-dsprites", {}, 3, 64, 32, Mark(1.5, 2.5)))
    cases.append(Case("sprites-clevr6", "", "sprites-clevr6", {}, 3, 128, 32, Mark(2.5, 3.0)))
    for k in SCALING_K:
        growing = ("kmeans", k)
        cases.append(_kmeans(SCALING, f"kmeans K={k}", "identity_color_affine", k, None, scaling=growing))
    for k in SCALING_K:
        cases.append(_sprites(SCALING, f"sprites K={k}", k, None, scaling=("sprites", k)))
    return cases


def case_names() -> list[str]:
    return list(dict.fromkeys(case.name for case in all_cases()))


def find_cases(names: Sequence[str]) -> list[Case]:
    """The cases of these names, all of them if there are none. Raises ConfigError for an unknown name."""
    unknown = [name for name in names if name not in case_names()]
    if unknown:
        possible = ", ".join(case_names())
        raise ConfigError([("--case", f"there is no {name}; possible: {possible}") for name in unknown])
    return [case for case in all_cases() if not names or case.name in names]
