"""Readings of a result: list, read, save with a check of the version, delete, and take away in several forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.utils import url_path_join
from tornado import web

from dti_service.curations import Curations, Reading, check_document, read_reading
from dti_service.curations.annotations import annotation_page
from dti_service.curations.folders import Folders
from dti_service.curations.page import Page
from dti_service.curations.sheet import Sheet
from dti_service.curations.table import labels_of
from dti_service.datasets.catalogue import Catalogue
from dti_service.errors import NotFound
from dti_service.handlers.base import MEBIBYTE, Handler, json_text
from dti_service.handlers.fields import query_choice
from dti_service.handlers.files import FileHandler, attachment
from dti_service.ids import is_id

RESOURCE = "artifacts"
FLAGS = ("0", "1")
LANGUAGES = ("en", "fr")


class CurationHandler(FileHandler):
    """What the handlers of readings share."""

    async def directory(self, id: str) -> Path:
        await self.quick(self.service.store.get, id)
        return self.service.store.directory(id)


class CurationsHandler(CurationHandler):
    """/dti/api/experiments/{id}/curations"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        self.query()
        items = await self.quick(Curations(await self.directory(id)).all)
        self.answer({"items": items, "next_cursor": None, "total": len(items)})


class OneCurationHandler(CurationHandler):
    """/dti/api/experiments/{id}/curations/{name}"""

    max_body = 64 * MEBIBYTE

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str, name: str) -> None:
        self.query()
        version = await self.quick(Curations(await self.directory(id)).read, name)
        self.set_header("Etag", version.etag)
        self.set_header("Cache-Control", "no-cache")
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
            return
        self.finish(version.content)

    @web.authenticated
    @authorized("write", resource=RESOURCE)
    async def put(self, id: str, name: str) -> None:
        self.query()
        directory = await self.directory(id)
        document = self.json_body()

        def save() -> Any:
            labels, clusters = labels_of(directory / "results")
            return Curations(directory).write(
                name,
                document,
                if_match=self.request.headers.get("If-Match"),
                if_none_match=self.request.headers.get("If-None-Match"),
                by=self.username,
                check=lambda value: check_document(value, labels, clusters),
            )

        version, new = await self.slow(save)
        self.set_header("Etag", version.etag)
        self.set_header(
            "Location", url_path_join(self.base_url, "dti/api/experiments", id, "curations", name)
        )
        self.answer({"name": name, "etag": version.etag, "bytes": len(version.content)}, 201 if new else 200)

    @web.authenticated
    @authorized("write", resource=RESOURCE)
    async def delete(self, id: str, name: str) -> None:
        self.query()
        store = Curations(await self.directory(id))
        await self.quick(lambda: store.delete(name, if_match=self.request.headers.get("If-Match")))
        self.set_status(204)
        self.finish()

    def compute_etag(self) -> str | None:
        return None  # the ETag names the stored version


class CurationFileHandler(CurationHandler):
    """/dti/api/experiments/{id}/curations/{name}.{format}"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str, name: str, form: str) -> None:
        query = self.query("bom", "language")
        bom = query_choice(query, "bom", FLAGS) == "1"
        language = query_choice(query, "language", LANGUAGES) or "en"
        directory = await self.directory(id)
        reading = await self.slow(read_reading, directory, name)
        experiment = await self.quick(self.service.store.get, id)
        filename = f"{experiment.name or id} - {reading.title}.{form}"
        if form == "csv":
            await self._text(
                await self.slow(lambda: reading.csv(bom=bom)), "text/csv; charset=utf-8", filename
            )
        elif form == "json":
            value = await self.slow(reading.json)
            experiment_facts = {
                "id": experiment.id,
                "name": experiment.name,
                "finished_at": experiment.finished_at,
            }
            await self._text(
                await self.slow(json_text, {"experiment": experiment_facts, **value}),
                "application/json",
                filename,
            )
        elif form == "jsonld":
            page = await self.slow(self._annotations, experiment, reading, name)
            await self._text(json_text(page), "application/ld+json", filename)
        elif form == "zip":
            originals = self._originals(experiment.dataset)
            folders = await self.slow(Folders, reading, directory / "results", originals)
            await self.send(folders, "application/zip", filename, inline=False)
        else:
            kind, media_type = (
                (Sheet, "application/pdf") if form == "pdf" else (Page, "text/html; charset=utf-8")
            )
            title = experiment.name or id
            source = kind(reading, directory / "results", directory / "thumbnails", title, language)
            await self.send(source, media_type, filename, inline=False)

    async def _text(self, text: str, media_type: str, filename: str) -> None:
        self.answer_type = media_type
        self.set_header("Content-Disposition", attachment(filename))
        self.set_header("Cache-Control", "no-cache")
        self.finish(text)

    def _originals(self, dataset: str | None) -> Path | None:
        """Folder of the files that the run read, when they belong to a dataset of this server."""
        if dataset is None or not is_id(dataset):
            return None
        folder = Catalogue(self.context.settings.data_dir).images_folder(dataset)
        return folder if folder.is_dir() else None

    def _annotations(self, experiment: Any, reading: Reading, name: str) -> dict[str, Any]:
        if experiment.dataset is None or not is_id(experiment.dataset):
            raise NotFound("Only images of a dataset have sources that annotations can point to")
        records = Catalogue(self.context.settings.data_dir).images(experiment.dataset)
        sources = {record.file: record.source for record in records}
        parts = ("dti/api/experiments", experiment.id, "curations", f"{name}.jsonld")
        address = url_path_join(
            self.context.settings.public_url or self.request.full_url().partition("/dti/")[0], *parts
        )
        return annotation_page(reading, sources, address)


HANDLERS: list[tuple[str, type[Handler]]] = [
    (r"/dti/api/experiments/([^/]+)/curations", CurationsHandler),
    (r"/dti/api/experiments/([^/]+)/curations/([^/.]+)", OneCurationHandler),
    (r"/dti/api/experiments/([^/]+)/curations/([^/.]+)\.(csv|json|html|pdf|zip|jsonld)", CurationFileHandler),
]
