"""The documentation builds without a warning, and what it names is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import dti_service
import dti_sprites
from dti_service.cli.parser import build_parser
from dti_sprites.models.transformations import TransformationOptions

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDES = ("operations.md", "developer-guide.md")
FOLDERS = ("deploy", "tools", "docs", "tests", "dti_service", "dti-sprites", "notebooks")
# Below these folders the developer guide names files in short.
INSIDE = (
    "",
    "deploy",
    "deploy/systemd",
    "deploy/spiped",
    "docs",
    "tests/library/models",
    "dti-sprites",
    "dti-sprites/dti_sprites",
    "dti-sprites/dti_sprites/models",
    "dti-sprites/dti_sprites/models/transformations",
    "dti-sprites/dti_sprites/results",
    "dti_service",
    "dti_service/web",
    "dti_service/web/static",
    "dti_service/web/static/views",
)


def test_the_site_builds_with_warnings_as_errors(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in DOCS.glob("*.md"):
        folder = tmp_path / "site" if page.stem == "index" else tmp_path / "site" / page.stem
        html = (folder / "index.html").read_text()
        # Nothing is loaded from elsewhere.
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', html), page.name


def code(text: str) -> list[str]:
    """What stands in single backticks, and each word of the blocks."""
    blocks = re.findall(r"```.*?```", text, re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [word for part in inline + blocks for word in part.split()]


@pytest.mark.parametrize("guide", GUIDES)
def test_files_that_are_named_are_there(guide: str) -> None:
    words = {word.strip(",;:()").rstrip(".").removeprefix("./") for word in code((DOCS / guide).read_text())}
    named = {word for word in words if word.startswith(tuple(f"{folder}/" for folder in FOLDERS))}
    named |= {word for word in words if re.fullmatch(r"[a-z_./-]+\.(py|js|sh|yml)", word)}
    # Made by whoever follows the guide.
    named -= {"deploy/.env"}
    missing = {
        name
        for name in named
        if "*" not in name and not any((ROOT / base / name).exists() for base in INSIDE)
    }
    assert missing == set()


@pytest.mark.parametrize("guide", GUIDES)
def test_commands_that_are_named_exist(guide: str) -> None:
    text = (DOCS / guide).read_text()
    parser = build_parser()
    (commands,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    asked = set(re.findall(r"(?:bin/|`|^|\")dti ([a-z-]+)", text, re.MULTILINE))
    assert asked
    assert asked <= set(commands)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {name for line in re.findall(r"`make ([a-z ]+)", text) for name in line.split()} <= targets
    script = (ROOT / "deploy" / "docker.sh").read_text()
    for command in re.findall(r"docker\.sh ([a-z]+)", text):
        assert re.search(rf"^#   deploy/docker\.sh {command}\b", script, re.MULTILINE) or command == "help"


def test_the_transformation_of_the_guide_works() -> None:
    text = (DOCS / "developer-guide.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, type] = {"__name__": "shear"}  # type: ignore[dict-item]
    exec(block, names)
    shear = names["Shear"](TransformationOptions(size=(6, 8), channels=1))
    images = torch.rand(2, 1, 6, 8)
    torch.testing.assert_close(shear(images, torch.zeros(2, 1)), images)
    moved = shear(images, torch.full((2, 1), 0.5))
    assert not torch.allclose(moved, images)
    assert shear.matrices(torch.full((1, 1), 0.5))["shear"].tolist() == [[[1.0, 0.5, 0.0], [0.0, 1.0, 0.0]]]


def test_versions_agree() -> None:
    service = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    library = tomllib.loads((ROOT / "dti-sprites" / "pyproject.toml").read_text())["project"]
    version = library.get("version", dti_sprites.__version__)
    assert {service["version"], version, dti_service.__version__, dti_sprites.__version__} == {
        service["version"]
    }
    assert f"dti-sprites=={service['version']}" in service["dependencies"]


@pytest.mark.parametrize("page", ["operations.md", "developer-guide.md", "index.md"])
def test_pages_are_readable_as_text(page: str) -> None:
    long = [
        line
        for line in (DOCS / page).read_text().splitlines()
        if len(line) > 150 and not line.startswith("|")
    ]
    assert long == []
