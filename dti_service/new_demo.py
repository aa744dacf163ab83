"""Writes the skeleton of a demo, from the files in `demo_template/`: a package that works and is tested as it is."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import tempfile
from pathlib import Path

from dti_service.errors import InvalidRequest

TEMPLATE = Path(__file__).parent / "demo_template"
SUFFIX = ".tmpl"


def write_demo(name: str, parent: Path, title: str = "") -> Path:
    """Make the folder `parent`/`name` with a demo of that name; returns it.

    Raises InvalidRequest for a name that cannot be used, or a folder that exists already.
    """
    problem = _problem(name)
    if problem:
        raise InvalidRequest("The demo cannot be made", [{"field": "name", "reason": problem}])
    target = parent / name
    if not parent.is_dir() or target.exists() or target.is_symlink():
        there = f"{target} exists already" if parent.is_dir() else f"the folder {parent} does not exist"
        raise InvalidRequest("The demo cannot be made", [{"field": "name", "reason": there}])
    words = {
        "__NAME__": name,
        "__DIST__": name.replace("_", "-"),
        "__TITLE__": " ".join(title.split()).replace('"', "'").replace("\\", "/")
        or name.replace("_", " ").capitalize(),
    }
    # Put in place as a whole: an interruption leaves nothing that looks like a demo.
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{name}-") as scratch:
        whole = Path(scratch) / name
        for source in sorted(TEMPLATE.rglob(f"*{SUFFIX}")):
            path = whole / _place(source.relative_to(TEMPLATE), name)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace(word, value)
            path.write_text(text, encoding="utf-8")
        shutil.move(whole, target)
    return target


def _place(path: Path, name: str) -> Path:
    """`package/notebooks/demo.ipynb.tmpl` -> `<name>/notebooks/<name>.ipynb`."""
    folders = [name if part == "package" else part for part in path.parent.parts]
    file = path.name.removesuffix(SUFFIX)
    stem, dot, rest = file.partition(".")
    stem = {"demo": name, "test_demo": f"test_{name}"}.get(stem, stem)
    return Path(*folders, stem + dot + rest)


def _problem(name: str) -> str | None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or keyword.iskeyword(name):
        return f"must be a Python name of small letters, digits and _, such as my_demo, not {name!r}"
    if importlib.util.find_spec(name) is not None:
        return f"there is a Python package named {name} already"
    return None
