"""RESULTS.md: one Markdown file with a named section for each benchmark, of which one is replaced at a time."""

from __future__ import annotations

from pathlib import Path

from dti_sprites.errors import DataError
from dti_sprites.results.files import write_text

TITLE = "# Results\n\nEach section is written by the command that it names.\n"


def default_results_file() -> Path | None:
    """benchmarks/RESULTS.md of the checkout that this library is imported from; None if it is installed."""
    project = Path(__file__).resolve().parents[2]
    return project / "benchmarks" / "RESULTS.md" if (project / "pyproject.toml").is_file() else None


def read_section(file: Path, name: str) -> str | None:
    """The text of section `name`, or None if the file has none (or does not exist)."""
    found = _find(_read(file), name, file)
    return None if found is None else found[1].strip("\n")


def replace_section(file: Path, name: str, text: str) -> None:
    """Make `text` (Markdown) the section `name` of `file`; the rest of the file stays as it is.

    A section that is new comes last, a file that is new gets a title. Raises DataError when the file has the
    start of the section but not its end.
    """
    content = _read(file) or TITLE
    section = f"{_start(name)}\n{text.strip()}\n{_end(name)}"
    found = _find(content, name, file)
    if found is None:
        content = f"{content.rstrip()}\n\n{section}\n"
    else:
        before, _, after = found
        content = before + section + after
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, content)


def _start(name: str) -> str:
    return f"<!-- section: {name} -->"


def _end(name: str) -> str:
    return f"<!-- end of section: {name} -->"


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _find(content: str, name: str, file: Path) -> tuple[str, str, str] | None:
    """What comes before the section, the section without its marks, and what comes after."""
    before, start, rest = content.partition(_start(name))
    if not start:
        return None
    inside, end, after = rest.partition(_end(name))
    if not end:
        raise DataError(f"{file}: the section {name!r} has no end: add the line {_end(name)!r} after it")
    return before, inside, after
