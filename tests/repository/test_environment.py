"""environment.yml promises conda users the same set that pyproject.toml gives to pip."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"torch": "pytorch", "redis": "redis-py"}


def split(requirement: str) -> tuple[str, str]:
    name = requirement
    for sign in (">", "<", "=", "!", "~"):
        name = name.split(sign)[0]
    return name.lower().replace("_", "-"), requirement[len(name) :]


def pip_requirements() -> dict[str, str]:
    requirements: dict[str, str] = {}
    for folder in (ROOT, ROOT / "dti-sprites"):
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        wanted = project["dependencies"] + project.get("optional-dependencies", {}).get("lab", [])
        requirements |= dict(split(item) for item in wanted)
    requirements.pop("dti-sprites")
    return {CONDA_NAMES.get(name, name): span for name, span in requirements.items()}


def conda_requirements() -> dict[str, str]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_pip = [item for entry in entries if isinstance(entry, dict) for item in entry["pip"]]
    plain = [entry for entry in entries if isinstance(entry, str)]
    found = dict(split(item) for item in plain + by_pip if not item.startswith("-e"))
    found.pop("python")
    found.pop("pip")
    return found


def test_conda_and_pip_name_the_same_packages_and_ranges() -> None:
    assert conda_requirements() == pip_requirements()


def test_both_distributions_support_the_same_python_versions() -> None:
    spans = {
        tomllib.loads((folder / "pyproject.toml").read_text())["project"]["requires-python"]
        for folder in (ROOT, ROOT / "dti-sprites")
    }
    assert spans == {">=3.11,<3.14"}
