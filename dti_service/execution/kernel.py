"""One kernel process, spoken to over Unix sockets in a private folder, that dies with whoever started it.

`launch` needs nothing of Jupyter, so that the process starts while this one still imports; `connect` does the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import string
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from queue import Empty
from typing import Any

from dti_service.execution.processes import bound_to_parent, descendants, end_all, how_ended

NATIVE = "python3"  # this interpreter, whatever else may be installed under that name
OOM_SCORE = 500  # a kernel is a better choice than whoever watches it
POLL_S = 0.2
# What the kernel prints faster than its sockets are emptied waits there, too; by default a thousand messages do, and
# what comes on top of them is thrown away.
# A kernel of another version, which may have no such thread, still runs the notebook.
KEEP_OUTPUTS = """
import contextlib
with contextlib.suppress(Exception):
    import zmq
    from ipykernel.kernelapp import IPKernelApp
    thread = IPKernelApp.instance().iopub_thread
    thread.schedule(lambda: thread.socket.setsockopt(zmq.SNDHWM, 100_000))
"""


class KernelDied(RuntimeError):
    """The kernel's process ended; `returncode` as of subprocess, negative for a signal; `cell` that was running."""

    def __init__(self, returncode: int | None, cell: int | None = None) -> None:
        self.returncode = returncode
        self.cell = cell
        super().__init__(f"The kernel died ({how_ended(returncode)}).")


class UnknownKernel(ValueError):
    """No kernel of that name is installed here."""


class Kernel:
    """A kernel of the given kind. The event loop that `connect` runs in is the one to use it from."""

    def __init__(self, folder: Path, name: str = NATIVE) -> None:
        self.folder = folder
        self.name = name
        self.client: Any = None
        self.loop = asyncio.new_event_loop()
        self._process: subprocess.Popen[bytes] | None = None
        self._interrupt_by_message = False
        self._ipython = True

    def launch(self, *, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        """Start the process. Raises UnknownKernel, OSError."""
        environment = dict(os.environ if environment is None else environment)
        connection_file = self._write_connection_file()
        command = self._command(connection_file, environment)
        environment["JPY_PARENT_PID"] = str(os.getpid())
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt is for the kernel and its children alone
            preexec_fn=bound_to_parent(OOM_SCORE),
        )

    def _write_connection_file(self) -> Path:
        self._connection = {
            "transport": "ipc",
            "ip": str(self.folder / "k"),
            **{
                f"{channel}_port": port
                for port, channel in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)
            },
            "key": secrets.token_hex(32),
            "signature_scheme": "hmac-sha256",
            "kernel_name": self.name,
        }
        path = self.folder / "kernel.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(self._connection))
        return path

    def _command(self, connection_file: Path, environment: dict[str, str]) -> list[str]:
        history = "--HistoryManager.hist_file=:memory:"
        if self.name == NATIVE:
            return [sys.executable, "-m", "ipykernel_launcher", "-f", str(connection_file), history]
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

        try:
            spec = KernelSpecManager().get_kernel_spec(self.name)
        except NoSuchKernel:
            raise UnknownKernel(f"there is no kernel named {self.name}") from None
        self._interrupt_by_message = spec.interrupt_mode == "message"
        for name, value in spec.env.items():
            environment[name] = string.Template(value).safe_substitute(environment)
        places = {"connection_file": str(connection_file), "resource_dir": spec.resource_dir}
        command = [_fill(part, places) for part in spec.argv]
        self._ipython = any("ipykernel" in part for part in command)
        return [*command, history] if self._ipython else command

    async def connect(self, timeout_s: float = 60.0) -> None:
        """Wait until the kernel answers. Raises KernelDied, TimeoutError."""
        import zmq
        import zmq.asyncio
        from jupyter_client.asynchronous.client import AsyncKernelClient

        context = zmq.asyncio.Context()
        # What the kernel prints faster than we read waits here; by default it would be thrown away.
        context.setsockopt(zmq.RCVHWM, 0)
        context.setsockopt(zmq.RECONNECT_IVL, 20)
        self.client = AsyncKernelClient(context=context)
        self.client.load_connection_info(self._connection)
        self.client.is_alive = self._answer_alive
        self.client.start_channels(stdin=False, hb=False)
        end = time.monotonic() + timeout_s
        while not await self._answers():
            if not self.alive:
                raise KernelDied(self.returncode)
            if time.monotonic() > end:
                raise TimeoutError(f"the kernel {self.name} did not answer within {timeout_s:.0f} s")
        if self._ipython:
            await self.run_silently(f"exec({KEEP_OUTPUTS!r}, {{}})", timeout_s)

    async def _answers(self) -> bool:
        """Ask once. Outputs count too: the subscription to them may be later than the first answer."""
        request = self.client.kernel_info()
        for channel, wait_s in ((self.client.shell_channel, 1.0), (self.client.iopub_channel, 0.1)):
            end = time.monotonic() + wait_s
            while True:
                try:
                    message = await channel.get_msg(timeout=max(0.0, end - time.monotonic()))
                except Empty:
                    return False
                content = message["content"]
                mine = message["parent_header"].get("msg_id") == request
                if mine and content.get("execution_state") != "busy":
                    break
        return True

    async def run_silently(self, code: str, timeout_s: float) -> None:
        """Execute code that belongs to no cell. Raises RuntimeError with its error, KernelDied, TimeoutError."""
        request = self.client.execute(code, silent=True, store_history=False)
        end = time.monotonic() + timeout_s
        while True:
            try:
                reply = await self.client.shell_channel.get_msg(timeout=POLL_S)
            except Empty:
                if not self.alive:
                    raise KernelDied(self.returncode) from None
                if time.monotonic() > end:
                    raise TimeoutError("the kernel did not answer in time") from None
                continue
            if reply["parent_header"].get("msg_id") == request:
                content = reply["content"]
                if content["status"] != "ok":
                    raise RuntimeError(f"{content.get('ename')}: {content.get('evalue')}")
                return

    async def _answer_alive(self) -> bool:
        return self.alive

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        return None if self._process is None else self._process.poll()

    @property
    def closed(self) -> bool:
        return self.loop.is_closed()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def interrupt(self) -> None:
        """As the stop button does: KeyboardInterrupt in the kernel, SIGINT for its children."""
        if not self.alive or self._process is None:
            return
        if self._interrupt_by_message:
            message = self.client.session.msg("interrupt_request", content={})
            self.client.control_channel.send(message)
            return
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        """End the kernel and everything below it, now."""
        if self._process is None:
            return
        pid = self._process.pid
        # Before the kernel itself: afterwards nothing would tell that they are below it.
        end_all(lambda: descendants(pid), timeout_s=1.0)
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and let go of the sockets."""
        self.kill()
        if self.client is not None:
            self.client.stop_channels()
            self.client.context.destroy(linger=0)
            self.client = None
        self.loop.close()


def _fill(part: str, places: Mapping[str, str]) -> str:
    for name, value in places.items():
        part = part.replace(f"{{{name}}}", value)
    return part
