"""What a reading's document must look like. All problems are told at once, each with its place in the document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dti_service.errors import InvalidRequest

SCHEMA_VERSION = 1
STATES = ("to_see", "checked", "doubtful")
CLUSTER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_CLUSTERS = 20_000
MOST_OPERATIONS = 1_000_000
LONGEST_NAME = 200
LONGEST_NOTE = 20_000
LONGEST_TAG = 100
MOST_TAGS = 100
MOST_PROBLEMS = 50

KEYS = {
    "schema_version",
    "title",
    "author",
    "note",
    "copied_from",
    "created_at",
    "updated_at",
    "operations",
    "cursor",
    "state",
    "saved_by",
    "saved_at",
}
CHANGES = ("move", "cluster", "image")

Labels = Mapping[int, int]  # image number -> cluster in the raw result


class _Problems(list[dict[str, str]]):
    def note(self, field: str, reason: str) -> None:
        if len(self) < MOST_PROBLEMS:
            self.append({"field": field, "reason": reason})

    def text(self, field: str, value: Any, longest: int, *, empty: bool = True) -> None:
        if not isinstance(value, str):
            self.note(field, "must be a text")
        elif len(value) > longest:
            self.note(field, f"may have at most {longest} characters")
        elif not empty and not value.strip():
            self.note(field, "may not be empty")

    def tags(self, field: str, value: Any) -> None:
        if not isinstance(value, list) or len(value) > MOST_TAGS:
            self.note(field, f"must be a list of at most {MOST_TAGS} texts")
            return
        for tag in value:
            self.text(field, tag, LONGEST_TAG, empty=False)


def check_document(document: Mapping[str, Any], labels: Labels | None = None, n_clusters: int = 0) -> None:
    """Raise `InvalidRequest` unless `document` is a reading; with `labels`, one of that result with its clusters."""
    problems = _Problems()
    for key in sorted(set(map(str, document)) - KEYS):
        problems.note(key[:80], f"unknown; known: {', '.join(sorted(KEYS))}")
    if document.get("schema_version") != SCHEMA_VERSION:
        problems.note("schema_version", f"must be {SCHEMA_VERSION}")
    problems.text("title", document.get("title"), LONGEST_NAME, empty=False)
    for key in ("author", "created_at", "updated_at"):
        problems.text(key, document.get(key, ""), LONGEST_NAME)
    problems.text("note", document.get("note", ""), LONGEST_NOTE)
    copied = document.get("copied_from")
    if copied is not None:
        problems.text("copied_from", copied, LONGEST_NAME)
    _operations(document, problems)
    state = document.get("state")
    if not isinstance(state, dict):
        problems.note("state", "must be an object with clusters, moved and images")
    else:
        clusters = _clusters(state.get("clusters"), n_clusters if labels is not None else None, problems)
        moved = _moved(state.get("moved", {}), clusters, labels, problems)
        _images(state.get("images", {}), labels, problems)
        if labels is not None and clusters is not None:
            homeless = {
                label for image, label in labels.items() if image not in moved and str(label) not in clusters
            }
            for label in sorted(homeless):
                problems.note(
                    "state.clusters", f"cluster {label} still has images of the result but is missing"
                )
    if problems:
        raise InvalidRequest("This is not a reading of this result", problems)


def _operations(document: Mapping[str, Any], problems: _Problems) -> None:
    operations = document.get("operations")
    if not isinstance(operations, list) or len(operations) > MOST_OPERATIONS:
        problems.note("operations", f"must be a list of at most {MOST_OPERATIONS} operations")
        return
    cursor = document.get("cursor")
    if isinstance(cursor, bool) or not isinstance(cursor, int) or not 0 <= cursor <= len(operations):
        problems.note(
            "cursor", f"must be a whole number from 0 to {len(operations)}, the number of operations"
        )
    for number, operation in enumerate(operations):
        changes = operation.get("changes") if isinstance(operation, dict) else None
        if not isinstance(changes, list) or not isinstance(operation.get("kind"), str):
            problems.note(f"operations[{number}]", "must be an object with kind and a list of changes")
        elif any(not isinstance(change, dict) or change.get("type") not in CHANGES for change in changes):
            problems.note(f"operations[{number}].changes", f"each must have a type: {', '.join(CHANGES)}")


def _clusters(value: Any, n_prototypes: int | None, problems: _Problems) -> set[str] | None:
    if not isinstance(value, list) or len(value) > MOST_CLUSTERS:
        problems.note("state.clusters", f"must be a list of at most {MOST_CLUSTERS} clusters")
        return None
    ids: set[str] = set()
    for number, cluster in enumerate(value):
        field = f"state.clusters[{number}]"
        if not isinstance(cluster, dict):
            problems.note(field, "must be an object")
            continue
        identifier = cluster.get("id")
        if not isinstance(identifier, str) or not CLUSTER_ID.fullmatch(identifier):
            problems.note(f"{field}.id", "must be 1 to 64 letters, digits, - and _")
        elif identifier in ids:
            problems.note(f"{field}.id", f"{identifier} is there twice")
        else:
            ids.add(identifier)
        problems.text(f"{field}.name", cluster.get("name"), LONGEST_NAME, empty=False)
        problems.text(f"{field}.note", cluster.get("note", ""), LONGEST_NOTE)
        problems.tags(f"{field}.tags", cluster.get("tags", []))
        if cluster.get("state", STATES[0]) not in STATES:
            problems.note(f"{field}.state", f"must be one of {', '.join(STATES)}")
        prototype = cluster.get("prototype")
        limit = 10**9 if n_prototypes is None else n_prototypes
        number_given = isinstance(prototype, int) and not isinstance(prototype, bool)
        if prototype is not None and not (number_given and 0 <= prototype < limit):
            problems.note(f"{field}.prototype", "must be the number of a prototype of the run, or null")
    return ids


def _moved(value: Any, clusters: set[str] | None, labels: Labels | None, problems: _Problems) -> set[int]:
    if not isinstance(value, dict):
        problems.note("state.moved", "must be an object of image number and cluster")
        return set()
    found = set()
    for key, target in value.items():
        image = _image(key, "state.moved", labels, problems)
        if image is not None:
            found.add(image)
        if not isinstance(target, str) or (clusters is not None and target not in clusters):
            problems.note(f"state.moved.{key[:20]}", "must be the id of one of the clusters")
    return found


def _images(value: Any, labels: Labels | None, problems: _Problems) -> None:
    if not isinstance(value, dict):
        problems.note("state.images", "must be an object of image number and note, tags")
        return
    for key, image in value.items():
        _image(key, "state.images", labels, problems)
        field = f"state.images.{key[:20]}"
        if not isinstance(image, dict):
            problems.note(field, "must be an object")
            continue
        problems.text(f"{field}.note", image.get("note", ""), LONGEST_NOTE)
        problems.tags(f"{field}.tags", image.get("tags", []))
        if not isinstance(image.get("reviewed", False), bool):
            problems.note(f"{field}.reviewed", "must be true or false")


def _image(key: str, field: str, labels: Labels | None, problems: _Problems) -> int | None:
    if not (key.isascii() and key.isdecimal() and len(key) < 12) or (
        labels is not None and int(key) not in labels
    ):
        problems.note(f"{field}.{key[:20]}", "is no image of this result")
        return None
    return int(key)
