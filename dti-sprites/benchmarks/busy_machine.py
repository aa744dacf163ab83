"""What a step costs while another program of low priority takes a core, with and without waiting briefly.

    python dti-sprites/benchmarks/busy_machine.py [--seconds 30] [--threads 2] [--repeat 3]

Each figure is the median time of a training step of DTI K-means on scikit-learn's digits in a process of its own,
interleaved; what takes longer than `--seconds` is told as "more than".
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

STEPS = """
import sys, time
from dti_sprites.config import RunConfig
from dti_sprites.data.benchmarks import load_benchmark
from dti_sprites.models import build_model
from dti_sprites.training import Callback, fit

class Times(Callback):
    def on_progress(self, progress):
        print(progress.iteration, time.perf_counter(), flush=True)

changes = ["epochs=1000", "curriculum=[0,0]", "milestones=[]", "device=cpu", f"threads={sys.argv[1]}"]
config = RunConfig.preset("digits").with_overrides([f"training.{change}" for change in changes])
images = load_benchmark("digits", None, config.data)
fit(build_model(config, images.channels, images.size), images, config, callbacks=[Times()])
"""
BUSY = "import os\nos.setsid()\nos.nice(19)\nwhile True: pass"


def step_time(seconds: float, threads: int, *, brief: bool) -> tuple[float, int]:
    """Seconds a step, and how many steps were seen."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    # The default of OpenMP is asked for by its name, so that the library leaves it.
    environment.update({"GOMP_SPINCOUNT": "2000"} if brief else {"OMP_WAIT_POLICY": "undefined"})
    command = [sys.executable, "-c", STEPS, str(threads)]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    try:
        output, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        output, _ = child.communicate()
    seen = [line.split() for line in output.splitlines()]
    points = [(int(words[0]), float(words[1])) for words in seen if len(words) == 2]
    if len(points) < 2:
        return seconds, 0
    (first, began), (last, ended) = points[0], points[-1]
    return (ended - began) / max(1, last - first), last - first


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(f"{'':28}{'OpenMP default':>16}{'waiting briefly':>17}")
    for busy in (False, True):
        competitor = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
        try:
            found: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(options.repeat):
                for brief in (False, True):
                    found[brief].append(step_time(options.seconds, options.threads, brief=brief)[0])
        finally:
            if competitor is not None:
                competitor.kill()
        name = "beside another program" if busy else "alone"
        medians = [statistics.median(found[brief]) for brief in (False, True)]
        print(f"{name:28}" + "".join(f"{1000 * value:>13.0f} ms" for value in medians), flush=True)


if __name__ == "__main__":
    main()
