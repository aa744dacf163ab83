"""Datasets and documents as the fronts ask for them: descriptions with addresses, and zips of images."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dti_service.archive import Archive, Member
from dti_service.datasets.catalogue import Catalogue, Dataset, ImageRecord
from dti_service.datasets.guard.names import document_uid
from dti_service.errors import NotFound

URLOf = Callable[..., str]


class Documents:
    """Looks documents up by type and uid, in whichever dataset holds them; the newest counts."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue

    def dataset(self, uid: str, url_of: URLOf) -> dict[str, Any]:
        """A dataset and its documents. `url_of(*parts)` is the address of a route. Raises NotFound."""
        dataset = self.catalogue.get(uid)
        documents = [describe(document, url_of) for document in dataset.documents]
        return {"uid": dataset.id, "url": url_of("datasets", "dataset", dataset.id), "documents": documents}

    def document(self, kind: str, uid: str, url_of: URLOf) -> dict[str, Any]:
        """One document. Raises NotFound."""
        return describe(self._find(kind, uid)[1], url_of)

    def download(self, kind: str, uid: str, url_of: URLOf) -> Archive:
        """The images of a document as a zip of `images/...` and `images.json`. Raises NotFound without images."""
        dataset, document = self._find(kind, uid)
        records = [
            record
            for record in self.catalogue.images(dataset.id)
            if record.source.get("document") == document["uid"]
        ]
        if not records:
            raise NotFound("The document has no images (yet)")
        members = self._members(dataset, records)
        listing = [_listed(record, document) for record in records]
        text = json.dumps(listing, ensure_ascii=False).encode()
        newest = max(member.modified_ns for member in members)
        members.append(Member("images.json", None, len(text), newest, text))
        return Archive(sorted(members, key=lambda member: member.name), exact=True)

    def _members(self, dataset: Dataset, records: list[ImageRecord]) -> list[Member]:
        folder = self.catalogue.images_folder(dataset.id)
        members = []
        for record in records:
            path = folder / record.file
            try:
                status = path.stat()
            except FileNotFoundError as error:
                raise NotFound("The document was deleted meanwhile") from error
            members.append(Member(f"images/{record.file}", path, status.st_size, status.st_mtime_ns))
        return members

    def _find(self, kind: str, uid: str) -> tuple[Dataset, dict[str, Any]]:
        wanted = document_uid(uid)
        found: tuple[Dataset, dict[str, Any]] | None = None
        for dataset in self.catalogue.all():
            for document in dataset.documents:
                if document["type"] == kind and document["uid"] == wanted:
                    if dataset.state == "ready":
                        return dataset, document
                    found = found or (dataset, document)
        if found is None:
            raise NotFound("There is no such document")
        return found


def describe(document: dict[str, Any], url_of: URLOf) -> dict[str, Any]:
    parts = ("datasets", "document", document["type"], document["uid"])
    return {
        "uid": document["uid"],
        "type": document["type"],
        "src": document["src"],
        "url": url_of(*parts),
        "download": url_of(*parts, "download"),
    }


def _listed(record: ImageRecord, document: dict[str, Any]) -> dict[str, Any]:
    """An entry of images.json; `path` is relative to the zip."""
    source = record.source
    metadata = {name: source[name] for name in ("page", "label") if source.get(name) is not None}
    return {
        "id": record.file,
        "src": source.get("src") or document["src"],
        "path": f"images/{record.file}",
        "metadata": metadata,
    }
