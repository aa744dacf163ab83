"""The encrypted tunnel with the real spiped: the units' own commands and settings, only the ports are ours.

front  --> server-out (-e)  ==encrypted==>  server-in (-d)    --> server
front <--  callbacks-in (-d) <==encrypted== callbacks-out (-e) <-- server
"""

from __future__ import annotations

import io
import json
import shlex
import stat
import subprocess
import threading
import time
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Iterator
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

SPIPED = Path(__file__).parents[2] / "deploy" / "spiped"


def settings(name: str) -> dict[str, str]:
    lines = (SPIPED / f"{name}.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def command(name: str, key: Path, ports: dict[str, int]) -> list[str]:
    """The command of the unit for this end, at addresses of this machine."""
    unit = (SPIPED / "dti-tunnel@.service").read_text()
    (line,) = (line for line in unit.splitlines() if line.startswith("ExecStart="))
    values = settings(name)
    for end in ("SOURCE", "TARGET"):
        host, _, port = values[end].rpartition(":")
        assert host.strip("[]") in ("127.0.0.1", "0.0.0.0", "gpu.example.org", "front.example.org")
        values[end] = f"[127.0.0.1]:{ports[f'{name} {port}']}"
    text = line.removeprefix("ExecStart=").replace("%d/key", str(key))
    for variable, value in values.items():
        text = text.replace(f"${{{variable}}}", value).replace(f"${variable}", value)
    return shlex.split(text)


def images() -> bytes:
    """A zip of two kinds of picture."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(8):
            picture = Image.new("L", (20, 20), 230)
            box = (3, 3, 16, 16) if number % 2 else (8, 2, 11, 17)
            picture.paste(30 + number, box)
            content = io.BytesIO()
            picture.save(content, "PNG")
            archive.writestr(f"{number}.png", content.getvalue())
    return buffer.getvalue()


class Front(BaseHTTPRequestHandler):
    """The web site on the other machine: offers the dataset, and fetches the result inside the callback."""

    events: list[str]
    result: bytes

    def do_GET(self) -> None:
        content = images()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if event["event"] == "SUCCESS":
            with urllib.request.urlopen(event["output"]["result_url"], timeout=60) as answer:
                type(self).result = answer.read()
        self.events.append(event["event"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def front() -> Iterator[tuple[type[Front], int]]:
    kind = type("ThisFront", (Front,), {"events": [], "result": b""})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield kind, server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def key(own: Callable[[str], Path], account: Any) -> Path:
    path = own("keys") / "tunnel.key"
    done = subprocess.run([SPIPED / "keygen.sh", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stdout
    return account.give(path)


def test_a_key_is_for_root_alone_and_never_made_twice(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    content = key.read_bytes()
    assert len(content) == 32
    again = subprocess.run([SPIPED / "keygen.sh", key], capture_output=True, text=True)
    assert again.returncode == 2
    assert key.read_bytes() == content


@pytest.mark.slow
def test_a_whole_experiment_through_the_tunnel(
    spiped: str, installed: Any, serve: Any, key: Path, front: Any, free_ports: Any
) -> None:
    kind, site = front
    near_server, encrypted_server, near_front, encrypted_front = free_ports(4)
    token = uuid.uuid4().hex
    server = serve(
        env={
            "JUPYTER_TOKEN": token,
            "DTI_ALLOW_HOSTS": f"127.0.0.1:{near_front}",
            # How the front reaches the server: the links of its callbacks go through the tunnel, too.
            "DTI_PUBLIC_URL": f"http://127.0.0.1:{near_server}/",
        }
    )
    api = int(server.url.rsplit(":", 1)[1])
    ports = {
        "server-out 8888": near_server,
        "server-out 8089": encrypted_server,
        "server-in 8089": encrypted_server,
        "server-in 8888": api,
        "callbacks-out 8090": encrypted_front,
        "callbacks-in 8090": encrypted_front,
        "callbacks-in 8000": site,
    }
    commands = {}
    for name in ("server-in", "server-out", "callbacks-in", "callbacks-out"):
        made = command(name, key, ports)
        if name == "callbacks-out":  # both its ends are 8090
            made[made.index("-s") + 1] = f"[127.0.0.1]:{near_front}"
        commands[name] = made
        assert made[0] == "/usr/bin/spiped"
    processes = [installed.popen(spiped, *made[1:]) for made in commands.values()]
    try:
        wait_until_open(f"http://127.0.0.1:{near_server}/dti/api/health", processes)
        base = f"http://127.0.0.1:{near_server}"
        assert ask(f"{base}/test?token={token}")

        task = str(uuid.uuid4())
        body = {
            "experiment_id": task,
            "dataset_url": f"http://127.0.0.1:{near_front}/media/good.zip",
            "dataset_id": str(uuid.uuid4()),
            "notify_url": f"http://127.0.0.1:{near_front}/dti/{task}/watch?token=0",
            "parameters": json.dumps(
                {
                    "n_prototypes": 2,
                    "background_option": "0_dti",
                    "transformation_sequence": "identity",
                    "epochs": 1,
                }
            ),
        }
        start = urllib.request.Request(f"{base}/clustering/start?token={token}", json.dumps(body).encode())
        start.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(start, timeout=60) as answer:
            assert uuid.UUID(json.loads(answer.read())["tracking_id"])
        end = time.monotonic() + 180
        while "SUCCESS" not in kind.events:
            assert "ERROR" not in kind.events, server.log.read_text()
            assert time.monotonic() < end, server.log.read_text()
            time.sleep(0.2)
        assert kind.events == ["STARTED", "SUCCESS"]
        with zipfile.ZipFile(io.BytesIO(kind.result)) as result:
            assert result.testzip() is None
            assert any(name.endswith("prototypes/prototype0.png") for name in result.namelist())

        # Whoever has not the key gets nothing that can be read.
        with pytest.raises((HTTPException, OSError)):
            ask(f"http://127.0.0.1:{encrypted_server}/test?token={token}")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


def ask(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


def wait_until_open(url: str, processes: list[Any]) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            ask(url)
            return
        except OSError:
            assert all(process.poll() is None for process in processes)
            assert time.monotonic() < end
            time.sleep(0.1)
