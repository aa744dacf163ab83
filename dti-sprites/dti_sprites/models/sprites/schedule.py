"""When transformations become active and what is frozen until when: phases of a training, in completed epochs."""

from __future__ import annotations

import bisect

from dti_sprites.config import RunConfig


class Schedule:
    """Phases 1, 2, ...; within one nothing is activated and nothing thaws.

    A phase is all that a saved model needs to know of the schedule.
    """

    def __init__(self, config: RunConfig) -> None:
        sprites = config.model.sprites
        epochs = {0, *(config.training.curriculum or ()), sprites.freeze_sprite}
        epochs |= {*(sprites.layer_curriculum or ()), *(config.background_curriculum or ())}
        parts = (sprites.freeze_foreground, sprites.freeze_background, sprites.freeze_mask)
        epochs |= {int(part) for part in parts if not isinstance(part, bool)}
        self.starts = sorted(epochs)

    def phase(self, completed: int) -> int:
        """The phase after `completed` epochs."""
        return bisect.bisect_right(self.starts, completed)

    def start(self, phase: int) -> int:
        """Completed epochs at which `phase` starts."""
        return self.starts[phase - 1]


def frozen(setting: bool | int, completed: int) -> bool:
    """True: for ever; n: in the first n epochs."""
    return setting if isinstance(setting, bool) else completed < setting
