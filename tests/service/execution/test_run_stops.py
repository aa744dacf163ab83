"""A run that is asked to stop, however little it wants to: cancel, time limit, the death of its starter."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

FINISH = "from dti_service.run import current_run\ncurrent_run().finish({'k': 3})"
BEGAN = "open('began', 'w').close()\n"

COOPERATIVE = (
    "import time\nfrom dti_service.run import current_run\nrun = current_run()\n"
    + BEGAN
    + """
while not run.should_stop():
    time.sleep(0.02)
(run.checkpoint / "state").write_text("saved")
class TrainingStopped(Exception): pass
raise TrainingStopped("the checkpoint was saved")
"""
)
SLEEPING = BEGAN + "import time\nprint('sleeps')\ntime.sleep(300)"
STUBBORN = (
    BEGAN
    + """
import subprocess, time
subprocess.Popen(['sleep', '300'], start_new_session=True)
while True:
    try:
        time.sleep(300)
    except KeyboardInterrupt:
        print("no")
"""
)
# PyDLL calls without letting go of the interpreter lock: no Python code of the kernel runs until it returns.
IN_C = BEGAN + "import ctypes\nctypes.PyDLL(None).sleep(300)"


class TestCancel:
    @pytest.mark.parametrize(
        "source", [COOPERATIVE, SLEEPING, STUBBORN, IN_C], ids=["cooperative", "sleeping", "stubborn", "in C"]
    )
    def test_while_it_runs(self, runs: Any, source: str) -> None:
        id = runs.submit("print('first')", source, FINISH)
        supervisor = runs.start(id, grace=2.0 if source is COOPERATIVE else 0.2)
        runs.wait_for_file(id, "began")
        runs.store.request_cancel(id, "ada")
        experiment = runs.end(supervisor, id)
        assert (experiment.state, experiment.error) == ("cancelled", None)
        assert runs.statuses(id) == ["completed", "completed", "cancelled", "pending"]
        assert runs.states(id) == ["queued", "running", "cancelled"]
        assert runs.events(id, "cell")[-1]["status"] == "cancelled"
        assert runs.notebook(id).cells[2].outputs[0].text == "first\n"
        if source is COOPERATIVE:
            assert runs.file(id, "checkpoint/state").read_text() == "saved"
        if source is SLEEPING:
            assert "sleeps" in runs.log(id)

    def test_that_comes_while_it_starts(self, runs: Any) -> None:
        id = runs.submit(SLEEPING)
        supervisor = runs.start(id)
        runs.wait_for(lambda: runs.store.get(id).state == "running", "the claim")
        runs.store.request_cancel(id)
        assert runs.end(supervisor, id).state == "cancelled"

    def test_that_the_notebook_notices_before_its_supervisor(self, runs: Any) -> None:
        """On a busy machine the supervisor may not have its turn before everything below it has ended."""
        id = runs.submit(COOPERATIVE, FINISH)
        supervisor = runs.start(id)
        runs.wait_for_file(id, "began")
        supervisor.send_signal(signal.SIGSTOP)
        runs.store.request_cancel(id)
        runs.wait_for_file(id, "executor.json")
        supervisor.send_signal(signal.SIGCONT)
        experiment = runs.end(supervisor, id)
        assert (experiment.state, experiment.error) == ("cancelled", None)
        assert runs.states(id) == ["queued", "running", "cancelled"]

    def test_does_not_wait_for_a_kernel_that_is_slow_to_start(
        self, runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = tmp_path / "share" / "kernels" / "slow"
        spec.mkdir(parents=True)
        command = ["sh", "-c", "touch began; exec sleep 300"]
        (spec / "kernel.json").write_text(
            json.dumps({"argv": command, "display_name": "Slow", "language": "python"})
        )
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
        id = runs.submit(SLEEPING)
        source = runs.file(id, "source.ipynb")
        source.write_text(source.read_text().replace('"name": "python3"', '"name": "slow"'))
        # With so much patience, nobody but the executor itself can end the run in time.
        supervisor = runs.start(id, grace=600.0, interrupt_grace=600.0)
        runs.wait_for_file(id, "began")
        runs.store.request_cancel(id)
        assert runs.end(supervisor, id).state == "cancelled"
        assert runs.statuses(id) == ["pending", "pending"]

    def test_when_the_executor_itself_is_stuck(self, runs: Any) -> None:
        """It can neither interrupt nor save; the notebook is put right for it."""
        id = runs.submit(SLEEPING, FINISH)
        supervisor = runs.start(id, interrupt_grace=0.1)
        runs.wait_for_file(id, "began")
        os.kill(runs.process(supervisor, "execution.executor"), signal.SIGSTOP)
        runs.store.request_cancel(id)
        assert runs.end(supervisor, id).state == "cancelled"
        assert runs.statuses(id) == ["completed", "cancelled", "pending"]


class TestTimeLimit:
    def test_of_the_request(self, runs: Any) -> None:
        partial = (
            "from dti_service.run import current_run\n(current_run().results / 'part.txt').write_text('kept')"
        )
        experiment = runs.run(partial, SLEEPING, FINISH, time_limit_s=3.0)
        assert experiment.state == "failed"
        assert experiment.error == {
            "kind": "time_limit",
            "message": "The time limit of 3 s was reached. What was done until then is kept.",
            "cell": None,
        }
        assert "completed" not in runs.statuses(experiment.id)[2:]


class TestStarterGone:
    @pytest.mark.parametrize("how", ["end of input", "SIGTERM"])
    def test_back_into_the_queue_and_on_from_there(self, runs: Any, how: str) -> None:
        resumed = """
import time
from dti_service.run import current_run
run = current_run()
state = run.checkpoint / "state"
if not state.exists():
    open("began", "w").close()
    while not run.should_stop():
        time.sleep(0.02)
    state.write_text("saved")
    raise KeyboardInterrupt
run.finish({"resumed": 1})
"""
        id = runs.submit(resumed)
        supervisor = runs.start(id, grace=2.0)
        runs.wait_for_file(id, "began")
        if how == "SIGTERM":
            supervisor.terminate()
        else:
            supervisor.stdin.close()
        experiment = runs.end(supervisor, id)
        assert (experiment.state, experiment.attempt, experiment.assigned_device) == ("queued", 1, None)
        assert runs.statuses(id) == ["completed", "cancelled"]
        experiment = runs.end(runs.start(id), id)
        assert (experiment.state, experiment.attempt, experiment.losses) == ("succeeded", 2, 0)
        assert experiment.metrics == {"resumed": 1}
        assert runs.states(id) == ["queued", "running", "queued", "running", "succeeded"]

    def test_a_cancel_wins_over_the_return_to_the_queue(self, runs: Any) -> None:
        id = runs.submit(STUBBORN)
        supervisor = runs.start(id)
        runs.wait_for_file(id, "began")
        supervisor.terminate()
        runs.store.request_cancel(id)
        assert runs.end(supervisor, id).state == "cancelled"
