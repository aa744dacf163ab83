"""docs/settings.md says what the traits say, and what each trait says is true."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from dti_service.settings import Settings, variable

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "settings_reference.py"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_current() -> None:
    done = subprocess.run([sys.executable, str(TOOL), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_setting_is_in_it_under_its_variable() -> None:
    listed = {row.variable for row in load(TOOL).rows()}
    assert {variable(field.name) for field in dataclasses.fields(Settings)} <= listed


def test_an_outdated_reference_is_noticed(tmp_path: Path) -> None:
    tool = load(TOOL)
    tool.TARGET = tmp_path / "settings.md"
    assert tool.main(["--check"]) == 1
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0
    tool.TARGET.write_text(tool.TARGET.read_text().replace("24h", "48h"))
    assert tool.main(["--check"]) == 1
