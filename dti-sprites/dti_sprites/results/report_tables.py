"""Tables of the report: facts, parameters, classes by cluster, files left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

CROSS_COLUMNS, CROSS_ROWS = 24, 60
SKIPPED_SHOWN = 200


def number(value: Any) -> str:
    """Three significant digits without an exponent where that stays readable."""
    if value is None or not np.isfinite(value):
        return "n/a"
    value = float(value)
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    digits = 3 if value == 0 else max(0, 2 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{digits}f}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "default"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(entry) for entry in value) or "none"
    return str(value)


def _label(name: str) -> str:
    """duration_s -> duration (s), images_per_s -> images per s"""
    if name.endswith("_s") and not name.endswith("_per_s"):
        name = f"{name.removesuffix('_s')} (s)"
    return name.replace("_", " ")


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def facts(values: Mapping[str, Any]) -> str:
    """Names and values as a list in columns; nested mappings are flattened."""
    rows = "".join(
        f"<div><dt>{escape(_label(name))}</dt><dd>{escape(_text(value))}</dd></div>"
        for name, value in _flatten(values)
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def parameters(config: Mapping[str, Any]) -> str:
    """The configuration with the names that a user writes: `model.n_prototypes`."""
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(_text(value))}</dd></div>"
        for name, value in _flatten(config)
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def skipped_files(skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return ""
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(reason)}</dd></div>"
        for name, reason in skipped[:SKIPPED_SHOWN]
    )
    more = len(skipped) - SKIPPED_SHOWN
    return f'<dl class="facts">{rows}</dl>' + (f'<p class="hint">and {more:,} more</p>' if more > 0 else "")


def cross_table(
    labels: np.ndarray, groups: Sequence[str | None], order: Iterable[int], sizes: np.ndarray
) -> str:
    """Counts of each group (columns) in each used cluster (rows); images without a group do not count.

    Only the largest groups and clusters are shown; the table says what is left out. Empty text when
    there are fewer than two groups.
    """
    known = np.array([group is not None for group in groups])
    if not known.any():
        return ""
    names, codes = np.unique([str(group) for group in groups if group is not None], return_inverse=True)
    if len(names) < 2:
        return ""
    counts = np.zeros((len(sizes), len(names)), dtype=int)
    np.add.at(counts, (labels[known], codes), 1)
    columns = np.arange(len(names))
    if len(names) > CROSS_COLUMNS:
        columns = np.sort(np.argsort(-counts.sum(0), kind="stable")[:CROSS_COLUMNS])
    used = [k for k in order if sizes[k]]
    head = "".join(f'<th scope="col" title="{escape(names[c])}">{escape(names[c])}</th>' for c in columns)
    body = []
    for k in used[:CROSS_ROWS]:
        total = max(1, counts[k].sum())
        cells = "".join(
            f'<td style="--a:{0.6 * counts[k, c] / total:.2f}">{counts[k, c]:,}</td>'
            if counts[k, c]
            else "<td></td>"
            for c in columns
        )
        body.append(f'<tr><th scope="row"><a href="#cluster{k}">{k}</a></th>{cells}</tr>')
    left_out = []
    if len(columns) < len(names):
        left_out.append(f"{len(names) - len(columns):,} smaller groups")
    if len(used) > CROSS_ROWS:
        left_out.append(f"{len(used) - CROSS_ROWS:,} smaller clusters")
    note = f'<p class="hint">Not shown: {" and ".join(left_out)}.</p>' if left_out else ""
    return (
        f'<div class="scroll"><table class="cross"><thead><tr><th scope="col">cluster</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{note}"
    )
