"""The examples of docs/notebooks.md work as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

GUIDE = Path(__file__).parents[3] / "docs" / "notebooks.md"


def test_every_example_runs_as_it_stands(data_dir: Path, ids: dict[str, str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, Any] = {}
    for block in blocks:
        # What takes minutes is watched for a moment only: the sweep itself is real.
        exec(block.replace("batch.watch()", "batch.watch(timeout=0)"), names)
    assert [view["parameters"] for view in names["batch"].views()] == [
        {"n_prototypes": count, "epochs": 20} for count in (8, 10, 12)
    ]
    assert Path("four.csv").is_file()
    assert Path("four.zip").is_file()
    assert names["Comparison"](ids["three"], ids["four"]).spec["kind"] == "comparison"
