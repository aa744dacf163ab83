"""How the prototypes looked during training: a bounded film, kept small and able to go on after a resume."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from dti_sprites.pictures import PAPER, SLATE, is_light, on_ground
from dti_sprites.results.images import to_pil

MAX_SIDE = 64  # pixels; enough to see what forms
MAX_FRAMES = 48
MAX_BYTES = 64 * 2**20
MIN_FRAMES = 8

_FILM_SECONDS = 6.0
_LAST_FRAME_MS = 1500


class Snapshots:
    """Frames of all K prototypes with the iteration of each.

    Memory stays below `MAX_BYTES` (or `MIN_FRAMES` frames): when the film is full every second frame is
    dropped and from then on only every second offered frame is kept, so frames stay evenly spread over
    any length of training. The first is never dropped.
    """

    def __init__(self) -> None:
        self.iterations: list[int] = []
        self.frames: list[np.ndarray] = []  # each (K, h, w, C) uint8
        self._stride = 1
        self._offered = 0

    def __len__(self) -> int:
        return len(self.frames)

    def add(self, iteration: int, images: np.ndarray) -> bool:
        """Offer (K, H, W, C) uint8 as they look at `iteration`; returns whether the frame was kept."""
        if self.iterations and iteration <= self.iterations[-1]:
            return False
        self._offered += 1
        if (self._offered - 1) % self._stride:
            return False
        frame = _shrink(images)
        if self.frames and frame.shape != self.frames[0].shape:
            self.frames, self.iterations = [], []
        self.frames.append(frame)
        self.iterations.append(int(iteration))
        if len(self.frames) > max(MIN_FRAMES, min(MAX_FRAMES, MAX_BYTES // max(1, frame.nbytes))):
            self.frames, self.iterations = self.frames[::2], self.iterations[::2]
            self._stride *= 2
            self._offered = self._stride * (len(self.frames) - 1) + 1
        return True

    def finish(self, iteration: int, images: np.ndarray) -> None:
        """The film ends with the final prototypes, whatever the stride."""
        frame = _shrink(images)
        if self.iterations and self.iterations[-1] >= iteration:
            self.truncate(iteration - 1)
        if self.frames and frame.shape != self.frames[0].shape:
            self.frames, self.iterations = [], []
        self.frames.append(frame)
        self.iterations.append(int(iteration))

    def truncate(self, iteration: int) -> None:
        """Forget what comes after `iteration`, from which training goes on."""
        kept = sum(seen <= iteration for seen in self.iterations)
        self.frames, self.iterations = self.frames[:kept], self.iterations[:kept]
        self._offered = self._stride * (kept - 1) + 1 if kept else 0

    def save(self, path: Path) -> None:
        """Replace `path` in one step; nothing is written without frames."""
        if not self.frames:
            return
        arrays = {
            "frames": np.stack(self.frames),
            "iterations": np.array(self.iterations, dtype=np.int64),
            "counters": np.array([self._stride, self._offered], dtype=np.int64),
        }
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            save_file(arrays, beside)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Snapshots:
        """Read a saved film; an empty one when there is none or it cannot be read (it is only a film)."""
        film = cls()
        try:
            arrays = load_file(path)
            film.frames = list(arrays["frames"])
            film.iterations = [int(value) for value in arrays["iterations"]]
            film._stride, film._offered = (int(value) for value in arrays["counters"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return cls()
        return film


def _shrink(images: np.ndarray) -> np.ndarray:
    """(K, H, W, C) uint8 -> the same with neither side above MAX_SIDE."""
    _, height, width, channels = images.shape
    scale = MAX_SIDE / max(height, width)
    if scale >= 1.0:
        return images.copy()
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = [np.asarray(to_pil(image).resize(size, Image.Resampling.BOX)) for image in images]
    return np.stack(small).reshape(len(images), size[1], size[0], channels)


def write_animation(path: Path, frames: Sequence[np.ndarray]) -> None:
    """An animated GIF of (h, w, C) uint8 frames: six seconds, resting on the last; small ones enlarged."""
    pictures = [to_pil(frame) for frame in frames]
    factor = max(1, MAX_SIDE // max(pictures[0].size))
    size = (pictures[0].width * factor, pictures[0].height * factor)
    ground = SLATE if frames[-1].shape[-1] in (2, 4) and is_light(frames[-1]) else PAPER
    converted = []
    for picture in pictures:
        if picture.mode in ("LA", "RGBA"):  # GIF has no partial transparency: a ground instead
            picture = on_ground(picture, ground)
        picture = picture.resize(size, Image.Resampling.NEAREST)
        converted.append(picture if picture.mode == "L" else picture.quantize(128))
    step = max(40, round(_FILM_SECONDS * 1000 / len(converted)))
    durations = [step] * (len(converted) - 1) + [_LAST_FRAME_MS]
    first, rest = converted[0], converted[1:]
    first.save(path, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)
