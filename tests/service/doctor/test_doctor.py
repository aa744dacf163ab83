"""`dti doctor` in conditions that really are wrong: each is found, under its name, with what to do."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from redis import Redis

from dti_service import __version__
from dti_service.doctor import CHECKS, Check, machine, network, processes, queue, software, storage, tunnel
from dti_service.presence import announced
from dti_service.settings import Settings

KEY = bytes(range(32))


def by_name(checks: Iterator[Check]) -> dict[str, Check]:
    found = {check.name: check for check in checks}
    for check in found.values():
        assert check.ok or check.remedy, f"{check.name}: no remedy"
    return found


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "data").mkdir()
    return Settings(data_dir=tmp_path / "data", devices="cpu")


def test_the_command_says_what_to_do_and_fails(tmp_path: Path) -> None:
    environment = {**os.environ, "DTI_DEVICES": "cuda:7,cpu", "DTI_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "dti_service", "doctor"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "[PROBLEM] devices: cuda:7 not there" in done.stdout
    assert "nvidia-smi" in done.stdout
    assert "[ok] Python" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_every_check_of_a_good_machine_is_content(settings: Settings) -> None:
    heavy = {software.torch, software.notebooks}  # the command's test above ran them
    of_the_machine = {network.port, machine.clock}
    for check in CHECKS:
        if check not in heavy | of_the_machine:
            assert all(item.ok for item in check(settings)), check.__name__


# Software


def test_a_torchvision_that_does_not_fit_is_found(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "broken" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    found = by_name(software.torch(settings))
    assert found["PyTorch"].ok
    assert "torchvision::nms" in found["torchvision"].found
    assert "--force-reinstall" in found["torchvision"].remedy


def test_a_torch_that_cannot_be_loaded_is_found(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (check,) = software.torch(settings)
    assert not check.ok
    assert "libcudart" in check.found


def test_a_gpu_that_pytorch_does_not_see_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dti_service import devices

    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-1, Test GPU, 1000, 0, 0'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_answer", None)
    try:
        (check,) = software.cuda(None, [])
        assert not check.ok
        assert "built for the CPU" in check.remedy
        (check,) = software.cuda("13.0", [])
        assert "driver for CUDA 13.0" in check.remedy
        (check,) = software.cuda("13.0", [("Test GPU", "out of memory")])
        assert "cuda:0 (Test GPU): out of memory" in check.found
    finally:
        devices._answer = None


def test_a_kernel_of_another_installation_is_found(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))

    def kernel(program: str) -> Check:
        (spec / "kernel.json").write_text(json.dumps({"argv": [program, "-m", "x"], "display_name": "P"}))
        (check,) = software.kernel(settings)
        return check

    assert kernel("python").ok
    assert "cannot be started" in kernel(str(tmp_path / "gone" / "python")).found
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -S -c "$@"\n')  # without site-packages
    bare.chmod(0o755)
    found = kernel(str(bare))
    assert "lacks ipykernel" in found.found
    assert "ipykernel install" in found.remedy


def test_a_package_of_notebooks_that_is_broken_is_named(settings: Settings) -> None:
    found = by_name(software.notebooks(settings.replace(installed_demos=("there_is_no_such_package",))))
    assert found["notebooks"].ok
    assert any("there_is_no_such_package" in name and not check.ok for name, check in found.items())


# Data


def test_a_file_in_the_place_of_the_data_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = by_name(storage.data_directory(Settings(data_dir=tmp_path / "file" / "data")))
    assert "may write to" in found["data directory"].found


def test_a_directory_for_everybody_is_found(settings: Settings) -> None:
    settings.data_dir.chmod(0o777)
    assert "chmod o-w" in by_name(storage.data_directory(settings))["data directory"].found


def test_locks_are_tried_with_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage.lock_problem(tmp_path) == ""
    # A file system whose locks mean nothing: everybody gets them.
    monkeypatch.setattr(storage, "TRY_LOCK", "pass")
    assert "do not keep other processes out" in storage.lock_problem(tmp_path)


def test_a_small_disk_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(settings.data_dir).free / 1e9
    monkeypatch.setattr(storage, "MINIMUM_FREE_GB", free + 1000)
    monkeypatch.setattr(storage, "MINIMUM_FREE_FILES", 2**62)
    found = by_name(storage.space(settings))
    assert not found["disk space"].ok
    assert not found["files"].ok or "files" not in found


def test_keys_that_everybody_reads_or_that_are_missing(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "token"
    monkeypatch.setenv("JUPYTER_TOKEN_FILE", str(key))
    assert "does not exist" in by_name(storage.keys(settings))["key file"].found
    key.write_text("secret")
    key.chmod(0o644)
    assert "chmod 600" in by_name(storage.keys(settings))["key file"].remedy
    key.chmod(0o600)
    assert by_name(storage.keys(settings))["key file"].ok


# Redis


@contextlib.contextmanager
def running_redis(program: str, folder: Path, *options: str) -> Iterator[str]:
    path = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(path), "--dir", str(folder), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(Exception):
                    if Redis(unix_socket_path=str(path)).ping():
                        break
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield f"unix://{path}"
        finally:
            process.terminate()


@pytest.mark.redis
@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (("--appendonly", "yes"), set()),
        (("--save", "", "--appendonly", "no"), {"Redis persistence"}),
        (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"), {"Redis eviction"}),
    ],
)
def test_a_redis_that_forgets(
    redis_server: str, tmp_path: Path, settings: Settings, options: tuple[str, ...], wrong: set[str]
) -> None:
    with running_redis(redis_server, tmp_path, *options) as url:
        found = by_name(queue.redis(settings.replace(redis_url=url)))
        assert {name for name, check in found.items() if not check.ok} == wrong


@pytest.mark.redis
def test_an_old_redis(redis_server: str, tmp_path: Path) -> None:
    with running_redis(redis_server, tmp_path, "--appendonly", "yes") as url:
        client = Redis.from_url(url)
        found = by_name(queue.examine(client, {**client.info(), "redis_version": "4.0.14"}))
        assert "5 or later" in found["Redis"].remedy
        client.close()


@pytest.mark.parametrize("url", ["unix:///nowhere/redis.sock", "nonsense"])
def test_a_redis_that_is_not_there(settings: Settings, url: str) -> None:
    (check,) = queue.redis(settings.replace(redis_url=url))
    assert not check.ok
    assert "DTI_REDIS_URL" in check.remedy


# Processes and the clock


def test_another_version_and_another_clock_are_found(settings: Settings) -> None:
    with announced(settings.data_dir, "server", url="http://127.0.0.1:1/"):
        assert by_name(processes.versions(settings))["server"].ok
        (path,) = (settings.data_dir / "processes").iterdir()
        told = {**json.loads(path.read_text()), "host": "gpu2", "version": "0.0.1"}
        path.write_text(json.dumps({**told, "started_at": "2999-01-01T00:00:00.000Z"}))
        found = by_name(processes.versions(settings))
        assert "version 0.0.1" in found["server"].found
        assert __version__ in found["server"].remedy
        assert not found["clock of gpu2"].ok


def test_redis_without_workers_is_found(settings: Settings) -> None:
    with_redis = settings.replace(redis_url="redis://localhost/0")
    with announced(settings.data_dir, "server"):
        assert not by_name(processes.versions(with_redis))["workers"].ok
        assert "workers" not in by_name(processes.versions(settings))
        with announced(settings.data_dir, "worker", devices="cuda:0"):
            found = by_name(processes.versions(with_redis))
            assert "workers" not in found
            assert found["worker cuda:0"].ok


def test_a_clock_that_differs_from_the_file_server_s(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(machine.time, "time", lambda: now() + 60)
    assert "before the file server" in by_name(machine.clock(settings))["clock"].found


# Network


class Service(BaseHTTPRequestHandler):
    """Answers below one path as the service does."""

    path_of_health = "/dti/api/health"

    def do_GET(self) -> None:
        good = self.path == self.path_of_health
        content = b'{"status": "ok", "checks": {}}' if good else b"<html>Welcome to nginx</html>"
        self.send_response(200 if good or self.path == "/other/dti/api/health" else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_public_address(settings: Settings, service: str) -> None:
    def check(url: str) -> Check:
        return by_name(network.public_url(settings.replace(public_url=url)))["public address"]

    assert check(f"{service}/").ok
    assert "404" in check(f"{service}/motifs/").found
    assert "something else" in check(f"{service}/other/").found
    assert "cannot be reached" in check("http://127.0.0.1:9/").found
    assert "not an http address" in check("dti.example.org").found


def test_a_base_url_that_differs_from_the_public_one(settings: Settings, service: str) -> None:
    with announced(settings.data_dir, "server", url=f"{service}/inside/dti/"):
        found = by_name(network.public_url(settings.replace(public_url=f"{service}/")))
        assert "below /inside" in found["base URL"].found


def test_a_server_that_does_not_answer(settings: Settings, service: str) -> None:
    with announced(settings.data_dir, "server", url=f"{service}/dti/"):
        assert by_name(network.port(settings))["server"].ok
    with announced(settings.data_dir, "server", url="http://127.0.0.1:9/dti/"):
        assert "cannot be reached" in by_name(network.port(settings))["server"].found


def test_a_port_that_another_program_has(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    production = settings.replace(profile="production")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("PORT", str(other.getsockname()[1]))
        assert "used by another program" in by_name(network.port(production))["port"].found
    assert by_name(network.port(production))["port"].ok
    monkeypatch.setenv("PORT", "eighty")
    assert not by_name(network.port(production))["port"].ok


def test_a_proxy_in_the_way(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.example.org:3128")
    check = by_name(network.proxy(settings))["proxy"]
    assert not check.ok
    assert "secret" not in check.found
    assert "NO_PROXY" in check.remedy
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    assert by_name(network.proxy(settings))["proxy"].ok


# Tunnel


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    etc = tmp_path / "etc"
    (etc / tunnel.ENABLED).mkdir(parents=True)
    (etc / "dti" / "tunnels").mkdir(parents=True)
    return etc


def enable(etc: Path, name: str, source: str) -> None:
    (etc / tunnel.ENABLED / f"dti-tunnel@{name}.service").symlink_to("/nowhere")
    (etc / "dti" / "tunnels" / f"{name}.env").write_text(f"# comment\nSOURCE={source}\n")


def test_a_machine_without_a_tunnel(settings: Settings, etc: Path) -> None:
    assert list(tunnel.tunnels(settings, etc)) == []


def test_the_key_of_the_tunnel(settings: Settings, etc: Path, service: str) -> None:
    enable(etc, "server-in", "[0.0.0.0]:" + service.rsplit(":", 1)[1])
    key = etc / "dti" / "tunnel.key"

    def problem() -> str:
        return by_name(tunnel.tunnels(settings, etc))["tunnel key"].found

    assert "does not exist" in problem()
    key.write_bytes(KEY[:5])
    key.chmod(0o600)
    assert "5 bytes" in problem()
    key.write_bytes(KEY)
    key.chmod(0o640)
    assert "mode 0640" in problem()
    key.chmod(0o600)
    assert all(check.ok for check in tunnel.tunnels(settings, etc))


def test_a_tunnel_that_is_down_or_leads_nowhere(settings: Settings, etc: Path, service: str) -> None:
    port = service.rsplit(":", 1)[1]
    enable(etc, "callbacks-out", "[127.0.0.1]:9")
    enable(etc, "server-out", f"[127.0.0.1]:{port}")
    found = by_name(tunnel.tunnels(settings, etc))
    assert "nothing listens" in found["tunnel callbacks-out"].found
    assert found["tunnel server-out"].ok  # the service answers through it
    with socket.socket() as silent:  # spiped whose other end is away: it takes the connection, and ends it
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        enable(etc, "server-in", f"[127.0.0.1]:{silent.getsockname()[1]}")
        (etc / "dti" / "tunnels" / "server-out.env").write_text(f"SOURCE=[127.0.0.1]:{hang_up()}\n")
        found = by_name(tunnel.tunnels(settings, etc))
    assert found["tunnel server-in"].ok
    assert "cannot be reached" in found["tunnel server-out"].found


def test_a_real_tunnel_whose_other_end_goes_away(
    settings: Settings, etc: Path, service: str, spiped: str, tmp_path: Path
) -> None:
    near, between = (free_port() for _ in range(2))
    key = etc / "dti" / "tunnel.key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    ends = [
        ("-e", near, between),  # this machine's
        ("-d", between, int(service.rsplit(":", 1)[1])),  # the other one's, where the service is
    ]
    processes = [
        subprocess.Popen(
            [spiped, "-F", how, "-s", f"[127.0.0.1]:{source}", "-t", f"[127.0.0.1]:{target}", "-k", str(key)],
            stderr=subprocess.DEVNULL,
        )
        for how, source, target in ends
    ]
    try:
        enable(etc, "server-out", f"[127.0.0.1]:{near}")
        deadline = time.monotonic() + 20
        while not all(check.ok for check in tunnel.tunnels(settings, etc)):
            assert time.monotonic() < deadline, list(tunnel.tunnels(settings, etc))
            time.sleep(0.1)
        processes[1].kill()
        processes[1].wait()
        found = by_name(tunnel.tunnels(settings, etc))
        assert not found["tunnel server-out"].ok  # it still listens, but leads nowhere
        assert "dti-tunnel@server-in" in found["tunnel server-out"].remedy
    finally:
        for process in processes:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def hang_up() -> int:
    """A port that takes two connections and ends each at once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            listener.accept()[0].close()
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])
