"""A server and its runs log JSON lines only, with experiments and without the token."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOKEN = "0123456789abcdef0123456789abcdef"


def test_every_line_is_json_and_the_life_of_an_experiment_can_be_read(
    serve: Callable[..., Any], own: Callable[[str], Path]
) -> None:
    folder = own("logs")
    server = serve(env={"DTI_LOG_JSON": "true", "DTI_LOG_DIR": str(folder)})
    id = server.call("POST", "/dti/api/experiments?token=" + TOKEN, {"notebook": "tiny"})["id"]
    server.finished(id)
    server.call("GET", f"/dti/?token={TOKEN}")
    end = time.monotonic() + 30
    while "experiment.succeeded" not in server.log.read_text():  # the server looks every second
        assert time.monotonic() < end
        time.sleep(0.1)
    server.process.terminate()
    server.process.wait(60)
    (file,) = folder.glob("server-*.log")
    printed = server.log.read_text()
    lines = [json.loads(line) for line in printed.splitlines()]
    assert TOKEN not in printed + file.read_text()
    life = [line["event"] for line in lines if line.get("experiment_id") == id and "event" in line]
    assert life[-1] == "experiment.succeeded"
    assert "experiment.running" in life
    assert file.read_text().splitlines()[-1] in printed
    messages = [line["message"] for line in lines]
    assert len([text for text in messages if "is running at" in text]) == 1  # and not once for each logger
