"""`dti quickstart`: the main job on the sample images, the way every other run is done."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dti_service.cli.backend import View, open_settings
from dti_service.cli.local import LocalBackend
from dti_service.cli.output import duration, elapsed, print_json
from dti_service.cli.submitting import EXIT_CODES, run_in_foreground


def quickstart_command(arguments: argparse.Namespace) -> int:
    """Cluster handwritten digits through the queue and papermill; compare with plain k-means on pixels."""
    settings = open_settings(arguments)
    backend = LocalBackend(settings)
    print(
        "Clustering 1,797 handwritten digits (bundled with scikit-learn) into 10 motifs, without labels ...",
        file=sys.stderr,
    )
    request = {
        "notebook": "dti_clustering",
        "parameters": {"dataset": "sample", "preset": "digits", "n_prototypes": 10},
        "name": "Quick start: handwritten digits",
    }
    view = run_in_foreground(settings, backend, request)
    if arguments.json:
        print_json(view)
    elif view["state"] == "succeeded":
        print(_summary(view, settings.data_dir))
    else:
        error = view["error"] or {"kind": view["state"], "message": "the run was cancelled"}
        print(f"The run {view['state']}: {error['kind']}: {error['message']}", file=sys.stderr)
        print(f"Its log: {settings.data_dir / 'experiments' / view['id'] / 'log.txt'}", file=sys.stderr)
    return EXIT_CODES[view["state"]]


def _summary(view: View, data_dir: Path) -> str:
    metrics = view["metrics"]
    directory = data_dir / "experiments" / view["id"]
    option = "" if data_dir == Path("data").resolve() else f"DTI_DATA_DIR={data_dir} "
    dti = Path(sys.argv[0]).name if Path(sys.argv[0]).parent.name != "bin" else ".venv/bin/dti"
    return f"""
                      accuracy    NMI
DTI clustering          {100 * metrics["accuracy"]:5.1f} %   {metrics["nmi"]:.3f}
plain k-means           {100 * metrics["kmeans_accuracy"]:5.1f} %   {metrics["kmeans_nmi"]:.3f}

Done in {duration(elapsed(view))}. The experiment directory:
  {directory}

Look at the result:
  {directory / "results" / "report.html"}      (opens in any browser)
  {directory / "notebook.ipynb"}               (the executed notebook)
Or start the server and open its page, which shows this and every further experiment:
  {option}{dti} serve
Cluster your own images:
  {option}{dti} run dti_clustering --dataset path/to/folder -p n_prototypes 12"""
