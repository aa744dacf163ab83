"""The server refuses to start when it would be open to everybody, and in production when it would forget."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from dti_service.profile import check_redis, check_secret_file, examine, is_local, refused, secret_files


@pytest.mark.parametrize(
    ("ip", "local"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("127.1.2.3", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("*", False),
        ("192.0.2.1", False),
    ],
)
def test_only_loopback_is_local(ip: str, local: bool) -> None:
    assert is_local(ip) is local


@pytest.mark.parametrize("profile", ["development", "production"])
def test_no_token_on_a_public_address_is_refused_in_every_profile(tmp_path: Path, profile: str) -> None:
    findings = examine(ip="0.0.0.0", authenticated=False, data_dir=tmp_path)
    assert [finding.message for finding in refused(findings, profile)]
    assert "JUPYTER_TOKEN_FILE" in findings[0].message


def test_a_token_or_a_local_address_is_enough(tmp_path: Path) -> None:
    assert not examine(ip="0.0.0.0", authenticated=True, data_dir=tmp_path)
    assert not examine(ip="127.0.0.1", authenticated=False, data_dir=tmp_path)


def test_open_compatibility_routes_stay_on_this_machine_in_production(tmp_path: Path) -> None:
    findings = examine(ip="0.0.0.0", authenticated=True, data_dir=tmp_path, open_routes=True)
    assert len(refused(findings, "production")) == 1
    assert not refused(findings, "development")
    assert not examine(ip="127.0.0.1", authenticated=True, data_dir=tmp_path, open_routes=True)


@pytest.mark.parametrize(("mode", "good"), [(0o600, True), (0o640, True), (0o644, False), (0o602, False)])
def test_keys_are_not_for_everybody(tmp_path: Path, mode: int, good: bool) -> None:
    key = tmp_path / "token"
    key.write_text("secret")
    key.chmod(mode)
    findings = check_secret_file(key)
    assert not refused(findings, "development")
    assert bool(refused(findings, "production")) is not good
    assert good or f"chmod 600 {key}" in findings[0].message


def test_the_key_files_are_those_of_the_configuration_and_of_the_environment(tmp_path: Path) -> None:
    environment = {"JUPYTER_TOKEN_FILE": "/a", "DTI_SECRET_FILES": "/b, /c,"}
    assert [str(path) for path in secret_files(environment, "", "/d", "/a")] == ["/a", "/b", "/c", "/d"]


def test_a_server_that_may_not_write_to_its_data_ends_at_once(installed: Any, place: Path) -> None:
    folder = place / "root-s-own"
    folder.mkdir(mode=0o555)
    variables = {"DTI_DATA_DIR": str(folder), "JUPYTER_TOKEN": "secret"}
    done = installed.run("dti", "serve", "--no-browser", env=variables, check=False)
    folder.rmdir()
    assert done.returncode == 1
    assert f"The data directory {folder} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_directory_for_everybody_is_refused_in_production(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    findings = examine(ip="127.0.0.1", authenticated=True, data_dir=tmp_path)
    assert len(refused(findings, "production")) == 1
    assert not refused(findings, "development")


@contextlib.contextmanager
def running_redis(program: str, folder: Path, *options: str) -> Iterator[str]:
    """A Redis of our own on a socket in `folder`; its address."""
    path = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(path), "--dir", str(folder), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            client = redis.Redis(unix_socket_path=str(path))
            end = time.monotonic() + 20
            while time.monotonic() < end:
                with contextlib.suppress(redis.ConnectionError):
                    if client.ping():
                        break
                time.sleep(0.05)
            yield f"unix://{path}"
        finally:
            process.terminate()


@pytest.mark.redis
@pytest.mark.parametrize(
    ("options", "problems"),
    [
        (["--appendonly", "yes"], []),
        (["--save", "60 1"], []),
        (["--save", ""], ["appendonly yes"]),
        (["--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"], ["noeviction"]),
    ],
)
def test_a_redis_that_forgets_is_found(
    redis_server: str, tmp_path: Path, options: list[str], problems: list[str]
) -> None:
    with running_redis(redis_server, tmp_path, *options) as url:
        findings = check_redis(url)
    assert len(findings) == len(problems)
    assert all(problem in finding.message for problem, finding in zip(problems, findings, strict=True))
    assert len(refused(findings, "production")) == len(problems)
    assert not refused(findings, "development")


def test_a_redis_that_is_away_is_nothing_to_refuse(tmp_path: Path) -> None:
    assert check_redis(f"unix://{tmp_path}/none.sock") == []


def test_an_address_that_is_none_is_always_refused() -> None:
    assert refused(check_redis("http://localhost"), "development")


def start(installed: Any, data_dir: Path, *options: str, **variables: str) -> Any:
    command = ["jupyter-dti", "--ServerApp.port=0", "--no-browser", "--data-dir", str(data_dir), *options]
    return installed.run(*command, env=variables, check=False)


def test_the_server_ends_at_once_without_a_token(installed: Any, own: Callable[[str], Path]) -> None:
    done = start(installed, own("data"), "--ip", "0.0.0.0", "--IdentityProvider.token=")
    assert done.returncode == 1
    assert "without a token" in done.stderr
    assert "is running at" not in done.stderr


def test_a_production_server_ends_at_once_with_a_key_for_everybody(
    installed: Any, own: Callable[[str], Path], account: Any
) -> None:
    folder = own("keys")
    token = folder / "token"
    token.write_text("0123456789abcdef")
    token.chmod(0o644)
    account.give(token)
    done = start(
        installed, own("data"), "--ip", "127.0.0.1", DTI_PROFILE="production", JUPYTER_TOKEN_FILE=str(token)
    )
    assert done.returncode == 1
    assert f"chmod 600 {token}" in done.stderr


def test_a_profile_that_is_none_is_named(installed: Any, own: Callable[[str], Path]) -> None:
    done = start(installed, own("data"), DTI_PROFILE="prod")
    assert done.returncode != 0
    assert "DTI_PROFILE" in done.stderr
