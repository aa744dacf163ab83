"""What a training needs to begin from given clusters."""

from __future__ import annotations

from dti_sprites.data.imageset import ImageSet
from dti_sprites.errors import ConfigError
from dti_sprites.models import DTIModel
from dti_sprites.models.clustering import ClusteringModel
from dti_sprites.models.sprites import DTISprites
from dti_sprites.start import Start

Startable = ClusteringModel | DTISprites


def as_startable(model: DTIModel) -> Startable:
    assert isinstance(model, Startable)  # seen to by check_start
    return model


def check_start(model: DTIModel, start: Start | None, images: ImageSet) -> Start | None:
    """Raise ConfigError unless `model` can begin from `start` with `images`; what is fixed stays so from here on."""
    pinned = images.pins is not None
    if start is None and not pinned:
        return None
    if not isinstance(model, Startable):
        raise ConfigError([("model.kind", "must be kmeans, gmm or sprites to begin from given clusters")])
    if isinstance(model, DTISprites):
        model.check_startable()
    k = 0 if start is None else len(start.prototypes)
    top = max(k, 1 + int(images.pins.max()) if images.pins is not None else 0)
    if top > model.n_prototypes:
        reason = f"must be at least {top}, the number of clusters to begin from, not {model.n_prototypes}"
        raise ConfigError([("model.n_prototypes", reason)])
    if start is not None and start.fixed:
        model.fix(k, set(start.masks))
    return start
