"""DTI GMM: prototypes are the means of Gaussians with a variance per pixel.

Component k has a mean image, an image s of deviations (variance s² + v_min) and a mixing logit. The predicted
transformations move mean and deviations alike; those that change values (colour, morphology) act on the mean
only. With the log-density log p_k of a transformed component and the mixing weights π,

    γ_k = softmax_k(log p_k + log π_k)   held constant      loss = -mean_batch Σ_k γ_k (log p_k + log π_k)

(Monnier, Groueix and Aubry, "Deep Transformation-Invariant Clustering", NeurIPS 2020.) The gradient is
linear in γ: pairs (image, component) whose γ underflows to zero have none, and only the others are rendered
with gradient. This is exact.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dti_sprites.config import RunConfig
from dti_sprites.models.base import Inference, StepOutput
from dti_sprites.models.clustering import ClusteringModel, only_pinned, pinned_labels, shares
from dti_sprites.models.prototypes.initialisation import cluster_deviations
from dti_sprites.models.prototypes.pixels import PixelPrototypes
from dti_sprites.models.prototypes.rows import copy_rows
from dti_sprites.ops.blocks import blocks
from dti_sprites.ops.late import LateTable


class DTIGMM(ClusteringModel):
    """K Gaussian components; distances are -log p_k, without the mixing weights."""

    def __init__(self, config: RunConfig, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__(config, channels, image_size)
        self.v_min = config.model.sigma_min**2
        shape = (self.n_prototypes, channels, *image_size)
        self.sigmas = nn.Parameter(torch.full(shape, config.model.sigma_init))
        self.mixing = nn.Parameter(torch.ones(self.n_prototypes))

    def initialise(self, images: Tensor, generator: torch.Generator) -> None:
        """As K-means; with `kmeans` the deviations come from the clusters: s² = within-cluster variance - v_min."""
        if self.config.model.init != "kmeans":
            super().initialise(images, generator)
            return
        centres, variances = cluster_deviations(images, self.n_prototypes, self.image_size, generator)
        assert isinstance(self.prototypes, PixelPrototypes)  # checked with the configuration
        self.prototypes.initialise(centres)
        with torch.no_grad():
            self.sigmas.copy_((variances - self.v_min).clamp_min(0.0).sqrt())

    def pixel_counts(self, weight: Tensor | None) -> Tensor | None:
        """How much each pixel of each image counts, (B or 1, 1, H, W): alpha times window; None: all 1."""
        if weight is None:
            return None if self.window is None else self.window.view(1, 1, *self.image_size)
        return weight if self.window is None else weight * self.window

    def log_density(
        self, x: Tensor, means: Tensor, sigmas: Tensor, counts: Tensor | None, alpha: Tensor | None
    ) -> Tensor:
        """x, means, sigmas (..., C, H, W) -> log p (...).

        A pixel of weight α is observed α times: it contributes α times its term, and n = C·Σα.
        """
        variances = sigmas.square() + self.v_min
        terms = (x - means).square() / variances + variances.log()
        if counts is not None:
            terms = terms * counts
        n = math.prod(terms.shape[-3:]) if alpha is None else self.channels * alpha.flatten(-3).sum(-1)
        return -0.5 * terms.flatten(-3).sum(-1) - 0.5 * math.log(2 * math.pi) * n

    @torch.no_grad()
    def log_densities(self, x: Tensor, weight: Tensor | None, parameters: dict[str, Tensor]) -> Tensor:
        """log p_k of all components, (B, K), block by block."""
        counts, means = self.pixel_counts(weight), self.prototypes()
        result = x.new_empty(self.n_prototypes, len(x))
        for ks, bs in blocks(self.n_prototypes, len(x), 2 * x[0].numel(), x.device):
            moved = self.transform_block(means, parameters, ks, bs)
            spread = self.transform_block(self.sigmas, parameters, ks, bs, spatial_only=True)
            part = counts if counts is None or len(counts) == 1 else counts[bs]
            alpha = None if weight is None else weight[bs]
            result[ks, bs] = self.log_density(x[bs], moved, spread, part, alpha)
        return result.T

    def step(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> StepOutput:
        """`pins` (B,): the component that alone is responsible for an image; -1: all are."""
        prototypes, deviations = LateTable(self.prototypes()), LateTable(self.sigmas)
        parameters = self.parameters_for(x)
        densities = self.log_densities(
            x, weight, {name: values.detach() for name, values in parameters.items()}
        )
        log_mixing = self.mixing.log_softmax(0)
        responsibilities = only_pinned((densities + log_mixing.detach()).softmax(1), pins)
        bs, ks = responsibilities.nonzero(as_tuple=True)
        chosen = self.choose(parameters, ks, bs)
        means = self.sequence(prototypes.rows(ks), chosen)
        sigmas = self.sequence(deviations.rows(ks), chosen, spatial_only=True)
        counts = self.pixel_counts(weight)
        part = counts if counts is None or len(counts) == 1 else counts[bs]
        log_p = self.log_density(x[bs], means, sigmas, part, None if weight is None else weight[bs])
        expected = (responsibilities[bs, ks] * log_p).sum() + (responsibilities * log_mixing).sum()
        labels = pinned_labels(densities.argmax(1), pins)
        return StepOutput(-expected / len(x), {}, -densities, labels, shares(labels, self.n_prototypes))

    @torch.no_grad()
    def infer(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> Inference:
        """`extras`: "responsibilities" (B, K), with the mixing weights."""
        training = self.training
        self.eval()
        parameters = self.parameters_for(x)
        densities = self.log_densities(x, weight, parameters)
        labels = pinned_labels(densities.argmax(1), pins)
        reconstruction, chosen = self.render(self.prototypes(), labels, parameters)
        self.train(training)
        responsibilities = (densities + self.mixing.log_softmax(0)).softmax(1)
        return Inference(-densities, labels, reconstruction, chosen, {"responsibilities": responsibilities})

    def prototype_images(self) -> dict[str, Tensor]:
        variances = (self.sigmas.detach().square() + self.v_min).clamp(0.0, 1.0)
        return {**super().prototype_images(), "variances": variances}

    def prototype_parameters(self) -> list[nn.Parameter]:
        return [*super().prototype_parameters(), self.sigmas, self.mixing]

    def reassign(
        self, source: int, empty: list[int], optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> None:
        super().reassign(source, empty, optimizer, generator)
        for parameter in (self.sigmas, self.mixing):
            copy_rows(parameter, optimizer, source, empty)
