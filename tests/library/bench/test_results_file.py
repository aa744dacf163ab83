"""RESULTS.md keeps what others wrote; a machine is described in one paragraph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dti_sprites.bench.machine import describe_machine, machine_facts
from dti_sprites.bench.results_file import default_results_file, read_section, replace_section
from dti_sprites.errors import DataError


def test_a_section_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    file = tmp_path / "new" / "RESULTS.md"
    assert read_section(file, "speed") is None
    replace_section(file, "speed", "## Speed\n\nslow")
    replace_section(file, "fidelity", "## Fidelity\n\nhigh")
    file.write_text(file.read_text() + "\nBy hand.\n")
    replace_section(file, "speed", "## Speed\n\nfast\n\n## More of it")
    assert read_section(file, "speed") == "## Speed\n\nfast\n\n## More of it"
    assert read_section(file, "fidelity") == "## Fidelity\n\nhigh"
    text = file.read_text()
    assert "slow" not in text
    assert text.startswith("# Results\n")
    assert text.endswith("\nBy hand.\n")
    assert text.index("## Speed") < text.index("## Fidelity")
    again = file.read_text()
    replace_section(file, "speed", "## Speed\n\nfast\n\n## More of it")
    assert file.read_text() == again


def test_a_section_without_end_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    file.write_text("<!-- section: speed -->\nprecious\n")
    with pytest.raises(DataError, match="has no end"):
        replace_section(file, "speed", "new")
    assert file.read_text() == "<!-- section: speed -->\nprecious\n"


def test_the_default_file_is_that_of_the_checkout() -> None:
    file = default_results_file()
    assert file is not None
    assert file.parts[-3:] == ("dti-sprites", "benchmarks", "RESULTS.md")


def test_a_machine_is_described_by_device_and_versions() -> None:
    facts = machine_facts(torch.device("cpu"), threads=3)
    text = describe_machine(facts)
    assert text.startswith("cpu: ")
    assert "3 threads" in text
    assert f"torch {facts['packages']['torch']}" in text
    assert "\n" not in text
