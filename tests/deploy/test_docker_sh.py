"""deploy/docker.sh with a stand-in for `docker` that records what it is asked to do (no engine runs here)."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
UID = os.getuid() or 1000

# Remembers images and one container as files beside its record.
DOCKER = f"""#!{sys.executable} -IS
import json, os, sys
from pathlib import Path
here = Path(os.environ["FAKE_DOCKER"])
arguments = sys.argv[1:]
with (here / "calls").open("a") as calls:
    settings = {{k: v for k, v in os.environ.items() if k.startswith("DTI_")}}
    calls.write(json.dumps({{"arguments": arguments, "environment": settings}}) + "\\n")
container, images = here / "container", here / "images"
images.mkdir(exist_ok=True)
match arguments:
    case ["container", "inspect", *rest]:
        if not container.exists(): sys.exit(1)
        if "--format" in rest: print(container.read_text())
    case ["image", "inspect", name]:
        if not (images / name).exists(): sys.exit(1)
    case ["tag", old, new]:
        (images / new).write_text((images / old).read_text())
    case ["build", *rest]:
        (images / rest[rest.index("--tag") + 1]).write_text(str(len(list(images.iterdir()))))
    case ["pull", name]:
        (images / name).write_text("pulled")
    case ["run", *rest]:
        container.write_text("true")
    case ["stop", *rest]:
        container.write_text("false")
    case ["rm", *rest]:
        container.unlink()
    case ["exec", *rest]:
        sys.exit(0 if os.environ.get("HEALTHY", "yes") == "yes" else 1)
    case ["logs", *rest]:
        print("the log")
"""


class Script:
    """A copy of deploy/ with the stand-in on the path."""

    def __init__(self, folder: Path) -> None:
        self.deploy = folder / "checkout" / "deploy"
        shutil.copytree(ROOT / "deploy", self.deploy, ignore=shutil.ignore_patterns(".env", "secrets"))
        self.data = folder / "data"
        self.data.mkdir()
        self.fake = folder / "fake"
        self.fake.mkdir()
        program = self.fake / "docker"
        program.write_text(DOCKER)
        program.chmod(0o755)
        if os.getuid() == 0:
            os.chown(self.data, UID, UID)
        self.settings(DATA_FOLDER=self.data, DTI_UID=UID)

    def settings(self, **values: Any) -> None:
        (self.deploy / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def run(self, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.fake}:/usr/local/bin:/usr/bin:/bin"
        done = subprocess.run(
            [str(self.deploy / "docker.sh"), *arguments],
            env={"PATH": path, "FAKE_DOCKER": str(self.fake), "HOME": str(self.fake), **environment},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def calls(self, command: str) -> list[list[str]]:
        """What docker was asked to do, by its first word."""
        path = self.fake / "calls"
        records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [call["arguments"] for call in records if call["arguments"][0] == command]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def option(call: list[str], name: str) -> str:
    return call[call.index(name) + 1]


def test_help_needs_nothing(script: Script) -> None:
    text = script.run("help", PATH="/usr/bin:/bin").stdout
    commands = ("build", "rebuild", "start", "stop", "pull", "rollback", "logs", "shell", "token", "doctor")
    assert all(f"docker.sh {name}" in text for name in commands)


def test_build_uses_the_checkout_and_the_user(script: Script) -> None:
    script.run("build")
    (call,) = script.calls("build")
    assert call[-1] == str(script.deploy.parent)
    assert option(call, "--file") == str(script.deploy / "Dockerfile")
    assert f"DTI_UID={UID}" in call
    assert "--no-cache" not in call
    script.run("rebuild")
    assert {"--no-cache", "--pull"} <= set(script.calls("build")[1])


def test_start_gives_the_container_little_and_the_token_to_nobody_else(script: Script) -> None:
    script.settings(
        DATA_FOLDER=script.data, DTI_UID=UID, DEVICE_NB="0,2", PORT=9000, DTI_NOTIFY_SECRET="s3cret"
    )
    script.run("start")
    (call,) = script.calls("run")
    assert option(call, "--gpus") == '"device=0,2"'
    assert option(call, "--publish") == "127.0.0.1:9000:8888"
    assert option(call, "--user").split(":")[0] == str(UID)
    assert {"--read-only", "no-new-privileges:true"} <= set(call)
    assert option(call, "--cap-drop") == "ALL"
    assert option(call, "--add-host") == "host.docker.internal:host-gateway"
    assert f"type=bind,source={script.data},target=/data" in call
    assert call[-2:] == ["dti-service", "serve"]
    # Settings go in by name: their values are on no command line.
    assert "DTI_NOTIFY_SECRET" in call
    assert "s3cret" not in " ".join(call)
    token = script.deploy / "secrets" / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.stat().st_uid == UID
    assert len(token.read_text()) == 48
    assert token.read_text() not in (script.fake / "calls").read_text()
    assert script.run("token").stdout.strip() == token.read_text()


@pytest.mark.parametrize(("devices", "gpus"), [("all", "all"), ("none", None), ("3", '"device=3"')])
def test_the_gpus_of_the_container(script: Script, devices: str, gpus: str | None) -> None:
    script.run("start", DEVICE_NB=devices)
    (call,) = script.calls("run")
    assert (option(call, "--gpus") if gpus else "--gpus" in call) == (gpus or False)


def test_the_environment_wins_over_the_file(script: Script) -> None:
    script.run("start", PORT="7777")
    assert option(script.calls("run")[0], "--publish") == "127.0.0.1:7777:8888"


def test_a_second_start_stops_the_first_gracefully(script: Script) -> None:
    script.run("start")
    script.run("start")
    assert option(script.calls("stop")[0], "--time") == "60"
    assert len(script.calls("rm")) == 1
    assert len(script.calls("run")) == 2
    script.run("stop")
    script.run("stop")
    assert len(script.calls("stop")) == 2


def test_pull_of_an_image_restarts_what_runs_and_rollback_goes_back(script: Script) -> None:
    image = "registry.example/dti-service"
    (script.fake / "images").mkdir()
    (script.fake / "images" / "registry.example").mkdir()
    (script.fake / "images" / image).write_text("old")
    script.run("start", IMAGE=image)
    script.run("pull", IMAGE=image)
    assert (script.fake / "images" / image).read_text() == "pulled"
    assert len(script.calls("run")) == 2
    script.run("rollback", IMAGE=image)
    assert (script.fake / "images" / image).read_text() == "old"
    assert len(script.calls("run")) == 3


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_pull_of_a_checkout_builds_the_newest_version(script: Script, tmp_path: Path) -> None:
    origin, checkout = tmp_path / "origin", script.deploy.parent
    origin.mkdir()
    (origin / "version").write_text("1")
    git(origin, "init")
    git(origin, "add", "version")
    git(origin, "commit", "-m", "1")
    git(checkout, "init")
    git(checkout, "remote", "add", "origin", str(origin))
    git(checkout, "fetch", "origin")
    git(checkout, "checkout", "-t", "origin/main")
    (origin / "version").write_text("2")
    git(origin, "commit", "-am", "2")
    identity = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    script.run("pull", **identity)
    assert (checkout / "version").read_text() == "2"
    assert len(script.calls("build")) == 1
    assert not script.calls("run")  # nothing ran before


def test_pull_that_fails_changes_nothing(script: Script) -> None:
    assert "nothing was changed" in script.run("pull", code=2).stderr
    assert not script.calls("build")


def test_a_server_that_does_not_come_up_is_said_with_its_log(script: Script) -> None:
    done = script.run("start", code=1, HEALTHY="no", START_TRIES="1")
    assert "the log" in done.stderr
    assert "does not answer" in done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "DATA_FOLDER is not set"),
        ({"DATA_FOLDER": "data"}, "must begin with /"),
        ({"DATA_FOLDER": "/no/such/folder"}, "There is no folder"),
        ({"DTI_UID": "0"}, "must not run as root"),
        ({"DTI_UID": "me"}, "DTI_UID must be the number"),
        ({"PORT": "http"}, "PORT must be a number"),
        ({"DEVICE_NB": "cuda:0"}, "DEVICE_NB must be"),
        ({"DTI_UID": "4242"}, "belongs to user"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_done(
    script: Script, settings: dict[str, str], message: str
) -> None:
    base = {} if message == "DATA_FOLDER is not set" else {"DATA_FOLDER": str(script.data)}
    script.settings(**{"DTI_UID": UID, **base, **settings})
    assert message in script.run("start", code=2).stderr
    assert not script.calls("run")


def test_a_settings_file_is_read_and_not_executed(script: Script) -> None:
    mark = script.fake / "executed"
    script.settings(DATA_FOLDER=script.data, DTI_UID=UID, DTI_PUBLIC_URL=f"'$(touch {mark})'")
    script.run("start")
    assert not mark.exists()
    (script.deploy / ".env").write_text("touch this\n")
    assert "not a line of the form" in script.run("start", code=2).stderr


def test_commands_in_the_container(script: Script) -> None:
    assert "does not run" in script.run("doctor", code=2).stderr
    script.run("start")
    script.run("doctor", "--json")
    script.run("dti", "list")
    script.run("shell")
    inside = [call[call.index("dti") + 1 :] for call in script.calls("exec")[-3:]]
    assert inside == [["dti-entrypoint", "doctor", "--json"], ["dti-entrypoint", "list"], ["bash"]]
    script.run("logs")
    assert "--follow" in script.calls("logs")[-1]


def test_the_template_is_read_by_the_script(script: Script) -> None:
    template = (script.deploy / ".env.template").read_text()
    (script.deploy / ".env").write_text(template)
    script.run("start", DATA_FOLDER=str(script.data), DTI_UID=str(UID))
    assert option(script.calls("run")[0], "--gpus") == "all"


def test_an_unknown_command_is_named(script: Script) -> None:
    assert "docker.sh help" in script.run("begin", code=2).stderr


def test_without_docker_the_remedy_is_said(script: Script) -> None:
    empty = script.fake / "empty"
    empty.mkdir()
    for name in ("sh", "dirname", "stat", "id"):
        (empty / name).symlink_to(shutil.which(name) or name)
    assert "docker is not installed" in script.run("start", code=2, PATH=str(empty)).stderr
