"""Thousands of requests made from the document, good ones and bad ones: none makes the server fail, and every answer
is as the document says.

    DTI_FUZZ_EXAMPLES=200 DTI_FUZZ_SEED=1 python -m pytest -s --timeout=0 tests/service/openapi/test_schemathesis.py

does the same at any size; without a seed the requests are always the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dti_service.handlers.openapi import DOCUMENT

# Whether a good request is accepted depends on what is on the disk, and unknown headers are nobody's business.
VERBS = {"get", "head", "post", "put", "patch", "delete"}
LEFT_OUT = "positive_data_acceptance,negative_data_rejection"


@pytest.mark.slow
def test_every_answer_is_as_described(tmp_path: Path, live_server_factory: Callable[..., Any]) -> None:
    (tmp_path / "server").mkdir()
    server = live_server_factory(tmp_path / "server", "--DTIServiceApp.run_experiments=False")
    server.start()
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        str(DOCUMENT),
        "--url",
        server.url.rstrip("/"),
    ]
    headers = ["-H", f"Authorization: token {server.token}", "-H", "Accept: application/json"]
    seed = os.environ.get("DTI_FUZZ_SEED")
    draw = ["--generation-deterministic"] if seed is None else [f"--seed={int(seed)}"]
    examples = int(os.environ.get("DTI_FUZZ_EXAMPLES", "5"))
    amount = [f"--max-examples={examples}", *draw, "--request-timeout=20", "--no-color"]
    outcome = subprocess.run(
        [*command, *headers, *amount, f"--exclude-checks={LEFT_OUT}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    server.stop()
    print(outcome.stdout)
    assert outcome.returncode == 0, outcome.stdout[-8000:] + outcome.stderr[-2000:]
    operations = [
        item for path in yaml.safe_load(DOCUMENT.read_text())["paths"].values() for item in VERBS & set(path)
    ]
    assert f"Tested: {len(operations)}" in outcome.stdout
    log = server.output()
    assert "Traceback" not in log, log[-8000:]
