"""Who is at work on a data directory, told by locks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from dti_service import __version__
from dti_service.presence import FOLDER, announced, main, present


def test_a_process_is_present_for_as_long_as_it_says(tmp_path: Path) -> None:
    with announced(tmp_path, "server", url="http://localhost:8888/"):
        (found,) = present(tmp_path)
        assert (found.kind, found.pid, found.version) == ("server", os.getpid(), __version__)
        assert found.url == "http://localhost:8888/"
    assert present(tmp_path) == []
    assert not list((tmp_path / FOLDER).iterdir())


def test_what_a_killed_process_left_is_not_present_and_goes(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from dti_service.presence import announced\n"
        "with announced(Path(sys.argv[1]), 'worker', devices='cpu'): print('there', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [item.devices for item in present(tmp_path)] == ["cpu"]
        process.kill()
    assert len(list((tmp_path / FOLDER).iterdir())) == 1
    assert present(tmp_path) == []
    assert not list((tmp_path / FOLDER).iterdir())


def test_a_later_version_may_tell_more(tmp_path: Path) -> None:
    with announced(tmp_path, "worker"):
        (path,) = (tmp_path / FOLDER).iterdir()
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": "9.0", "mood": "good"}))
        assert [item.version for item in present(tmp_path)] == ["9.0"]


def test_a_folder_that_cannot_be_written_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("not a folder")
    with announced(tmp_path, "worker"):
        assert present(tmp_path) == []


def test_the_health_check_of_a_worker(tmp_path: Path, monkeypatch: object) -> None:
    monkeypatch.setenv("DTI_DATA_DIR", str(tmp_path))  # type: ignore[attr-defined]
    assert main(["worker"]) == 1
    with announced(tmp_path, "worker"):
        assert main(["worker"]) == 0
        assert main(["server"]) == 1
