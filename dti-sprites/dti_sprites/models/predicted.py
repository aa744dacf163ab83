"""DTI K-means whose assignment is predicted from the image instead of being the smallest error.

With probabilities p_k and errors d_k of the transformed prototypes ĉ_k, the loss is either the error of the
weighted sum Σ p_k ĉ_k ("comp") or the weighted sum of errors Σ p_k d_k ("01"), plus penalties on rarely used
prototypes and on undecided probabilities. All prototypes have a gradient for every image. (Baltacı, Loiseau
and Aubry, "Deep sprite-based image models: an analysis", TMLR 2026.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.config import RunConfig
from dti_sprites.models.base import Inference, StepOutput
from dti_sprites.models.clustering import only_pinned, shares
from dti_sprites.models.kmeans import DTIKMeans
from dti_sprites.models.prototypes.generators import MLPPrototypes
from dti_sprites.models.selection import Selection, binary_penalty, frequency_penalty
from dti_sprites.ops.distance import pixel_weight, squared_error


class PredictedKMeans(DTIKMeans):
    """The label of an image is the most probable prototype; distances remain the errors of all of them."""

    def __init__(self, config: RunConfig, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__(config, channels, image_size)
        model = config.model
        self.selection = Selection(
            model.selection,
            self.encoder.n_features,
            self.n_prototypes,
            latent_size=model.latent_size,
            own_latents=model.source != "mlp",
        )
        share = config.training.empty_cluster_threshold
        self.threshold = 0.2 / self.n_prototypes if share is None else share

    @property
    def needs_features(self) -> bool:
        return True

    def probabilities(self, features: Tensor) -> Tensor:
        """features (B, F) -> (B, K)."""
        latents = self.prototypes.latents if isinstance(self.prototypes, MLPPrototypes) else None
        return self.selection(features, latents)[:, 0]

    def step(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> StepOutput:
        prototypes, features = self.prototypes(), self.encoder(x)
        parameters, p = self.predict(features), only_pinned(self.probabilities(features), pins)
        everything = slice(0, self.n_prototypes), slice(0, len(x))
        candidates = self.transform_block(prototypes, parameters, *everything)  # K, B, C, H, W
        pixels = pixel_weight(weight, self.window, self.channels, self.image_size)
        selection = self.config.model.selection
        if selection.weighting == "comp":
            mixture = torch.einsum("bk,kbchw->bchw", p, candidates)
            reconstruction = squared_error(x, mixture, pixels).mean()
            with torch.no_grad():
                distances = squared_error(x, candidates, pixels).T
        else:
            errors = squared_error(x, candidates, pixels).T
            reconstruction = (p * errors).sum(1).mean()
            distances = errors.detach()
        terms = {"loss_rec": reconstruction}
        if selection.freq_weight:
            terms["loss_freq"] = selection.freq_weight * frequency_penalty(p.mean(0), self.threshold)
        if selection.bin_weight:
            terms["loss_bin"] = selection.bin_weight * binary_penalty(p)
        loss = torch.stack(list(terms.values())).sum()
        labels = p.argmax(1)
        detached = {name: term.detach() for name, term in terms.items()}
        return StepOutput(loss, detached, distances, labels, shares(labels, self.n_prototypes))

    @torch.no_grad()
    def infer(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> Inference:
        """`extras`: "probabilities" (B, K)."""
        training = self.training
        self.eval()
        prototypes, features = self.prototypes(), self.encoder(x)
        parameters, p = self.predict(features), only_pinned(self.probabilities(features), pins)
        distances = self.errors(x, weight, prototypes, parameters)
        labels = p.argmax(1)
        reconstruction, chosen = self.render(prototypes, labels, parameters)
        self.train(training)
        return Inference(distances, labels, reconstruction, chosen, {"probabilities": p})
