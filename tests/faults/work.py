"""The notebook of a storm: short work that notes what it does, and would notice a second attempt beside it."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

NAME = "storm_work"

PARAMETERS = """journal: str = ""  # The file in which all runs note what they do
seconds: float = 0.5  # How long to work [0, 60]
strays: int = 0  # Processes to leave behind [0, 5]
fail: bool = False  # Whether to end with an error
"""

# Two attempts at once, or two runs on a device, would meet at the locks. A process that is left behind in a session of
# its own must not outlive the run.
WORK = """
import fcntl, json, os, subprocess, sys, time
from dti_service.run import current_run

def take(path):
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle

def note(what):
    handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, (json.dumps([what, run.experiment_id, time.time()]) + "\\n").encode())
    os.close(handle)

run = current_run()
device = os.environ["CUDA_VISIBLE_DEVICES"] or "cpu"
try:
    locks = [take(run.directory / "storm.lock"), take(f"{journal}-{device}.lock")]
except BlockingIOError:
    note("OVERLAP")
    raise
for _ in range(strays):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
mark = run.checkpoint / "step"
first = int(mark.read_text() or 0) if mark.exists() else 0
note(f"begin {first}")
for step in range(first, 10):
    if run.should_stop():
        raise KeyboardInterrupt
    half = mark.with_name(".tmp-step")
    half.write_text(str(step))
    half.replace(mark)
    run.progress(step + 1, 10)
    run.metrics(step, loss=1 / (step + 1))
    time.sleep(seconds / 10)
if fail:
    note("error")
    raise ValueError("asked to fail")
note("end")
(run.results / "prototypes").mkdir(exist_ok=True)
(run.results / "prototypes" / "note.txt").write_text("made")
run.finish({"first": first})
"""


def write_package(folder: Path) -> str:
    """A demo package below `folder` that provides the notebook; returns the package's name."""
    package = folder / f"{NAME}_demo"
    package.mkdir(parents=True)
    first = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[first, new_code_cell(WORK)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, package / f"{NAME}.ipynb")
    (package / "__init__.py").write_text(
        "from pathlib import Path\n"
        "from dti_service.demos import Demo\n"
        f"DEMO = Demo({NAME!r}, Path(__file__).parent / '{NAME}.ipynb', 'Work in a storm')\n"
    )
    return package.name
