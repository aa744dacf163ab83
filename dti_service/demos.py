"""The notebooks that can be run by name: the built-in ones and those of installed packages ("demos").

A demo is a Python package with an attribute `DEMO`, its manifest: a `Demo` or a list of them. It is found through the
entry point group `dti_service.demos` or the setting DTI_INSTALLED_DEMOS. What cannot be used is reported under its
name and does not stop the others. `docs/adding-a-demo.md` tells how to write one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

Check = Callable[[Mapping[str, Any]], list[tuple[str, str]]]

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
GROUP = "dti_service.demos"
# Packages that come with the service; found like any other, and before them.
INCLUDED = ("dti_service.built_in", "dti_service.similarity")


@dataclass(frozen=True)
class Demo:
    """A notebook that can be run, and what belongs to it."""

    name: str  # letters, digits, - and _; it stands in addresses
    notebook: Path
    title: str = ""  # for people; that of the notebook's first heading counts before it
    check: Check | None = None  # problems of parameters that the schema cannot see, as (name, reason)
    description: str = ""
    version: str = ""  # of the package, as people should see it
    handlers: str = (
        ""  # module whose HANDLERS are routes below /dti/demos/<name>/; imported by the server only
    )
    static: Path | None = None  # folder of files sent below /dti/demos/<name>/static/
    renderer: str = ""  # file in `static`: an ES module with `render(element, run)` that shows a result

    def problem(self) -> str | None:
        """Why it cannot be used, as far as its manifest tells."""
        if not isinstance(self.name, str) or not re.fullmatch(NAME, self.name):
            return f"its name must be letters, digits, - and _, at most 64, not {self.name!r}"
        if not Path(self.notebook).is_file():
            return f"its notebook {self.notebook} does not exist"
        if self.static is not None and not Path(self.static).is_dir():
            return f"its folder of static files {self.static} does not exist"
        if self.renderer and (self.static is None or not (Path(self.static) / self.renderer).is_file()):
            return f"its renderer {self.renderer} is not in its folder of static files"
        return None


@dataclass(frozen=True)
class Broken:
    """A demo that cannot be used, and why."""

    name: str
    reason: str


def notebooks_dir() -> Path:
    """Where the built-in notebooks are: in the package when installed from a wheel, beside it in a checkout."""
    packaged = Path(__file__).parent / "notebooks"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "notebooks"


def find_demos(installed: Iterable[str] = ()) -> dict[str, Demo | Broken]:
    """All demos by name."""
    sources: list[tuple[str, Callable[[], Any]]] = []
    for package in (*INCLUDED, *dict.fromkeys(installed)):
        sources.append((package, partial(_import_demo, package)))
    for entry in importlib.metadata.entry_points(group=GROUP):
        # A package that is installed and named in the settings, too, is one demo.
        if entry.module.partition(":")[0] not in dict(sources):
            sources.append((entry.name, entry.load))
    found: dict[str, Demo | Broken] = {}
    for name, load in sources:
        for demo in _load(name, load):
            if demo.name in found:
                log.warning("The demo %s of %s cannot be used: that name is taken", demo.name, name)
                # The first keeps its name; the other is told under that of its package.
                demo = Broken(name, f"a demo named {demo.name} exists already")
            found.setdefault(demo.name, demo)
    return found


def with_page(demos: Mapping[str, Demo | Broken], view: dict[str, Any]) -> dict[str, Any]:
    """The view of an experiment, with a link `view` to the page of its demo's own renderer where there is one."""
    demo = demos.get(view["notebook"])
    if isinstance(demo, Demo) and demo.renderer and view["state"] == "succeeded":
        view = {**view, "links": {**view["links"], "view": f"/dti/demos/{demo.name}/view/{view['id']}"}}
    return view


def _import_demo(package: str) -> Any:
    return importlib.import_module(package).DEMO


def _load(name: str, load: Callable[[], Any]) -> list[Demo | Broken]:
    try:
        loaded = load()
        demos = list(loaded) if isinstance(loaded, list | tuple) else [loaded]
        for demo in demos:
            if not isinstance(demo, Demo):
                raise TypeError(f"DEMO must be a dti_service.demos.Demo, not {type(demo).__name__}")
    except (Exception, SystemExit) as error:  # whatever somebody's module does when it is imported
        return [_broken(name, f"{type(error).__name__}: {error}")]
    found: list[Demo | Broken] = []
    for demo in demos:
        problem = demo.problem()
        known = isinstance(demo.name, str) and bool(demo.name)
        found.append(demo if problem is None else _broken(demo.name if known else name, problem))
    return found


def _broken(name: str, reason: str) -> Broken:
    log.warning("The demo %s cannot be used: %s", name, reason)
    return Broken(name, reason)
