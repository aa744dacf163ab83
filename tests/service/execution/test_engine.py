"""The papermill engine on its own: without a service, as `papermill --engine dti` uses it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from dti_service.execution.kernel import KernelDied

Write = Callable[..., Path]


def execute(source: Path, output: Path, **options: Any) -> Any:
    return papermill.execute_notebook(source, output, engine_name="dti", progress_bar=False, **options)


def statuses(path: Path) -> list[str]:
    notebook = nbformat.read(path, as_version=4)
    return [cell.metadata.papermill.status for cell in notebook.cells if cell.cell_type == "code"]


def children() -> set[int]:
    from dti_service.execution.processes import descendants

    return {process.pid for process in descendants(os.getpid())}


class TestEngine:
    def test_command_line(self, tmp_path: Path, make_notebook_file: Write) -> None:
        source = make_notebook_file(tmp_path / "in.ipynb", "print('value', x)", parameters="x: int = 1")
        command = [
            Path(sys.executable).parent / "papermill",
            "--engine",
            "dti",
            "in.ipynb",
            "out.ipynb",
            "-p",
            "x",
            "5",
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
        assert notebook.cells[-1].outputs[0].text == "value 5\n"
        assert notebook.metadata.papermill.parameters == {"x": 5}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ipynb", "out.ipynb"]
        assert source.exists()

    def test_an_error_is_raised_and_told_truly(self, tmp_path: Path, make_notebook_file: Write) -> None:
        source = make_notebook_file(tmp_path / "in.ipynb", "1 / 0", "print('never')")
        before = children()
        with pytest.raises(PapermillExecutionError, match="ZeroDivisionError") as caught:
            execute(source, tmp_path / "out.ipynb")
        assert caught.value.cell_index == 2
        assert statuses(tmp_path / "out.ipynb") == ["completed", "failed", "pending"]
        assert children() == before

    def test_a_dead_kernel(self, tmp_path: Path, make_notebook_file: Write) -> None:
        source = make_notebook_file(tmp_path / "in.ipynb", "import os\nos._exit(7)")
        with pytest.raises(KernelDied, match="exit code 7"):
            execute(source, tmp_path / "out.ipynb")
        assert statuses(tmp_path / "out.ipynb") == ["completed", "failed"]

    def test_a_cell_that_takes_too_long(self, tmp_path: Path, make_notebook_file: Write) -> None:
        from nbclient.exceptions import CellTimeoutError

        source = make_notebook_file(tmp_path / "in.ipynb", "import time\ntime.sleep(300)")
        before = children()
        with pytest.raises(CellTimeoutError):
            execute(source, tmp_path / "out.ipynb", execution_timeout=1)
        assert statuses(tmp_path / "out.ipynb") == ["completed", "failed"]
        assert children() == before

    def test_inside_a_running_event_loop(self, tmp_path: Path, make_notebook_file: Write) -> None:
        """As when a notebook executes another."""
        source = make_notebook_file(tmp_path / "in.ipynb", "print(x)")

        async def run() -> Any:
            return execute(source, tmp_path / "out.ipynb", parameters={"x": 8})

        assert asyncio.run(run()).cells[-1].outputs[0].text == "8\n"

    def test_without_output_file(self, tmp_path: Path, make_notebook_file: Write) -> None:
        source = make_notebook_file(tmp_path / "in.ipynb", "print(x)")
        assert execute(source, None).cells[-1].outputs[0].text == "1\n"

    def test_an_interrupt_from_the_keyboard(self, tmp_path: Path, make_notebook_file: Write) -> None:
        source = make_notebook_file(
            tmp_path / "in.ipynb", "open('began', 'w').close()\nimport time\ntime.sleep(300)", "1"
        )
        command = [Path(sys.executable).parent / "papermill", "--engine", "dti", source, "out.ipynb"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + 60
        while not (tmp_path / "began").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
        assert statuses(tmp_path / "out.ipynb") == ["completed", "cancelled", "pending"]


class TestFile:
    def test_a_reader_never_sees_a_part(self, tmp_path: Path, make_notebook_file: Write) -> None:
        big = "from IPython.display import HTML\nHTML('x' * 3_000_000)"
        source = make_notebook_file(tmp_path / "in.ipynb", big, *["print('a small one')"] * 12)
        output = tmp_path / "out.ipynb"
        done = threading.Event()
        read: list[int] = []
        torn: list[str] = []

        def reader() -> None:
            while not done.is_set():
                try:
                    read.append(len(json.loads(output.read_bytes())["cells"]))
                except FileNotFoundError:
                    pass
                except ValueError as error:
                    torn.append(str(error))
                time.sleep(0.002)

        thread = threading.Thread(target=reader)
        thread.start()
        try:
            execute(source, output, parameters={"x": 2})
        finally:
            done.set()
            thread.join()
        assert torn == []
        assert set(read) == {16}
        assert len(read) > 10

    def test_a_long_cell_is_seen_while_it_runs(self, tmp_path: Path, make_notebook_file: Write) -> None:
        """The cell waits until its own output has reached the file."""
        code = f"""
import time
print("so far")
while "so far\\\\n" not in open({str(tmp_path / "out.ipynb")!r}).read():
    time.sleep(0.05)
"""
        execute(make_notebook_file(tmp_path / "in.ipynb", code), tmp_path / "out.ipynb", execution_timeout=60)
        assert statuses(tmp_path / "out.ipynb") == ["completed", "completed"]


class TestFloods:
    def test_many_small_prints_and_one_big_output(self, tmp_path: Path, make_notebook_file: Write) -> None:
        prints = "for i in range(10_000): print('line', i, flush=True)\nprint('the end of it')"
        bulk = "import sys\nfor i in range(400_000): sys.stdout.write('number %d\\n' % i)"
        big = "from IPython.display import HTML\nHTML('x' * 20_000_000)"
        source = make_notebook_file(tmp_path / "in.ipynb", prints, bulk, big, "print('after')")
        notebook = execute(source, tmp_path / "out.ipynb")
        assert set(statuses(tmp_path / "out.ipynb")) == {"completed"}
        few, bulky, html, after = (cell.outputs for cell in notebook.cells[2:])
        assert few[0].text == "".join(f"line {i}\n" for i in range(10_000)) + "the end of it\n"
        text = "".join(output.text for output in bulky)
        assert text.startswith("number 0\n")
        assert text.endswith("number 399999\n")
        assert "characters are left out here" in text
        assert len(text) < 1_300_000
        assert len(html[0].data["text/html"]) == 20_000_000
        assert after[0].text == "after\n"

    def test_much_output_may_wait_in_the_kernel(self, tmp_path: Path, make_notebook_file: Write) -> None:
        """More than the thousand messages after which outputs are thrown away, as only a busy machine shows."""
        code = """
import zmq
from ipykernel.kernelapp import IPKernelApp
print(IPKernelApp.instance().iopub_thread.socket.getsockopt(zmq.SNDHWM))
"""
        notebook = execute(make_notebook_file(tmp_path / "in.ipynb", code), tmp_path / "out.ipynb")
        assert int(notebook.cells[-1].outputs[0].text) >= 100_000

    def test_displays_that_are_cleared_and_updated(self, tmp_path: Path, make_notebook_file: Write) -> None:
        code = """
from IPython.display import clear_output, display
handle = display("one", display_id=True)
for i in range(5):
    print("step", i)
    clear_output(wait=True)
handle.update("gone by now")
print("bar 10%\\rbar 20%\\rbar 100%")
shown = display("two", display_id=True)
shown.update("three")
"""
        notebook = execute(make_notebook_file(tmp_path / "in.ipynb", code), tmp_path / "out.ipynb")
        outputs = notebook.cells[-1].outputs
        assert [output.get("text") or output.data["text/plain"] for output in outputs] == [
            "bar 100%\n",
            "'three'",
        ]
