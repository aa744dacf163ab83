"""What somebody wants as a dataset: documents, crops, and how strict to be. Checked as a whole before any work."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from dti_service.datasets.guard.addresses import check_url
from dti_service.datasets.guard.errors import GuardError, shown
from dti_service.datasets.guard.folders import allowed_folder
from dti_service.datasets.guard.json_input import parse_json
from dti_service.datasets.guard.names import document_uid
from dti_service.datasets.guard.policy import Policy
from dti_service.errors import InvalidRequest

REMOTE_TYPES = ("zip", "pdf", "iiif", "url_list", "img", "auto")
TYPES = (*REMOTE_TYPES, "upload", "folder")
SHA256 = re.compile(r"[0-9a-f]{64}")
EDGE = (
    1e-3  # how far a box may lie beyond the image before it is an error: fractions are rounded on their way
)

Errors = list[dict[str, str]]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Upload:
    """A file that was sent: the name that its owner gave it (with folders, if any) and the hash of its content."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Document:
    """One source of images. `src`: an address, a folder, or a text that stands for the uploaded `files`."""

    type: str
    src: str
    uid: str
    files: tuple[Upload, ...] = ()


@dataclass(frozen=True)
class Crop:
    """A part of an image: x1, y1, x2, y2 as fractions of its width and height."""

    id: str
    box: Box


@dataclass(frozen=True)
class DatasetRequest:
    """Documents, and for each document's uid the crops of each of its images; with crops, only they are used.

    `unreadable`: "error" refuses the dataset when an image is broken, "skip" leaves it out and says so.
    `local`: made by the owner of this machine's files, who may name any path.
    """

    documents: tuple[Document, ...]
    crops: Mapping[str, Mapping[str, tuple[Crop, ...]]] | None = None
    name: str = ""
    owner: str = ""
    unreadable: Literal["error", "skip"] = "error"
    local: bool = False
    problems: tuple[tuple[str, str], ...] = field(default=(), compare=False)  # crops left out, with "skip"

    @property
    def key(self) -> str:
        """Equal for requests of the same owner for the same images."""
        value = self.to_json()
        del value["name"]
        return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        documents = [
            {
                "type": document.type,
                "src": document.src,
                "uid": document.uid,
                **(
                    {"files": [[file.name, file.sha256] for file in document.files]} if document.files else {}
                ),
            }
            for document in self.documents
        ]
        crops = None
        if self.crops is not None:
            crops = {
                uid: {source: [[crop.id, *crop.box] for crop in boxes] for source, boxes in images.items()}
                for uid, images in self.crops.items()
            }
        return {
            "documents": documents,
            "crops": crops,
            "name": self.name,
            "owner": self.owner,
            "unreadable": self.unreadable,
            "local": self.local,
            "problems": [list(problem) for problem in self.problems],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DatasetRequest:
        """What `to_json` gave; for our own files, not for requests from outside."""
        crops = value["crops"]
        if crops is not None:
            crops = {
                uid: {
                    source: tuple(Crop(c[0], (c[1], c[2], c[3], c[4])) for c in boxes)
                    for source, boxes in i.items()
                }
                for uid, i in crops.items()
            }
        return cls(
            documents=tuple(
                Document(d["type"], d["src"], d["uid"], tuple(Upload(*file) for file in d.get("files", ())))
                for d in value["documents"]
            ),
            crops=crops,
            name=value["name"],
            owner=value["owner"],
            unreadable=value["unreadable"],
            local=value["local"],
            problems=tuple((problem[0], problem[1]) for problem in value["problems"]),
        )


def parse_request(
    body: Mapping[str, Any],
    policy: Policy,
    *,
    owner: str = "",
    local: bool = False,
    uploads: tuple[Document, ...] = (),
) -> DatasetRequest:
    """A request from outside: keys `documents`, `crops`, `name`, `unreadable`; the first two also as JSON text.

    Raises `InvalidRequest` with every problem, each with its field. `uploads`: documents already received.
    """
    errors: Errors = []
    for key in sorted(set(body) - {"documents", "crops", "name", "unreadable"}):
        errors.append(
            {"field": shown(str(key)), "reason": "unknown; known are documents, crops, name, unreadable"}
        )
    name = body.get("name") or ""
    if not isinstance(name, str) or len(name) > 200 or not name.isprintable():
        errors.append({"field": "name", "reason": "must be one line of at most 200 characters"})
        name = ""
    unreadable = body.get("unreadable") or "error"
    if unreadable not in ("error", "skip"):
        errors.append({"field": "unreadable", "reason": 'must be "error" or "skip"'})
        unreadable = "error"
    given = _value(body.get("documents"), "documents", policy, errors)
    documents = [*uploads, *_documents(given, policy, local, errors)]
    if not documents and not errors:
        errors.append({"field": "documents", "reason": "give at least one document or file"})
    if len(documents) > policy.limits.documents:
        errors.append({"field": "documents", "reason": f"at most {policy.limits.documents}"})
    crops = _value(body.get("crops"), "crops", policy, errors)
    problems: Errors = []
    boxes = (
        None if crops in (None, []) else _crops(crops, {d.uid for d in documents}, policy, errors, problems)
    )
    if unreadable == "error":
        errors += problems
    if errors:
        raise InvalidRequest("The dataset cannot be made from this request", errors[:100])
    return DatasetRequest(
        documents=tuple(dict.fromkeys(documents)),
        crops=boxes,
        name=name,
        owner=owner,
        unreadable="skip" if unreadable == "skip" else "error",
        local=local,
        problems=tuple((problem["field"], problem["reason"]) for problem in problems),
    )


def _value(value: Any, field_name: str, policy: Policy, errors: Errors) -> Any:
    """Existing fronts send these as JSON or as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value.encode("utf-8", errors="replace"), field_name, policy.limits)
    except GuardError as error:
        errors.append({"field": field_name, "reason": f"{error.reason}; {error.remedy}"})
        return None


def _documents(value: Any, policy: Policy, local: bool, errors: Errors) -> list[Document]:
    if value is None:
        return []
    if not isinstance(value, list):
        errors.append({"field": "documents", "reason": "must be a list"})
        return []
    found = []
    for number, item in enumerate(value[: policy.limits.documents + 1]):
        document = _document(item, f"documents[{number}]", policy, local, errors)
        if document is not None:
            found.append(document)
    return found


def _document(item: Any, where: str, policy: Policy, local: bool, errors: Errors) -> Document | None:
    if not isinstance(item, dict):
        errors.append(
            {"field": where, "reason": 'must be an object such as {"type": "zip", "src": "https://..."}'}
        )
        return None
    kind = item.get("type")
    if kind not in TYPES:
        errors.append({"field": f"{where}.type", "reason": f"must be one of {', '.join(TYPES)}"})
        return None
    uid = item.get("uid")
    if uid is not None and (not isinstance(uid, str) or not document_uid(uid) or len(uid) > 1000):
        errors.append({"field": f"{where}.uid", "reason": "must be a text of at most 1000 characters"})
        return None
    if kind == "upload":
        return _uploaded(item, uid, where, errors)
    src = item.get("src")
    if not isinstance(src, str) or not src:
        errors.append({"field": f"{where}.src", "reason": "must be the address of the document"})
        return None
    try:
        if kind == "folder":
            allowed_folder(src, policy, local=local)
        elif not (local and "://" not in src):
            check_url(src, policy.allow)
    except GuardError as error:
        errors.append({"field": f"{where}.src", "reason": f"{error.reason}; {error.remedy}"})
        return None
    # Fronts make the uid of an address by their rule; a path is known by its last part.
    name = src if "://" in src else PurePosixPath(src).stem or src
    return Document(kind, src, document_uid(uid or name) or "document")


def _uploaded(item: Mapping[str, Any], uid: str | None, where: str, errors: Errors) -> Document | None:
    files = item.get("files")
    if not isinstance(files, list) or not files:
        errors.append({"field": f"{where}.files", "reason": 'must be a list of {"name": ..., "sha256": ...}'})
        return None
    uploads = []
    for number, file in enumerate(files):
        name, digest = (file.get("name"), file.get("sha256")) if isinstance(file, dict) else (None, None)
        if not isinstance(name, str) or not 0 < len(name) <= 1000:
            errors.append({"field": f"{where}.files[{number}].name", "reason": "must be the file's name"})
        elif not isinstance(digest, str) or not SHA256.fullmatch(digest):
            errors.append(
                {"field": f"{where}.files[{number}].sha256", "reason": "must be 64 hexadecimal digits"}
            )
        else:
            uploads.append(Upload(name, digest))
    if len(uploads) != len(files):
        return None
    return upload_document(tuple(uploads), uid)


def upload_document(files: tuple[Upload, ...], uid: str | None = None) -> Document:
    """The document that stands for files sent together; its `src` is the hash of their names and contents."""
    listing = json.dumps([[file.name, file.sha256] for file in files]).encode()
    src = f"sha256:{hashlib.sha256(listing).hexdigest()}"
    name = PurePosixPath(files[0].name.replace("\\", "/")).stem if len(files) == 1 else "upload"
    return Document("upload", src, document_uid(uid or name) or "upload", files)


def _crops(
    value: Any, uids: set[str], policy: Policy, errors: Errors, problems: Errors
) -> dict[str, dict[str, tuple[Crop, ...]]]:
    """Crops by document and image. `errors`: what makes no sense; `problems`: single crops that cannot be cut."""
    found: dict[str, dict[str, tuple[Crop, ...]]] = {}
    if not isinstance(value, list):
        errors.append({"field": "crops", "reason": "must be a list"})
        return found
    total = 0
    for number, entry in enumerate(value):
        where = f"crops[{number}]"
        uid, source, crops = (
            (entry.get("doc_uid"), entry.get("source"), entry.get("crops"))
            if isinstance(entry, dict)
            else (None, None, None)
        )
        if not isinstance(uid, str) or not isinstance(source, str) or not isinstance(crops, list):
            errors.append({"field": where, "reason": "must have doc_uid, source (texts) and crops (a list)"})
            continue
        uid = document_uid(uid)
        if uid not in uids:
            errors.append(
                {"field": f"{where}.doc_uid", "reason": f"no document of this request is called {shown(uid)}"}
            )
            continue
        total += len(crops)
        if total > policy.limits.crops:
            errors.append(
                {"field": "crops", "reason": f"more than {policy.limits.crops} crops; split the dataset"}
            )
            break
        boxes = [_crop(crop, f"{where}.crops[{i}]", i, source, problems) for i, crop in enumerate(crops)]
        images = found.setdefault(uid, {})
        images[source] = (*images.get(source, ()), *(box for box in boxes if box is not None))
    return found


def _crop(value: Any, where: str, number: int, source: str, problems: Errors) -> Crop | None:
    relative = value.get("relative") if isinstance(value, dict) else None
    if not isinstance(relative, dict):
        problems.append(
            {"field": where, "reason": "must have relative: {x1, y1, x2, y2} as fractions of the image"}
        )
        return None
    identifier = value.get("crop_id")
    if identifier is None:
        stem = source.rsplit("/", 1)[-1]
        identifier = f"{stem.rsplit('.', 1)[0]}_{number + 1}"
    if not isinstance(identifier, str | int) or not 0 < len(str(identifier)) <= 1000:
        problems.append({"field": f"{where}.crop_id", "reason": "must be a text of at most 1000 characters"})
        return None
    try:
        box = _box(relative)
    except ValueError as error:
        problems.append({"field": f"{where}.relative", "reason": f"{error} (crop {shown(str(identifier))})"})
        return None
    return Crop(str(identifier), box)


def _box(relative: Mapping[str, Any]) -> Box:
    """Corners within the image from either form; ValueError with the reason."""
    names = ("x1", "y1", "x2", "y2") if "x2" in relative else ("x", "y", "width", "height")
    given = [relative.get(name) for name in names]
    numbers = [number for number in given if isinstance(number, int | float) and not isinstance(number, bool)]
    if len(numbers) < 4 or any(number != number for number in numbers):
        raise ValueError("must be numbers x1, y1, x2, y2 or x, y, width, height")
    if not all(-2 < number < 2 for number in numbers):
        raise ValueError("lies outside the image: fractions are from 0 to 1")
    x1, y1, x2, y2 = (float(number) for number in numbers)
    if names[2] == "width":
        x2, y2 = x1 + x2, y1 + y2
    if min(x1, y1) < -EDGE or max(x2, y2) > 1 + EDGE:
        raise ValueError("lies outside the image: fractions are from 0 to 1")
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, 1.0), min(y2, 1.0)
    if x2 <= x1 or y2 <= y1:
        raise ValueError("has no area: x2 must be greater than x1 and y2 greater than y1")
    return (x1, y1, x2, y2)
