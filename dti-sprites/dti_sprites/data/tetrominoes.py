"""Tetrominoes-19: scenes of three whole, non-overlapping tetrominoes on black, with exact masks.

A generator of our own after the documentation of DeepMind's Multi-Object Datasets (Kabra et al., 2019) and its preview:
35 x 35 pixels, cells of 5 x 5 pixels with a bevel, six colours, arbitrary pixel positions. It draws all 19 fixed
tetrominoes; name results on it "Tetrominoes-19, generated".
"""

from __future__ import annotations

import numpy as np
import torch

from dti_sprites.data.imageset import ImageSet

CELL = 5  # pixels
_DRAWN = {
    "J": ("X..", "XXX"),
    "L": ("..X", "XXX"),
    "T": (".X.", "XXX"),
    "I": ("XXXX",),
    "S": (".XX", "XX."),
    "Z": ("XX.", ".XX"),
    "O": ("XX", "XX"),
}
COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=np.uint8)
# Levels of a cell: light from above, its shadow on the last row.
BEVEL = np.array(
    [[220] * CELL, [160] * CELL, [158] * CELL, [138] * CELL, [55, 70, 83, 96, 110]], dtype=np.uint8
)


def fixed_tetrominoes() -> list[tuple[str, np.ndarray]]:
    """The 19 shapes that differ by more than a shift: (name, cells (4, 2) as (row, column) from the corner)."""
    shapes: list[tuple[str, np.ndarray]] = []
    for letter, rows in _DRAWN.items():
        grid = np.array([[cell == "X" for cell in row] for row in rows])
        seen: set[bytes] = set()
        for turn in range(4):
            cells = np.argwhere(np.rot90(grid, turn))
            if cells.tobytes() not in seen:
                seen.add(cells.tobytes())
                shapes.append((f"{letter}{len(seen) - 1}", cells))
    return shapes


def generate_tetrominoes(n: int, seed: int = 0, *, size: int = 35, n_objects: int = 3) -> ImageSet:
    """`n` scenes with masks "instance" (1..n_objects) and "semantic" (1..19), 0 being the background.

    Positions are uniform over all ways to place the pieces without overlap. Equal arguments give equal scenes.
    """
    rng = np.random.default_rng(seed)
    shapes = fixed_tetrominoes()
    inside = np.indices((CELL, CELL)).reshape(2, -1).T[None]  # pixels of a cell (1, 25, 2)
    # Pixels of each shape from its corner: (19, 100, 2).
    pixels = np.stack([(cells[:, None] * CELL + inside).reshape(-1, 2) for _, cells in shapes])
    room = size - pixels.max(axis=1)  # (19, 2): number of positions of the corner
    if (room < 1).any():
        raise ValueError(f"size must be at least {4 * CELL} to hold every piece, not {size}")
    kinds = rng.integers(0, len(shapes), (n, n_objects))
    where = np.zeros((n, n_objects, pixels.shape[1]), dtype=np.int64)  # flat pixel indices of each piece
    pending = np.arange(n)
    for _ in range(10_000):
        if len(pending) == 0:
            break
        # A whole scene is drawn again until nothing overlaps: uniform over the valid ones.
        corner = (rng.random((len(pending), n_objects, 2)) * room[kinds[pending]]).astype(np.int64)
        placed = pixels[kinds[pending]] + corner[:, :, None]
        where[pending] = placed[..., 0] * size + placed[..., 1]
        taken = np.sort(where[pending].reshape(len(pending), -1), axis=1)
        pending = pending[(taken[:, 1:] == taken[:, :-1]).any(axis=1)]
    else:
        raise ValueError(f"{n_objects} pieces do not fit into {size} x {size} pixels")
    colours = COLOURS[rng.integers(0, len(COLOURS), (n, n_objects))]  # (n, n_objects, 3)
    levels = np.tile(BEVEL.reshape(-1), 4)  # (100,), in the order of `pixels`
    images = np.zeros((n, 3, size * size), dtype=np.uint8)
    instance = np.zeros((n, size * size), dtype=np.uint8)
    semantic = np.zeros((n, size * size), dtype=np.uint8)
    rows = np.arange(n)[:, None]
    for piece in range(n_objects):
        index = where[:, piece]
        for channel in range(3):
            images[rows, channel, index] = levels * colours[:, piece, channel, None]
        instance[rows, index] = piece + 1
        semantic[rows, index] = kinds[:, piece, None] + 1
    return ImageSet(
        images=torch.from_numpy(images.reshape(n, 3, size, size)),
        names=[f"{i:06d}" for i in range(n)],
        masks={
            "instance": torch.from_numpy(instance.reshape(n, size, size)),
            "semantic": torch.from_numpy(semantic.reshape(n, size, size)),
        },
    )
