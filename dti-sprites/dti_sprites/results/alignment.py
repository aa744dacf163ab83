"""Images undone: warped so that their motif lies where its prototype has it, at the resolution of the original.

A transformation maps a point of the image to the point of the prototype that is drawn there; here the
inverse is needed. Affine maps and homographies are inverted exactly, a thin plate spline by Newton's method.
Coordinates are normalised, (x, y) in [-1, 1] with the pixels' outer edges at the ends, as in `ops.grids`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
FIELD = 16  # the inverse is computed on a grid of this side and interpolated
NEWTON_STEPS, LONGEST_STEP, PRECISION = 6, 0.5, 1e-3


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

    def fields(self, matrices: Mapping[str, np.ndarray], layers: Sequence[int]) -> Tensor:
        """matrices (B, ...) by name, layers (B,) from 1 -> (B, P, 2) where points of the frame lie in what the
        model saw, on a grid of FIELD² = P points from edge to edge.
        """
        count = len(layers)
        points = pixel_grid((FIELD, FIELD), corners=True, dtype=torch.float64).T.expand(count, -1, -1)
        for kind, key in self.names:
            rows = [matrices.get(key.format(layer=layer)) for layer in layers]
            if any(row is None for row in rows):
                continue  # not active when the run ended
            values = np.stack([row[i] for i, row in enumerate(rows) if row is not None])
            size = self.frame if key.startswith("sprite") else self.size
            points = invert(kind, torch.as_tensor(values, dtype=torch.float64), points, self._zoom(size))
        return points.contiguous()

    def align(self, original: np.ndarray, points: Tensor) -> np.ndarray:
        """original (H, W, C) uint8, its row (P, 2) of `fields` -> (h, w, C) uint8, the frame of the prototype.

        Beyond the image there is what most of its border is.
        """
        half, centre = self._frame_in(original.shape[:2])
        field = (points * half + centre).float().view(1, FIELD, FIELD, 2).permute(0, 3, 1, 2)
        height, width = self._target(half, original.shape[:2])
        # The field spans the frame from edge to edge, the pixels' centres lie half a pixel inside.
        at = pixel_grid((height, width), dtype=torch.float32).T.view(1, height, width, 2)
        coords = functional.grid_sample(field, at, mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
        source = torch.from_numpy(np.moveaxis(original, -1, 0).astype(np.float32))[None]
        edges = [source[..., 0, :], source[..., -1, :], source[..., :, 0], source[..., :, -1]]
        beyond = torch.cat(edges, dim=2).median(dim=2).values[..., None, None]
        warped = functional.grid_sample(source - beyond, coords, align_corners=False) + beyond
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
    """Where points (B, P, 2) of a prototype are drawn in the image, for one transformation.

    values (B, ...): its matrices (2, 3) or (3, 3), or the control points (g², 2) of a thin plate spline; `zoom`
    (2,): from pixel-centre to corner coordinates, for those that use them.
    """
    count = len(values)
    if kind == "tps":
        return _invert_spline(values.reshape(count, -1, 2), points) / zoom
    ones = torch.ones_like(points[..., :1])
    if kind == "projective":
        matrix = torch.linalg.pinv(values.reshape(count, 3, 3))
        found = torch.cat([points * zoom, ones], dim=2) @ matrix.mT
        depth = found[..., 2:]
        return found[..., :2] / torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth) / zoom
    last = torch.tensor([0.0, 0.0, 1.0], dtype=values.dtype).expand(count, 1, 3)
    matrix = torch.linalg.pinv(torch.cat([values.reshape(count, 2, 3), last], dim=1))
    return (torch.cat([points, ones], dim=2) @ matrix.mT)[..., :2]


def _invert_spline(moved: Tensor, points: Tensor) -> Tensor:
    """u (B, P, 2) with spline(u) = points, by Newton's method from u = points; where it folds, the nearest found."""
    control = control_points(round(moved.shape[1] ** 0.5))
    weights = tps_weights(control) @ (moved - control)  # (B, g² + 3, 2)
    radial, linear = weights[:, :-3], weights[:, -2:]
    best, u = points.clone(), points.clone()
    least = torch.full_like(points[..., 0], torch.inf)
    for _ in range(NEWTON_STEPS):
        rows = tps_rows(control, u.reshape(-1, 2)).view(*u.shape[:2], -1)
        residual = points - u - rows @ weights
        length = residual.norm(dim=2)
        better = length < least
        best, least = torch.where(better[..., None], u, best), torch.where(better, length, least)
        if float(least.max()) < PRECISION:
            break
        # The gradient of ½ r² log r² is (log r² + 1) times the vector.
        away = u[:, :, None] - control
        slope = (away[..., 0].square() + away[..., 1].square()).clamp_min(1e-12).log() + 1.0
        gx, gy = ((slope * away[..., j]) @ radial + linear[:, None, j] for j in range(2))  # (B, P, 2) each
        a, b, c, d = 1.0 + gx[..., 0], gy[..., 0], gx[..., 1], 1.0 + gy[..., 1]
        determinant = a * d - b * c
        determinant = torch.where(determinant.abs() < 1e-3, torch.full_like(determinant, 1e-3), determinant)
        x, y = residual.unbind(2)
        step = torch.stack([d * x - b * y, a * y - c * x], dim=2) / determinant[..., None]
        u = u + step * (LONGEST_STEP / step.norm(dim=2, keepdim=True).clamp_min(LONGEST_STEP))
    return best
