"""Finding and ending processes, and processes that end with their parents."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dti_service.execution import processes
from dti_service.execution.private_dir import LONGEST_SOCKET_PATH, make_private_dir, private_dir
from dti_service.execution.processes import (
    Process,
    all_processes,
    descendants,
    end_all,
    experiment_marks,
    how_ended,
    iterate_with_environment,
    kill,
    sweep_experiment,
    with_environment,
)

linux = pytest.mark.skipif(not processes.LINUX, reason="uses what only Linux has")


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return value


def python(code: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **options)


class TestLooking:
    def test_this_process_and_its_children(self) -> None:
        own = all_processes()[os.getpid()]
        assert own.parent == os.getppid()
        child = subprocess.Popen(["sleep", "300"])
        try:
            assert child.pid in {process.pid for process in descendants(os.getpid())}
        finally:
            child.kill()
            child.wait()
        assert child.pid not in {process.pid for process in descendants(os.getpid())}

    @linux
    def test_a_name_with_parentheses_does_not_confuse(self, tmp_path: Path) -> None:
        program = tmp_path / "a) R 1 (b"
        program.symlink_to("/bin/sleep")
        child = subprocess.Popen([program, "300"])
        try:
            until(
                lambda: (
                    b"sleep" not in Path(f"/proc/{child.pid}/comm").read_bytes()
                    and child.pid in all_processes()
                )
            )
            assert all_processes()[child.pid].parent == os.getpid()
        finally:
            child.kill()
            child.wait()

    def test_by_environment_all_variables_count_and_the_own_line_is_spared(self) -> None:
        marks = {"DTI_TEST_A": "1", "DTI_TEST_B": "x y"}
        both = subprocess.Popen(["sleep", "300"], env={**os.environ, **marks})
        one = subprocess.Popen(["sleep", "300"], env={**os.environ, "DTI_TEST_A": "1"})
        code = (
            "from dti_service.execution.processes import *; print(len(with_environment({'DTI_TEST_A': '1'})))"
        )
        try:
            assert [process.pid for process in until(lambda: with_environment(marks))] == [both.pid]
            # A process does not find itself, nor what it was started by.
            nested = python(code, env={**os.environ, **marks})
            assert nested.communicate()[0].strip() == "2"
        finally:
            for child in (both, one):
                child.kill()
                child.wait()


class TestEnding:
    def test_a_number_that_was_given_to_another_process_is_spared(self) -> None:
        child = subprocess.Popen(["sleep", "300"])
        try:
            seen = until(lambda: all_processes().get(child.pid))
            kill([Process(seen.pid, seen.parent, seen.started - 1)])
            time.sleep(0.1)
            assert child.poll() is None
            kill([seen])
            assert child.wait(10) == -signal.SIGKILL
        finally:
            child.kill()
            child.wait()

    def test_a_process_that_starts_others_all_the_time(self) -> None:
        code = "import os, time\nprint(1, flush=True)\nwhile True:\n    if os.fork(): time.sleep(0.02); os._exit(0)"
        marks = {"DTI_TEST_FORKS": str(os.getpid())}
        child = python(code, env={**os.environ, **marks})
        assert child.stdout is not None
        child.stdout.readline()
        assert end_all(lambda: iterate_with_environment(marks)) == []
        child.wait()
        assert with_environment(marks) == []

    def test_sweep_leaves_other_experiments_and_our_children_to_be_waited_for(self, tmp_path: Path) -> None:
        ours = experiment_marks("a", tmp_path)
        others = (experiment_marks("b", tmp_path), experiment_marks("a", tmp_path / "elsewhere"))
        children = [
            subprocess.Popen(["sleep", "300"], env={**os.environ, **marks}) for marks in (ours, *others)
        ]
        try:
            until(lambda: len(with_environment(ours)) == 1)
            assert sweep_experiment("a", tmp_path) == 1
            # Whoever sweeps may be a server: the exit codes of its children are its own business.
            assert children[0].wait(10) == -signal.SIGKILL
            assert [child.poll() for child in children[1:]] == [None, None]
        finally:
            for child in children:
                child.kill()
                child.wait()

    def test_how_ended(self) -> None:
        assert how_ended(-9) == "killed by SIGKILL"
        assert how_ended(3) == "exit code 3"
        assert how_ended(-250) == "exit code -250"


@linux
class TestBoundToParent:
    starter = """
import subprocess, sys, time
from dti_service.execution.processes import bound_to_parent
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], preexec_fn=bound_to_parent(300))
print(child.pid, flush=True)
time.sleep(300)
"""

    def test_dies_with_its_parent_and_is_a_better_choice_without_memory(self) -> None:
        parent = python(self.starter)
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert int(Path(f"/proc/{child}/oom_score_adj").read_text()) == 300
        parent.kill()
        parent.wait()
        until(lambda: child not in all_processes() or all_processes()[child].zombie)

    def test_when_the_parent_is_dead_before_the_signal_is_set(self) -> None:
        """The child is held up between fork and exec until its parent has died."""
        code = """
import os, subprocess, sys, time
from dti_service.execution.processes import bound_to_parent
bound = bound_to_parent()
parent = os.getpid()
def slowly():
    while os.getppid() == parent:
        time.sleep(0.01)
    bound()
    os.write(1, b"survived")
print(os.getpid(), flush=True)
subprocess.Popen(["echo", "started"], preexec_fn=slowly)
"""
        parent = python(code)
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        until(lambda: descendants(pid))
        parent.kill()
        # The pipe ends when the last process that holds it has ended.
        assert parent.stdout.read() == ""
        parent.wait()


class TestPrivateDir:
    def test_is_private_short_and_gone_afterwards(self) -> None:
        with private_dir("some experiment") as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
            assert len(str(folder / "k-5")) < LONGEST_SOCKET_PATH
        assert not folder.exists()

    def test_what_an_earlier_run_left_is_replaced(self) -> None:
        first = make_private_dir("twice")
        (first / "socket").touch()
        with private_dir("twice") as second:
            assert second == first
            assert list(second.iterdir()) == []

    def test_a_folder_that_others_may_enter_is_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import tempfile

        monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
        open_to_all = tmp_path / f"dti-{os.getuid()}"
        open_to_all.mkdir(mode=0o777)
        open_to_all.chmod(0o777)
        with private_dir("x") as folder:
            assert open_to_all not in folder.parents


class TestMemory:
    def test_counters_of_the_system(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(processes, "_cgroup", lambda: tmp_path)
        monkeypatch.setattr(processes, "PROC", tmp_path)
        assert processes.oom_kills() == 0
        assert processes.available_memory() is None
        (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 4\n")
        assert processes.oom_kills() == 4
        (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
        assert processes.oom_kills() == 2
        (tmp_path / "meminfo").write_text("MemTotal: 4 kB\nMemAvailable: 2000 kB\n")
        assert processes.available_memory() == 2000 * 1024
        (tmp_path / "memory.max").write_text("1000000\n")
        (tmp_path / "memory.current").write_text("400000\n")
        assert processes.available_memory() == 600_000
