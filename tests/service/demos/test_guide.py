"""docs/adding-a-demo.md: what its Python shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dti_service.demos import Demo, notebooks_dir
from dti_service.execution.parameters import source_schema
from dti_service.handlers.demos import routes_of
from dti_service.run import Run

GUIDE = (Path(__file__).parents[3] / "docs" / "adding-a-demo.md").read_text(encoding="utf-8")
MANIFEST, PARAMETERS, RUN, HANDLERS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


def names(code: str, **known: Any) -> dict[str, Any]:
    space = dict(known)
    exec(compile(code, "adding-a-demo.md", "exec"), space)
    return space


def test_the_manifest(tmp_path: Path) -> None:
    demo = names(MANIFEST, __file__=str(tmp_path / "my_demo" / "__init__.py"))["DEMO"]
    assert isinstance(demo, Demo)
    assert (demo.name, demo.renderer) == ("my_demo", "my_demo.js")
    assert demo.problem() is not None  # its files are not there


def test_the_parameters_cell() -> None:
    schema = source_schema(PARAMETERS)
    assert not schema.get("x-problems")
    assert schema["properties"]["image_size"]["maximum"] == 512
    assert schema["properties"]["mode"]["enum"] == ["fast", "exact"]


def test_the_methods_of_a_run_exist() -> None:
    used = set(re.findall(r"\brun\.(\w+)", RUN))
    assert used == {"resolve_dataset", "progress", "should_stop", "results", "checkpoint", "finish"}
    for name in used - {"results", "checkpoint"}:
        assert callable(getattr(Run, name))


def test_the_handlers(monkeypatch: Any) -> None:
    import sys
    import types

    module = types.ModuleType("guide_handlers")
    vars(module).update(names(HANDLERS, __name__="guide_handlers"))
    monkeypatch.setitem(sys.modules, "guide_handlers", module)
    demo = Demo("my_demo", notebooks_dir() / "dti_sprites.ipynb", handlers="guide_handlers")
    assert [pattern for pattern, _ in routes_of(demo)] == ["/dti/demos/my_demo/([^/]+)/summary"]
