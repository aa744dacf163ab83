"""What `python -m build` makes is complete, and works without the checkout for a user without rights."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def wheel(distributions: Path, name: str) -> zipfile.ZipFile:
    (path,) = distributions.glob(f"{name}-*.whl")
    return zipfile.ZipFile(path)


def sources(folder: Path) -> set[str]:
    """Files of a package in the checkout, without what Python leaves there."""
    return {
        path.relative_to(folder.parent).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)
    }


@pytest.mark.parametrize(("project", "package"), [(".", "dti_service"), ("dti-sprites", "dti_sprites")])
def test_the_wheel_has_every_file_of_the_package_and_nothing_beside_it(
    distributions: Path, project: str, package: str
) -> None:
    names = set(wheel(distributions, package).namelist())
    wanted = sources(ROOT / project / package)
    assert wanted
    assert not wanted - names
    assert {name.split("/")[0].split("-")[0] for name in names} == {package}


def test_the_wheel_has_the_notebooks_and_the_configuration_for_jupyter(distributions: Path) -> None:
    names = set(wheel(distributions, "dti_service").namelist())
    notebooks = {f"dti_service/notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks
    assert not notebooks - names
    assert any(name.endswith("/etc/jupyter/jupyter_server_config.d/dti_service.json") for name in names)
    assert {"dti_service/openapi.yaml", "dti_service/event_schemas/experiment.yaml"} <= names


def test_both_wheels_carry_the_licence(distributions: Path) -> None:
    for package in ("dti_service", "dti_sprites"):
        names = wheel(distributions, package).namelist()
        assert any(name.endswith("LICENSE") for name in names), names


def test_the_source_archive_has_what_a_build_needs_and_nothing_of_the_other_distribution(
    distributions: Path,
) -> None:
    (path,) = distributions.glob("dti_service-*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    assert not {name for name in names if name.startswith("dti-sprites")}


def test_both_distributions_have_one_version(distributions: Path) -> None:
    versions = {path.name.split("-")[1] for path in distributions.glob("*.whl")}
    assert len(versions) == 1


def test_imports_come_from_the_wheels(installed: Any) -> None:
    code = "import dti_service, dti_sprites; print(dti_service.__file__); print(dti_sprites.__file__)"
    lines = installed.run("python", "-c", code).stdout.splitlines()
    assert all(Path(line).is_relative_to(installed.bin.parent) for line in lines)


def test_the_commands_answer(installed: Any) -> None:
    assert "serve" in installed.run("dti", "--help").stdout
    assert "digits" in installed.run("dti-sprites", "presets").stdout


def test_doctor_is_content(installed: Any) -> None:
    done = installed.run("dti", "doctor", "--json", check=False)
    wrong = [check for check in json.loads(done.stdout) if not check["ok"]]
    assert done.returncode == 0, wrong


def test_jupyter_finds_the_extension(installed: Any) -> None:
    done = installed.run("python", "-m", "jupyter_server", "extension", "list")
    text = done.stdout + done.stderr
    assert "dti_service" in text
    assert "enabled" in text
    assert str(installed.bin.parent / "etc" / "jupyter") in text


def test_an_experiment_runs_from_the_wheel(installed: Any, own: Any) -> None:
    data = str(own("data"))
    id = json.loads(installed.run("dti", "submit", "tiny", "--data-dir", data, "--json").stdout)["id"]
    installed.run("dti", "worker", "--burst", "--data-dir", data)
    view = json.loads(installed.run("dti", "status", id, "--data-dir", data, "--json").stdout)
    assert (view["state"], view["metrics"]) == ("succeeded", {"steps": 3})


def test_jupyterlab_finds_the_prebuilt_extension(installed: Any) -> None:
    done = installed.run("python", "-m", "jupyterlab.labextensions", "list", check=False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    assert re.search(r"dti-service v[\d.]+ enabled OK", text), text
    folder = installed.bin.parent / "share" / "jupyter" / "labextensions" / "dti-service"
    assert {path.name for path in folder.iterdir()} >= {"install.json", "package.json", "static"}
