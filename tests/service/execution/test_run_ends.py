"""However a run ends by itself: the right state and error, a notebook that tells the truth, no process left."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

FINISH = "from dti_service.run import current_run\ncurrent_run().finish({'k': 3})"

FACTS = """
import json, os
from dti_service.run import current_run
run = current_run()
facts = {name: os.environ.get(name) for name in ("DTI_DEVICE", "CUDA_VISIBLE_DEVICES", "DTI_REDIS_URL")}
facts |= {"x": x, "text": text, "device": device, "experiment_dir": experiment_dir, "cwd": os.getcwd()}
facts["oom_score"] = int(open("/proc/self/oom_score_adj").read())
(run.results / "facts.json").write_text(json.dumps(facts))
print("first\\nsecond")
run.progress(3, 4)
"""


class TestSuccess:
    def test_from_the_queue_to_the_results(self, runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DTI_REDIS_URL", "redis://:secret@nowhere")
        declared = 'x: int = 1\ntext: str = "a"\ndevice: str = "auto"\nexperiment_dir: str | None = None'
        given = {"x": 5, "text": "quote ' \" \\ \n {brace}"}
        interactive = {"source": "raise RuntimeError('for people only')", "tags": ["interactive"]}
        last = "run.finish({'accuracy': 0.75, 'nothing': float('nan')})"
        id = runs.submit(FACTS, interactive, last, declared=declared, parameters=given)
        experiment = runs.end(runs.start(id), id)

        assert (experiment.state, experiment.error, experiment.attempt) == ("succeeded", None, 1)
        assert experiment.metrics == {"accuracy": 0.75, "nothing": None}
        assert runs.statuses(id) == ["completed", "completed", "skipped", "completed"]
        folder = str(runs.store.directory(id))
        facts = json.loads(runs.file(id, "results/facts.json").read_text())
        assert facts.pop("oom_score") >= 500
        assert facts == {
            "DTI_DEVICE": "cpu",
            "CUDA_VISIBLE_DEVICES": "-1",
            "DTI_REDIS_URL": None,
            "device": "cpu",
            "experiment_dir": folder,
            "cwd": folder,
            **given,
        }
        assert runs.states(id) == ["queued", "running", "succeeded"]
        assert runs.log(id) == "first\nsecond\n"
        assert [event["text"] for event in runs.events(id, "log")] == ["first\nsecond"]
        # Cells count as progress only until the notebook reports its own.
        units = [event["unit"] for event in runs.events(id, "progress")]
        assert set(units) == {"cells", "steps"}
        assert units[-1] == "steps"
        cells = [(event["index"], event["status"]) for event in runs.events(id, "cell")]
        assert cells == [(1, "started"), (1, "finished"), (2, "started"), (2, "finished")] + [
            (index, status) for index in (3, 5) for status in ("started", "finished")
        ]

    def test_a_notebook_of_an_unknown_environment_that_ends_early(self, runs: Any) -> None:
        id = runs.submit(FINISH, "import sys\nsys.exit()", "raise RuntimeError('not reached')")
        source = runs.file(id, "source.ipynb")
        source.write_text(source.read_text().replace('"name": "python3"', '"name": "my-conda-env"'))
        experiment = runs.end(runs.start(id), id)
        assert (experiment.state, experiment.metrics) == ("succeeded", {"k": 3})
        assert runs.statuses(id) == ["completed", "completed", "completed", "pending"]
        assert "my-conda-env" in runs.log(id)

    def test_children_that_detach_themselves_do_not_survive(self, runs: Any) -> None:
        detach = """
import os, subprocess, sys, time
# Another session, another parent, and an environment that does not tell where it comes from.
code = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0)\\n"
code += "open('daemon.pid', 'w').write(str(os.getpid())); time.sleep(300)"
subprocess.run([sys.executable, "-c", code], env={})
while not os.path.exists("daemon.pid") or not open("daemon.pid").read():
    time.sleep(0.01)
"""
        id = runs.submit(detach, FINISH)
        assert runs.end(runs.start(id), id).state == "succeeded"
        with pytest.raises(ProcessLookupError):
            os.kill(int(runs.file(id, "daemon.pid").read_text()), 0)


class TestErrors:
    @pytest.mark.parametrize(
        ("source", "kind", "message"),
        [
            ("print('before')\n1 / 0", "user_error", "ZeroDivisionError: division by zero"),
            (
                "from dti_sprites import DataError\nraise DataError('no images in\\n the folder')",
                "bad_input",
                "no images in the folder",
            ),
            (
                "raise MemoryError('of 9 GB')",
                "out_of_memory",
                "The run needs more memory than there is: of 9 GB",
            ),
            ("a = = 3", "user_error", "SyntaxError: invalid syntax"),
        ],
    )
    def test_in_a_cell(self, runs: Any, source: str, kind: str, message: str) -> None:
        experiment = runs.run(source, FINISH)
        assert experiment.state == "failed"
        assert experiment.error["kind"] == kind
        assert experiment.error["message"].startswith(message)
        assert experiment.error["cell"] == 2
        assert runs.statuses(experiment.id) == ["completed", "failed", "pending"]
        cell = runs.notebook(experiment.id).cells[2]
        assert cell.metadata.papermill.exception is True
        assert cell.outputs[-1].output_type == "error"
        assert runs.events(experiment.id, "state")[-1]["error"] == experiment.error
        assert runs.events(experiment.id, "cell")[-1]["status"] == "failed"

    def test_without_results(self, runs: Any) -> None:
        experiment = runs.run("print('done')")
        assert (experiment.state, experiment.error["kind"]) == ("failed", "user_error")
        assert "results/metrics.json" in experiment.error["message"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "The notebook cannot be run"),
            (
                json.dumps(
                    {
                        "cells": [],
                        "metadata": {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}},
                        "nbformat": 4,
                        "nbformat_minor": 5,
                    }
                ),
                "The notebook asks for the kernel ir, which is not installed here.",
            ),
        ],
    )
    def test_what_is_no_notebook_for_us(self, runs: Any, content: str, message: str) -> None:
        id = runs.submit(FINISH)
        runs.file(id, "source.ipynb").write_text(content)
        experiment = runs.end(runs.start(id), id)
        assert (experiment.state, experiment.error["kind"]) == ("failed", "bad_input")
        assert experiment.error["message"].startswith(message)


class TestDeaths:
    def test_of_the_kernel(self, runs: Any) -> None:
        # Its own child would go on without it.
        source = "import os, subprocess\nsubprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        source += "os.kill(os.getpid(), 9)"
        experiment = runs.run("print('kept')", source, FINISH)
        assert (experiment.state, experiment.error["kind"]) == ("failed", "kernel_died")
        assert "SIGKILL" in experiment.error["message"]
        assert experiment.error["cell"] == 3
        assert runs.statuses(experiment.id) == ["completed", "completed", "failed", "pending"]
        cells = runs.notebook(experiment.id).cells
        assert cells[2].outputs[0].text == "kept\n"
        assert cells[3].outputs[-1].ename == "KernelDied"

    def test_of_the_executor(self, runs: Any) -> None:
        id = runs.submit("open('began', 'w').close()\nimport time\ntime.sleep(300)", FINISH)
        supervisor = runs.start(id)
        runs.wait_for_file(id, "began")
        os.kill(runs.process(supervisor, "execution.executor"), signal.SIGKILL)
        experiment = runs.end(supervisor, id)
        assert (experiment.state, experiment.error["kind"]) == ("failed", "kernel_died")
        assert "SIGKILL" in experiment.error["message"]
        assert experiment.error["cell"] == 2
        assert runs.statuses(id) == ["completed", "failed", "pending"]
        assert runs.events(id, "cell")[-1]["status"] == "failed"

    def test_of_the_supervisor(self, runs: Any) -> None:
        """Nobody is left to tidy up, except the kernel's parent-death signals, and then whoever comes next."""
        from dti_service.recovery import recover

        child = "import subprocess\nsubprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        sleep = "open('began', 'w').close()\nimport os, time\nos.path.exists('again') or time.sleep(300)"
        id = runs.submit(child + sleep, FINISH)
        supervisor = runs.start(id)
        runs.wait_for_file(id, "began")
        kernel = runs.process(supervisor, "ipykernel")
        supervisor.kill()
        supervisor.wait()
        runs.wait_for(
            lambda: not any(process.pid == kernel for process in runs.processes(id)), "the kernel's end"
        )
        runs.wait_for(lambda: not runs.store.alive(id), "the lock's release")
        assert len(runs.processes(id)) == 1  # the kernel's child
        assert runs.store.get(id).state == "running"

        assert recover(runs.store, runs.settings) == [id]
        assert runs.processes(id) == []
        assert runs.store.get(id).state == "queued"
        runs.file(id, "again").touch()
        experiment = runs.end(runs.start(id), id)
        assert (experiment.state, experiment.attempt, experiment.losses) == ("succeeded", 2, 1)
        assert "--- attempt 2 ---" in runs.log(id)


class TestClaims:
    def test_what_is_not_queued_or_not_there_is_left_alone(self, runs: Any) -> None:
        id = runs.submit(FINISH)
        lock = runs.store.lock(id)
        assert lock.acquire()
        held = runs.start(id)
        nowhere = runs.start("01234567-89ab-7def-8123-456789abcdef")
        assert held.wait(60) == 3
        assert nowhere.wait(60) == 3
        assert runs.store.get(id).state == "queued"
        lock.release()
        runs.store.request_cancel(id)
        assert runs.end(runs.start(id), id).state == "cancelled"
        runs.end(runs.start(id), id, code=3)
        assert runs.states(id) == ["queued", "cancelled"]
        assert not runs.file(id, "notebook.ipynb").exists()

    def test_leftovers_of_an_earlier_attempt_end_before_the_next_begins(self, runs: Any) -> None:
        import subprocess

        from dti_service.execution.processes import experiment_marks

        id = runs.submit(FINISH)
        marks = experiment_marks(id, runs.store.data_dir)
        leftover = subprocess.Popen(["sleep", "300"], env={**os.environ, **marks}, start_new_session=True)
        stale = runs.file(id, "results/metrics.json")
        stale.write_text('{"stale": 1}')
        experiment = runs.end(runs.start(id), id)
        assert leftover.wait(10) == -signal.SIGKILL
        assert experiment.metrics == {"k": 3}
