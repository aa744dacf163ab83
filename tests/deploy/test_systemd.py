"""The systemd units: understood by systemd, hardened, and installed where they are looked for."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "deploy" / "systemd" / "install.sh"
# (A colon, as in dti-worker@cuda:0, is taken by `systemd-analyze verify` for an alias; systemd itself allows it.)
UNITS = {  # name in use -> file, and the most that `systemd-analyze security` may find (0: locked up, 10: open)
    "dti-server.service": ("dti-server.service", 2.0),
    "dti-worker@cpu.service": ("dti-worker@.service", 2.0),
    "dti-redis.service": ("dti-redis.service", 1.5),
    "dti-tunnel@server-in.service": ("dti-tunnel@.service", 1.5),
}


@pytest.fixture(scope="module")
def analyze() -> str:
    path = shutil.which("systemd-analyze")
    if path is None:
        reason = "systemd-analyze is not installed (Debian package systemd)"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder in which everything is installed."""
    root = tmp_path_factory.mktemp("machine")
    subprocess.run([INSTALL, "--tunnel", "--root", root], check=True, stdout=subprocess.DEVNULL)
    return root


@pytest.fixture(scope="module")
def units(machine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed units, with programs that this machine has."""
    folder = tmp_path_factory.mktemp("units")
    for path in (machine / "etc/systemd/system").glob("dti-*.service"):
        text = path.read_text()
        for program in ("/opt/dti/bin/dti", "/usr/bin/redis-server", "/usr/bin/spiped"):
            text = text.replace(f"ExecStart={program} ", f"ExecStart={shutil.which('true')} ")
        for unit, (file, _) in UNITS.items():
            if file == path.name:
                (folder / unit).write_text(text)
    return folder


def test_every_unit_is_tested() -> None:
    files = {path.name for path in (ROOT / "deploy").rglob("*.service")}
    assert files == {file for file, _ in UNITS.values()}


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line(analyze: str, units: Path, unit: str) -> None:
    done = subprocess.run([analyze, "verify", "--man=no", str(units / unit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours = [line for line in done.stderr.splitlines() if "dti-" in line]  # an unknown line is only a warning
    assert not ours


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_may_do_little(analyze: str, machine: Path, unit: str) -> None:
    most = UNITS[unit][1]
    command = [
        analyze,
        "security",
        "--offline=true",
        f"--root={machine}",
        f"--threshold={most * 10:.0f}",
        unit,
    ]
    done = subprocess.run([*command, "--no-pager"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def lines(unit: str) -> dict[str, str]:
    (path,) = (ROOT / "deploy").rglob(unit)
    pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line and line[0] != "#")
    return dict(pairs)


@pytest.mark.parametrize("unit", ["dti-server.service", "dti-worker@.service"])
def test_what_a_run_leaves_goes_with_its_control_group(unit: str) -> None:
    found = lines(unit)
    assert found["KillMode"] == "control-group"
    assert int(found["TimeoutStopSec"]) > 60  # a run has time to save its state
    assert found["OOMPolicy"] == "continue"
    assert found["Restart"] == "always"


def test_programs_and_settings_are_where_the_units_look(machine: Path) -> None:
    environment = dict(
        line.split("=", 1)
        for line in (machine / "etc/dti/dti.env").read_text().splitlines()
        if line and line[0] != "#"
    )
    assert environment["DTI_PROFILE"] == "production"
    assert environment["DTI_DATA_DIR"] == lines("dti-server.service")["ReadWritePaths"]
    token = machine / environment["JUPYTER_TOKEN_FILE"].lstrip("/")
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text()) == 48
    assert (machine / environment["JUPYTER_CONFIG_PATH"].lstrip("/") / "jupyter_server_config.py").exists()
    redis = (machine / "etc/dti/redis.conf").read_text()
    assert "appendonly yes" in redis
    assert "maxmemory-policy noeviction" in redis
    socket = "/run/dti-redis/redis.sock"
    assert f"unixsocket {socket}" in redis
    assert f"DTI_REDIS_URL=unix://{socket}" in (machine / "etc/dti/dti.env").read_text()


def test_installing_again_keeps_settings_and_token(machine: Path) -> None:
    settings, token = machine / "etc/dti/dti.env", machine / "etc/dti/token"
    settings.write_text("DTI_DATA_DIR=/elsewhere\n")
    before = token.read_text()
    subprocess.run([INSTALL, "--root", machine], check=True, stdout=subprocess.DEVNULL)
    assert settings.read_text() == "DTI_DATA_DIR=/elsewhere\n"
    assert token.read_text() == before


@pytest.mark.redis
def test_redis_takes_its_configuration(redis_server: str, machine: Path, tmp_path: Path) -> None:
    text = (machine / "etc/dti/redis.conf").read_text()
    text = text.replace("/run/dti-redis/", f"{tmp_path}/").replace("/var/lib/dti-redis", str(tmp_path))
    (tmp_path / "redis.conf").write_text(text)
    command = [redis_server, str(tmp_path / "redis.conf"), "--daemonize", "no"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("eady to accept" in line or "now ready" in line for line in process.stdout)
        process.terminate()
