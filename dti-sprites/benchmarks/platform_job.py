"""What a person waits for: the platform's default job, with its own settings and with the preset `fast`.

    python dti-sprites/benchmarks/platform_job.py [--data DIR] [--seeds 2] [--threads 2] [--work DIR] [--no-results]

K-means of 20 prototypes with colour transformations, images of 128 px, 400 epochs. `platform-kmeans` is what the
published code does, step by step; both are trained on the same images with the same seeds, one after the other, and
their final loss is the same error of the same pixels. What is done lies in the work folder and is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

import torch

from dti_sprites.bench.machine import describe_machine, machine_facts
from dti_sprites.bench.results_file import default_results_file, replace_section
from dti_sprites.choose.trial import train_one
from dti_sprites.config import RunConfig
from dti_sprites.data import ImageSet
from dti_sprites.data.benchmarks import benchmark_info, load_benchmark

SECTION = "platform job"
SETS = {"incunables-dropcaps": None, "incunables-graphics": None, "omniglot-greek": 120}  # images at most
PRESETS = ("platform-kmeans", "fast")
PROTOTYPES = 20


def train(preset: str, images: ImageSet, seed: int, threads: int) -> dict[str, Any]:
    """{loss, duration_s, used} and accuracy and NMI where classes are known."""
    config = RunConfig.preset(preset).replace(
        model={"n_prototypes": PROTOTYPES}, training={"seed": seed, "threads": threads, "device": "cpu"}
    )
    _, trial = train_one(config, images, None)
    return {"loss": trial.loss, "duration_s": trial.duration_s, "used": trial.used, **trial.scores}


def figure(rows: list[dict[str, Any]], name: str, digits: int, scale: float = 1.0) -> str:
    """Mean, and standard error where there are several."""
    values = [scale * row[name] for row in rows if name in row]
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"


def report(found: list[dict[str, Any]], threads: int) -> str:
    lines = [
        "## The platform's default job",
        "",
        f"`python dti-sprites/benchmarks/platform_job.py --threads {threads}`",
        "",
        describe_machine(machine_facts(torch.device("cpu"), threads)),
        "",
        f"DTI K-means, {PROTOTYPES} prototypes, colour transformations, 128 px, 400 epochs; mean ± standard error over"
        " the seeds.",
        "",
        "| set | images | preset | seeds | loss | accuracy | NMI | prototypes in use | minutes |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in SETS:
        for preset in PRESETS:
            rows = [row for row in found if (row["set"], row["preset"]) == (name, preset)]
            if rows:
                lines.append(
                    f"| {benchmark_info(name).title} | {rows[0]['images']} | `{preset}` | {len(rows)}"
                    f" | {figure(rows, 'loss', 5)} | {figure(rows, 'accuracy', 1, 100)}"
                    f" | {figure(rows, 'nmi', 1, 100)} | {figure(rows, 'used', 1)}"
                    f" | {figure(rows, 'duration_s', 1, 1 / 60)} |"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the sets; default: the variable DTI_BENCH_DATA")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", type=Path, default=Path("runs/platform-job"))
    parser.add_argument("--no-results", action="store_true", help="only print")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    data = RunConfig.preset(PRESETS[0]).data
    for seed in range(options.seeds):
        for name, limit in SETS.items():
            images = load_benchmark(name, options.data, data, limit=limit)
            for preset in PRESETS:
                done = options.work / f"{name}-{preset}-{seed}.json"
                if not done.exists():
                    row = {"set": name, "preset": preset, "seed": seed, "images": len(images)}
                    row |= train(preset, images, seed, options.threads)
                    done.write_text(json.dumps(row), encoding="utf-8")
                    print(done.stem, f"loss {row['loss']:.5f}, {row['duration_s'] / 60:.1f} min", flush=True)
    text = report([json.loads(path.read_text()) for path in options.work.glob("*.json")], options.threads)
    print(text)
    results = default_results_file()
    if results is not None and not options.no_results:
        replace_section(results, SECTION, text)


if __name__ == "__main__":
    main()
