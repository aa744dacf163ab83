"""Which demos are found, and what becomes of those that cannot be used."""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.auth.decorator import allow_unauthenticated
from tornado import web

from dti_service.demos import INCLUDED, Broken, Demo, find_demos, notebooks_dir
from dti_service.doctor.software import notebooks
from dti_service.handlers.demos import DemoHandler, demo_routes, routes_of
from dti_service.service import Service
from dti_service.settings import Settings

Package = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """An importable package with this source and a notebook `work.ipynb`; returns its name."""
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    made: list[str] = []

    def make(name: str, source: str) -> str:
        folder = tmp_path / "packages" / name
        folder.mkdir(parents=True)
        shutil.copy(notebooks_dir() / "dti_sprites.ipynb", folder / "work.ipynb")
        head = "from pathlib import Path\nfrom dti_service.demos import Demo\nHERE = Path(__file__).parent\n"
        (folder / "__init__.py").write_text(head + source)
        made.append(name)
        return name

    yield make  # type: ignore[misc]
    for name in made:
        sys.modules.pop(name, None)


def test_the_built_in_demos_are_packages_like_any_other() -> None:
    found = find_demos()
    assert {"dti_clustering", "dti_sprites", "assign_images", "similarity_search"} <= set(found)
    assert all(isinstance(demo, Demo) and demo.version for demo in found.values())
    assert "dti_service.similarity" in INCLUDED


def test_a_package_may_provide_several(package: Package) -> None:
    name = package("two", "DEMO = [Demo('one', HERE / 'work.ipynb'), Demo('two', HERE / 'work.ipynb')]")
    found = find_demos([name])
    assert isinstance(found["one"], Demo)
    assert isinstance(found["two"], Demo)


@pytest.mark.parametrize(
    ("source", "key", "reason"),
    [
        ("raise RuntimeError('no licence')", "odd", "no licence"),
        ("raise SystemExit(3)", "odd", "SystemExit"),
        ("import a_module_that_is_not_there", "odd", "ModuleNotFoundError"),
        ("", "odd", "AttributeError"),
        ("DEMO = 'odd'", "odd", "must be a dti_service.demos.Demo"),
        ("DEMO = Demo('mine', HERE / 'absent.ipynb')", "mine", "does not exist"),
        ("DEMO = Demo('a/b', HERE / 'work.ipynb')", "a/b", "letters, digits"),
        ("DEMO = Demo('mine', HERE / 'work.ipynb', static=HERE / 'absent')", "mine", "static files"),
        ("DEMO = Demo('mine', HERE / 'work.ipynb', static=HERE, renderer='absent.js')", "mine", "renderer"),
        ("DEMO = Demo('dti_clustering', HERE / 'work.ipynb')", "odd", "exists already"),
    ],
)
def test_what_cannot_be_used_is_told_by_name_and_stops_nothing(
    package: Package, source: str, key: str, reason: str
) -> None:
    found = find_demos([package("odd", source), package("fine", "DEMO = Demo('fine', HERE / 'work.ipynb')")])
    broken = found[key]
    assert isinstance(broken, Broken)
    assert reason in broken.reason
    assert isinstance(found["fine"], Demo)
    assert isinstance(found["dti_clustering"], Demo)
    assert found["dti_clustering"].notebook.parent == notebooks_dir()


def test_a_good_demo_beside_a_broken_one_of_the_same_package(package: Package) -> None:
    name = package("half", "DEMO = [Demo('good', HERE / 'work.ipynb'), Demo('bad', HERE / 'absent.ipynb')]")
    found = find_demos([name])
    assert isinstance(found["good"], Demo)
    assert isinstance(found["bad"], Broken)


def test_a_notebook_that_cannot_be_read_is_listed_with_its_error(
    package: Package, settings: Settings
) -> None:
    name = package("damaged", "DEMO = Demo('damaged', HERE / 'work.ipynb', version='3')")
    listed = Service(settings.replace(installed_demos=(name,)))
    (Path(sys.modules[name].__file__ or "").parent / "work.ipynb").write_text("{")
    items = {item["name"]: item for item in listed.notebooks()["items"]}
    assert "cannot be read" in items["damaged"]["error"]
    assert items["dti_clustering"]["title"]


def test_the_doctor_names_what_is_broken(package: Package, settings: Settings) -> None:
    good = package("sound", "DEMO = Demo('sound', HERE / 'work.ipynb')")
    odd = package(
        "odd", "DEMO = [Demo('lost', HERE / 'a'), Demo('open', HERE / 'work.ipynb', handlers='json')]"
    )
    checks = {check.name: check for check in notebooks(settings.replace(installed_demos=(good, odd)))}
    assert checks["notebooks"].ok
    assert "sound" in checks["notebooks"].found
    assert "does not exist" in checks["notebook lost"].found
    assert "HANDLERS" in checks["notebook open"].found
    assert not checks["notebook open"].ok


class Fine(DemoHandler):
    async def get(self) -> None:
        self.answer({})


class Foreign(web.RequestHandler):
    async def get(self) -> None:
        self.finish("open to all")


class Open(DemoHandler):
    @allow_unauthenticated
    async def get(self) -> None:
        self.answer({})


class Unprepared(DemoHandler):
    async def prepare(self) -> None:  # type: ignore[override]
        return None

    async def get(self) -> None:
        self.answer({})


def demo_with(handlers: Any, monkeypatch: pytest.MonkeyPatch) -> Demo:
    module = types.ModuleType("handlers_of_a_test")
    module.HANDLERS = handlers  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Demo("mine", notebooks_dir() / "dti_sprites.ipynb", handlers=module.__name__)


def test_routes_are_below_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    [(pattern, handler)] = routes_of(demo_with([("/([^/]+)/x", Fine)], monkeypatch))
    assert pattern == "/dti/demos/mine/([^/]+)/x"
    assert issubclass(handler, Fine)
    assert handler.demo.name == "mine"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("handlers", "reason"),
    [
        ([("/x", Foreign)], "DemoHandler"),
        ([("/x", Open)], "authentication"),
        ([("/x", Unprepared)], "prepare"),
        ([("/(", Fine)], "its routes"),
        ([Fine], "its routes"),
        (None, "its routes"),
    ],
)
def test_routes_that_are_refused_make_the_demo_broken(
    service: Service, monkeypatch: pytest.MonkeyPatch, handlers: Any, reason: str
) -> None:
    service.demos["mine"] = demo_with(handlers, monkeypatch)
    routes = demo_routes(service)
    assert not any("mine" in pattern for pattern, _ in routes)
    assert any("similarity_search" in pattern for pattern, _ in routes)
    broken = service.demos["mine"]
    assert isinstance(broken, Broken)
    assert reason in broken.reason
