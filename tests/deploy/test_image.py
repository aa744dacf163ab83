"""The image without an engine: its files are there, its commands work for a user without rights in an empty folder."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dti_service.cli.parser import build_parser
from dti_service.settings import _READERS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ENTRYPOINT = DEPLOY / "entrypoint.sh"


def instructions() -> list[tuple[str, str]]:
    """(keyword, rest) of each instruction of the Dockerfile, continued lines joined, comments left out."""
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines()]


def in_context(path: Path) -> bool:
    """Does the ignore file let this path of the checkout into the image's context?"""
    kept = False
    name = path.relative_to(ROOT).as_posix()
    for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = [name, *(parent.as_posix() for parent in Path(name).parents)]
        shapes = (pattern, pattern.removeprefix("**/"))
        if any(fnmatch.fnmatch(part, shape) for part in parts for shape in shapes) or pattern == "*":
            kept = line.startswith("!")
    return kept


def test_the_linters_are_content() -> None:
    """hadolint and shellcheck come with the development extras."""
    folder = Path(sys.executable).parent
    scripts = [*DEPLOY.rglob("*.sh"), *(ROOT / "tools").glob("*.sh")]
    commands = {"shellcheck": scripts, "hadolint": [DEPLOY / "Dockerfile"]}
    for program, files in commands.items():
        found = folder / program if (folder / program).exists() else shutil.which(program)
        if found is None:
            pytest.skip(f"{program} does not exist for this platform")
        done = subprocess.run([str(found), *map(str, files)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_everything_that_is_copied_is_there_and_in_the_context() -> None:
    copied = [shlex.split(rest) for keyword, rest in instructions() if keyword == "COPY"]
    sources = [
        word
        for words in copied
        if not any(word.startswith("--from") for word in words)
        for word in words[:-1]
        if not word.startswith("--")
    ]
    assert {"dti_service", "deploy/entrypoint.sh"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert in_context(ROOT / source), source


def test_nothing_else_is_in_the_context() -> None:
    for name in (
        ".env",
        "deploy/.env",
        "deploy/secrets/token",
        "data/index.sqlite3",
        ".git/config",
        "dti_service/.env",
    ):
        assert not in_context(ROOT / name), name


def test_no_layer_holds_a_secret_and_the_user_is_not_root() -> None:
    for keyword, rest in instructions():
        if keyword in ("ENV", "ARG"):
            assert not re.search(r"token|secret|password", rest, re.IGNORECASE), rest
    users = [rest for keyword, rest in instructions() if keyword == "USER"]
    assert users == ["${DTI_UID}"]
    assert ("ENTRYPOINT", '["/usr/bin/tini", "--", "dti-entrypoint"]') in instructions()


def test_dependencies_come_before_the_code() -> None:
    """So that a change of the code does not build the layer of several gigabytes again."""
    steps = [f"{keyword} {rest}" for keyword, rest in instructions()]
    install = next(i for i, step in enumerate(steps) if "pip install -r" in step)
    code = next(i for i, step in enumerate(steps) if step.startswith("COPY dti_service"))
    assert install < code


def test_the_requirements_are_those_of_both_distributions() -> None:
    files = [str(ROOT / "pyproject.toml"), str(ROOT / "dti-sprites" / "pyproject.toml")]
    done = subprocess.run(
        [sys.executable, str(DEPLOY / "requirements.py"), *files], capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("torch>=")], done.stderr
    assert [line for line in lines if line.startswith("papermill")]
    assert not [line for line in lines if line.startswith("dti")]


# -- the entry point -------------------------------------------------------------------------------------------


@pytest.fixture
def etc(own: Callable[[str], Path]) -> Path:
    folder = own("etc")
    shutil.copy(DEPLOY / "jupyter_server_config.py", folder)
    return folder


@pytest.fixture
def token_file(own: Callable[[str], Path], account: Any) -> Path:
    path = own("secrets") / "token"
    path.write_text("0123456789abcdef0123456789abcdef")
    path.chmod(0o600)
    return account.give(path)


@pytest.fixture
def container(serve: Any, etc: Path, token_file: Path) -> Any:
    """What the container runs, started as it starts it."""
    variables = {
        "JUPYTER_CONFIG_PATH": str(etc),
        "JUPYTER_TOKEN": "",
        "JUPYTER_TOKEN_FILE": str(token_file),
        "DTI_PROFILE": "production",
        "IP": "127.0.0.1",
    }
    return serve(str(ENTRYPOINT), env=variables)


def test_the_entry_point_serves_in_production(container: Any, installed: Any, etc: Path) -> None:
    id = container.call("POST", "/dti/api/experiments", {"notebook": "tiny"})["id"]
    assert container.finished(id)["state"] == "succeeded"
    port = container.url.rsplit(":", 1)[1]
    health = installed.run(ENTRYPOINT, "health", env={"PORT": port, "DTI_DATA_DIR": str(container.data_dir)})
    assert json.loads(health.stdout)["status"] == "ok"
    # The configuration of Jupyter is the one beside the entry point.
    with pytest.raises(urllib.error.HTTPError) as refused:
        container.call("GET", "/api/terminals")
    assert refused.value.code == 404
    # What programs write beside the experiments stays below the data folder, out of sight.
    assert (container.data_dir / ".cookie-secret").stat().st_mode & 0o077 == 0
    assert (container.data_dir / ".home").is_dir()
    with (
        pytest.raises(urllib.error.HTTPError) as anonymous,
        urllib.request.urlopen(f"{container.url}/dti/api/monitor"),
    ):
        pass
    assert anonymous.value.code == 403


def test_any_command_goes_through_the_entry_point(
    installed: Any, own: Callable[[str], Path], token_file: Path
) -> None:
    data = str(own("data"))
    variables = {"DTI_DATA_DIR": data}
    id = installed.run(ENTRYPOINT, "submit", "tiny", env=variables).stdout.strip()
    assert installed.run(ENTRYPOINT, "health", "worker", env=variables, check=False).returncode == 1
    with installed.popen(
        ENTRYPOINT, "worker", env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as worker:
        end = time.monotonic() + 120
        while installed.run(ENTRYPOINT, "health", "worker", env=variables, check=False).returncode:
            assert time.monotonic() < end
        while '"succeeded"' not in installed.run(ENTRYPOINT, "status", id, "--json", env=variables).stdout:
            assert time.monotonic() < end
        worker.terminate()
    assert worker.returncode == 0


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"DTI_DATA_DIR": "/no/such/folder"}, "mount the data folder"),
        ({"DTI_DATA_DIR": "/usr"}, "may not be written"),
        ({}, "There is no token"),
    ],
)
def test_the_entry_point_says_what_is_missing(
    installed: Any, own: Callable[[str], Path], variables: dict[str, str], message: str
) -> None:
    done = installed.run(
        ENTRYPOINT, "serve", env={"DTI_DATA_DIR": str(own("data")), **variables}, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr


# -- compose ---------------------------------------------------------------------------------------------------


class Loader(yaml.SafeLoader):
    """YAML as compose reads it: `!reset` takes a value away."""


Loader.add_constructor("!reset", lambda loader, node: None)


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    return yaml.load((DEPLOY / name).read_text(), Loader)


def test_every_container_may_do_little_and_is_watched() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"], name
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


def test_commands_and_health_checks_are_ones_that_there_are() -> None:
    script = ENTRYPOINT.read_text()
    for name, service in compose()["services"].items():
        if name == "redis":
            continue
        command = service["command"]
        if command != ["serve"]:
            build_parser().parse_args(command)  # exits when it is none of ours
        assert service["healthcheck"]["test"][:3] == ["CMD", "dti-entrypoint", "health"]
        assert " = worker ]" in script


def test_one_worker_for_each_gpu() -> None:
    services = compose()["services"]
    for profile, number in ((None, 1), ("gpus2", 2), ("gpus4", 4), ("gpus8", 8)):
        started = [
            service["command"][-1]
            for name, service in services.items()
            if name.startswith("worker") and (not service.get("profiles") or profile in service["profiles"])
        ]
        assert started == [f"cuda:{i}" for i in range(number)]
    names = [service["hostname"] for name, service in services.items() if name != "redis"]
    assert len(set(names)) == len(names)  # a name is a machine to the service


def test_redis_remembers_and_is_reached_by_nobody_else() -> None:
    document = compose()
    redis = document["services"]["redis"]
    command = " ".join(redis["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert "ports" not in redis
    assert document["networks"][redis["networks"][0]]["internal"] is True
    assert redis["volumes"][0].split(":")[0] in document["volumes"]


@pytest.mark.redis
def test_the_command_of_redis_is_understood(redis_server: str, tmp_path: Path) -> None:
    command = compose()["services"]["redis"]["command"][1:]
    options = [
        "--port",
        "0",
        "--unixsocket",
        str(tmp_path / "r.sock"),
        "--dir",
        str(tmp_path),
        "--daemonize",
        "no",
    ]
    with subprocess.Popen([redis_server, *command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("Ready to accept" in line or "ready to accept" in line for line in process.stdout)
        process.terminate()


def test_settings_are_known_and_the_front_on_this_host_is_reachable() -> None:
    known = {f"DTI_{name.removesuffix('_s').upper()}" for name in _READERS}
    for name, service in compose()["services"].items():
        if name == "redis":
            continue
        assert {key for key in service["environment"] if key.startswith("DTI_")} <= known
        assert service["environment"]["DTI_PROFILE"] == "production"
        assert service["extra_hosts"] == ["host.docker.internal:host-gateway"]
    template = (DEPLOY / ".env.template").read_text()
    named = set(re.findall(r"^#? ?(DTI_[A-Z_]+)=", template, re.MULTILINE))
    assert named - {"DTI_UID"} <= known


def test_without_a_gpu_nothing_asks_for_one() -> None:
    override = compose("compose.cpu.yaml")["services"]
    for name, service in compose()["services"].items():
        if "deploy" in service and not service.get("profiles"):
            assert override[name]["deploy"] is None
    assert override["worker0"]["command"] == ["worker", "--device", "cpu"]


def test_variables_of_compose_are_those_of_the_template() -> None:
    template = (DEPLOY / ".env.template").read_text()
    for name in set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text())):
        assert name in template or name in ("IMAGE", "DTI_GID", "SHM_SIZE", "TMP_SIZE"), name
