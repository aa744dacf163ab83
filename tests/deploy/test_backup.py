"""A backup of a server at work, restored elsewhere while the first goes on: nothing is missing, and all of it ends."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import urllib.request
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

TOOL = Path(__file__).parents[2] / "tools" / "backup.py"

pytestmark = pytest.mark.slow


def backup(*arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, str(TOOL), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def upload(server: Any) -> str:
    """A dataset of three images; its id."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(3):
            picture = io.BytesIO()
            Image.new("L", (9, 9), 80 * number).save(picture, "PNG")
            file.writestr(f"{number}.png", picture.getvalue())
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.zip"\r\n\r\n'
    body = head.encode() + archive.getvalue() + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(f"{server.url}/dti/api/datasets", body, method="POST")
    request.add_header("Authorization", f"token {server.token}")
    request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status in (201, 202)
        return str(answer.headers["Location"]).rsplit("/", 1)[-1]


def test_restored_elsewhere_nothing_is_missing(
    serve: Callable[..., Any], own: Callable[[str], Path], installed: Any
) -> None:
    first = serve()
    dataset = upload(first)

    def submit(steps: int, pause: float) -> str:
        body = {"notebook": "tiny", "parameters": {"steps": steps, "pause": pause}}
        return str(first.call("POST", "/dti/api/experiments", body)["id"])

    done = submit(2, 0.0)
    first.finished(done)
    running = submit(60, 0.05)
    waiting = [submit(1, 0.0), submit(2, 0.0)]
    step = first.data_dir / "experiments" / running / "checkpoint" / "step"
    deadline = time.monotonic() + 60
    while not (step.exists() and int(step.read_text() or 0) >= 20):
        assert time.monotonic() < deadline, first.log.read_text()
        time.sleep(0.05)

    place = own("backups")
    assert "4 experiments" in backup("save", first.data_dir, place)
    (made,) = (line.split(": ")[0] for line in backup("list", place).splitlines())
    restored = own("restored")
    assert "4 experiments" in backup("restore", made, restored)
    assert first.finished(running)["attempt"] == 1  # the server that was copied noticed nothing

    second = serve(data_dir=restored)
    for id in (done, running, *waiting):
        assert second.finished(id)["state"] == "succeeded"
    result = f"/dti/api/experiments/{done}/artifacts/big.bin"
    assert second.call("GET", result) == first.call("GET", result)
    note = second.call("GET", f"/dti/api/experiments/{running}/artifacts/note.txt").decode()
    assert int(note.rsplit(" ", 1)[-1]) >= 20  # from its checkpoint, not from the beginning
    images = second.call("GET", f"/dti/api/datasets/{dataset}/images")
    assert images == first.call("GET", f"/dti/api/datasets/{dataset}/images")
    assert second.call("GET", "/dti/api/experiments")["total"] == 4
