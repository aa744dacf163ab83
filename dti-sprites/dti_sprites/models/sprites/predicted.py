"""DTI-Sprites whose choices are predicted from the image instead of being searched.

With probabilities p_lk, a layer shows the mixture of all sprites: in the composition its mask is Σ_k p_lk m_lk
and its premultiplied colours are Σ_k p_lk m_lk c_lk. All sprites have a gradient for every image, so memory and
time grow with K. (Baltacı, Loiseau and Aubry, "Deep sprite-based image models: an analysis", TMLR 2026.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dti_sprites.config import RunConfig
from dti_sprites.models.base import Inference, StepOutput
from dti_sprites.models.clustering import only_pinned
from dti_sprites.models.selection import Selection, binary_penalty, frequency_penalty
from dti_sprites.models.sprites.composition import compose, visibility
from dti_sprites.models.sprites.model import DTISprites
from dti_sprites.models.sprites.search import Scene
from dti_sprites.ops.distance import squared_error

EDGE = 1e-5  # probabilities stay so far within (0, 1) in the penalty on undecided ones


class PredictedSprites(DTISprites):
    """Each layer shows its most probable sprite; distances remain errors (in training: -log of probabilities)."""

    def __init__(self, config: RunConfig, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__(config, channels, image_size)
        model = config.model
        generated = self.bank.latents is not None
        self.selection = Selection(
            model.selection,
            self.encoder.n_features,
            self.n_choices,
            n_layers=self.n_layers,
            latent_size=model.latent_size,
            own_latents=not generated,
        )
        # With latents from the generator only that of the empty sprite is missing.
        self.empty_latent: nn.Parameter | None = None
        if generated and self.selection.marionette and self.options.empty_sprite:
            self.empty_latent = nn.Parameter(torch.randn(1, model.latent_size))
        share = config.training.empty_cluster_threshold
        self.threshold = 0.2 / self.n_prototypes if share is None else share

    @property
    def rendered(self) -> int:
        return self.n_layers * self.n_prototypes

    @property
    def composing(self) -> int:
        """With predicted occlusion the visibility of each layer under each other one."""
        return 2 * self.n_layers**2 if self.renderer.occlusion.head is not None else 0

    def probabilities(self, features: Tensor) -> Tensor:
        """features (B, F) -> (B, L, K or K + 1). While sprites are frozen the empty one has none."""
        latents = self.bank.latents
        if latents is not None and self.empty_latent is not None:
            latents = torch.cat([latents, self.empty_latent])
        logits = self.selection.predict_logits(features, latents)
        if not (self.options.empty_sprite and self.frozen):
            return self.selection.activate(logits)
        p = self.selection.activate(logits[..., :-1])
        return torch.cat([p, torch.zeros_like(p[..., :1])], dim=-1)

    def step(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> StepOutput:
        features = self.encoder(x)
        prediction, p = self.renderer.predict(features), pinned(self.probabilities(features), pins)
        noise, pixels = self.draw_noise(x), self.weight_of(x, weight)
        stack = self.bank.stack(noise is not None)
        colours, masks = self.renderer.candidates(stack, prediction, len(x), noise)
        shown = p[..., : self.n_prototypes]
        layer_masks = torch.einsum("blk,lbkchw->blchw", shown, masks)
        layer_colours = torch.einsum("blk,lbkchw->blchw", shown, masks * colours)
        behind = None
        if self.backgrounds is not None:
            first = torch.zeros(len(x), dtype=torch.long, device=x.device)
            behind = self.background(self.backgrounds(), prediction, first)
        reconstruction = compose(layer_masks, layer_colours, behind, prediction.occlusion)
        terms = {"loss_rec": squared_error(x, reconstruction, pixels).mean(), **self.penalties(p)}
        loss = torch.stack(list(terms.values())).sum()
        with torch.no_grad():
            layers, _ = visibility(layer_masks, prediction.occlusion)
            layer = (layers * layer_masks).flatten(2).sum(2).argmax(1)
            rows, sprites = torch.arange(len(x), device=x.device), p.argmax(2)
            distances = -p[rows, layer].clamp_min(torch.finfo(p.dtype).tiny).log()
        detached = {name: term.detach() for name, term in terms.items()}
        return StepOutput(loss, detached, distances, sprites[rows, layer], self.proportions(sprites))

    def penalties(self, p: Tensor) -> dict[str, Tensor]:
        """p (B, L, K or K + 1) -> weighted penalties on rare use, undecided choices and shown sprites."""
        selection, terms = self.config.model.selection, {}
        if selection.freq_weight:
            relative = p / p.amax(2, keepdim=True)
            usage = relative[..., : self.n_prototypes].mean(0).flatten()
            terms["loss_freq"] = selection.freq_weight * frequency_penalty(usage, self.threshold)
        # Terms keep their names while sprites are frozen: their curves have a value for every iteration.
        nothing = p.new_zeros(())
        if selection.bin_weight:
            terms["loss_bin"] = nothing if self.frozen else selection.bin_weight * binary_penalty(p, EDGE)
        if self.options.empty_sprite:
            terms["loss_em"] = nothing if self.frozen else (p * self.costs(p)).mean()
        return terms

    @torch.no_grad()
    def infer(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> Inference:
        """As DTISprites, with the most probable sprites; `extras` has "probabilities" (B, L, K or K + 1), too."""
        training = self.training
        self.eval()
        features = self.encoder(x)
        p = pinned(self.probabilities(features), pins)
        sprites = p.argmax(2)

        def put(scene: Scene, images: slice) -> Tensor:
            for layer in range(self.n_layers):
                scene.put(layer, sprites[images, layer])
            return scene.x.new_zeros(len(scene.x))

        found = self.decompose(x, self.weight_of(x, weight), features, put, revisit=True)
        self.train(training)
        found.extras["probabilities"] = p
        return found


def pinned(p: Tensor, pins: Tensor | None) -> Tensor:
    """Probabilities (B, L, K or K + 1); with one layer all of them on what `pins` (B,) says, rows of -1 stay."""
    return p if pins is None else only_pinned(p[:, 0], pins)[:, None]
