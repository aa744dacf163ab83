"""What surrounds training: reading images, and writing what a finished model says about them.

    python dti-sprites/benchmarks/around_training.py [--images 10000] [--repeat 3] [--threads 2] [--no-results]

Reading: JPEG crops of about 300 px to 128 px, beside the decoder alone (open, decode, nothing else) in as many threads.
Writing: the result tree of as many images, beside the model's pass alone and beside encoding the same pictures alone.
Each figure is the median over processes of their own, interleaved; memory is what a process takes beyond its imports.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dti_sprites.bench.machine import describe_machine, machine_facts
from dti_sprites.bench.results_file import default_results_file, replace_section
from dti_sprites.config import RunConfig
from dti_sprites.data import ImageSet, load_images
from dti_sprites.models import build_model
from dti_sprites.results.images import ImageWriter
from dti_sprites.results.inference import infer_batches
from dti_sprites.results.tree import TrainingRecord, export

SECTION = "around training"
SIDE = 128


def crop(number: int) -> Image.Image:
    """Something like a crop of a page: soft spots of colour on paper, with grain."""
    random = np.random.default_rng(number)
    width, height = (int(side) for side in random.integers(270, 331, size=2))
    coarse = random.integers(60, 256, size=(12, 12, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = random.integers(-12, 13, size=(height, width, 1), dtype=np.int16)
    return Image.fromarray((picture + grain).clip(0, 255).astype(np.uint8))


def make_crops(folder: Path, count: int) -> None:
    with ThreadPoolExecutor() as pool:
        list(
            pool.map(lambda number: crop(number).save(folder / f"{number:05d}.jpg", quality=88), range(count))
        )


def decode_alone(folder: Path, threads: int) -> None:
    def decode(paths: list[Path]) -> None:
        for path in paths:
            with Image.open(path) as image:
                image.load()

    files = sorted(folder.iterdir())
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, [files[at : at + 16] for at in range(0, len(files), 16)]))


def read(folder: Path, threads: int, *, draft: bool = False, cache: Path | None = None) -> ImageSet:
    config = RunConfig.preset("platform-kmeans").with_overrides([f"data.jpeg_draft={str(draft).lower()}"])
    return load_images(folder, config.data, cache_dir=cache, workers=threads)


def finished_run(count: int) -> tuple[RunConfig, torch.nn.Module, ImageSet]:
    """Digits and a model that is not trained, which costs as much as one that is."""
    config = RunConfig.preset("digits")
    digits = load_images(_digits(), config.data)
    images = digits.subset([number % len(digits) for number in range(count)])
    model = build_model(config, images.channels, images.size)
    model.initialise(images.images[:64].float() / 255, torch.Generator().manual_seed(0))
    return config, model, images


def _digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return np.stack(
        [
            np.asarray(
                Image.fromarray((image * 15.9).astype(np.uint8)).resize((28, 28), Image.Resampling.BILINEAR)
            )
            for image in load_digits().images
        ]
    )


def encode_alone(folder: Path) -> None:
    """The pictures of a tree once more, by the same writer."""
    pictures = {
        path.relative_to(folder): np.asarray(Image.open(path)) for path in folder.rglob("clusters/*/*.png")
    }

    def write() -> None:
        with tempfile.TemporaryDirectory() as target, ImageWriter(Path(target)) as writer:
            for name, picture in pictures.items():
                writer.write(str(name), picture)

    timed(write)


def timed(work: Callable[[], object]) -> None:
    # The peak that the system keeps is inherited from whoever started this process, unless it is reset.
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_kb("VmRSS")
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_mb": (memory_kb("VmHWM") - before) / 1024}))


def memory_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def measure(what: str, folder: Path, threads: int, count: int) -> None:
    """In a process of its own: prints seconds and memory as JSON."""
    torch.set_num_threads(threads)
    crops, tree, cache = folder / "crops", folder / "tree", folder / "cache"
    if what == "decode":
        timed(lambda: decode_alone(crops, threads))
    elif what in ("read", "draft"):
        timed(lambda: read(crops, threads, draft=what == "draft"))
    elif what == "again":
        timed(lambda: read(crops, threads, cache=cache))
    elif what == "encode":
        encode_alone(tree)
    else:
        config, model, images = finished_run(count)
        if what == "pass":
            timed(lambda: [None for _ in infer_batches(model, images, config.training.batch_size)])
        else:
            timed(lambda: export(model, images, config, tree, TrainingRecord()))


def in_processes(names: list[str], options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    for _ in range(options.repeat):
        for name in names:
            command = [sys.executable, __file__, "--measure", name, "--folder", str(folder)]
            command += ["--threads", str(options.threads), "--images", str(options.images)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(json.loads(done.stdout))
    return {
        name: {key: statistics.median(run[key] for run in runs) for key in ("seconds", "peak_mb")}
        for name, runs in found.items()
    }


def report(found: dict[str, dict[str, float]], options: argparse.Namespace) -> str:
    decoder, encoder = found["decode"]["seconds"], found["encode"]["seconds"]
    tensor = options.images * 3 * SIDE * SIDE / 2**20
    rows = [
        ("decoder alone", "decode", decoder),
        (f"to tensors of {SIDE} px", "read", decoder),
        ("the same, decoded smaller (`jpeg_draft`)", "draft", decoder),
        ("the same, the next time (from the cache)", "again", decoder),
        ("encoding the pictures alone", "encode", encoder),
        ("the model's pass alone", "pass", encoder),
        ("the whole result tree, the pass included", "export", encoder),
    ]
    lines = [
        "## Around training",
        "",
        f"`python dti-sprites/benchmarks/around_training.py --images {options.images} --repeat {options.repeat}"
        f" --threads {options.threads}`",
        "",
        describe_machine(machine_facts(torch.device("cpu"), options.threads)),
        "",
        f"{options.images:,} JPEG crops of about 300 px; the tensor of all is {tensor:,.0f} MB. The tree is that of"
        " digits of 28 px (two pictures an image, tables, page and report).",
        "",
        "| | s | beside the codec | memory, MB |",
        "|---|---:|---:|---:|",
    ]
    for title, name, codec in rows:
        seconds, peak = found[name]["seconds"], found[name]["peak_mb"]
        lines.append(f"| {title} | {seconds:.2f} | {seconds / codec:.2f} | {peak:,.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-results", action="store_true", help="only print")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.folder, options.threads, options.images)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "crops").mkdir()
        make_crops(folder / "crops", options.images)
        read(folder / "crops", options.threads, cache=folder / "cache")
        found = in_processes(["decode", "read", "draft", "again"], options, folder)
        found |= in_processes(["export", "pass", "encode"], options, folder)
    text = report(found, options)
    print(text)
    results = default_results_file()
    if results is not None and not options.no_results:
        replace_section(results, SECTION, text)


if __name__ == "__main__":
    main()
