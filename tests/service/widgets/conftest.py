"""What the tests of the widgets share: two finished runs, the words of a picture."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dti_service.store import Store


@pytest.fixture
def data_dir(tiny_results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with the finished runs "three" and "four", as the one that notebooks use; may be written to."""
    folder = tmp_path / "data"
    shutil.copytree(tiny_results, folder)
    monkeypatch.setenv("DTI_DATA_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def ids(data_dir: Path) -> dict[str, str]:
    return {item.name: item.id for item in Store(data_dir).page().items}


@pytest.fixture
def words() -> Callable[[str], str]:
    """The text that a reader of some HTML sees; fails for HTML that would run anything."""

    def read(content: str) -> str:
        assert not re.search(r"<script|\son\w+=|javascript:", content, re.IGNORECASE), content[:500]
        return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", content)))

    return read
