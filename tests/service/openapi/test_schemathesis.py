"""Thousands of requests made from the document, good ones and bad ones: none makes the server fail, and every answer
is as the document says.

    DTI_FUZZ_EXAMPLES=200 DTI_FUZZ_SEED=1 python -m pytest -s tests/service/openapi/test_schemathesis.py

does the same at any size; without a seed the requests are always the same.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image

from dti_service.handlers.openapi import DOCUMENT

SECONDS = 0 if "DTI_FUZZ_EXAMPLES" in os.environ else 900  # 0: as long as it takes
# Whether a good request is accepted depends on what is on the disk, and unknown headers are nobody's business.
VERBS = {"get", "head", "post", "put", "patch", "delete"}
LEFT_OUT = "positive_data_acceptance,negative_data_rejection"

# Most requests must reach something that is there: a finished experiment and a dataset. What would delete them meets
# ids that are made up. The token comes from outside; a made-up one beside it would turn every request away.
CONFIG = """
generation.with-security-parameters = false

[[operations]]
include-path-regex = "^/dti/api/experiments/.id./"
exclude-path = "/dti/api/experiments/{{id}}/notebook"
parameters = {{ "path.id" = "{experiment}" }}

# A part of a JSON file is no JSON.
[[operations]]
include-path = "/dti/api/experiments/{{id}}/notebook"
parameters = {{ "path.id" = "{experiment}", "header.Range" = "bytes=0-" }}

[[operations]]
include-path-regex = "^/dti/api/datasets/.id./"
parameters = {{ "path.id" = "{dataset}" }}
"""


def upload(server: Any) -> str:
    """The id of a dataset of three images."""
    files = []
    for number in range(3):
        picture = io.BytesIO()
        Image.new("RGB", (16, 16), (80 * number, 10, 10)).save(picture, "PNG")
        files.append(("files", (f"{number}.png", picture.getvalue(), "image/png")))
    headers = {"Authorization": f"token {server.token}"}
    answer = httpx.post(f"{server.url}dti/api/datasets", files=files, headers=headers, timeout=60)
    return str(answer.raise_for_status().json()["id"])


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_every_answer_is_as_described(
    tmp_path: Path, live_server_factory: Callable[..., Any], tiny_results: Path
) -> None:
    server = live_server_factory(tmp_path / "server", "--DTIServiceApp.run_experiments=False")
    shutil.copytree(tiny_results / "experiments", server.data_dir / "experiments")
    [*_, experiment] = sorted(path.name for path in (server.data_dir / "experiments").iterdir())
    server.start()
    config = CONFIG.format(experiment=experiment, dataset=upload(server))
    (tmp_path / "schemathesis.toml").write_text(config)
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
    amount = [f"--max-examples={examples}", *draw, "--request-timeout=60", "--no-color"]
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
