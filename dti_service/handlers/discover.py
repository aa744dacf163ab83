"""The compatibility routes: /clustering/*, /datasets/*, /test, as the fronts of the DISCOVER platform call them.

They send no cookies and no XSRF token. They are let in by the server's token in a header, in `?token=`, or as the
password of HTTP Basic (so that a front is pointed at `http://dti:TOKEN@host:port`), or by the setting
`discover_open`. Leading slashes may be doubled, final ones left out or added.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from typing import Any
from urllib.parse import quote

from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from jupyter_server.auth.identity import User
from jupyter_server.utils import ensure_async, url_path_join
from tornado import web

from dti_service.discover import NOTEBOOK
from dti_service.discover.documents import Documents
from dti_service.discover.results import result_archive
from dti_service.discover.start import read_body, read_start, readable
from dti_service.discover.status import StatusReader
from dti_service.discover.tasks import Task, Tasks
from dti_service.discover.upkeep import DEFAULT_DAYS, MOST_DAYS, Upkeep
from dti_service.errors import BadRequest, Conflict, Forbidden, NotFound
from dti_service.experiment import Experiment
from dti_service.handlers.base import MEBIBYTE, json_text, parse_json
from dti_service.handlers.context import Context
from dti_service.handlers.files import FileHandler
from dti_service.service import SubmitRequest

ANSWER_S = 30.0  # no callback before that, unless the answer went out earlier
FRONT = "discover"  # who asks, where the routes are open


class Parts:
    """What the routes share, made once for each server."""

    def __init__(self, context: Context) -> None:
        self.tasks = Tasks(context.service.store)
        self.statuses = StatusReader(context.service.store)
        self.upkeep = Upkeep(context.service, self.tasks, context.datasets)
        self.documents = Documents(context.datasets.catalogue)


def parts_of(context: Context) -> Parts:
    if context.discover is None:
        context.discover = Parts(context)
    parts: Parts = context.discover
    return parts


class DiscoverHandler(FileHandler):
    """Base of the compatibility routes: credentials in three places, errors that a front can show."""

    max_body = 32 * MEBIBYTE  # crops of a large corpus
    _track_activity = False  # pages poll once a second
    credentials = "Send the server's token, for example as in http://dti:TOKEN@host:port"

    def initialize(self, context: Context) -> None:
        super().initialize(context)
        parts = parts_of(context)
        self.tasks, self.statuses = parts.tasks, parts.statuses
        self.upkeep, self.documents = parts.upkeep, parts.documents
        self._opened = False

    async def prepare(self) -> None:  # type: ignore[override]
        self._take_basic()
        if (
            self.context.settings.discover_open
            and "Authorization" not in self.request.headers
            and not self._has_token()
        ):
            self._opened = True
            self._jupyter_current_user = User(FRONT)
        await super().prepare()

    def _take_basic(self) -> None:
        """The password of HTTP Basic is the token."""
        kind, _, value = self.request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return
        try:
            _, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
        except (ValueError, binascii.Error):
            return
        self.request.headers["Authorization"] = f"token {password}"

    def _has_token(self) -> bool:
        return "token" in self.request.query_arguments

    def check_xsrf_cookie(self) -> None:
        """A page of another site cannot use these routes through somebody's browser: with a token there is nothing
        to forge, where they are open such a page is told apart by its origin, and cookies are checked as ever."""
        if not self._opened:
            super().check_xsrf_cookie()

    def error_body(self, message: str, fields: list[dict[str, str]]) -> dict[str, Any]:
        return {"error": readable(message, fields), "message": message, "errors": fields}

    def answer(self, value: Any, status: int = 200) -> None:
        """JSON with exactly `application/json`: one front compares the header for equality."""
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(json_text(value))

    def url_of(self, *parts: str) -> str:
        """The address of a route as the front reaches this server."""
        public = self.context.settings.public_url
        base = public or f"{self.request.protocol}://{self.request.host}{self.base_url}"
        return url_path_join(base, *(quote(part, safe="@") for part in parts))

    def result_url(self, tracking_id: str) -> str:
        return f"{self.url_of('clustering', tracking_id, 'result')}?key={self.tasks.key(tracking_id)}"


class StartHandler(DiscoverHandler):
    """POST /clustering/start"""

    @web.authenticated
    @authorized("execute", resource="experiments")
    async def post(self) -> None:
        values = read_body(self.request.headers.get("Content-Type", ""), self.body, parse_json)
        start = await self.quick(read_start, values, parse_json)
        dataset = await self.quick(self.context.datasets.datasets.create, start.dataset, owner=self.username)
        await self.quick(self.tasks.mark, dataset.id)
        request = SubmitRequest(
            notebook=NOTEBOOK,
            parameters={"request": start.parameters},
            dataset=dataset.id,
            name=f"DISCOVER {start.experiment_id}"[:200],
            notify_url=start.notify_url or [],
            owner=self.username,
        )

        def announce(experiment: Experiment) -> None:
            """Before anybody else notices the experiment, and would tell the front of it by our own ids."""
            self.context.notifier.enlist(
                experiment.id,
                experiment.notify_url,
                experiment_id=start.experiment_id,
                result_url=self.result_url(experiment.id),
                after_s=ANSWER_S,
            )

        try:
            experiment = await self.quick(self.service.submit, request, announce)
        except Exception:
            await self.quick(self.context.datasets.delete, dataset.id)
            raise
        await self.quick(self.tasks.add, experiment.id, Task(start.experiment_id, dataset.id))
        self.context.datasets.submit(dataset.id)
        self.context.watch.expect(experiment.id)
        self._started = self.audited = experiment.id
        self.answer({**start.echo, "tracking_id": experiment.id, "experiment_id": start.experiment_id})

    _started: str | None = None

    def on_finish(self) -> None:
        """A front saves its whole record after the answer: what arrives before that is lost."""
        super().on_finish()
        if self._started is not None:
            self.context.quick.submit(self.context.notifier.answered, self._started)


class StatusHandler(DiscoverHandler):
    """GET /clustering/{id}/status"""

    @web.authenticated
    @authorized("read", resource="experiments")
    async def get(self, id: str) -> None:
        self.answer({"tracking_id": id, "log": await self.quick(self._log_of, id)})

    def _log_of(self, id: str) -> dict[str, Any]:
        try:
            experiment, _ = self.tasks.find(id)
        except NotFound:
            return {"status": "ERROR", "infos": ["There is no such task; it may have been deleted"]}
        position = self.service.queue_positions().get(experiment.id) if experiment.state == "queued" else None
        return self.statuses.log(experiment, position=position, result_url=self.result_url(experiment.id))


class CancelHandler(DiscoverHandler):
    """POST /clustering/{id}/cancel, and /{id}/cancel as one front has it"""

    @web.authenticated
    @authorized("execute", resource="experiments")
    async def post(self, id: str) -> None:
        await self.quick(self._cancel, id)
        self.answer({"tracking_id": id})

    def _cancel(self, id: str) -> None:
        """A front takes its task for cancelled whatever the answer is: nothing can be refused here."""
        try:
            experiment, _ = self.tasks.find(id)
            self.own_record(experiment)
            self.service.cancel(experiment.id, self.username)
        except (NotFound, Conflict, Forbidden):
            return


class ResultHandler(DiscoverHandler):
    """GET /clustering/{id}/result"""

    @allow_unauthenticated
    async def get(self, id: str) -> None:
        key = self.get_query_argument("key", "")
        found = await self.quick(self._find, id)
        if found is None or not await self.quick(self.tasks.opens, key, found[0].id):
            await ensure_async(self._permitted())
        if found is None:
            raise NotFound("There is no such task")
        experiment, task = found
        if experiment.state != "succeeded":
            raise NotFound(f"The task has no result: it is {experiment.state}")
        directory = self.service.store.directory(experiment.id)
        source = await self.quick(result_archive, directory, task.file_name)
        await self.send(source, "application/zip", f"{experiment.id}.zip", inline=False)

    def _find(self, id: str) -> Any:
        try:
            return self.tasks.find(id)
        except NotFound:
            return None

    @web.authenticated
    @authorized("read", resource="artifacts")
    async def _permitted(self) -> None:
        """Nothing more than these two checks."""


class SizesHandler(DiscoverHandler):
    """GET /clustering/qsizes"""

    @web.authenticated
    @authorized("read", resource="workers")
    async def get(self) -> None:
        self.answer(await self.quick(self.upkeep.queues))


class MonitorHandler(DiscoverHandler):
    """GET /clustering/monitor"""

    @web.authenticated
    @authorized("read", resource="workers")
    async def get(self) -> None:
        self.answer(await self.slow(self.upkeep.monitor))


class ClearHandler(DiscoverHandler):
    """POST /clustering/monitor/clear"""

    @web.authenticated
    @authorized("write", resource="experiments")
    async def post(self) -> None:
        values = read_body(self.request.headers.get("Content-Type", ""), self.body, parse_json)
        days = str(values.get("days_before") or DEFAULT_DAYS)
        if not (days.isascii() and days.isdecimal() and len(days) < 6 and int(days) <= MOST_DAYS):
            reason = f"must be a whole number from 0 to {MOST_DAYS}"
            raise BadRequest("Nothing was cleared", [{"field": "days_before", "reason": reason}])
        self.administer()
        self.answer(await self.slow(self.upkeep.clear_old, int(days)))


class ClearOneHandler(DiscoverHandler):
    """POST /clustering/monitor/clear/{id}"""

    @web.authenticated
    @authorized("write", resource="experiments")
    async def post(self, id: str) -> None:
        with contextlib.suppress(NotFound):  # what is not there is answered as ever
            self.own_record((await self.quick(self.tasks.find, id))[0])
        self.answer(await self.slow(self.upkeep.clear_one, id))


class DatasetHandler(DiscoverHandler):
    """GET /datasets/dataset/{uid}"""

    @web.authenticated
    @authorized("read", resource="datasets")
    async def get(self, uid: str) -> None:
        self.answer(await self.quick(self.documents.dataset, uid, self.url_of))


class DocumentHandler(DiscoverHandler):
    """GET /datasets/document/{type}/{uid}"""

    @web.authenticated
    @authorized("read", resource="datasets")
    async def get(self, kind: str, uid: str) -> None:
        self.answer(await self.quick(self.documents.document, kind, uid, self.url_of))


class DocumentDownloadHandler(DiscoverHandler):
    """GET /datasets/document/{type}/{uid}/download"""

    @web.authenticated
    @authorized("read", resource="datasets")
    async def get(self, kind: str, uid: str) -> None:
        source = await self.slow(self.documents.download, kind, uid, self.url_of)
        await self.send(source, "application/zip", f"{uid}.zip", inline=False)


class DocumentFileHandler(DiscoverHandler):
    """GET /datasets/document/{type}/{uid}/{file}: annotations, which clustering makes none of"""

    @web.authenticated
    @authorized("read", resource="datasets")
    async def get(self, kind: str, uid: str, name: str) -> None:
        await self.quick(self.documents.document, kind, uid, self.url_of)
        raise NotFound("The document has no annotations of this name")


class TestHandler(DiscoverHandler):
    """GET /test"""

    @web.authenticated
    @authorized("read", resource="workers")
    async def get(self) -> None:
        self.answer({"response": "ok"})


HANDLERS: list[tuple[str, type[DiscoverHandler]]] = [
    (r"/+clustering/start/?", StartHandler),
    (r"/+clustering/qsizes/?", SizesHandler),
    (r"/+clustering/monitor/?", MonitorHandler),
    (r"/+clustering/monitor/clear/?", ClearHandler),
    (r"/+clustering/monitor/clear/([^/]+)/?", ClearOneHandler),
    (r"/+clustering/([^/]+)/status/?", StatusHandler),
    (r"/+clustering/([^/]+)/cancel/?", CancelHandler),
    (r"/+clustering/([^/]+)/result/?", ResultHandler),
    (r"/+([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/cancel/?", CancelHandler),
    (r"/+datasets/dataset/([^/]+)/?", DatasetHandler),
    (r"/+datasets/document/([^/]+)/([^/]+)/?", DocumentHandler),
    (r"/+datasets/document/([^/]+)/([^/]+)/download/?", DocumentDownloadHandler),
    (r"/+datasets/document/([^/]+)/([^/]+)/([^/]+)/?", DocumentFileHandler),
    (r"/+test/?", TestHandler),
]
