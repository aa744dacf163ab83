"""The files of an experiment: log, executed notebook, report, results one by one or as a zip; all while it runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from jupyter_server.auth.decorator import authorized
from tornado import web

from dti_service import archive, transfer
from dti_service.datasets.catalogue import Catalogue
from dti_service.errors import InvalidRequest, NotFound
from dti_service.experiment import TERMINAL
from dti_service.handlers.base import Handler
from dti_service.handlers.fields import query_integer
from dti_service.handlers.files import Content, FileHandler, OpenFile, below, content_type, open_file
from dti_service.ids import is_id
from dti_service.members import members
from dti_service.originals import original
from dti_service.rendering import notebook_html
from dti_service.thumbnails import SIZES, thumbnail

RESOURCE = "artifacts"

MOST_ITEMS = 10_000
MOST_LINES = 1_000_000


def artifact_path(directory: Path, name: str) -> Path:
    """The file of an artifact. Names are relative to `results/`; those of events, which are relative to the
    experiment's directory and so begin with `results/` or `live/`, mean the same files."""
    folder, _, rest = name.partition("/")
    try:
        return below(directory / "results", name)
    except NotFound:
        if folder not in ("results", "live"):
            raise
        return below(directory / folder, rest)


def list_artifacts(directory: Path) -> list[archive.Member]:
    """All results there are, in the order of their names."""
    return archive.members(directory / "results")


def tail(source: OpenFile, lines: int) -> bytes:
    """The last `lines` lines of a file, read from its end."""
    if lines == 0:
        return b""
    position, found, blocks = source.size, 0, []
    while position and found <= lines:
        start = max(0, position - 64 * 1024)
        source.stream.seek(start)
        block = source.stream.read(position - start)
        found += block.count(b"\n")
        blocks.append(block)
        position = start
    return b"".join(b"".join(reversed(blocks)).splitlines(keepends=True)[-lines:])


class ExperimentFile(FileHandler):
    """Base of handlers that answer with one file of an experiment."""

    async def directory(self, id: str) -> Path:
        """Where an experiment is kept; `NotFound` when there is none."""
        return await self.quick(self.service.store.directory, id)


class LogHandler(ExperimentFile):
    """/dti/api/experiments/{id}/log"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        await self._text(id)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def head(self, id: str) -> None:
        await self._text(id)

    async def _text(self, id: str) -> None:
        lines = query_integer(self.query("tail"), "tail", 0, MOST_LINES)
        path = await self.directory(id) / "log.txt"
        if lines is None:
            await self.send_file(path)
            return
        source = await self.quick(open_file, path)
        try:
            text = await self.quick(tail, source, lines)
        finally:
            source.close()
        self.answer_type = "text/plain; charset=utf-8"
        self.set_header("Cache-Control", "no-cache")
        self.finish(text)


class NotebookHandler(ExperimentFile):
    """/dti/api/experiments/{id}/notebook"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        await self._notebook(id)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def head(self, id: str) -> None:
        await self._notebook(id)

    async def _notebook(self, id: str) -> None:
        self.query()
        await self.send_file(await self.directory(id) / "notebook.ipynb", filename=f"{id}.ipynb")


class NotebookPageHandler(ExperimentFile):
    """/dti/api/experiments/{id}/notebook.html"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        await self._page(id)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def head(self, id: str) -> None:
        await self._page(id)

    async def _page(self, id: str) -> None:
        self.query()
        source = await self.directory(id) / "notebook.ipynb"
        page = await self.slow(notebook_html, source)
        await self.send(
            Content(page.html.encode(), page.modified, page.etag), "text/html; charset=utf-8", f"{id}.html"
        )


class ReportHandler(ExperimentFile):
    """/dti/api/experiments/{id}/report.html"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        await self._report(id)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def head(self, id: str) -> None:
        await self._report(id)

    async def _report(self, id: str) -> None:
        self.query()
        await self.send_file(await self.directory(id) / "results" / "report.html")


class ResultsHandler(ExperimentFile):
    """/dti/api/experiments/{id}/results.zip"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        await self._zip(id)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def head(self, id: str) -> None:
        await self._zip(id)

    async def _zip(self, id: str) -> None:
        self.query()
        state = (await self.quick(self.service.store.get, id)).state
        directory = self.service.store.directory(id)
        members = await self.quick(list_artifacts, directory)
        if not members:
            raise NotFound("There are no results yet")
        source = archive.Archive(members, exact=state in TERMINAL)
        await self.send(source, "application/zip", f"{id}.zip", inline=False)


class WholeHandler(ExperimentFile):
    """/dti/api/experiments/{id}/experiment.zip"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        await self._zip(id)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def head(self, id: str) -> None:
        await self._zip(id)

    async def _zip(self, id: str) -> None:
        self.query()
        source = await self.quick(transfer.whole, self.service.store, id)
        await self.send(source, "application/zip", f"{id}-whole.zip", inline=False)


class ArtifactsHandler(ExperimentFile):
    """/dti/api/experiments/{id}/artifacts"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        query = self.query("limit", "cursor", "prefix")
        limit = query_integer(query, "limit", 1, MOST_ITEMS) or MOST_ITEMS
        directory = await self.directory(id)
        found = await self.quick(list_artifacts, directory)
        found = [member for member in found if member.name.startswith(query.get("prefix", ""))]
        after = query.get("cursor", "")
        page = [member for member in found if member.name > after]
        items = [
            {
                "path": member.name,
                "size": member.size,
                "modified_at": _iso(member.modified_ns),
                "type": content_type(Path(member.name)),
            }
            for member in page[:limit]
        ]
        next_cursor = items[-1]["path"] if len(page) > limit else None
        self.answer({"items": items, "next_cursor": next_cursor, "total": len(found)})


def _iso(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ArtifactHandler(ExperimentFile):
    """/dti/api/experiments/{id}/artifacts/{path}"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str, name: str) -> None:
        await self._artifact(id, name)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def head(self, id: str, name: str) -> None:
        await self._artifact(id, name)

    async def _artifact(self, id: str, name: str) -> None:
        size = query_integer(self.query("thumbnail"), "thumbnail", *SIZES)
        if size is None:
            directory = await self.directory(id)
            await self.send_file(await self.quick(artifact_path, directory, name))
            return
        form = self._form()
        # In one go: a first visit asks for some sixty of them.
        small, final = await self.slow(self._small, id, name, size, form)
        if final:
            self.caching = "private, max-age=86400"  # nothing writes into an experiment that has ended
        self.set_header("Vary", "Accept")
        await self.send_file(small, filename=f"{Path(name).stem}.{form}")

    def _small(self, id: str, name: str, size: int, form: str) -> tuple[Path, bool]:
        """The file of a thumbnail, and whether it stays as it is. Blocks."""
        directory = self.service.store.directory(id)
        path = artifact_path(directory, name)
        final = self.service.store.get(id).state in TERMINAL
        return thumbnail(path, directory / "thumbnails", size, form), final

    def _form(self) -> str:
        """WebP, unless the client says what it accepts and WebP is not in it."""
        accept = self.request.headers.get("Accept", "*/*")
        return "webp" if any(kind in accept for kind in ("image/webp", "image/*", "*/*")) else "jpeg"


class MembersHandler(ExperimentFile):
    """/dti/api/experiments/{id}/members"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        self.query()
        directory = await self.directory(id)
        try:
            text = await self.slow(members, directory)
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
        self.set_header("Cache-Control", "no-cache")
        if text is None:
            self.set_status(204)
        self.finish(text)


class OriginalHandler(ExperimentFile):
    """/dti/api/experiments/{id}/originals/{image}"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str, image: str) -> None:
        await self._original(id, image)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def head(self, id: str, image: str) -> None:
        await self._original(id, image)

    async def _original(self, id: str, image: str) -> None:
        self.query()
        directory = await self.directory(id)
        dataset = (await self.quick(self.service.store.get, id)).dataset
        images, folder = None, dataset
        if dataset is not None and is_id(dataset):
            images, folder = Catalogue(self.context.settings.data_dir).images_folder(dataset), None
        path, form = await self.slow(original, directory, int(image), images, folder)
        await self.send_file(path, filename=f"{Path(path).stem}.{form}")


HANDLERS: list[tuple[str, type[Handler]]] = [
    (r"/dti/api/experiments/([^/]+)/log", LogHandler),
    (r"/dti/api/experiments/([^/]+)/notebook", NotebookHandler),
    (r"/dti/api/experiments/([^/]+)/notebook\.html", NotebookPageHandler),
    (r"/dti/api/experiments/([^/]+)/report\.html", ReportHandler),
    (r"/dti/api/experiments/([^/]+)/results\.zip", ResultsHandler),
    (r"/dti/api/experiments/([^/]+)/experiment\.zip", WholeHandler),
    (r"/dti/api/experiments/([^/]+)/artifacts", ArtifactsHandler),
    (r"/dti/api/experiments/([^/]+)/artifacts/(.+)", ArtifactHandler),
    (r"/dti/api/experiments/([^/]+)/members", MembersHandler),
    (r"/dti/api/experiments/([^/]+)/originals/(\d{1,9})", OriginalHandler),
]
