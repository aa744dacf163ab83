"""Process trees that die together: parent-death signals, orphans, and finding and ending what is left.

Linux does all of it. On other systems nothing here fails: there the tree is found through psutil, and what only Linux
can do (a signal at the parent's death, taking in orphans) is left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LINUX = sys.platform.startswith("linux")
PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
PROC = Path("/proc")
MAX_LISTINGS = 50  # on a machine that starts processes all the time, looking must end

STANDBY_MARK = "DTI_STANDBY"  # in the environment of what was started before it had an experiment

# Loaded here, so that nothing is imported between fork and exec.
_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


@dataclass(frozen=True)
class Process:
    """A process as it was when looked at; its start time tells it from a later one of the same number."""

    pid: int
    parent: int
    started: int  # clock ticks since boot
    zombie: bool = False


def bound_to_parent(oom_score: int = 0) -> Callable[[], None]:
    """What a new process does before its program starts, as `preexec_fn`: it is killed when this process dies.

    `oom_score` (0 to 1000) makes it and its children a better choice when the system runs out of memory. The signal
    is tied to the thread that starts the process: that thread must live as long.
    """
    parent = os.getpid()

    def before_exec() -> None:
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it died before the call above
                os.kill(os.getpid(), signal.SIGKILL)
            if oom_score:
                with contextlib.suppress(OSError):
                    handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
                    os.write(handle, b"%d" % oom_score)
                    os.close(handle)

    return before_exec


def take_in_orphans() -> bool:
    """Descendants whose parents die become children of this process, however they detached themselves."""
    return _libc is not None and _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def reap(keep: int | None = None) -> None:
    """Collect ended children, except `keep`, whose exit code somebody else asks for."""
    while hasattr(os, "waitid"):
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid == keep:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(ended.si_pid, os.WNOHANG)


def how_ended(returncode: int | None) -> str:
    """ "killed by SIGKILL" or "exit code 1"."""
    if returncode is not None and returncode < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"


# Looking


def all_processes() -> dict[int, Process]:
    """Every process that can be seen, by number."""
    return {pid: process for pid in _numbers() if (process := _look(pid)) is not None}


def _look(pid: int) -> Process | None:
    if not LINUX:
        return _look_with_psutil(pid)
    try:
        text = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name, in parentheses, may hold anything, also parentheses.
    fields = text[text.rindex(b")") + 2 :].split()
    return Process(pid, int(fields[1]), int(fields[19]), fields[0] in (b"Z", b"X"))


def _look_with_psutil(pid: int) -> Process | None:
    import psutil

    try:
        item = psutil.Process(pid)
        zombie = item.status() == psutil.STATUS_ZOMBIE
        return Process(pid, item.ppid() or 0, int(item.create_time() * 100), zombie)
    except psutil.Error:
        return None


def descendants(pid: int) -> list[Process]:
    """Living processes below `pid`, nearest first."""
    table = all_processes()
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found, level = [], [pid]
    while level:
        below = [child for parent in level for child in children.get(parent, ())]
        found += below
        level = [child.pid for child in below]
    return [process for process in found if not process.zombie]


def with_environment(variables: Mapping[str, str]) -> list[Process]:
    """Living processes of this user that were started with all these variables; not this one nor its ancestors."""
    return list(iterate_with_environment(variables))


def iterate_with_environment(variables: Mapping[str, str]) -> Iterator[Process]:
    """As `with_environment`, each as soon as it is found.

    A process that starts its successor and ends, again and again, is not missed: what started while we looked is
    looked at too, until there is nothing new.
    """
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    passed = _own_line()
    for _ in range(MAX_LISTINGS):
        fresh = sorted(_numbers() - passed)
        if not fresh:
            return
        passed.update(fresh)
        for pid in fresh:
            if wanted <= _environment(pid):
                process = _look(pid)
                if process is not None and not process.zombie:
                    yield process


def _own_line() -> set[int]:
    """This process and its ancestors."""
    line: set[int] = set()
    pid = os.getpid()
    while pid not in line and (process := _look(pid)) is not None:
        line.add(pid)
        pid = process.parent
    return line


def _numbers() -> set[int]:
    """The numbers of all processes."""
    if LINUX:
        return {int(name) for name in os.listdir(PROC) if name.isdecimal()}
    import psutil

    return set(psutil.pids())


def _environment(pid: int) -> set[bytes]:
    if not LINUX:
        return _environment_with_psutil(pid)
    folder = PROC / str(pid)
    try:
        if folder.stat().st_uid != os.getuid():
            return set()
        return set((folder / "environ").read_bytes().split(b"\0"))
    except OSError:
        return set()


def _environment_with_psutil(pid: int) -> set[bytes]:
    import psutil

    try:
        return {f"{name}={value}".encode() for name, value in psutil.Process(pid).environ().items()}
    except (psutil.Error, OSError):
        return set()


# Ending


def kill(processes: Iterable[Process]) -> list[Process]:
    """SIGKILL each as it comes, and return them; a number that belongs to another process by now is spared."""
    meant = []
    for process in processes:
        meant.append(process)
        try:
            handle = os.pidfd_open(process.pid) if LINUX else -1
        except OSError:
            continue
        try:
            # The handle holds on to whatever has this number now: check that it is the one that was meant.
            now = _look(process.pid) if LINUX else process
            if now is None or now.started != process.started:
                continue
            with contextlib.suppress(OSError):
                if LINUX:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                else:
                    os.kill(process.pid, signal.SIGKILL)
        finally:
            if handle >= 0:
                os.close(handle)
    return meant


def end_all(
    find: Callable[[], Iterable[Process]],
    *,
    after_round: Callable[[], None] | None = None,
    timeout_s: float = 5.0,
) -> list[Process]:
    """Kill what `find` finds until it finds nothing, as processes may start others meanwhile.

    `after_round` is called after each round, for a parent that collects its ended children. Returns what is still
    there after `timeout_s`: only processes that the system itself holds up.
    """
    end = time.monotonic() + timeout_s
    while remaining := kill(find()):
        if after_round is not None:
            after_round()
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    return remaining


def experiment_marks(id: str, data_dir: Path) -> dict[str, str]:
    """The environment by which the processes of an experiment are known."""
    return {"DTI_EXPERIMENT_ID": id, "DTI_DATA_DIR": str(data_dir)}


def sweep_experiment(id: str, data_dir: Path) -> int:
    """End every process that belongs to an experiment, whoever started it; returns how many there were.

    Call it only while holding the experiment's lock.
    """
    marks = [experiment_marks(id, data_dir), *_standby_marks(data_dir / "experiments" / id / "runner.json")]
    seen: set[Process] = set()

    def find() -> Iterator[Process]:
        for wanted in marks:
            for process in iterate_with_environment(wanted):
                seen.add(process)
                yield process

    end_all(find)
    return len(seen)


def _standby_marks(runner: Path) -> list[dict[str, str]]:
    """The mark of an executor that stood by before it got this experiment."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        mark = json.loads(runner.read_bytes()).get("standby")
        if isinstance(mark, str) and mark:
            return [{STANDBY_MARK: mark}]
    return []


# Memory


def oom_kills() -> int:
    """How many processes the system has killed for lack of memory, in this control group or, without one, at all."""
    for path in (_cgroup() / "memory.events", PROC / "vmstat"):
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, value = line.split()
                if name == "oom_kill":
                    return int(value)
    return 0


def _cgroup() -> Path:
    root = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError):
        for line in (PROC / "self" / "cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return root / line[3:].lstrip("/")
    return root


def available_memory() -> int | None:
    """Bytes that new processes may use before the system swaps or kills; None where that is not known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (PROC / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
                return min(free, _cgroup_room())
    return None


def _cgroup_room() -> int:
    folder = _cgroup()
    with contextlib.suppress(OSError, ValueError):
        limit = (folder / "memory.max").read_text().strip()
        if limit != "max":
            return max(0, int(limit) - int((folder / "memory.current").read_text()))
    return sys.maxsize
