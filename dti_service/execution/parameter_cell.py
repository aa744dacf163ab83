"""Reads the source of a notebook's parameters cell; nothing in it is executed.

    ## Basic                                   the group of what follows
    n_clusters: int = 10  # Motifs to look for [1, 1000]
    # How hard to try: "fast" is for a first look.
    effort: Literal["fast", "best"] = "fast"

The comment behind a declaration and the comment lines directly above it are its description. An interval at the end of
a comment is the range of allowed numbers: `[0, 1]` with its ends, `(0, 1)` without, and an end may be left open, as in
`[1, ]`. Lines that cannot be read are reported and do not hide the others.
"""

from __future__ import annotations

import ast
import contextlib
import io
import math
import re
import tokenize
import warnings
from dataclasses import dataclass, field
from typing import Any

MISSING: Any = object()  # a declaration without a value that could be read
LONGEST_SOURCE = 200_000  # characters

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_INTERVAL = re.compile(rf"\s*([\[(])\s*({_NUMBER})?\s*,\s*({_NUMBER})?\s*([\])])\s*\.?$")
_MAGIC = re.compile(r"\s*(?:[%!?]|[\w.]+\?{1,2}\s*$)")


@dataclass(frozen=True)
class Interval:
    """Range of allowed numbers; None: open to that side."""

    low: int | float | None
    high: int | float | None
    low_included: bool = True
    high_included: bool = True


@dataclass
class Declaration:
    """One `name: annotation = value  # help` of the cell."""

    name: str
    line: int  # counted from 1 within the cell
    annotation: ast.expr | None = None
    default: Any = MISSING
    source: str | None = None  # the text of a value that is not a literal
    help: str = ""
    group: str | None = None
    interval: Interval | None = None


@dataclass
class ParameterCell:
    """What was read, and what could not be: problems as (line, reason)."""

    declarations: list[Declaration] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class _Comment:
    text: str
    alone: bool  # nothing else is on its line


def read_cell(source: str) -> ParameterCell:
    """The declarations in `source`, in their order; a name that is given twice counts the second time."""
    cell = ParameterCell()
    if len(source) > LONGEST_SOURCE:
        cell.problems.append((1, f"the parameters cell has more than {LONGEST_SOURCE} characters"))
        return cell
    lines = source.split("\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in the notebook's texts
        tree = _parse(lines, cell.problems)
    comments = _comments("\n".join(lines))
    found: dict[str, Declaration] = {}
    for statement in tree.body:
        declaration = _declaration(statement, cell.problems)
        if declaration is None:
            continue
        text = _describe(statement, lines, comments)
        declaration.help, declaration.interval = _split_interval(text)
        declaration.group = _group(statement.lineno, comments)
        if declaration.annotation is None:
            declaration.annotation, declaration.help = _type_comment(declaration.help)
        found.pop(declaration.name, None)
        found[declaration.name] = declaration
    cell.declarations = list(found.values())
    cell.problems.sort()
    return cell


def _parse(lines: list[str], problems: list[tuple[int, str]]) -> ast.Module:
    """The syntax tree; a line at which Python stops is reported, emptied in `lines`, and the rest read again."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.parse("\n".join(lines))
    # What IPython adds to Python is no mistake; only now, as a string may hold such lines too.
    lines[:] = ["" if _MAGIC.match(line) or not line.strip() else line for line in lines]
    while True:
        try:
            return ast.parse("\n".join(lines))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            number = getattr(error, "lineno", None) or 1
            number = min(max(number, 1), len(lines))
            while number > 1 and not lines[number - 1]:
                number -= 1
            if not lines[number - 1]:
                number = next(index for index, line in enumerate(lines, 1) if line)
            problems.append((number, f"not Python: {getattr(error, 'msg', None) or error}"))
            lines[number - 1] = ""


def _comments(source: str) -> dict[int, _Comment]:
    """Comments by line number."""
    comments = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                alone = not token.line[: token.start[1]].strip()
                comments[token.start[0]] = _Comment(token.string, alone)
    except (tokenize.TokenError, SyntaxError):
        pass  # what comes before is kept
    return comments


def _declaration(statement: ast.stmt, problems: list[tuple[int, str]]) -> Declaration | None:
    value: ast.expr | None
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        name, annotation, value = statement.target.id, statement.annotation, statement.value
    elif isinstance(statement, ast.Assign):
        target = statement.targets[0]
        if len(statement.targets) != 1 or not isinstance(target, ast.Name):
            problems.append((statement.lineno, "only `name = value` is read, one name at a time"))
            return None
        name, annotation, value = target.id, None, statement.value
    else:
        return None  # imports and the like
    if name.startswith("_"):
        return None
    declaration = Declaration(name, statement.lineno, annotation)
    if value is not None:
        try:
            declaration.default = _json_value(ast.literal_eval(value))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            declaration.source = ast.unparse(value)
            problems.append((statement.lineno, f"the default of {name} is not a plain value"))
    return declaration


def _json_value(value: Any) -> Any:
    """The value as JSON holds it: tuples and sets become lists. Raises ValueError for what JSON cannot hold."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_json_value(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _json_value(item) for key, item in value.items()}
    raise ValueError(f"not a JSON value: {value!r}")


def _describe(statement: ast.stmt, lines: list[str], comments: dict[int, _Comment]) -> str:
    """The comment lines directly above a declaration, then the comment behind it."""
    above: list[str] = []
    number = statement.lineno - 1
    while number in comments and comments[number].alone and not comments[number].text.startswith("##"):
        above.insert(0, comments[number].text)
        number -= 1
    last = statement.end_lineno or statement.lineno
    behind = comments.get(last) or comments.get(statement.lineno)
    if behind is not None and not behind.alone:
        above.append(behind.text)
    return " ".join(" ".join(text.lstrip("#").split()) for text in above).strip()


def _split_interval(text: str) -> tuple[str, Interval | None]:
    match = _INTERVAL.search(text)
    if not match or not (match[2] or match[3]):
        return text, None
    low, high = (None if number is None else _number(number) for number in (match[2], match[3]))
    return text[: match.start()].rstrip(), Interval(low, high, match[1] == "[", match[4] == "]")


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _group(line: int, comments: dict[int, _Comment]) -> str | None:
    headings = [
        number for number, comment in comments.items() if number < line and comment.text.startswith("##")
    ]
    if not headings:
        return None
    return comments[max(headings)].text.lstrip("#").strip().lower() or None


def _type_comment(text: str) -> tuple[ast.expr | None, str]:
    """`# type: int` in place of an annotation, as papermill reads it; what follows in the comment is help."""
    match = re.match(r"type:\s*([^\s#]+)\s*#?\s*", text)
    if match is None:
        return None, text
    try:
        return ast.parse(match[1], mode="eval").body, text[match.end() :]
    except SyntaxError:
        return None, text
