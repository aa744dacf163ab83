"""Making the directory of one dataset: every image found, judged, named, cut, and only then shown as complete."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from dti_service.datasets.catalogue import ImageRecord
from dti_service.datasets.files import link_or_copy
from dti_service.datasets.guard.errors import GuardError, shown
from dti_service.datasets.guard.names import UniqueNames, safe_name
from dti_service.datasets.guard.tables import LABEL
from dti_service.datasets.request import Crop, DatasetRequest, Document
from dti_service.datasets.sources import SOURCES
from dti_service.datasets.sources.base import THUMBNAIL, Found, Picture, Workshop, strip_suffix, with_suffix

PROBLEMS_SHOWN = 20
TABLES = (
    "images.json",
    "sources.csv",
    "inputs.json",
    "labels.csv",
)  # the last one only where labels came along


def combined(problems: list[GuardError]) -> GuardError:
    """One refusal for several inputs of a dataset; its `errors` has an entry for each."""
    first = problems[0]
    if len(problems) == 1:
        return first
    refusal = GuardError(first.subject, f"{first.reason} (and {len(problems) - 1} more)", first.remedy)
    refusal.errors = [error for problem in problems for error in problem.errors]
    return refusal


class Builder:
    """Fills `folder` with images/ and thumbnails/ for a request. `records` and `problems` grow as it goes."""

    def __init__(self, request: DatasetRequest, folder: Path, shop: Workshop) -> None:
        self.request = request
        self.folder = folder
        self.shop = shop
        self.records: list[ImageRecord] = []
        self.problems: list[GuardError] = []
        self.images_of: dict[str, int] = {}
        self.labels: dict[str, str] = {}  # by the file's path
        self._places: list[
            tuple[str, str]
        ] = []  # path in its document and in the dataset, of the current document
        self._names = UniqueNames()
        self._bytes = 0
        self._cut_from: dict[tuple[str, str], int] = {}  # how many images a crop's source was found to mean

    def run(self) -> None:
        """Raises `GuardError` when the dataset is refused; then `folder` holds a part of it, to be deleted."""
        for part in ("images", "thumbnails"):
            (self.folder / part).mkdir(parents=True)
        prefixes = self._prefixes()
        for document, prefix in zip(self.request.documents, prefixes):
            self.shop.tick()
            self._document(document, prefix)
        self._check_crops()
        strict = self.request.unreadable == "error"
        if self.problems and (strict or not self.records):
            raise combined(self.problems)
        if not self.records:
            raise GuardError("the dataset", "no images were found", "check the documents")

    def _prefixes(self) -> list[tuple[str, ...]]:
        """A folder for each document, so that equal names stay apart; none where there is only one document."""
        if len(self.request.documents) == 1:
            return [()]
        names = UniqueNames()
        return [names.take(safe_name(document.uid, "document")).parts for document in self.request.documents]

    def _document(self, document: Document, prefix: tuple[str, ...]) -> None:
        crops = None if self.request.crops is None else self.request.crops.get(document.uid, {})
        self.shop.wanted = _filter(crops)
        self.shop.facts, self._places = {}, []
        before = len(self.records)
        try:
            for found in SOURCES[document.type](document, self.shop):
                self.shop.tick()
                if not self.shop.wanted(found.names):
                    continue
                try:
                    self._image(document, prefix, found, crops)
                except GuardError as error:
                    self._problem(error)
        except GuardError as error:
            # The document as a whole is refused; a single image is only a problem.
            if self.request.unreadable == "error":
                raise
            self._problem(error)
        self.images_of[document.uid] = len(self.records) - before
        self._tell()

    def _tell(self) -> None:
        """Tell the images of a document what its tables say of them: by path, or by name where that is unambiguous."""
        records = {record.file: record for record in self.records}
        count = Counter(place.rsplit("/", 1)[-1] for place, _ in self._places)
        for place, file in self._places:
            name = place.rsplit("/", 1)[-1]
            facts = dict(
                self.shop.facts.get(place) or (self.shop.facts.get(name) if count[name] == 1 else None) or {}
            )
            label = facts.pop(LABEL, None)
            if label:
                self.labels[file] = label
            records[file].source["facts"].update(facts)

    def _problem(self, error: GuardError) -> None:
        self.problems.append(error)
        if self.request.unreadable == "error" and len(self.problems) >= PROBLEMS_SHOWN:
            raise combined(self.problems)

    # -- one image ----------------------------------------------------------------------------------------------

    def _image(
        self,
        document: Document,
        prefix: tuple[str, ...],
        found: Found,
        crops: Mapping[str, tuple[Crop, ...]] | None,
    ) -> None:
        limits = self.shop.policy.limits
        if len(self.records) >= limits.images:
            raise GuardError(
                "the dataset", f"more than {limits.images} images", "make several datasets of it"
            )
        if crops is None:
            thumbnail = self.shop.new_file(".webp")
            picture = found.read(thumbnail)
            name = with_suffix(found.parts[-1], picture.format, rewritten=picture.rewritten)
            path = self._names.take(*prefix, *found.parts[:-1], name)
            self._keep(picture, path, thumbnail, found.name, _source(document, found, picture, None))
            self._places.append(("/".join(found.parts), str(path)))
        else:
            picture = found.read(None)
            try:
                self._crops(document, prefix, found, picture, crops)
            finally:
                if picture.owned:
                    picture.path.unlink(missing_ok=True)
        self.shop.progress(len(self.records), self._expected(), "images", "reading")

    def _keep(
        self, picture: Picture, path: PurePosixPath, thumbnail: Path, name: str, source: dict[str, Any]
    ) -> None:
        target = self.folder / "images" / path
        self.shop.place(picture, target)
        thumbnail.replace(self.folder / "thumbnails" / thumbnail_name(len(self.records), THUMBNAIL))
        size = target.stat().st_size
        self._bytes += size
        if self._bytes > self.shop.policy.limits.dataset_bytes:
            raise GuardError(
                "the dataset",
                f"more than {self.shop.policy.limits.dataset_bytes} bytes",
                "make several of it",
            )
        self.records.append(
            ImageRecord(
                file=str(path),
                name=shown(name),
                source=source,
                width=picture.width,
                height=picture.height,
                format=picture.format,
                bytes=size,
                sha256=picture.sha256,
                original=picture.original,
            )
        )

    def _expected(self) -> int | None:
        """How many images there will be, as far as the documents opened so far tell; None where crops decide."""
        if self.request.crops is not None:
            return None
        return max(self.shop.expected, len(self.records))

    # -- crops --------------------------------------------------------------------------------------------------

    def _crops(
        self,
        document: Document,
        prefix: tuple[str, ...],
        found: Found,
        picture: Picture,
        crops: Mapping[str, tuple[Crop, ...]],
    ) -> None:
        limits = self.shop.policy.limits
        sources = _meant(crops, found.names)
        for source in sources:
            key = (document.uid, source)
            self._cut_from[key] = self._cut_from.get(key, 0) + 1
        boxes = [crop for source in sources for crop in crops[source]]
        files = [(self.shop.new_file(".png"), self.shop.new_file(".webp")) for _ in boxes]
        cuts = [
            {"box": crop.box, "out": str(out), "thumbnail": str(thumbnail)}
            for crop, (out, thumbnail) in zip(boxes, files)
        ]
        done = self.shop.decoder.call(
            "cut",
            found.name,
            path=str(picture.path),
            cuts=cuts,
            size=THUMBNAIL,
            pixels=limits.image_pixels,
            side=limits.image_side,
        )
        for crop, (out, thumbnail), facts in zip(boxes, files, done):
            if "error" in facts:
                self._problem(
                    GuardError(f"{found.name}: crop {crop.id}", facts["error"], "correct or leave it out")
                )
                continue
            piece = Picture(
                out,
                True,
                "PNG",
                facts["width"],
                facts["height"],
                picture.sha256,
                picture.original,
                rewritten=True,
            )
            path = self._names.take(*prefix, strip_suffix(safe_name(crop.id, "crop")) + ".png")
            cut = {"id": shown(crop.id), "box": list(crop.box), "pixels": facts["pixels"]}
            self._keep(piece, path, thumbnail, crop.id, _source(document, found, picture, cut))

    def _check_crops(self) -> None:
        """Crops of images that were not found, or of names that several images have, would silently be wrong."""
        for field, reason in self.request.problems:
            self.problems.append(GuardError(field, reason, "correct or leave it out"))
        for uid, images in (self.request.crops or {}).items():
            for source, boxes in images.items():
                if not boxes:
                    continue  # all of them were refused before
                count = self._cut_from.get((uid, source), 0)
                if count == 0:
                    error = GuardError(
                        f"{uid}: {source}", "crops of an image that is not there", "check its name"
                    )
                elif count > 1:
                    error = GuardError(
                        f"{uid}: {source}",
                        f"crops of a name that {count} images have",
                        "give it with its folder",
                    )
                else:
                    continue
                self._problem(error)


def _filter(crops: Mapping[str, tuple[Crop, ...]] | None) -> Callable[[set[str]], bool]:
    if crops is None:
        return lambda names: True
    return lambda names: bool(_meant(crops, names))


def _meant(crops: Mapping[str, tuple[Crop, ...]], names: set[str]) -> list[str]:
    """Those sources of crops that mean an image with these names; the ending of a file name may differ."""
    return [
        source for source in crops if crops[source] and (source in names or strip_suffix(source) in names)
    ]


def _source(
    document: Document, found: Found, picture: Picture, crop: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "document": document.uid,
        "type": document.type,
        "src": found.src,
        "image": shown(found.name),
        "page": found.page,
        "label": found.label or picture.label or None,
        "crop": crop,
        "facts": dict(found.facts),
    }


def thumbnail_name(number: int, size: int) -> str:
    return f"{number:06d}-{size}.webp"


def clone(source: Path, target: Path) -> None:
    """The files of another dataset under further names: equal content is stored once."""
    for part in ("images", "thumbnails"):
        shutil.copytree(source / part, target / part, copy_function=_link_or_copy)
    for name in TABLES:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def _link_or_copy(source: str, target: str) -> None:
    link_or_copy(Path(source), Path(target))
