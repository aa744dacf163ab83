"""Experiments: submit, list, look at, name, cancel, run again, delete."""

from __future__ import annotations

import json
import re
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.utils import url_path_join
from tornado import web

from dti_service.errors import BadRequest, InvalidRequest
from dti_service.experiment import STATES, Experiment
from dti_service.handlers.base import Handler
from dti_service.handlers.fields import (
    documents,
    flag,
    integer,
    mapping,
    query_flag,
    query_integer,
    read_object,
    text,
    texts,
)
from dti_service.service import SubmitRequest

RESOURCE = "experiments"

RERUN_FIELDS = {
    "parameters": mapping,
    "dataset": text(longest=4096),
    "name": text(longest=200),
    "notify_url": texts(longest=4096, most=8, single=True),
    "priority": integer(-1000, 1000),
    "device": text(longest=64),
    "resume_from": text(longest=64),
    "time_limit_s": integer(1, 366 * 24 * 3600),
}
ASSIGN_FIELDS = {
    **{name: reader for name, reader in RERUN_FIELDS.items() if name != "resume_from"},
    "documents": documents(most=1000),
}
SUBMIT_FIELDS = {"notebook": text(longest=1024), **RERUN_FIELDS}
PATCH_FIELDS = {"name": text(longest=200), "tags": texts(longest=64, most=32), "keep": flag}

MOST_ITEMS = 500
ANSWER_S = 5.0  # no callback before that, unless the answer went out earlier
LISTED_STATES = (*STATES, "cancelling")


class Submitting(Handler):
    """Base of the handlers that make an experiment."""

    def idempotency_key(self) -> str | None:
        """The client's own name for this request; `BadRequest` for one that cannot be kept."""
        key = self.request.headers.get("Idempotency-Key")
        if key is not None and not re.fullmatch(r"[!-~]{1,200}", key):
            raise BadRequest(
                "Idempotency-Key must have 1 to 200 printable characters of ASCII, without spaces"
            )
        return key

    def announce(self, experiment: Experiment) -> None:
        """Note who is to be told of a new experiment: before anybody else notices it, and would."""
        if experiment.notify_url:
            self.context.notifier.enlist(experiment.id, experiment.notify_url, after_s=ANSWER_S)
            self._announced = experiment.id

    _announced: str | None = None

    def on_finish(self) -> None:
        """Whoever is to be told is told a moment after the answer."""
        super().on_finish()
        if self._announced is not None:
            self.context.quick.submit(self.context.notifier.answered, self._announced)

    async def created(self, experiment: Experiment) -> None:
        """Answer with a new experiment and where it is."""
        if not experiment.ended:  # it may be an earlier one, asked for again under the same key
            self.context.watch.expect(experiment.id)
        self.set_header("Location", url_path_join(self.base_url, "dti/api/experiments", experiment.id))
        self.answer(self.linked(await self.quick(self.service.get, experiment.id)), 201)


class ExperimentsHandler(Submitting):
    """/dti/api/experiments"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self) -> None:
        query: dict[str, Any] = self.query("limit", "cursor", "sort", "state", "notebook", "q")
        query["limit"] = query_integer(query, "limit", 1, MOST_ITEMS)
        unknown = [
            state for state in query.get("state", "").split(",") if state.strip() not in ("", *LISTED_STATES)
        ]
        if unknown:
            reason = f"must be one or several of {', '.join(LISTED_STATES)}, separated by commas"
            raise BadRequest("The query is not valid", [{"field": "state", "reason": reason}])
        given = {name: value for name, value in query.items() if value is not None}
        page = await self.quick(self.service.list, **given)
        self.answer({**page, "items": [self.linked(view) for view in page["items"]]})

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self) -> None:
        self.query()
        values = read_object(self.json_body(), SUBMIT_FIELDS, required=("notebook",))
        request = SubmitRequest(**values, owner=self.username, idempotency_key=self.idempotency_key())
        await self.created(await self.quick(self.service.submit, request, self.announce))


class ExperimentHandler(Handler):
    """/dti/api/experiments/{id}"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        self.query()
        self.answer(self.linked(await self.quick(self.service.get, id)))

    @web.authenticated
    @authorized("write", resource=RESOURCE)
    async def patch(self, id: str) -> None:
        self.query()
        await self.own_experiment(id)
        await self.quick(self.service.patch, id, **read_object(self.json_body(), PATCH_FIELDS))
        self.answer(self.linked(await self.quick(self.service.get, id)))

    @web.authenticated
    @authorized("write", resource=RESOURCE)
    async def delete(self, id: str) -> None:
        force = query_flag(self.query("force"), "force")
        await self.own_experiment(id)
        await self.quick(self.service.delete, id, force=force)
        self.set_status(204)
        self.finish()


class CancelHandler(Handler):
    """/dti/api/experiments/{id}/cancel"""

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self, id: str) -> None:
        self.query()
        await self.own_experiment(id)
        await self.quick(self.service.cancel, id, self.username)
        self.answer(self.linked(await self.quick(self.service.get, id)), 202)


class RerunHandler(Submitting):
    """/dti/api/experiments/{id}/rerun"""

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self, id: str) -> None:
        self.query()
        changes = read_object(self.json_body(empty={}), RERUN_FIELDS)
        given = {"owner": self.username, "announce": self.announce}
        await self.created(await self.quick(self.service.rerun, id, changes, **given))


class AssignHandler(Submitting):
    """/dti/api/experiments/{id}/assign"""

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self, id: str) -> None:
        self.query()
        values = read_object(self.json_body(), ASSIGN_FIELDS)
        listed = values.pop("documents", None)
        if (listed is None) == ("dataset" not in values):
            reason = "give either dataset or documents: the images to label"
            raise InvalidRequest("The request is not valid", [{"field": "dataset", "reason": reason}])
        if listed is not None:
            values["dataset"] = json.dumps(listed)
        request = SubmitRequest(
            notebook="", **values, owner=self.username, idempotency_key=self.idempotency_key()
        )
        await self.created(await self.quick(self.service.assign, id, request, self.announce))


HANDLERS: list[tuple[str, type[Handler]]] = [
    (r"/dti/api/experiments", ExperimentsHandler),
    (r"/dti/api/experiments/([^/]+)", ExperimentHandler),
    (r"/dti/api/experiments/([^/]+)/cancel", CancelHandler),
    (r"/dti/api/experiments/([^/]+)/rerun", RerunHandler),
    (r"/dti/api/experiments/([^/]+)/assign", AssignHandler),
]
