"""Prints what both distributions require, one a line: the layer of the image that changes seldom.

python deploy/requirements.py pyproject.toml dti-sprites/pyproject.toml
"""

import sys
import tomllib
from pathlib import Path


def requirements(files: list[Path]) -> list[str]:
    """Requirements of these projects on others, sorted."""
    projects = [tomllib.loads(path.read_text(encoding="utf-8"))["project"] for path in files]
    own = {project["name"] for project in projects}
    wanted = {item for project in projects for item in project["dependencies"]}
    return sorted(item for item in wanted if item.split("=")[0].split("<")[0].split(">")[0] not in own)


if __name__ == "__main__":
    print("\n".join(requirements([Path(name) for name in sys.argv[1:]])))
