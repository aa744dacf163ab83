"""Choosing a prototype by prediction: probabilities from the image's features.

(Baltacı, Loiseau and Aubry, "Deep sprite-based image models: an analysis", TMLR 2026.)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dti_sprites.config import SelectionConfig


class Selection(nn.Module):
    """features (B, F) -> probabilities (B, n_layers, K) of each of K choices, for each layer.

    "linear": logits are a linear function of the features. "marionette": logits are scalar products, divided
    by √F, of a query per layer with the latent vector of each choice, both normalised; `latents` come from the
    caller (a generator's), or are learnt here when `own_latents`. In training probabilities are a
    Gumbel-softmax or a softmax, in evaluation a softmax.
    """

    def __init__(
        self,
        config: SelectionConfig,
        n_features: int,
        k: int,
        *,
        n_layers: int = 1,
        latent_size: int = 128,
        own_latents: bool = True,
    ) -> None:
        super().__init__()
        self.n_layers, self.k, self.latent_size = n_layers, k, latent_size
        self.gumbel = config.activation == "gumbel"
        self.marionette = config.method == "marionette"
        self.scale = 1.0 / math.sqrt(n_features)
        self.logits = nn.Linear(n_features, n_layers * (latent_size if self.marionette else k))
        self.latents = nn.Parameter(torch.randn(k, latent_size)) if self.marionette and own_latents else None
        raw = torch.tensor(math.log(math.expm1(config.temperature)))  # softplus of it is the temperature
        if config.learn_temperature:
            self.raw_temperature = nn.Parameter(raw)
        else:
            self.register_buffer("raw_temperature", raw, persistent=False)

    @property
    def temperature(self) -> Tensor:
        """Scalar, positive."""
        return F.softplus(self.raw_temperature)

    def predict_logits(self, features: Tensor, latents: Tensor | None = None) -> Tensor:
        """features (B, F), latents (K, Z) or None for its own -> logits (B, n_layers, K)."""
        out = self.logits(features).unflatten(1, (self.n_layers, -1))
        if not self.marionette:
            return out
        latents = self.latents if latents is None else latents
        assert latents is not None, "latents belong to the caller"
        query = F.layer_norm(out, (self.latent_size,))
        return query @ F.layer_norm(latents.flatten(1), (self.latent_size,)).T * self.scale

    def activate(self, logits: Tensor) -> Tensor:
        """logits (..., K) -> probabilities (..., K)."""
        if self.training and self.gumbel:
            noise = -torch.empty_like(logits).exponential_().log()  # standard Gumbel
            logits = logits + noise
        return (logits / self.temperature).softmax(-1)

    def forward(self, features: Tensor, latents: Tensor | None = None) -> Tensor:
        return self.activate(self.predict_logits(features, latents))


def frequency_penalty(usage: Tensor, threshold: float) -> Tensor:
    """usage (K,), mean probabilities -> 1 - Σ_k min(usage_k / Σ usage, threshold): high when some are rarely used."""
    return 1.0 - (usage / usage.sum()).clamp_max(threshold).sum()


def binary_penalty(probabilities: Tensor, edge: float = 1e-6) -> Tensor:
    """Mean density of Beta(2, 2), 6p(1 - p), at probabilities of any shape: high when they are undecided."""
    p = probabilities.clamp(edge, 1.0 - edge)
    return (6.0 * p * (1.0 - p)).mean()
