"""The notebooks that can be run by name: the built-in ones and those of installed packages ("demos").

A demo is a Python package with an attribute `DEMO`, a `Demo` or a list of them, found through the entry point group
`dti_service.demos` or the setting DTI_INSTALLED_DEMOS. A package that cannot be loaded is reported under its name and
does not stop the others.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dti_service.demo_checks import check_sprites

log = logging.getLogger(__name__)

Check = Callable[[Mapping[str, Any]], list[tuple[str, str]]]


@dataclass(frozen=True)
class Demo:
    """A notebook that can be run; `check` finds problems that the schema cannot see, as (name, reason)."""

    name: str
    notebook: Path
    title: str = ""
    check: Check | None = None


@dataclass(frozen=True)
class Broken:
    """A demo that cannot be used, and why."""

    name: str
    reason: str


def notebooks_dir() -> Path:
    """Where the built-in notebooks are: in the package when installed from a wheel, beside it in a checkout."""
    packaged = Path(__file__).parent / "notebooks"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "notebooks"


def check_clustering(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Problems that only the library's configuration knows, such as an unknown transformation."""
    from dti_sprites import ConfigError
    from dti_sprites.recipe import FIELDS, configure

    known = {name: value for name, value in parameters.items() if name in {*FIELDS, "preset", "epochs"}}
    try:
        configure(known, sample=parameters.get("dataset", "sample") == "sample")
    except ConfigError as error:
        return error.errors
    return []


def check_discover(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Problems in what a front of the DISCOVER platform asks for."""
    from dti_service.discover.start import check_notebook

    return check_notebook(parameters)


BUILT_IN = (
    ("dti_clustering", "DTI clustering", check_clustering),
    ("dti_sprites", "DTI-Sprites", check_sprites),
    ("dti_discover", "DTI for the DISCOVER platform", check_discover),
    ("assign_images", "Label new images", None),
    ("explore_experiment", "Explore an experiment", None),
    ("launch", "Launch and compare experiments", None),
)


def find_demos(installed: Iterable[str] = ()) -> dict[str, Demo | Broken]:
    """All demos by name."""
    found: dict[str, Demo | Broken] = {}
    for name, title, check in BUILT_IN:
        path = notebooks_dir() / f"{name}.ipynb"
        if path.is_file():
            found[name] = Demo(name, path, title, check)
    sources: dict[str, Callable[[], Any]] = {}
    for package in installed:
        sources[package] = partial(_import_demo, package)
    for entry in importlib.metadata.entry_points(group="dti_service.demos"):
        sources[entry.name] = entry.load
    for name, load in sources.items():
        for demo in _load(name, load):
            if demo.name in found:
                demo = Broken(name, f"a demo named {demo.name} exists already")
            found[demo.name] = demo
    return found


def _import_demo(package: str) -> Any:
    return importlib.import_module(package).DEMO


def _load(name: str, load: Callable[[], Any]) -> list[Demo | Broken]:
    try:
        loaded = load()
        demos = list(loaded) if isinstance(loaded, list | tuple) else [loaded]
        for demo in demos:
            if not isinstance(demo, Demo):
                raise TypeError(f"DEMO must be a dti_service.demos.Demo, not {type(demo).__name__}")
            if not demo.notebook.is_file():
                raise FileNotFoundError(f"its notebook {demo.notebook} does not exist")
    except Exception as error:
        log.warning("The demo %s cannot be used: %s: %s", name, type(error).__name__, error)
        return [Broken(name, f"{type(error).__name__}: {error}")]
    return list(demos)
