"""Datasets: send files or name documents, look at the images, delete; and uploads that go on where they broke off."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.utils import url_path_join
from tornado import web

from dti_service.datasets.catalogue import Dataset, ImageRecord
from dti_service.datasets.guard.errors import GuardError, PreparationStopped
from dti_service.datasets.jobs import DatasetJobs
from dti_service.datasets.prepare import THUMBNAIL_SIZES
from dti_service.datasets.request import SHA256
from dti_service.datasets.uploads import Appender, Batch
from dti_service.errors import BadRequest, Conflict, NotFound, ServiceError, TooLarge
from dti_service.handlers.base import MEBIBYTE, Handler
from dti_service.handlers.fields import flag, query_choice, query_flag, query_integer, read_object
from dti_service.handlers.files import FileHandler, open_file
from dti_service.handlers.multipart import MultipartReader, boundary_of

RESOURCE = "datasets"

MOST_ITEMS = 500
MOST_IMAGES = 1000
MOST_WAIT_S = 60
LONGEST_SEARCH = 200
DEFAULT_WAIT_S = 10
PATCH_FIELDS = {"keep": flag}
FIELDS = ("name", "unreadable", "documents", "crops")
_MEDIA_TYPES = {
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "PPM": "image/x-portable-anymap",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
}


class DatasetHandler(FileHandler):
    """What the handlers of datasets share."""

    @property
    def jobs(self) -> DatasetJobs:
        return self.context.datasets

    def shown(self, dataset: Dataset) -> dict[str, Any]:
        return self.linked(self.jobs.view(dataset))


class Streaming(DatasetHandler):
    """Takes a body of any length piece by piece, in a thread. A refusal in between is told at the end of the body,
    because a client that still sends does not listen."""

    failure: Exception | None = None

    async def prepare(self) -> None:  # type: ignore[override]
        if self.request.method in ("POST", "PUT"):
            self.request.connection.set_max_body_size(1 << 62)  # type: ignore[union-attr]
        await super().prepare()
        if self.request.method in ("POST", "PUT") and self.service.quotas.limits_space:
            try:
                await self.slow(self.service.quotas.check_space, self.username)
            except Conflict as error:
                self.failure = error

    async def data_received(self, chunk: bytes) -> None:  # type: ignore[override]
        if self.failure is not None:
            return
        self._body_size += len(chunk)
        if self._body_size > self.max_body:
            self.failure = self._too_large()
            return
        try:
            await self.quick(self.take, chunk)
        except Exception as error:
            self.failure = error

    def take(self, chunk: bytes) -> None:
        """Use a piece of the body."""
        raise NotImplementedError


class DatasetsHandler(Streaming):
    """/dti/api/datasets"""

    def initialize(self, context: Any) -> None:
        super().initialize(context)
        self._batch: Batch | None = None
        self._reader: MultipartReader | None = None
        self._is_json = True

    @property
    def max_body(self) -> int:  # type: ignore[override]
        limits = self.jobs.datasets.policy.limits
        return limits.json_bytes if self._is_json else limits.document_bytes + 64 * MEBIBYTE

    async def prepare(self) -> None:  # type: ignore[override]
        content_type = self.request.headers.get("Content-Type", "")
        if self.request.method == "POST" and content_type.lower().startswith("multipart/form-data"):
            self._is_json = False
        await super().prepare()
        if not self._is_json:
            self._batch = Batch(self.jobs.datasets.uploads(self.username), FIELDS)
            self._reader = MultipartReader(boundary_of(content_type), self._batch.open_part)

    def take(self, chunk: bytes) -> None:
        if self._reader is not None:
            self._reader.feed(chunk)
        else:
            self._body += chunk

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self) -> None:
        query = self.query("limit", "cursor", "sort", "state", "q")
        limit = query_integer(query, "limit", 1, MOST_ITEMS) or 50
        oldest_first = query_choice(query, "sort", ("created_at", "-created_at")) == "created_at"
        state = query_choice(query, "state", ("queued", "downloading", "ready", "failed"))
        found = await self.quick(self.jobs.catalogue.all)
        words = query.get("q", "").casefold()
        if len(words) > LONGEST_SEARCH:
            reason = f"may have at most {LONGEST_SEARCH} characters"
            raise BadRequest("The query is not valid", [{"field": "q", "reason": reason}])
        found = [
            dataset
            for dataset in (reversed(found) if oldest_first else found)
            if state in (None, dataset.state) and words in f"{dataset.name}\n{dataset.id}".casefold()
        ]
        after = query.get("cursor")
        if after is None:
            page = found
        elif oldest_first:
            page = [dataset for dataset in found if dataset.id > after]
        else:
            page = [dataset for dataset in found if dataset.id < after]
        items = [self.shown(dataset) for dataset in page[:limit]]
        next_cursor = items[-1]["id"] if len(page) > limit else None
        self.answer({"items": items, "next_cursor": next_cursor, "total": len(found)})

    @web.authenticated
    @authorized("write", resource=RESOURCE)
    async def post(self) -> None:
        given = query_integer(self.query("wait"), "wait", 0, MOST_WAIT_S)
        batch, self._batch = self._batch, None
        try:
            dataset = await self._create(batch)
        finally:
            if batch is not None:
                await self.quick(batch.drop)
        await self._wait(dataset, DEFAULT_WAIT_S if given is None else given)
        self.set_header("Location", url_path_join(self.base_url, "dti/api/datasets", dataset.id))
        self.answer(await self.quick(lambda: self.shown(self.jobs.catalogue.get(dataset.id))), 201)

    async def _create(self, batch: Batch | None) -> Dataset:
        """Record what was asked for; what is wrong with it in itself is told here."""
        if self.failure is not None:
            raise self.failure
        create = functools.partial(self.jobs.datasets.create, owner=self.username)
        if batch is None or self._reader is None:
            return await self.slow(create, self.json_body())
        self._reader.finish()
        documents = await self.slow(batch.documents)
        return await self.slow(create, batch.fields, uploads=documents, folder=batch.folder)

    async def _wait(self, dataset: Dataset, seconds: int) -> None:
        """Let quick work finish, so that what is wrong with it is told at once and leaves nothing behind."""
        future = asyncio.wrap_future(self.jobs.submit(dataset.id))
        try:
            await asyncio.wait_for(asyncio.shield(future), seconds)
        except GuardError:
            await self.quick(self.jobs.delete, dataset.id)
            raise
        except (TimeoutError, PreparationStopped, asyncio.CancelledError):
            # It goes on, or will with the next start of the server; the record tells how it ended.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._drop()

    def on_finish(self) -> None:
        super().on_finish()
        self._drop()

    def _drop(self) -> None:
        batch, self._batch = self._batch, None
        if batch is not None:
            self.context.quick.submit(batch.drop)


class OneDatasetHandler(DatasetHandler):
    """/dti/api/datasets/{id}"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        self.query()
        self.answer(await self.quick(lambda: self.shown(self.jobs.catalogue.get(id))))

    @web.authenticated
    @authorized("write", resource=RESOURCE)
    async def patch(self, id: str) -> None:
        self.query()
        await self.own_dataset(id)
        changes = read_object(self.json_body(), PATCH_FIELDS)
        if "keep" in changes:
            await self.quick(self.jobs.catalogue.keep, id, changes["keep"])
        self.answer(await self.quick(lambda: self.shown(self.jobs.catalogue.get(id))))

    @web.authenticated
    @authorized("write", resource=RESOURCE)
    async def delete(self, id: str) -> None:
        force = query_flag(self.query("force"), "force")
        await self.own_dataset(id)
        await self.slow(self.jobs.delete, id, force=force)
        self.set_status(204)
        self.finish()


def image_view(number: int, record: ImageRecord) -> dict[str, Any]:
    return {"n": number, **asdict(record)}


class DatasetImagesHandler(DatasetHandler):
    """/dti/api/datasets/{id}/images"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        query = self.query("limit", "cursor")
        limit = query_integer(query, "limit", 1, MOST_IMAGES) or 100
        first = query_integer(query, "cursor", 0, 1 << 31) or 0
        records = await self.quick(self.jobs.catalogue.images, id)
        items = [image_view(n, record) for n, record in enumerate(records[first : first + limit], first)]
        next_cursor = str(first + limit) if first + limit < len(records) else None
        self.answer({"items": items, "next_cursor": next_cursor, "total": len(records)})


class DatasetImageHandler(DatasetHandler):
    """/dti/api/datasets/{id}/images/{n}"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str, number: str) -> None:
        await self._image(id, number)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def head(self, id: str, number: str) -> None:
        await self._image(id, number)

    async def _image(self, id: str, number: str) -> None:
        size = query_integer(self.query("thumbnail"), "thumbnail", *THUMBNAIL_SIZES)
        if not re.fullmatch(r"[0-9]{1,9}", number):
            raise NotFound("Images are numbered from 0")
        n = int(number)
        datasets = self.jobs.datasets
        if size is not None:
            path: Path = await self.slow(datasets.thumbnail_file, id, n, size)
            await self.send_file(path)
            return
        path = await self.quick(datasets.image_file, id, n)
        record = (await self.quick(self.jobs.catalogue.images, id))[n]
        source = await self.quick(open_file, path)
        await self.send(source, _MEDIA_TYPES[record.format], Path(record.name).name)


class UploadHandler(Streaming):
    """/dti/api/uploads/{sha256}"""

    _appender: Appender | None = None
    _end: int | None = None
    _total: int | None = None

    @property
    def max_body(self) -> int:  # type: ignore[override]
        return self.jobs.datasets.policy.limits.document_bytes

    async def prepare(self) -> None:  # type: ignore[override]
        await super().prepare()
        if not SHA256.fullmatch(self.path_args[0]):
            raise NotFound("An upload is named by its SHA-256: 64 hexadecimal digits in lower case")
        if self.request.method == "PUT":
            start = self._range()
            try:
                uploads = self.jobs.datasets.uploads(self.username)
                self._appender = await self.quick(uploads.resume, self.path_args[0], start)
            except ServiceError as error:
                self.failure = error

    def _range(self) -> int:
        """Where this piece begins, by Content-Range; without, it is the whole file."""
        header = self.request.headers.get("Content-Range")
        if header is None:
            return 0
        match = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", header.strip())
        if match is None:
            raise BadRequest("Content-Range must be: bytes FIRST-LAST/TOTAL")
        start, last, self._total = (int(group) for group in match.groups())
        self._end = last + 1
        if not start < self._end <= self._total:
            raise BadRequest("Content-Range does not add up")
        if self._total > self.max_body:
            raise TooLarge(f"A file may have at most {self.max_body} bytes")
        return start

    def take(self, chunk: bytes) -> None:
        if self._appender is not None:
            self._appender.write(chunk)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, sha256: str) -> None:
        self.query()
        await self._answer(sha256)

    @web.authenticated
    @authorized("write", resource=RESOURCE)
    async def put(self, sha256: str) -> None:
        self.query()
        appender, self._appender = self._appender, None
        complete = self.failure is None and (self._total is None or self._end == self._total)
        if appender is not None:
            if complete and self._total is not None and appender.size != self._total:
                complete, self.failure = False, BadRequest("The body is not as long as Content-Range says")
            await self.slow(lambda: appender.close(complete=complete))
        if self.failure is not None:
            raise self.failure
        await self._answer(sha256)

    async def _answer(self, sha256: str) -> None:
        received, complete = await self.quick(self.jobs.datasets.uploads(self.username).received, sha256)
        self.answer({"sha256": sha256, "received": received, "complete": complete})

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._release()

    def on_finish(self) -> None:
        super().on_finish()
        self._release()

    def _release(self) -> None:
        """The client went away in between: what came is kept for its next try."""
        appender, self._appender = self._appender, None
        if appender is not None:
            with contextlib.suppress(RuntimeError):  # the server stops: its locks go with it
                self.context.quick.submit(appender.close, complete=False)


HANDLERS: list[tuple[str, type[Handler]]] = [
    (r"/dti/api/datasets", DatasetsHandler),
    (r"/dti/api/datasets/([^/]+)", OneDatasetHandler),
    (r"/dti/api/datasets/([^/]+)/images", DatasetImagesHandler),
    (r"/dti/api/datasets/([^/]+)/images/([^/]+)", DatasetImageHandler),
    (r"/dti/api/uploads/([^/]+)", UploadHandler),
]
