"""The batch script of the operations guide as Slurm runs it: a signal before the time is over, and a next job."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dti_service.store import Store

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"

pytestmark = pytest.mark.slow


@pytest.fixture
def script(installed: Any, own: Callable[[str], Path]) -> Path:
    """The block of the guide; only its paths and the device are our own."""
    (text,) = (
        block for block in re.findall(r"```\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "#SBATCH" in block
    )
    assert "--signal=B:TERM@" in text
    changes = {"/shared/dti": str(own("shared")), "/opt/dti/bin/dti": f"{installed.bin}/dti", "cuda:0": "cpu"}
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    file = own("job") / "job.sh"
    file.write_text(text)
    return file


def test_a_job_ends_before_its_time_and_the_next_one_goes_on(script: Path, installed: Any) -> None:
    (data,) = re.findall(r"DTI_DATA_DIR=(\S+)", script.read_text())
    store = Store(Path(data))
    installed.account.give(store.data_dir)
    submit = ["dti", "submit", "tiny", "--data-dir", data, "--json"]
    long = json.loads(installed.run(*submit, "-p", "steps", "40", "-p", "pause", "0.1").stdout)["id"]
    short = json.loads(installed.run(*submit, "-p", "steps", "1").stdout)["id"]
    step = store.directory(long) / "checkpoint" / "step"

    with installed.popen("sh", script, stderr=subprocess.PIPE) as job:
        deadline = time.monotonic() + 60
        while not (step.exists() and int(step.read_text()) >= 5):
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        job.send_signal(signal.SIGTERM)  # Slurm's, two minutes before the end
        assert job.wait(60) == 0
    assert [store.get(id).state for id in (long, short)] == ["queued", "queued"]
    assert not store.alive(long)

    installed.run("sh", script)  # ends by itself when nothing waits
    assert [store.get(id).state for id in (long, short)] == ["succeeded", "succeeded"]
    note = (store.directory(long) / "results" / "note.txt").read_text()
    assert int(note.rsplit(" ", 1)[-1]) >= 5
