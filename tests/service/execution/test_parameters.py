"""The schema of a notebook's parameters, and the strict check of values against it."""

from __future__ import annotations

import json
import keyword
import math
import os
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dti_service.execution.parameters import (
    NotebookError,
    coerce_text,
    notebook_schema,
    source_schema,
    validate,
)


def properties(source: str) -> dict[str, Any]:
    return source_schema(source)["properties"]


def reasons(source: str, values: dict[str, Any]) -> dict[str, str]:
    return {error["field"]: error["reason"] for error in validate(source_schema(source), values)[1]}


class TestTypes:
    @pytest.mark.parametrize(
        ("declaration", "expected"),
        [
            ("a: int = 1", {"type": "integer", "default": 1}),
            ("a: float = 1e-3", {"type": "number", "default": 0.001}),
            ("a: str = 'x'", {"type": "string", "default": "x"}),
            ("a: bool = True", {"type": "boolean", "default": True}),
            ("a: list[int] = [1, 2]", {"type": "array", "items": {"type": "integer"}, "default": [1, 2]}),
            ("a: dict = {'k': 1}", {"type": "object", "default": {"k": 1}}),
            (
                "a: dict[str, float] = {}",
                {"type": "object", "additionalProperties": {"type": "number"}, "default": {}},
            ),
            ("a: tuple[int, ...] = (1,)", {"type": "array", "items": {"type": "integer"}, "default": [1]}),
            ("a: int | None = None", {"type": ["integer", "null"], "default": None}),
            ("a: Optional[str] = None", {"type": ["string", "null"], "default": None}),
            ("a: typing.Union[int, str] = 3", {"type": ["integer", "string"], "default": 3}),
            ("a: Literal['x', 'y'] = 'x'", {"type": "string", "enum": ["x", "y"], "default": "x"}),
            (
                "a: typing.Literal['x'] | None = None",
                {"type": ["string", "null"], "enum": ["x", None], "default": None},
            ),
            ("a: Annotated[int, 'anything'] = 4", {"type": "integer", "default": 4}),
            ("a: 'int | None' = None", {"type": ["integer", "null"], "default": None}),
            ("a: Any = 4", {"default": 4}),
            ("a = 1.5", {"type": "number", "default": 1.5}),
            ("a = 3  # type: float", {"type": "number", "default": 3}),
            ("a = None", {"default": None}),
            ("a: int = -5", {"type": "integer", "default": -5}),
        ],
    )
    def test_annotation(self, declaration: str, expected: dict[str, Any]) -> None:
        schema = source_schema(declaration)
        assert schema["properties"]["a"] == expected
        assert schema["required"] == []
        assert "x-problems" not in schema

    def test_fixed_tuple_or_number(self) -> None:
        schema = properties("size: int | tuple[int, int] | None = None  # Side [8, 512]")["size"]
        side = {"type": "integer", "minimum": 8, "maximum": 512}
        pair = {"type": "array", "prefixItems": [side, side], "minItems": 2, "maxItems": 2}
        assert schema["anyOf"] == [side, pair, {"type": "null"}]

    def test_without_value_is_required(self) -> None:
        assert source_schema("folder: str")["required"] == ["folder"]
        assert reasons("folder: str", {}) == {"folder": "must be given: it has no default"}

    def test_none_as_default_is_allowed(self) -> None:
        assert properties("a: int = None")["a"]["type"] == ["integer", "null"]

    def test_computed_default_is_reported_and_can_be_replaced(self) -> None:
        schema = source_schema("n: int = 2 ** 10")
        assert schema["properties"]["n"] == {"type": "integer", "x-default-source": "2 ** 10"}
        assert schema["required"] == []
        assert schema["x-problems"] == [{"line": 1, "reason": "the default of n is not a plain value"}]
        assert validate(schema, {"n": 3}) == ({"n": 3}, [])

    def test_unknown_annotation_leaves_the_value_unchecked(self) -> None:
        schema = source_schema("m: np.ndarray = None")
        assert "not checked: np.ndarray" in schema["x-problems"][0]["reason"]
        assert validate(schema, {"m": [1, "x"]})[1] == []


class TestText:
    def test_help_behind_and_above(self) -> None:
        source = "# Above,\n# in two lines.\na: int = 1  # Behind.\n\n# of nothing\n\nb: int = 2\n"
        found = properties(source)
        assert found["a"]["description"] == "Above, in two lines. Behind."
        assert "description" not in found["b"]

    @pytest.mark.parametrize(
        ("comment", "limits"),
        [
            ("Number [1, 1000]", {"minimum": 1, "maximum": 1000}),
            ("Number (0, 1]", {"exclusiveMinimum": 0, "maximum": 1}),
            ("Number [0, )", {"minimum": 0}),
            ("Number (, 0.5).", {"exclusiveMaximum": 0.5}),
            ("Number [1e-6, 1]", {"minimum": 1e-6, "maximum": 1}),
        ],
    )
    def test_range(self, comment: str, limits: dict[str, float]) -> None:
        found = properties(f"a: float = 0.25  # {comment}")["a"]
        assert found == {"type": "number", "default": 0.25, "description": "Number", **limits}

    def test_only_an_interval_at_the_end_is_a_range(self) -> None:
        found = properties("a: int = 5  # such as [1, 2] or more")["a"]
        assert found["description"] == "such as [1, 2] or more"
        assert "minimum" not in found

    def test_default_outside_its_range_is_reported(self) -> None:
        schema = source_schema("a: int = 0  # Number [1, 5]")
        assert schema["x-problems"] == [{"line": 1, "reason": "the default of a must be at least 1, not 0"}]

    def test_range_of_a_text_is_reported(self) -> None:
        assert "not for numbers" in source_schema("a: str = ''  # [1, 5]")["x-problems"][0]["reason"]

    def test_groups(self) -> None:
        found = properties("z: int = 0\n## Basic\na: int = 1\n## Advanced settings\nb: int = 2\nc: int = 3")
        assert "x-group" not in found["z"]
        assert [found[name]["x-group"] for name in "abc"] == [
            "basic",
            "advanced settings",
            "advanced settings",
        ]

    def test_a_value_over_several_lines(self) -> None:
        source = 'a: dict = {\n  "k": [1,  # inner\n   2],\n}  # Help.\nb: str = """x\n%y\n"""\n'
        found = properties(source)
        assert found["a"]["default"] == {"k": [1, 2]}
        assert found["a"]["description"] == "Help."
        assert found["b"]["default"] == "x\n%y\n"

    def test_a_mark_in_a_text_is_no_comment(self) -> None:
        assert properties("a: str = '# not help'")["a"] == {"type": "string", "default": "# not help"}


PIECES = [
    "a",
    "b",
    ":",
    "=",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "\n",
    "#",
    "##",
    "'",
    '"""',
    "int",
    "\\",
    "1",
    ",",
    "|",
    " ",
]
PYTHON_LIKE = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


class TestProblems:
    def test_an_unreadable_line_does_not_hide_the_others(self) -> None:
        schema = source_schema("a: int = 1\nb: int = = 2\nc = [1,\nd: str = 'x'  # kept")
        assert {"a", "d"} <= set(schema["properties"])
        assert schema["properties"]["d"]["description"] == "kept"
        assert 2 in [problem["line"] for problem in schema["x-problems"]]

    def test_magics_and_imports_are_no_problem(self) -> None:
        schema = source_schema("%matplotlib inline\n!ls\nimport os\nfrom typing import Literal\na: int = 1")
        assert list(schema["properties"]) == ["a"]
        assert "x-problems" not in schema

    def test_several_targets_are_reported(self) -> None:
        schema = source_schema("a, b = 1, 2\nc: int = 3")
        assert list(schema["properties"]) == ["c"]
        assert schema["x-problems"][0]["line"] == 1

    def test_private_names_are_no_parameters(self) -> None:
        assert properties("_a: int = 1") == {}

    def test_the_last_of_two_declarations_counts(self) -> None:
        assert properties("a: int = 1\na: str = 'x'")["a"]["type"] == "string"

    @given(st.text(max_size=300) | PYTHON_LIKE)
    @settings(max_examples=150, deadline=None)
    def test_any_text_gives_a_valid_schema(self, source: str) -> None:
        schema = source_schema(source)
        jsonschema.Draft202012Validator.check_schema(schema)
        json.dumps(schema)


class TestNotebook:
    def write(
        self, path: Path, source: str, markdown: str = "# Title\n\nFirst\nparagraph.\n\nSecond."
    ) -> Path:
        cells = [
            nbformat.v4.new_markdown_cell(markdown),
            nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("b: int = 2"),
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return path

    def test_title_description_and_only_the_tagged_cell(self, tmp_path: Path) -> None:
        schema = notebook_schema(self.write(tmp_path / "n.ipynb", "a: int = 1"))
        assert schema["title"] == "Title"
        assert schema["description"] == "First paragraph."
        assert list(schema["properties"]) == ["a"]

    def test_a_notebook_without_the_cell_takes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "my_work.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a = 1")]), path)
        schema = notebook_schema(path)
        assert schema["title"] == "my work"
        assert validate(schema, {"a": 2})[1][0]["field"] == "a"

    def test_a_change_of_the_file_is_seen(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "n.ipynb", "a: int = 1")
        first = notebook_schema(path)
        first["properties"].clear()  # what a caller does to its copy stays with it
        assert list(notebook_schema(path)["properties"]) == ["a"]
        self.write(path, "c: int = 1")
        os.utime(path, ns=(1, 1))
        assert list(notebook_schema(path)["properties"]) == ["c"]

    @pytest.mark.parametrize(
        "content", ["", "[1]", '{"cells": 3}', '{"nbformat": 3, "worksheets": []}', "[" * 10**5]
    )
    def test_not_a_notebook(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "n.ipynb"
        path.write_text(content)
        with pytest.raises(NotebookError, match=r"n\.ipynb"):
            notebook_schema(path)


class TestValidate:
    source = """
n: int = 10  # [1, 100]
lr: float | None = None  # (0, 1]
mode: Literal["a", "b"] = "a"
flag: bool = False
names: list[str] = []
size: int | tuple[int, int] = 3
extra: dict = {}
"""

    @pytest.mark.parametrize(
        ("values", "clean"),
        [
            ({"n": 3}, {"n": 3}),
            ({"lr": 1}, {"lr": 1.0}),
            ({"lr": None}, {"lr": None}),
            ({"mode": "b", "flag": True}, {"mode": "b", "flag": True}),
            ({"size": [1, 2]}, {"size": [1, 2]}),
            ({"extra": {"k": [1, None, {"x": 2.5}]}}, {"extra": {"k": [1, None, {"x": 2.5}]}}),
        ],
    )
    def test_good(self, values: dict[str, Any], clean: dict[str, Any]) -> None:
        found, errors = validate(source_schema(self.source), values)
        assert errors == []
        assert found == clean
        assert [type(value) for value in found.values()] == [type(value) for value in clean.values()]

    @pytest.mark.parametrize(
        ("values", "field", "reason"),
        [
            ({"n": True}, "n", "must be a whole number, not true"),
            ({"n": "10"}, "n", 'must be a whole number, not the text "10"'),
            ({"n": 10.0}, "n", "must be a whole number, not 10.0"),
            ({"n": None}, "n", "must be a whole number, not null"),
            ({"n": 0}, "n", "must be at least 1, not 0"),
            ({"n": 2**70}, "n", "must fit in 64 bits"),
            ({"lr": 0.0}, "lr", "must be more than 0, not 0.0"),
            ({"lr": math.nan}, "lr", "must be a finite number"),
            ({"lr": math.inf}, "lr", "must be a finite number"),
            ({"mode": "c"}, "mode", 'must be one of "a", "b", not "c"'),
            ({"flag": 1}, "flag", "must be true or false, not 1"),
            ({"names": ["x", 3]}, "names[1]", "must be a text, not 3"),
            ({"names": ["\ud800"]}, "names[0]", "holds characters that no text may have"),
            ({"names": ["x" * 200_000]}, "names[0]", "must have at most 100000 characters"),
            ({"size": [1]}, "size", "must have 2 items, not 1"),
            ({"size": "big"}, "size", 'must be a whole number or a list of 2, not the text "big"'),
            ({"extra": {"k": math.nan}}, 'extra["k"]', "must be a finite number"),
            ({"extra": {3: 4}}, "extra[3]", "must have texts as keys, not 3"),
            ({"nn": 1}, "nn", "is not a parameter of this notebook; did you mean n?"),
            ({"a\nimport os": 1}, '"a\\nimport os"', "is not a parameter name"),
            ({"class": 1}, "class", "is not a parameter name"),
        ],
    )
    def test_bad(self, values: dict[str, Any], field: str, reason: str) -> None:
        assert reasons(self.source, values) == {field: reason}

    def test_everything_wrong_is_reported_at_once(self) -> None:
        values = {"n": 0, "lr": "x", "mode": "c", "names": [1, 2], "unknown": 1}
        assert set(reasons(self.source, values)) == {"n", "lr", "mode", "names[0]", "names[1]", "unknown"}

    def test_depth_and_size_are_limited(self) -> None:
        deep: Any = 1
        for _ in range(1000):
            deep = [deep]
        assert "nested" in next(iter(reasons("a: Any = 1", {"a": deep}).values()))
        assert "exceed" in reasons("a: list = []", {"a": ["x" * 90_000] * 20})[""]

    def test_values_must_be_a_mapping(self) -> None:
        assert validate(source_schema("a: int = 1"), [1])[1][0]["reason"].endswith("not a list")  # type: ignore[arg-type]


FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | FINITE | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
TYPES = st.recursive(
    st.sampled_from(["int", "float", "str", "bool", "list", "dict", "None", "Literal[1, 'x']"]),
    lambda inner: (
        inner.map("list[{}]".format)
        | inner.map("dict[str, {}]".format)
        | st.tuples(inner, inner).map(lambda pair: f"tuple[{pair[0]}, {pair[1]}]")
        | st.tuples(inner, inner).map(" | ".join)
    ),
    max_leaves=4,
)
NAMES = st.from_regex(r"[a-z][a-z_0-9]{0,10}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)


class TestProperties:
    @given(TYPES, JSON_VALUES)
    @settings(max_examples=300, deadline=None)
    def test_what_is_accepted_fits_the_published_schema(self, annotation: str, value: Any) -> None:
        schema = source_schema(f"a: {annotation}")
        jsonschema.Draft202012Validator.check_schema(schema)
        clean, errors = validate(schema, {"a": value})
        if errors:
            assert all(error["field"].startswith("a") and error["reason"] for error in errors)
        else:
            jsonschema.validate(clean, schema, jsonschema.Draft202012Validator)
            assert clean["a"] == value

    @given(NAMES, JSON_VALUES)
    @settings(max_examples=200, deadline=None)
    def test_defaults_are_read_back_and_accepted(self, name: str, value: Any) -> None:
        schema = source_schema(f"{name} = {value!r}  # help")
        found = schema["properties"][name]
        assert found["default"] == value
        assert found["description"] == "help"
        assert validate(schema, {name: value}) == ({name: value}, [])

    @given(st.dictionaries(st.text(max_size=20), JSON_VALUES, max_size=5))
    @settings(max_examples=100, deadline=None)
    def test_undeclared_names_never_pass(self, values: dict[str, Any]) -> None:
        clean, errors = validate(source_schema("expected: int = 1"), values)
        assert set(clean) <= {"expected"}
        assert len(errors) >= len(set(values) - {"expected"})

    @given(st.integers(-1000, 1000) | FINITE | st.booleans())
    @settings(max_examples=100, deadline=None)
    def test_texts_of_values_are_read_as_these_values(self, value: Any) -> None:
        schema = source_schema(f"a: {type(value).__name__}")
        assert coerce_text(schema, {"a": str(value)}) == ({"a": value}, [])


class TestCoerceText:
    @pytest.mark.parametrize(
        ("annotation", "text", "value"),
        [
            ("int", "12", 12),
            ("int | None", "none", None),
            ("float", "1e-3", 0.001),
            ("bool", "no", False),
            ("str", "12", "12"),
            ("str | None", "null", None),
            ("list[int]", "1,2", [1, 2]),
            ("list[str]", "a, b", ["a", "b"]),
            ("list[int]", "[1, 2]", [1, 2]),
            ("list[int]", "5", [5]),
            ("tuple[int, str]", "3,x", [3, "x"]),
            ("dict", '{"k": 1}', {"k": 1}),
            ("dict", "{'k': None}", {"k": None}),
            ("int | str", "7", 7),
            ("int | str", "seven", "seven"),
            ("int | tuple[int, int]", "28,32", [28, 32]),
            ("Literal['a', 2, None]", "2", 2),
            ("Literal['a', 2, None]", "none", None),
            ("Any", "[1]", [1]),
            ("Any", "plain", "plain"),
        ],
    )
    def test_reading(self, annotation: str, text: str, value: Any) -> None:
        schema = source_schema(f"a: {annotation}")
        values, errors = coerce_text(schema, {"a": text})
        assert (values, errors) == ({"a": value}, [])
        assert validate(schema, values)[1] == []

    def test_problems_name_the_field(self) -> None:
        schema = source_schema("a: int = 1\nb: Literal['x'] = 'x'\nc: float = 1")
        values, errors = coerce_text(schema, {"a": "ten", "b": "y", "c": "nan", "d": "kept", "e": 5})
        assert errors == [
            {"field": "a", "reason": 'must be a whole number, not "ten"'},
            {"field": "b", "reason": 'must be one of "x", not "y"'},
        ]
        assert (values["d"], values["e"]) == ("kept", 5)
        assert {error["field"] for error in validate(schema, {"c": values["c"]})[1]} == {"c"}
