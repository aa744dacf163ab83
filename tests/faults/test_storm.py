"""A small storm of each kind; `storm.py` itself is the command for large ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).with_name("storm.py")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "rq"])
def test_no_rule_is_broken(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> None:
    if engine == "rq":
        request.getfixturevalue("redis_server")
    options = ["--experiments", "10", "--faults", "10", "--pause", "0.8", "--settle", "200", "--json"]
    command = [sys.executable, str(STORM), "--engine", engine, "--folder", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in tmp_path.glob("logs/*"))
    assert done.stdout, done.stderr + logs
    report = json.loads(done.stdout)
    assert report["violations"] == [], logs
    assert report["experiments"] == 10 == sum(report["states"].values())
    assert report["faults"] > 0
    assert report["settled"]
