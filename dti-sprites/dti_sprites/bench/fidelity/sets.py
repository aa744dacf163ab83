"""What is measured: a set of images, what is trained on it, and the figure to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dti_sprites.config import RunConfig

BUDGETS = ("smoke", "cpu", "full")  # minutes on two cores; an hour or two on two cores; the whole schedule
CLUSTERING = ("accuracy", "nmi")
SCENES = ("ari_fg", "mean_class_accuracy", "miou")


@dataclass(frozen=True)
class Effort:
    """What a budget means for a set.

    epochs: length, with the schedule in proportion; None: that of the preset. limit: at most so many images. changes:
    settings, after the length.
    """

    seeds: int
    epochs: int | None = None
    limit: int | None = None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One row of the results.

    data: for `load_benchmark`. more_labels: sets of the same images with other classes. marks: published figure of
    a metric, to reach or pass. differs: how this is not the published protocol even with the budget `full`.
    """

    name: str
    data: str
    preset: str
    efforts: Mapping[str, Effort]
    metrics: tuple[str, ...] = CLUSTERING
    k_is_classes: bool = False
    changes: tuple[str, ...] = ()
    more_labels: Mapping[str, str] = field(default_factory=dict)
    mark: str = "none published"
    marks: Mapping[str, float] = field(default_factory=dict)
    differs: str = ""
    picture: bool = False

    @property
    def scenes(self) -> bool:
        """Whether ground truth is masks rather than a class per image."""
        return self.metrics == SCENES

    def config(self, budget: str, preset: str | None = None) -> RunConfig:
        """The settings of a budget, with those of another preset when one is named. Raises ConfigError."""
        effort = self.efforts[budget]
        config = RunConfig.preset(preset or self.preset).with_overrides(
            self.changes if preset is None else ()
        )
        if effort.epochs is not None and effort.epochs < config.training.epochs:
            config = config.with_epochs(effort.epochs)
        return config.with_overrides(effort.changes)

    def shortened(self, budget: str, preset: str | None, n_images: int, of: int | None) -> str:
        """What of the schedule and the images a budget leaves out, or nothing."""
        whole = RunConfig.preset(preset or self.preset).with_overrides(self.changes if preset is None else ())
        said = []
        if (epochs := self.config(budget, preset).training.epochs) < whole.training.epochs:
            said.append(f"{epochs} of {whole.training.epochs} epochs")
        if of is not None and n_images < of:
            said.append(f"{n_images:,} of {of:,} images")
        return ", ".join(said)


def _task(
    name: str, data: str, preset: str, *, smoke: Effort, cpu: Effort, full: Effort, **more: object
) -> Task:
    return Task(name, data, preset, {"smoke": smoke, "cpu": cpu, "full": full}, **more)  # type: ignore[arg-type]


_OMNIGLOT = ("greek", "korean", "latin")
_TWENTY = ("model.n_prototypes=20",)
_NO_SCHEDULE = ("training.milestones=[]",)

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _task(
            "mnist-1k",
            "mnist-1k",
            "mnist-1k",
            smoke=Effort(1, epochs=40),
            cpu=Effort(3, epochs=300),
            full=Effort(3),
            mark="DTI K-means, accuracy about 96 (recalled)",
            marks={"accuracy": 0.96},
        ),
        _task(
            "mnist-test",
            "mnist-test",
            "mnist-test",
            smoke=Effort(1, epochs=20, limit=2000),
            cpu=Effort(1, epochs=60),
            full=Effort(5),
            mark="DTI K-means, accuracy 96.6 to 97.8",
            marks={"accuracy": 0.966},
        ),
        _task(
            "mnist",
            "mnist",
            "mnist",
            smoke=Effort(1, epochs=10, limit=4000),
            cpu=Effort(1, epochs=6),
            full=Effort(5),
            mark="DTI K-means, accuracy 97.2 ± 0.1",
            marks={"accuracy": 0.972},
        ),
        _task(
            "gtsrb8",
            "gtsrb8-32",
            "gtsrb8",
            smoke=Effort(1, epochs=20, limit=2000),
            cpu=Effort(2, epochs=60),
            full=Effort(5),
            mark="DTI K-means, accuracy 51.4 ± 1.5",
            marks={"accuracy": 0.514},
            differs="images from a copy of 32 pixels, not from the original files",
        ),
        _task(
            "gtsrb8-sprites",
            "gtsrb8-32",
            "sprites-gtsrb8",
            smoke=Effort(1, epochs=14, limit=2000),
            cpu=Effort(1, epochs=40),
            full=Effort(5),
            mark="DTI-Sprites, accuracy 89.9",
            marks={"accuracy": 0.899},
            differs="images from a copy of 32 pixels, not from the original files",
        ),
        _task(
            "tetrominoes",
            "tetrominoes-19",
            "sprites-tetrominoes",
            # The published constants as they are: a freeze of one epoch cannot be scaled down.
            smoke=Effort(1, limit=3000, changes=("training.epochs=13", *_NO_SCHEDULE)),
            cpu=Effort(1, limit=6000, changes=("training.epochs=50", "training.milestones=[40]")),
            full=Effort(3),
            metrics=SCENES,
            mark="DTI-Sprites, ARI-FG above 99, mAcc 99.5, mIoU 99.2",
            marks={"ari_fg": 0.99, "mean_class_accuracy": 0.995, "miou": 0.992},
            differs="scenes of our own generator with all 19 pieces",
        ),
        _task(
            "scenes",
            "shapes",
            "sprites-multi-dsprites",
            smoke=Effort(
                1,
                limit=1500,
                changes=(
                    "training.epochs=6",
                    "model.sprites.freeze_sprite=1",
                    "training.curriculum=[2]",
                    *_NO_SCHEDULE,
                ),
            ),
            cpu=Effort(
                1,
                limit=6000,
                changes=(
                    "training.epochs=20",
                    "model.sprites.freeze_sprite=2",
                    "training.curriculum=[4]",
                    "training.milestones=[16]",
                ),
            ),
            full=Effort(3),
            metrics=SCENES,
            mark="DTI-Sprites on Multi-dSprites, ARI-FG 92",
            marks={"ari_fg": 0.92},
            differs="a stand-in for Multi-dSprites: composed scenes of our own generator",
        ),
        _task(
            "kmnist-test",
            "kmnist-test",
            "kuzushiji",
            smoke=Effort(3, limit=2000),
            cpu=Effort(1, epochs=40),
            full=Effort(3),
        ),
        _task(
            "dropcaps",
            "incunables-dropcaps",
            "drop-capitals",
            smoke=Effort(2, epochs=60),
            cpu=Effort(3),
            full=Effort(5),
            k_is_classes=True,
            more_labels={"book": "incunables-dropcaps-book"},
        ),
        *(
            _task(
                f"omniglot-{alphabet}",
                f"omniglot-{alphabet}",
                "characters",
                smoke=Effort(1, epochs=60),
                cpu=Effort(3),
                full=Effort(5),
                k_is_classes=True,
            )
            for alphabet in _OMNIGLOT
        ),
        _task(
            "digits",
            "digits",
            "digits-published",
            smoke=Effort(1, epochs=20),
            cpu=Effort(5),
            full=Effort(10),
            mark="published code, three seeds: accuracy 87.1 (sd 6.4), NMI 84.4, loss 0.00665",
            marks={"accuracy": 0.871, "nmi": 0.844},
        ),
        # What a person waits for; `--preset platform-kmeans` trains the same images as the published code does.
        *(
            _task(
                f"job-{name}",
                data,
                "fast",
                smoke=Effort(1, epochs=20, limit=limit, changes=_TWENTY),
                cpu=Effort(2, limit=limit, changes=_TWENTY),
                full=Effort(3, limit=limit, changes=_TWENTY),
                metrics=metrics,
                differs="the platform's default job: 20 prototypes, colour transformations",
            )
            for name, data, limit, metrics in (
                ("dropcaps", "incunables-dropcaps", None, CLUSTERING),
                ("graphics", "incunables-graphics", None, ("loss",)),
                ("greek", "omniglot-greek", 120, CLUSTERING),
            )
        ),
        _task(
            "lines",
            "incunables-lines",
            "text-lines",
            smoke=Effort(1, epochs=4, limit=1200),
            cpu=Effort(1),
            full=Effort(1),
            metrics=("loss",),
            mark="none published; the picture shows what was found",
            picture=True,
        ),
    )
}
ALIASES = {"omniglot": [f"omniglot-{alphabet}" for alphabet in _OMNIGLOT]}


def names_of(asked: list[str]) -> list[str]:
    """Names of tasks for names and aliases, in the order of TASKS. Raises KeyError with the first unknown one."""
    wanted = {name for each in asked for name in ALIASES.get(each, [each])}
    for name in wanted - TASKS.keys():
        raise KeyError(name)
    return [name for name in TASKS if name in wanted]
