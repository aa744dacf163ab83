"""The parts of a run that need no process: its log, its outputs, its end in words."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode

from dti_service.events import EventLog
from dti_service.execution import cell_outputs, run_log
from dti_service.execution.cell_outputs import CellOutputs, collapse
from dti_service.execution.failures import LONGEST_MESSAGE, cell_error, internal_error, kernel_death, one_line
from dti_service.execution.job import Job, clean_environment, device_variables
from dti_service.execution.notebook_seal import seal_notebook
from dti_service.execution.outcome import Conclusion, Ending, conclude, duration, plain_metrics
from dti_service.execution.run_log import RunLog
from dti_sprites.waiting import ROUNDS, VARIABLE


class Logged:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.txt"
        self.events = EventLog(folder / "events.jsonl")
        self.log = RunLog(self.path, self.events)

    def texts(self) -> list[tuple[str, str]]:
        return [(event["stream"], event["text"]) for _, event in self.events.read()[0]]


@pytest.fixture
def logged(tmp_path: Path) -> Logged:
    return Logged(tmp_path)


class TestRunLog:
    def test_lines_in_any_pieces_and_streams_apart(self, logged: Logged) -> None:
        for stream, text in [("stdout", "a"), ("stderr", "x\n"), ("stdout", "b\nc\n"), ("stdout", "rest")]:
            logged.log.write(stream, text)
        logged.log.tick()
        assert logged.path.read_text() == "x\nab\nc\n"
        assert logged.texts() == [("stderr", "x"), ("stdout", "ab\nc")]
        logged.log.close()
        assert logged.path.read_text() == "x\nab\nc\nrest\n"

    def test_a_progress_bar_is_one_line(self, logged: Logged) -> None:
        logged.log.write("stderr", "epoch 1")
        for percent in range(101):
            logged.log.write("stderr", f"\r{percent}%")
        logged.log.write("stderr", "\nwindows\r\nnext\n")
        logged.log.close()
        assert logged.path.read_text() == "100%\nwindows\nnext\n"

    def test_a_progress_bar_is_shown_now_and_then(
        self, logged: Logged, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_log, "UNFINISHED_S", 0.0)
        logged.log.write("stderr", "\r40%")
        logged.log.write("stdout", "a line that is not finished")
        logged.log.tick()
        assert logged.texts() == [("stderr", "40%")]
        logged.log.close()

    def test_long_lines_are_cut(self, logged: Logged) -> None:
        logged.log.write("stdout", "x" * 50_000 + "\nnext\n")
        logged.log.close()
        first, last = logged.path.read_text().splitlines()
        assert len(first) < run_log.LONGEST_LINE + 20
        assert last == "next"
        assert len(logged.texts()[0][1]) < run_log.LONGEST_EVENT_LINE + 20

    def test_a_line_without_end_does_not_gather_in_memory(self, logged: Logged) -> None:
        for _ in range(100):
            logged.log.write("stdout", "x" * 1000)
        logged.log.close()
        assert len(logged.path.read_text().replace("\n", "")) == 100_000

    def test_a_flood_is_in_the_file_but_not_in_the_events(self, logged: Logged) -> None:
        for number in range(20_000):
            logged.log.write("stdout", f"this is line {number}\n")
            if number % 100 == 0:
                logged.log.tick()
        logged.log.close()
        assert len(logged.path.read_text().splitlines()) == 20_000
        shown = sum(len(text) for _, text in logged.texts())
        assert shown < 4 * run_log.EVENT_BURST
        stream, note = logged.texts()[-1]
        left_out = int(note.split()[0].lstrip("["))
        lines = sum(len(text.splitlines()) for stream, text in logged.texts() if stream == "stdout")
        assert stream == "log"
        assert left_out + lines == 20_000

    def test_the_file_is_limited(self, logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run_log, "LARGEST_LOG", 1000)
        for _ in range(100):
            logged.log.write("stdout", "x" * 99 + "\n")
        logged.log.close()
        assert logged.path.read_text().endswith("what follows is left out]\n")
        assert logged.path.stat().st_size < 1200

    @given(st.text("ab\r\n", max_size=60), st.lists(st.integers(0, 60), max_size=5))
    @settings(max_examples=60, deadline=None)
    def test_pieces_do_not_matter(
        self, tmp_path_factory: pytest.TempPathFactory, text: str, cuts: list[int]
    ) -> None:
        contents = []
        edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
        for pieces in ([text], [text[start:end] for start, end in itertools.pairwise(edges)]):
            logged = Logged(tmp_path_factory.mktemp("log"))
            for piece in pieces:
                logged.log.write("stdout", piece)
            logged.log.close()
            contents.append(logged.path.read_text())
        assert contents[0] == contents[1]


class TestCellOutputs:
    def test_streams_are_joined_but_displays_keep_their_place(self) -> None:
        outputs: list[Any] = []
        cell = CellOutputs(outputs)
        cell.print("stdout", "a")
        cell.print("stdout", "b\n")
        outputs.append(NotebookNode(output_type="display_data", data={"text/plain": "d"}, metadata={}))
        cell.displayed(outputs[-1])
        cell.print("stdout", "c")
        cell.print("stderr", "e")
        cell.render()
        assert [output.get("text", "display") for output in outputs] == ["ab\n", "display", "c", "e"]

    def test_text_is_bounded_with_its_beginning_and_its_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cell_outputs, "MOST_TEXT", 100)
        monkeypatch.setattr(cell_outputs, "LAST_TEXT", 50)
        outputs: list[Any] = []
        cell = CellOutputs(outputs)
        for number in range(1000):
            cell.print("stdout", f"{number:04d} ")
            cell.render()
        text = "".join(output["text"] for output in outputs)
        assert text.startswith("0000 0001")
        assert text.endswith("0998 0999 ")
        assert "characters are left out here" in text
        assert len(text) < 250

    def test_one_message_of_more_than_there_is_room_for_is_bounded_too(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cell_outputs, "MOST_TEXT", 100)
        monkeypatch.setattr(cell_outputs, "LAST_TEXT", 50)
        outputs: list[Any] = []
        cell = CellOutputs(outputs)
        cell.print("stdout", "a" * 90)
        cell.print("stdout", "b" * 1000)
        cell.print("stdout", "the end")
        cell.render()
        text = "".join(output["text"] for output in outputs)
        assert text.startswith("a" * 90 + "b" * 10)
        assert text.endswith("b" * 43 + "the end")
        assert "[... 947 characters are left out here ...]" in text

    def test_displays_are_bounded_in_size_and_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cell_outputs, "MOST_RICH", 1000)
        monkeypatch.setattr(cell_outputs, "MOST_OUTPUTS", 5)
        outputs: list[Any] = []
        cell = CellOutputs(outputs)
        for size in (600, 600, 10, 10, 10, 10, 10, 10):
            outputs.append(
                NotebookNode(output_type="display_data", data={"text/html": "x" * size}, metadata={})
            )
            cell.displayed(outputs[-1])
        assert len(outputs) == 6
        assert "left out" in outputs[1].data["text/plain"]
        assert "text/html" not in outputs[1].data

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("10%\r20%\n", "20%\n"),
            ("a\r\nb", "a\r\nb"),
            ("x\ny\rz", "x\nz"),
            ("\r1\r2", "2"),
            ("end\r", "end\r"),
        ],
    )
    def test_collapse(self, text: str, shown: str) -> None:
        assert collapse(text) == shown


class TestFailures:
    @pytest.mark.parametrize(
        ("ename", "evalue", "kind"),
        [
            ("ConfigError", "model.kind: unknown", "bad_input"),
            ("OutOfMemoryError", "CUDA out of memory. Tried to allocate", "out_of_memory"),
            (
                "RuntimeError",
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried",
                "out_of_memory",
            ),
            ("ValueError", "x", "user_error"),
        ],
    )
    def test_kinds(self, ename: str, evalue: str, kind: str) -> None:
        assert cell_error(ename, evalue, 3)["kind"] == kind

    def test_messages_are_one_short_line(self) -> None:
        error = cell_error("ValueError", "\x1b[31mred\x1b[0m\n  second " + "x" * 5000, 1)
        assert error["message"].startswith("ValueError: red second xxx")
        assert len(error["message"]) == LONGEST_MESSAGE
        assert one_line("a\n\tb ") == "a b"
        assert cell_error("KeyboardInterrupt", "", 1)["message"] == "KeyboardInterrupt"

    @pytest.mark.parametrize(
        ("ename", "evalue", "message"),
        [
            (
                "DataError",
                "2 images are too few for 5 prototypes: set model.n_prototypes to at most 2, or add images",
                "2 images are too few for 5 prototypes: set n_prototypes to at most 2, or add images",
            ),
            (
                "DataError",
                "1 of 3 cannot be read (data.unreadable=skip)",
                "1 of 3 cannot be read (unreadable=skip)",
            ),
            ("DataError", "no images in /data/a.n_prototypes", "dataset: no images in /data/a.n_prototypes"),
            ("FetchError", "example.org does not answer", "dataset: example.org does not answer"),
            ("ConfigError", "model.other: must be 1", "model.other: must be 1"),
            ("ConfigError", "lr: must be positive", "lr: must be positive"),
        ],
    )
    def test_bad_input_is_told_by_the_parameter(self, ename: str, evalue: str, message: str) -> None:
        declared = {"dataset", "n_prototypes", "unreadable", "lr"}
        assert cell_error(ename, evalue, 3, declared) == {"kind": "bad_input", "message": message, "cell": 3}

    def test_lack_of_memory_is_told_from_other_deaths(self) -> None:
        assert kernel_death("killed by SIGKILL", 2, for_memory=True)["kind"] == "out_of_memory"
        assert kernel_death("killed by SIGSEGV", 2, for_memory=False) == {
            "kind": "kernel_died",
            "message": "The notebook's kernel died (killed by SIGSEGV).",
            "cell": 2,
        }

    def test_a_full_disk_has_a_remedy(self) -> None:
        import errno

        assert "disk is full" in internal_error(OSError(errno.ENOSPC, "no space"))["message"]


class TestOutcome:
    report: ClassVar = {"outcome": "ok", "error": None}

    def test_what_was_asked_for_decides_first(self) -> None:
        metrics = {"k": 1}
        assert conclude(Ending(self.report, reason="cancel", metrics=metrics)) == Conclusion(
            "cancelled", None, metrics
        )
        assert conclude(Ending(self.report, reason="stop")).state == "queued"
        limited = conclude(Ending(None, reason="time_limit", time_limit_s=7200, cell=4))
        assert limited.error is not None
        assert (limited.error["kind"], limited.error["cell"]) == ("time_limit", 4)
        assert "2 h" in limited.error["message"]

    def test_reports(self) -> None:
        error = {"kind": "user_error", "message": "m", "cell": 1}
        assert conclude(Ending(self.report, metrics={"k": 1})) == Conclusion("succeeded", None, {"k": 1})
        assert conclude(Ending(self.report)).state == "failed"
        assert conclude(Ending({"outcome": "error", "error": error})) == Conclusion("failed", error, {})

    @pytest.mark.parametrize(
        ("ending", "kind"),
        [
            (Ending(None, how="killed by SIGKILL", for_memory=True), "out_of_memory"),
            (Ending(None, how="killed by SIGKILL"), "kernel_died"),
            (Ending({"outcome": "interrupted", "error": None}), "kernel_died"),
            (Ending({}, how="exit code 1"), "kernel_died"),
        ],
    )
    def test_without_a_word_of_the_end(self, ending: Ending, kind: str) -> None:
        conclusion = conclude(ending)
        assert conclusion.state == "failed"
        assert conclusion.error is not None
        assert conclusion.error["kind"] == kind

    def test_metrics_fit_into_a_record(self) -> None:
        metrics = plain_metrics({"a": float("inf"), "b": [1.0, float("nan")], "c": {"d": 1}, "e": [0] * 5000})
        assert metrics == {"a": None, "b": [1.0, None], "c": {"d": 1}}
        json.dumps(metrics, allow_nan=False)

    @pytest.mark.parametrize(
        ("seconds", "text"), [(86400, "24 h"), (90, "90 s"), (900, "15 min"), (1.5, "1.5 s")]
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text


class TestJob:
    @pytest.mark.parametrize(
        ("device", "visible", "expected"),
        [
            ("cpu", "", {"DTI_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}),
            ("cuda:1", "", {"DTI_DEVICE": "cuda:0", "CUDA_VISIBLE_DEVICES": "1"}),
            ("cuda:1", "2,GPU-abc", {"DTI_DEVICE": "cuda:0", "CUDA_VISIBLE_DEVICES": "GPU-abc"}),
            ("cuda", "3", {"DTI_DEVICE": "cuda:0", "CUDA_VISIBLE_DEVICES": "3"}),
        ],
    )
    def test_a_run_sees_its_own_device_alone(
        self, device: str, visible: str, expected: dict[str, str]
    ) -> None:
        assert device_variables(device, {"CUDA_VISIBLE_DEVICES": visible}) == expected

    def test_secrets_and_what_belongs_to_others_are_left_out(self) -> None:
        kept = {"PATH": "/bin", "JUPYTER_PATH": "/x", "DTI_ALLOW_HOSTS": "a"}
        dropped = dict.fromkeys(
            (
                "DTI_REDIS_URL",
                "JUPYTER_TOKEN",
                "JUPYTERHUB_API_TOKEN",
                "JPY_PARENT_PID",
                "DTI_EXPERIMENT_DIR",
            ),
            "1",
        )
        assert clean_environment({**kept, **dropped}) == {**kept, VARIABLE: ROUNDS}

    def test_a_line_and_back(self, tmp_path: Path) -> None:
        job = Job(
            str(tmp_path), {"A": "b\nc"}, str(tmp_path / "n.ipynb"), {"x": [1, None, "é\n"]}, "sample", 2.5
        )
        assert job.to_line().count(b"\n") == 1
        assert Job.from_line(job.to_line()) == job
        assert job.notebook_folder == str(tmp_path)
        assert Job(str(tmp_path), {}, "registered_name").notebook_folder is None


class TestSeal:
    def write(self, path: Path, *statuses: str) -> None:
        cells = []
        for status in statuses:
            cell = nbformat.v4.new_code_cell(f"# {status}\nx")
            cell.metadata["papermill"] = {"status": status, "exception": False}
            cells.append(cell)
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)

    def test_only_what_ran_is_changed(self, tmp_path: Path) -> None:
        path = tmp_path / "n.ipynb"
        self.write(path, "completed", "running", "pending")
        assert seal_notebook(path, "failed") == [(1, 3, "# running")]
        notebook = nbformat.read(path, as_version=4)
        assert [cell.metadata.papermill.status for cell in notebook.cells] == [
            "completed",
            "failed",
            "pending",
        ]
        assert notebook.cells[1].metadata.papermill.exception is True
        state = os.stat(path)
        assert seal_notebook(path, "failed") == []
        assert os.stat(path).st_ino == state.st_ino

    @pytest.mark.parametrize("content", [None, "", "[]", '{"cells": [1]}', '{"cells": [{"metadata": []}]}'])
    def test_what_is_no_notebook_is_left_alone(self, tmp_path: Path, content: str | None) -> None:
        path = tmp_path / "n.ipynb"
        if content is not None:
            path.write_text(content)
        assert seal_notebook(path, "failed") == []
