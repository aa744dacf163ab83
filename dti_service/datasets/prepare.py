"""From a request to a folder of images: what the server, the runner and the command line call.

`Datasets.create` + `build`: a dataset of its own, as clients ask for over REST.
`Datasets.prepare`: any complete dataset that holds what is wanted now, for a run.
`Datasets.resolve`: the `dataset` of an experiment, in any of its forms, to a local folder.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dti_service.datasets.build import TABLES, Builder, clone, thumbnail_name
from dti_service.datasets.catalogue import Catalogue, Dataset, State, now, source_row
from dti_service.datasets.fetch import Fetcher
from dti_service.datasets.files import exclusive, read_json, write_json
from dti_service.datasets.freshness import unchanged
from dti_service.datasets.guard.addresses import check_url
from dti_service.datasets.guard.errors import GuardError, PreparationStopped, shown
from dti_service.datasets.guard.folders import allowed_folder
from dti_service.datasets.guard.http import GuardedHTTP
from dti_service.datasets.guard.isolation import Decoder
from dti_service.datasets.guard.json_input import parse_json
from dti_service.datasets.guard.policy import Policy
from dti_service.datasets.progress import Progress, nothing, to_file
from dti_service.datasets.request import DatasetRequest, Document, parse_request
from dti_service.datasets.sources.base import THUMBNAIL, Workshop
from dti_service.datasets.sources.folder import facts_in
from dti_service.datasets.uploads import Uploads
from dti_service.errors import InvalidRequest, NotFound
from dti_service.ids import is_id
from dti_service.naming import documents_name
from dti_service.settings import Settings

ShouldStop = Callable[[], bool]
THUMBNAIL_SIZES = (32, 512)  # pixels, smallest and largest
UPLOADS = "uploads"  # in the directory of a dataset that is being made: the files that were sent for it
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def never() -> bool:
    return False


@dataclass(frozen=True)
class Resolved:
    """A local folder (or .npz file) of images. `sources`: document, page, label, crop by the image's path relative to
    the folder, and what else is known of them; of a folder that is used in place, what tables in it say. `dataset_id`:
    None for such a folder."""

    folder: Path
    dataset_id: str | None = None
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Datasets:
    """All that is done with datasets below one data directory."""

    def __init__(self, data_dir: Path, policy: Policy | None = None) -> None:
        self.catalogue = Catalogue(data_dir)
        self.policy = policy or Policy()

    @classmethod
    def from_settings(cls, settings: Settings) -> Datasets:
        return cls(Path(settings.data_dir), Policy.from_settings(settings))

    def uploads(self, owner: str) -> Uploads:
        return Uploads(self.catalogue.uploads, owner, self.policy.limits)

    # -- making -------------------------------------------------------------------------------------------------

    def create(
        self,
        body: Mapping[str, Any],
        *,
        owner: str = "",
        local: bool = False,
        uploads: tuple[Document, ...] = (),
        folder: Path | None = None,
    ) -> Dataset:
        """Record a dataset to be made; `InvalidRequest` with all that is wrong with the request. `build` makes it.
        `uploads`: documents that were sent, with their files in `folder`."""
        request = parse_request(body, self.policy, owner=owner, local=local, uploads=uploads)
        return self._record(request, folder)

    def _record(self, request: DatasetRequest, folder: Path | None = None) -> Dataset:
        dataset = self.catalogue.create(request)
        sent = self.catalogue.directory(dataset.id) / UPLOADS
        missing = self.uploads(request.owner).give(request.documents, sent, folder)
        # What was sent before need not be sent again as long as a dataset has it.
        if missing and self.catalogue.newest_ready(request.key) is None:
            self.catalogue.remove(dataset.id)
            raise InvalidRequest(
                "Some files were not sent",
                [{"field": name, "reason": "send its content first"} for name in missing[:100]],
            )
        return dataset

    def build(
        self, dataset_id: str, progress: Progress = nothing, should_stop: ShouldStop = never
    ) -> Dataset:
        """Make a recorded dataset. It ends ready, or failed with the reasons in its record, which are also raised as
        `GuardError`. After `PreparationStopped` it can be built again and goes on where it was."""
        dataset = self.catalogue.get(dataset_id)
        if dataset.state == "ready":
            return dataset
        with exclusive(self.catalogue.lock_path(dataset_id), should_stop):
            dataset = self.catalogue.get(dataset_id)
            if dataset.state == "ready":
                return dataset
            request = self.catalogue.request(dataset_id)
            directory = self.catalogue.directory(dataset_id)
            dataset = self.catalogue.update(dataset, state="downloading", errors=[])
            try:
                dataset = self._build(
                    dataset, request, to_file(directory / "progress.json", progress), should_stop
                )
            except GuardError as error:
                self._end(dataset, "failed", list(error.errors))
                self._forget_uploads(request, directory)
                raise
            except Exception as error:
                stopped = isinstance(error, PreparationStopped)
                reason = f"the server could not make it ({type(error).__name__}); its log has the details"
                self._end(
                    dataset, "queued" if stopped else "failed", [{"field": "the dataset", "reason": reason}]
                )
                if not stopped:
                    self._forget_uploads(request, directory)
                raise
            self._forget_uploads(request, directory)
            return dataset

    def _forget_uploads(self, request: DatasetRequest, directory: Path) -> None:
        """Delete what was sent for a dataset: it has become images, or was refused."""
        shutil.rmtree(directory / UPLOADS, ignore_errors=True)
        self.uploads(request.owner).discard(request.documents)

    def _end(self, dataset: Dataset, state: State, errors: list[dict[str, str]]) -> None:
        """Record that it was not made, unless it was deleted meanwhile."""
        self._sweep(self.catalogue.directory(dataset.id))
        waits = state == "queued"
        with contextlib.suppress(FileNotFoundError):
            self.catalogue.update(
                dataset, state=state, errors=[] if waits else errors, finished_at=None if waits else now()
            )

    @staticmethod
    def _sweep(directory: Path) -> None:
        shutil.rmtree(directory / ".building", ignore_errors=True)
        (directory / "progress.json").unlink(missing_ok=True)

    def _build(
        self, dataset: Dataset, request: DatasetRequest, progress: Progress, stop: ShouldStop
    ) -> Dataset:
        directory = self.catalogue.directory(dataset.id)
        self._sweep(directory)
        building = directory / ".building"
        (building / "work").mkdir(parents=True)
        facts: dict[str, Any]
        with self._fetcher(stop) as fetcher:
            twin = self.catalogue.newest_ready(request.key, besides=dataset.id)
            if twin is not None and self._unchanged(twin, fetcher):
                clone(self.catalogue.directory(twin.id), building)
                facts = {"documents": twin.documents, "counts": twin.counts, "errors": twin.errors}
            else:
                facts = self._make(request, building, fetcher, progress, stop)
        for part in ("images", "thumbnails", *TABLES):
            if (building / part).exists():
                (building / part).replace(directory / part)
        self._sweep(directory)
        # The record says "ready" only now: whoever finds less finds a dataset that is still being made.
        name = dataset.name or documents_name(facts["documents"])
        return self.catalogue.update(dataset, name=name, state="ready", finished_at=now(), **facts)

    def _make(
        self, request: DatasetRequest, building: Path, fetcher: Fetcher, progress: Progress, stop: ShouldStop
    ) -> dict[str, Any]:
        def tick() -> None:
            if stop():
                raise PreparationStopped

        with Decoder(self.policy.limits) as decoder:
            shop = Workshop(
                folder=building / "work",
                policy=self.policy,
                fetcher=fetcher,
                decoder=decoder,
                uploads=building.parent / UPLOADS,
                progress=progress,
                tick=tick,
                local=request.local,
            )
            builder = Builder(request, building, shop)
            try:
                builder.run()
            except GuardError:
                # Images that were accepted may be wanted again in a moment, without the broken ones.
                for read in shop.inputs:
                    if "url" in read and fetcher.path(read["url"]) not in shop.accepted:
                        fetcher.discard(read["url"])
                raise
        for read in shop.inputs:
            if "url" in read and read["kind"] in ("document", "json"):
                fetcher.release(read["url"])
        self.catalogue.write_images(building, builder.records, builder.labels)
        write_json(building / "inputs.json", shop.inputs)
        return {
            "documents": [
                {
                    "uid": document.uid,
                    "type": document.type,
                    "src": document.src,
                    "title": shop.titles.get(document.uid),
                    "images": builder.images_of.get(document.uid, 0),
                }
                for document in request.documents
            ],
            "counts": {
                "documents": len(request.documents),
                "images": len(builder.records),
                "skipped": len(builder.problems),
                "bytes": sum(record.bytes for record in builder.records),
            },
            "errors": [error for problem in builder.problems for error in problem.errors][:1000],
        }

    def _fetcher(self, stop: ShouldStop) -> _OwnedFetcher:
        return _OwnedFetcher(
            self.catalogue.downloads, GuardedHTTP(self.policy.allow, self.policy.limits), stop
        )

    def _unchanged(self, dataset: Dataset, fetcher: Fetcher) -> bool:
        """Whether everything that a dataset was made from is still what it was. Asks the servers."""
        inputs = read_json(self.catalogue.directory(dataset.id) / "inputs.json")
        return inputs is not None and unchanged(inputs, fetcher)

    def prepare(
        self, request: DatasetRequest, progress: Progress = nothing, should_stop: ShouldStop = never
    ) -> Dataset:
        """A complete dataset that holds what the request stands for now: an earlier one when nothing has changed
        since, else a new one. Runs that want the same at the same time share the work. Raises `GuardError` (nothing
        is left behind then) and `PreparationStopped` (downloads are kept for the next time)."""
        with exclusive(self.catalogue.folder / f".key-{request.key[:32]}.lock", should_stop):
            twin = self.catalogue.newest_ready(request.key)
            if twin is not None:
                with self._fetcher(should_stop) as fetcher:
                    progress(0, None, "images", "checking")
                    if self._unchanged(twin, fetcher):
                        return twin
            dataset = self._record(request)
            try:
                return self.build(dataset.id, progress, should_stop)
            except BaseException:
                self.catalogue.remove(dataset.id)
                raise

    # -- the dataset of an experiment -----------------------------------------------------------------------------

    def check(self, text: str, *, local: bool = False, owner: str = "", field_name: str = "dataset") -> None:
        """What can be said of an experiment's dataset before it is queued; `InvalidRequest` with the reasons.
        Nothing is downloaded and no name looked up."""
        try:
            if is_id(text):
                dataset = self.catalogue.get(text)
                if dataset.state == "failed":
                    raise GuardError(field_name, f"the dataset {text} could not be made", "see its errors")
            elif text.lstrip().startswith(("{", "[")) or _SCHEME.match(text):
                self._request(text, local=local, owner=owner)
            elif local:
                try:
                    exists = Path(text).expanduser().exists()
                except (OSError, RuntimeError, ValueError):
                    exists = False
                if not exists:
                    raise GuardError(field_name, f"there is no {shown(text)}", "check the path")
            else:
                allowed_folder(text, self.policy, local=False)
        except NotFound as error:
            raise InvalidRequest(
                "No such dataset", [{"field": field_name, "reason": f"no dataset {text}"}]
            ) from error
        except GuardError as error:
            reason = f"{error.reason}; {error.remedy}"
            raise InvalidRequest(
                f"The dataset cannot be used: {reason}", [{"field": field_name, "reason": reason}]
            ) from error

    def _request(self, text: str, *, local: bool, owner: str) -> DatasetRequest:
        """A request for documents, from JSON text or from a single address or file."""
        if text.lstrip().startswith(("{", "[")):
            value = parse_json(text.encode("utf-8", errors="replace"), "dataset", self.policy.limits)
            body = {"documents": value} if isinstance(value, list) else value
        else:
            if "://" in text:
                check_url(text, self.policy.allow)  # so that a refusal is about the text, not about a field
            body = {"documents": [{"type": "auto", "src": text}]}
        return parse_request(body, self.policy, owner=owner, local=local)

    def resolve(
        self,
        text: str,
        *,
        local: bool = True,
        owner: str = "",
        experiment_id: str | None = None,
        progress: Progress = nothing,
        should_stop: ShouldStop = never,
    ) -> Resolved:
        """The images that an experiment's `dataset` stands for: the id of a dataset, an address, JSON of documents
        (and crops), or a path. A folder or .npz file is used in place: it is the researcher's own and may be
        large. An archive, PDF or image by path becomes a dataset. Raises `GuardError`, `PreparationStopped`.

        `local`: paths are taken as given, because they were checked when the experiment was accepted.
        """
        if is_id(text):
            try:
                dataset = self.catalogue.get(text)
                if dataset.state == "failed":
                    reason = dataset.errors[0]["reason"] if dataset.errors else "it could not be made"
                    raise GuardError(text, reason, "make the dataset again")
                dataset = self.build(text, progress, should_stop)
            except NotFound as error:
                raise GuardError(
                    text, "there is no such dataset", "it may have been deleted; choose another"
                ) from error
        elif text.lstrip().startswith(("{", "[")) or _SCHEME.match(text):
            dataset = self.prepare(self._request(text, local=False, owner=owner), progress, should_stop)
        else:
            path = Path(text).expanduser()
            if not local:
                return Resolved(allowed_folder(text, self.policy, local=False))
            if path.is_dir() or path.suffix.lower() in (".npz", ".npy"):
                if not path.exists():
                    raise GuardError(text, "no such file", "check the path")
                facts = facts_in(path, self.policy.limits.images) if path.is_dir() else {}
                return Resolved(path.resolve(), sources=facts)
            if not path.is_file():
                raise GuardError(text, "no such file or folder", "check the path")
            dataset = self.prepare(
                self._request(str(path.resolve()), local=True, owner=owner), progress, should_stop
            )
        if experiment_id is not None:
            try:
                self.catalogue.mark_used(dataset.id, experiment_id)
            except FileNotFoundError as error:
                raise GuardError(text, "the dataset was deleted", "choose another") from error
        return self.resolved(dataset.id)

    def resolved(self, dataset_id: str) -> Resolved:
        records = self.catalogue.images(dataset_id)
        return Resolved(
            self.catalogue.images_folder(dataset_id),
            dataset_id,
            {record.file: source_row(record) for record in records},
        )

    # -- looking --------------------------------------------------------------------------------------------------

    def image_file(self, dataset_id: str, number: int) -> Path:
        """The file of image `number` (from 0); `NotFound`."""
        records = self.catalogue.images(dataset_id)
        if not 0 <= number < len(records):
            raise NotFound(f"The dataset has {len(records)} images; {number} is not one of them")
        return self.catalogue.images_folder(dataset_id) / records[number].file

    def thumbnail_file(self, dataset_id: str, number: int, size: int = THUMBNAIL) -> Path:
        """A WebP of at most `size` x `size` pixels, made on the first request for a size."""
        smallest, largest = THUMBNAIL_SIZES
        if not smallest <= size <= largest:
            reason = f"must be from {smallest} to {largest}"
            raise InvalidRequest(f"thumbnail {reason}", [{"field": "thumbnail", "reason": reason}])
        source = self.image_file(dataset_id, number)
        target = self.catalogue.directory(dataset_id) / "thumbnails" / thumbnail_name(number, size)
        if not target.exists():
            partial = target.with_name(f".{uuid.uuid4().hex}-{target.name}")
            limits = self.policy.limits
            try:
                with Decoder(limits) as decoder:
                    decoder.call(
                        "make_thumbnail",
                        source.name,
                        path=str(source),
                        thumbnail=str(partial),
                        size=size,
                        pixels=limits.image_pixels,
                        side=limits.image_side,
                    )
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        return target


class _OwnedFetcher(Fetcher):
    """A fetcher that closes its connections with itself."""

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
