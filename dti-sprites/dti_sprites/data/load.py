"""load_images: whatever holds images to one ImageSet, decoded once and in parallel."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dti_sprites.config import DataConfig
from dti_sprites.data.arrays import array_to_8bit, read_dataset, read_npz, to_channels_last, to_pictures
from dti_sprites.data.cache import cache_path, read_cache, write_cache
from dti_sprites.data.decode import Decoded, check_pixels, convert_image, open_image, read_image, upright_size
from dti_sprites.data.files import list_images, name_paths
from dti_sprites.data.imageset import ImageSet, encode_labels
from dti_sprites.data.labels import find_labels_file, labels_from_folders, read_labels
from dti_sprites.errors import DataError

Progress = Callable[[int, int], None]

DEFAULT_SIZE = 128  # pixels, for images of unequal sizes
MAX_OWN_SIZE = 1024  # pixels: images of equal size, but larger than this, are resized too


def load_images(
    source: Any,
    config: DataConfig | None = None,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
    *,
    labels: str | Path | np.ndarray | Sequence[Any] | None = None,
    workers: int | None = None,
) -> ImageSet:
    """Load all images of `source` at one size.

    Args:
        source: a folder; an .npz or .npy file; paths of image files; an array (N, H, W[, C]), uint8 or float in
            [0, 1]; a tensor (N, C, H, W); a PyTorch dataset; an ImageSet.
        config: size, resizing, channels, transparency; the defaults of DataConfig when None.
        progress: called with (done, total) as images are decoded.
        cache_dir: folder that keeps the decoded images of files for the next time.
        labels: "csv" (labels.csv in the folder or beside it), "folder" (names of sub-folders), the path of a CSV
            file, or one label per image. Labels inside `source` (.npz, dataset) are taken without asking.
        workers: decoding threads; the number of CPUs, at most 16, when None.

    Raises:
        DataError: no images, unreadable ones (all named in `.files`), or a shape or range that does not fit.
    """
    config = config or DataConfig()
    workers = workers or min(os.cpu_count() or 1, 16)
    if isinstance(source, ImageSet):
        images = _refit(source, config, progress, workers)
        own: Any = None
    elif isinstance(source, str | os.PathLike) and not _is_array_file(Path(source)):
        folder = Path(source)
        images = _load_files(list_images(folder), config, progress, cache_dir, workers)
        return _attach(images, folder, labels, None)
    elif (
        isinstance(source, Sequence)
        and not isinstance(source, str)  # the name of an array file
        and all(isinstance(item, str | os.PathLike) for item in source)
    ):
        images = _load_files(name_paths(source), config, progress, cache_dir, workers)
        own = None
    else:
        content, own = _from_memory(source)
        images = _load_content(content, config, progress, workers)
    return _attach(images, None, labels, own)


def _is_array_file(path: Path) -> bool:
    return path.suffix.lower() in (".npz", ".npy") and not path.is_dir()


def _from_memory(source: Any) -> tuple[np.ndarray | Tensor | list[Image.Image], Any]:
    """(images, labels or None) of what is neither image files nor an ImageSet."""
    if isinstance(source, str | os.PathLike):
        return read_npz(Path(source))
    if isinstance(source, np.ndarray | Tensor):
        return source, None
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        pictures, labels = read_dataset(source)
        if not pictures:
            raise DataError("no images: the dataset is empty")
        return pictures, labels
    raise DataError(f"images cannot be read from a {type(source).__name__}")


def _load_content(
    content: np.ndarray | Tensor | list[Image.Image],
    config: DataConfig,
    progress: Progress | None,
    workers: int,
) -> ImageSet:
    if isinstance(content, list):
        return _convert_all(content, config, progress, workers)
    values = to_channels_last(*array_to_8bit(content))
    n, height, width, channels = values.shape
    # An array that needs no resizing and has no alpha is used as it is: hundreds of thousands load at once.
    size = _as_pair(config.image_size) or common_size([(height, width)])
    if size == (height, width) and channels in (1, 3) and n * height * width:
        if channels == 3 and config.channels != "rgb" and bool((values[..., :1] == values[..., 1:]).all()):
            values = values[..., :1]
        if (values.shape[3], config.channels) != (3, "grey"):
            if values.shape[3] == 1 and config.channels == "rgb":
                values = np.broadcast_to(values, (n, height, width, 3))
            images = torch.from_numpy(np.array(values.transpose(0, 3, 1, 2), order="C"))
            if progress:
                progress(n, n)
            return ImageSet(images=images, names=[f"{i:06d}" for i in range(n)])
    return _convert_all(to_pictures(values), config, progress, workers)


def _attach(images: ImageSet, folder: Path | None, labels: Any, own: Any) -> ImageSet:
    """`images` with the labels that were asked for."""
    values: Any = own if labels is None else labels
    if labels is not None and isinstance(labels, str | os.PathLike):
        if labels == "folder":
            values = labels_from_folders(images.names)
        elif labels == "csv":
            if folder is None:
                raise DataError('labels="csv" needs a folder of images; give the path of the CSV file')
            values = read_labels(find_labels_file(folder), images.names)
        else:
            values = read_labels(Path(labels), images.names)
    if values is None:
        return images
    if len(values) != len(images):
        raise DataError(f"{len(values)} labels for {len(images)} images")
    encoded, names = encode_labels(values)
    return dataclasses.replace(images, labels=encoded, label_names=names)


def _load_files(
    files: list[tuple[str, Path]],
    config: DataConfig,
    progress: Progress | None,
    cache_dir: Path | None,
    workers: int,
) -> ImageSet:
    cached = cache_path(Path(cache_dir), files, config) if cache_dir is not None else None
    if cached is not None:
        images = read_cache(cached, files)
        if images is not None:
            if progress:
                progress(len(images), len(images))
            return images
    broken: dict[int, str] = {}
    size = _as_pair(config.image_size)
    if size is None:
        sizes = _parallel(
            lambda path: _header_size(path, config), [path for _, path in files], workers, broken, None
        )
        size = common_size(sizes.values())
    readable = [i for i in range(len(files)) if i not in broken]
    failed: dict[int, str] = {}
    decoded = _parallel(lambda i: read_image(files[i][1], size, config), readable, workers, failed, progress)
    broken |= {readable[position]: reason for position, reason in failed.items()}
    skipped = [(files[i][0], broken[i]) for i in sorted(broken)]
    if skipped and (config.unreadable == "error" or len(skipped) == len(files)):
        raise DataError(_unreadable_message(skipped, len(files)), skipped)
    kept = [(files[readable[position]], decoded.pop(position)) for position in sorted(decoded)]
    images = _stack([item for _, item in kept], [name for (name, _), _ in kept], config)
    images = dataclasses.replace(images, paths=[path for (_, path), _ in kept], skipped=skipped)
    if cached is not None:
        with contextlib.suppress(OSError):  # a full or read-only disk only costs the next load its time
            write_cache(cached, images)
    return images


def _unreadable_message(skipped: list[tuple[str, str]], total: int) -> str:
    shown = "; ".join(f"{name} ({reason})" for name, reason in skipped[:5])
    more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    if len(skipped) == total:
        return f"none of the {total} images can be read: {shown}{more}"
    return f"{len(skipped)} of {total} images cannot be read (data.unreadable=skip passes over them): {shown}{more}"


def _header_size(path: Path, config: DataConfig) -> tuple[int, int]:
    with open_image(path, config.max_pixels) as image:
        return upright_size(image)


def common_size(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """(height, width) at which images are used when none is asked for: their own when it is one."""
    distinct = set(sizes)
    if len(distinct) == 1:
        (size,) = distinct
        if max(size) <= MAX_OWN_SIZE:
            return size
    return DEFAULT_SIZE, DEFAULT_SIZE


def _as_pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else size


def _convert_all(
    pictures: list[Image.Image], config: DataConfig, progress: Progress | None, workers: int
) -> ImageSet:
    size = _as_pair(config.image_size) or common_size(upright_size(picture) for picture in pictures)
    failed: dict[int, str] = {}

    def convert(picture: Image.Image) -> Decoded:
        check_pixels(picture, config.max_pixels)
        return convert_image(picture, size, config)

    decoded = _parallel(convert, pictures, workers, failed, progress)
    names = [f"{i:06d}" for i in range(len(pictures))]
    if failed:
        broken = [(names[i], failed[i]) for i in sorted(failed)]
        raise DataError(_unreadable_message(broken, len(pictures)), broken)
    return _stack([decoded[i] for i in range(len(pictures))], names, config)


def _refit(images: ImageSet, config: DataConfig, progress: Progress | None, workers: int) -> ImageSet:
    """An ImageSet at the size and channels of `config`; itself when nothing changes."""
    size = _as_pair(config.image_size)
    same_size = size is None or size == images.size
    same_channels = config.channels == "auto" or images.channels == {"grey": 1, "rgb": 3}[config.channels]
    if same_size and same_channels and (images.alpha is None or config.alpha == "weight"):
        return images
    planes = images.images if images.alpha is None else torch.cat([images.images, images.alpha], dim=1)
    fitted = _load_content(planes, config, progress, workers)
    masks = images.masks if same_size else {}  # ground truth of another size would no longer fit
    return dataclasses.replace(images, images=fitted.images, alpha=fitted.alpha, masks=masks)


def _parallel(
    work: Callable[[Any], Any],
    items: Sequence[Any],
    workers: int,
    failed: dict[int, str],
    progress: Progress | None,
) -> dict[int, Any]:
    """Results of `work` by position in `items`; the reasons of failures go to `failed`."""

    def some(positions: range) -> list[tuple[int, Any, Exception | None]]:
        return [(position, *_attempt(work, items[position])) for position in positions]

    # Several items at a time: handing over each of them alone costs a tenth of decoding it.
    size = min(max(len(items) // (8 * workers), 1), 16)
    results: dict[int, Any] = {}
    done = 0
    with ThreadPoolExecutor(max_workers=workers) as pool:
        starts = range(0, len(items), size)
        futures = {pool.submit(some, range(at, min(at + size, len(items)))) for at in starts}
        try:
            for future in as_completed(futures):
                futures.remove(future)  # lets go of it, and with it of a second reference to what it holds
                for position, result, error in future.result():
                    if error is None:
                        results[position] = result
                    else:
                        failed[position] = _reason(error)
                    done += 1
                    if progress:
                        progress(done, len(items))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return results


def _attempt(work: Callable[[Any], Any], item: Any) -> tuple[Any, Exception | None]:
    """(result, None) or (None, error)."""
    try:
        return work(item), None
    except MemoryError:
        raise
    except Exception as error:
        return None, error


def _reason(error: Exception) -> str:
    """Why a file could not be read, in words without the machine's paths."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _stack(decoded: list[Decoded], names: list[str], config: DataConfig) -> ImageSet:
    """One tensor of all images; the list is emptied on the way to bound the memory in use."""
    n, (height, width) = len(decoded), decoded[0].pixels.shape[:2]
    colour = {"grey": False, "rgb": True, "auto": any(d.pixels.ndim == 3 for d in decoded)}[config.channels]
    weighted = any(d.alpha is not None for d in decoded)
    images = np.empty((n, 3 if colour else 1, height, width), dtype=np.uint8)
    alpha = np.full((n, 1, height, width), 255, dtype=np.uint8) if weighted else None
    original_sizes = [d.original_size for d in decoded]
    for i in range(n - 1, -1, -1):
        item = decoded.pop()
        pixels = item.pixels
        if pixels.ndim == 3 and not colour:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))
        images[i] = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
        if alpha is not None and item.alpha is not None:
            alpha[i, 0] = item.alpha
    return ImageSet(
        images=torch.from_numpy(images),
        alpha=None if alpha is None else torch.from_numpy(alpha),
        names=names,
        original_sizes=original_sizes,
    )
