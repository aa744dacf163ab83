"""Images undone: warped so that their motif lies where its prototype has it, at the resolution of the original.

A transformation maps a point of the image to the point of the prototype that is drawn there; here the
inverse is needed. Affine maps and homographies are inverted exactly, a thin plate spline by Newton's method.
Coordinates are normalised, (x, y) in [-1, 1] with the pixels' outer edges at the ends, as in `ops.grids`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dti_sprites.config import DataConfig, RunConfig
from dti_sprites.config.checks import as_pair
from dti_sprites.data.decode import read_image
from dti_sprites.ops.grids import pixel_grid
from dti_sprites.ops.tps import control_points, tps_rows, tps_weights

MOVING = (
    *("affine", "position", "similarity", "rotation", "translation", "isotranslation"),
    *("projective", "tps"),
)
FIELD = 32  # the inverse is computed on a grid of this side and interpolated
NEWTON_STEPS, LONGEST_STEP, PRECISION = 12, 0.5, 1e-4


@dataclass(frozen=True)
class Alignment:
    """How the images of one run are aligned.

    names: columns of matrices, those of the prototype's own transformations first; size: (H, W) of the images;
    frame: (h, w) of a prototype.
    """

    names: list[tuple[str, str]]  # (kind, key in the matrices; "{layer}" stands for its number)
    size: tuple[int, int]
    frame: tuple[int, int]
    data: DataConfig
    legacy: bool
    max_side: int

    def original(self, images: Any, i: int) -> np.ndarray:
        """(H, W, C) uint8: image i of an ImageSet at its own resolution, or as the model saw it without a file."""
        path = images.paths[i]
        if path is not None:
            config = self.data if self.data.alpha == "ignore" else replace(self.data, alpha="composite")
            try:
                pixels = read_image(path, None, config).pixels
            except (OSError, ValueError):  # moved or changed since it was read
                pixels = None
            if pixels is not None:
                return pixels if pixels.ndim == 3 else pixels[..., None]
        return np.moveaxis(images.images[i].numpy(), 0, -1)

    def align(self, original: np.ndarray, matrices: Mapping[str, np.ndarray], layer: int = 1) -> np.ndarray:
        """(h, w, C) uint8: `original` (H, W, C), warped back as its `matrices` say for `layer` (from 1)."""
        half, centre = self._frame_in(original.shape[:2])
        points = pixel_grid((FIELD, FIELD), corners=True, dtype=torch.float64).T  # (P, 2)
        for kind, key in self.names:
            values = matrices.get(key.format(layer=layer))
            if values is not None:
                size = self.frame if key.startswith("sprite") else self.size
                points = invert(kind, torch.as_tensor(values, dtype=torch.float64), points, self._zoom(size))
        field = (points * half + centre).float().view(1, FIELD, FIELD, 2).permute(0, 3, 1, 2)
        height, width = self._target(half, original.shape[:2])
        # The field spans the frame from edge to edge, the pixels' centres lie half a pixel inside.
        at = pixel_grid((height, width), dtype=torch.float32).T.view(1, height, width, 2)
        coords = functional.grid_sample(field, at, mode="bilinear", align_corners=True)
        source = torch.from_numpy(np.moveaxis(original, -1, 0).astype(np.float32))[None]
        warped = functional.grid_sample(
            source, coords.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
        )
        return warped[0].round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()

    def _zoom(self, size: tuple[int, int]) -> Tensor:
        """(2,) factor from pixel-centre to corner coordinates; ones where grids are exact."""
        height, width = size
        if not self.legacy or min(size) < 2:
            return torch.ones(2, dtype=torch.float64)
        return torch.tensor([width / (width - 1), height / (height - 1)], dtype=torch.float64)

    def _frame_in(self, original: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Half the extent and the centre (2,) of what the model saw, in coordinates of the original."""
        (height, width), (oh, ow) = self.size, original
        ratios = (width / ow, height / oh)
        if self.data.resize == "stretch" or (oh, ow) == self.size:
            half, centre = (1.0, 1.0), (0.0, 0.0)
        elif self.data.resize == "crop":
            scale = max(ratios)
            half, centre = (ratios[0] / scale, ratios[1] / scale), (0.0, 0.0)
        else:
            scale = min(ratios)
            inner = (min(max(round(ow * scale), 1), width), min(max(round(oh * scale), 1), height))
            offset = ((width - inner[0]) // 2, (height - inner[1]) // 2)
            half = (width / inner[0], height / inner[1])
            centre = (half[0] - 1 - 2 * offset[0] / inner[0], half[1] - 1 - 2 * offset[1] / inner[1])
        return torch.tensor(half, dtype=torch.float64), torch.tensor(centre, dtype=torch.float64)

    def _target(self, half: Tensor, original: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the aligned picture: as many pixels as the original has there."""
        height = float(half[1]) * original[0] * self.frame[0] / self.size[0]
        width = float(half[0]) * original[1] * self.frame[1] / self.size[1]
        shrink = min(1.0, self.max_side / max(height, width))
        return max(1, round(height * shrink)), max(1, round(width * shrink))


def alignment_of(config: RunConfig, size: tuple[int, int]) -> Alignment | None:
    """How images of `size` (H, W) of a run of `config` are aligned; None when nothing moves, or nothing is wanted."""
    model, side = config.model, config.results.aligned_side
    if side == 0:
        return None
    names: list[tuple[str, str]] = []
    frame = size
    own, placed = model.transformations, []
    if model.kind == "sprites":
        placed = model.sprites.layer_transformations
        frame = as_pair(model.sprites.sprite_size) or size if placed else size
    prefix = "sprite{layer}_" if model.kind == "sprites" and model.sprites.n_layers > 1 else ""
    names += [(name, prefix + name) for name in own if name in MOVING]
    names += [(name, "layer{layer}_" + name) for name in placed if name in MOVING]
    if not names:
        return None
    return Alignment(names, size, frame, config.data, model.grid == "legacy", side)


def invert(kind: str, values: Tensor, points: Tensor, zoom: Tensor) -> Tensor:
    """Where `points` (P, 2) of a prototype are drawn in the image, for one transformation.

    values: its matrix (2, 3) or (3, 3), or the control points (g², 2) of a thin plate spline (any shape).
    """
    if kind == "tps":
        return _invert_spline(values.reshape(-1, 2), points) / zoom
    ones = torch.ones_like(points[:, :1])
    if kind == "projective":
        matrix = values.reshape(3, 3)
        found = torch.cat([points * zoom, ones], dim=1) @ _inverse(matrix).T
        depth = found[:, 2:]
        return found[:, :2] / torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth) / zoom
    matrix = torch.cat([values.reshape(2, 3), torch.tensor([[0.0, 0.0, 1.0]], dtype=values.dtype)])
    return (torch.cat([points, ones], dim=1) @ _inverse(matrix).T)[:, :2]


def _inverse(matrix: Tensor) -> Tensor:
    """The inverse, or of a matrix that has none the pseudo-inverse."""
    try:
        return torch.linalg.inv(matrix)
    except torch.linalg.LinAlgError:
        return torch.linalg.pinv(matrix)


def _invert_spline(moved: Tensor, points: Tensor) -> Tensor:
    """u (P, 2) with spline(u) = points, by Newton's method from u = points; where it folds, the nearest found."""
    control = control_points(round(len(moved) ** 0.5))
    weights = tps_weights(control) @ (moved - control)  # (g² + 3, 2)
    radial, linear = weights[:-3], weights[-2:]
    best, u = points.clone(), points.clone()
    least = torch.full_like(points[:, 0], torch.inf)
    for _ in range(NEWTON_STEPS):
        away = u[:, None] - control[None]  # P, g², 2
        residual = points - u - tps_rows(control, u) @ weights
        length = residual.norm(dim=1)
        better = length < least
        best, least = torch.where(better[:, None], u, best), torch.where(better, length, least)
        if float(least.max()) < PRECISION:
            break
        # The gradient of ½ r² log r² is (log r² + 1) times the vector.
        slope = away.square().sum(-1).clamp_min(1e-12).log() + 1.0
        (a, b), (c, d) = (
            [(slope * away[..., j]) @ radial[:, i] + linear[j, i] + float(i == j) for j in range(2)]
            for i in range(2)
        )
        determinant = a * d - b * c
        determinant = torch.where(determinant.abs() < 1e-3, torch.full_like(determinant, 1e-3), determinant)
        step = torch.stack(
            [d * residual[:, 0] - b * residual[:, 1], a * residual[:, 1] - c * residual[:, 0]], 1
        )
        step = step / determinant[:, None]
        u = u + step * (LONGEST_STEP / step.norm(dim=1, keepdim=True).clamp_min(LONGEST_STEP))
    return best
