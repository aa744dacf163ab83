"""What runs cost: memory, time and disk for several K, sizes and numbers of images, each in a process of its own.

    .venv/bin/python tools/capacity.py [--device cuda:0] [--epochs 3] [--images 500]

The images are random: what a step costs does not depend on what they show. Printed as a table of Markdown; the figures
of docs/operations.md come from here.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

KMEANS, SPRITES = "identity_color_affine_tps", "color_projective"
CASES = (  # preset, K, side in pixels, transformations
    ("platform-kmeans", 10, 64, KMEANS),
    ("platform-kmeans", 10, 128, KMEANS),
    ("platform-kmeans", 40, 128, KMEANS),
    ("platform-learn-fg", 10, 128, SPRITES),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a case as JSON, in its own process
    arguments = parser.parse_args()
    if arguments.one:
        preset, k, side, sequence = json.loads(arguments.one)
        print(json.dumps(measure(preset, k, side, sequence, arguments)))
        return 0
    print(
        "| preset | K | side | memory of the process, MB | of the GPU, MB | s per epoch of 1,000 images | disk, MB |"
    )
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", json.dumps(case)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            print(done.stderr, file=sys.stderr)
            return 1
        row = json.loads(done.stdout.splitlines()[-1])
        gpu = f"{row['gpu_mb']:.0f}" if row["gpu_mb"] else "-"
        preset, k, side, _ = case
        seconds = f"{row['epoch_s']:.1f}"
        print(
            f"| {preset} | {k} | {side} | {row['mb']:.0f} | {gpu} | {seconds} | {row['disk_mb']:.1f} |",
            flush=True,
        )
    return 0


def measure(preset: str, k: int, side: int, sequence: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Train once; the largest memory in use, and the time of the epochs alone, results left out."""
    import numpy as np
    import torch

    from dti_sprites import RunConfig, train
    from dti_sprites.training import Callback, FitResult

    class Epochs(Callback):
        spent = 0.0

        def on_end(self, result: FitResult) -> None:
            self.spent = result.duration_s

    config = RunConfig.preset(preset).replace(
        data={"image_size": side},
        model={"n_prototypes": k, "transformation_sequence": sequence},
        training={"epochs": arguments.epochs, "milestones": [], "device": arguments.device},
    )
    images = np.random.default_rng(0).integers(0, 255, (arguments.images, side, side, 3), dtype=np.uint8)
    epochs = Epochs()
    with tempfile.TemporaryDirectory() as folder:
        train(config, images, out=folder, callbacks=[epochs])
        disk = sum(item.stat().st_size for item in Path(folder).rglob("*") if item.is_file())
    gpu = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    return {
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "gpu_mb": gpu / 2**20,
        "epoch_s": epochs.spent / arguments.epochs / arguments.images * 1000,
        "disk_mb": disk / 1e6,
    }


if __name__ == "__main__":
    sys.exit(main())
