"""Submit experiments from a notebook, one or a whole sweep, and see what becomes of them.

desk = Desk()                                  # this machine's data directory; or Desk("https://server", token)
batch = desk.sweep("dti_clustering", {"n_prototypes": [8, 10, 12]}, dataset="/data/ornaments")
batch.watch()                                  # until all have ended
batch.compare()                                # their figures and prototypes, side by side
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dti_service.errors import InvalidRequest
from dti_service.run import data_dir as default_data_dir
from dti_service.widgets import pictures
from dti_service.widgets.batch import Batch
from dti_service.widgets.places import open_place, refused
from dti_service.widgets.shown import Shown

MOST_RUNS = 100


class Desk:
    """Where experiments are handed in.

    server: address of a server; without one, the data directory of this machine. token: the server's, by default
    DTI_TOKEN. data_dir: by default DTI_DATA_DIR or `data`. Raises InvalidRequest with the remedy.
    """

    def __init__(
        self, server: str | None = None, token: str | None = None, *, data_dir: str | Path | None = None
    ) -> None:
        folder = default_data_dir() if data_dir is None else Path(data_dir).expanduser().resolve()
        self.place = open_place(server, token, folder)

    def __repr__(self) -> str:
        return f"Desk({self.place.name})"

    def parameters(self, notebook: str) -> Shown:
        """What can be set for a notebook: name, default, what it does. Raises NotFound."""
        schema = self.place.schema(notebook)
        rows = [
            (name, pictures.number(item.get("default", "")), item.get("description", ""))
            for name, item in schema["properties"].items()
            if name != "experiment_dir"
        ]
        table = pictures.table_html(("Parameter", "Default", "What it does"), rows)
        return Shown(
            pictures.box(str(schema["title"]), notebook, table),
            "\n".join(f"{name} = {value}: {words}" for name, value, words in rows),
        )

    def submit(
        self,
        notebook: str,
        settings: Mapping[str, Any] | None = None,
        *,
        dataset: str | None = None,
        name: str | None = None,
    ) -> Batch:
        """Queue one experiment. `settings`: parameters that differ from the defaults. Raises InvalidRequest with all
        that is wrong."""
        return self.sweep(notebook, {}, settings, dataset=dataset, name=name)

    def sweep(
        self,
        notebook: str,
        values: Mapping[str, Sequence[Any]],
        settings: Mapping[str, Any] | None = None,
        *,
        dataset: str | None = None,
        name: str | None = None,
    ) -> Batch:
        """Queue one experiment for each combination of `values`; nothing is queued unless all of them are right."""
        requests = self._requests(notebook, values, settings or {}, dataset, name)
        problems: list[dict[str, str]] = []
        for request, _ in requests:
            problems += [problem for problem in self.place.check(request) if problem not in problems]
        if problems:
            raise InvalidRequest("Nothing was queued", problems)
        views = [(self.place.submit(request)["id"], varied) for request, varied in requests]
        return Batch(self.place, dict(views))

    @staticmethod
    def _requests(
        notebook: str,
        values: Mapping[str, Sequence[Any]],
        settings: Mapping[str, Any],
        dataset: str | None,
        name: str | None,
    ) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        for key, several in values.items():
            if isinstance(several, str) or not isinstance(several, Sequence) or not several:
                raise refused(
                    f"sweep.{key}", f"must be a list of values to try, such as [8, 10], not {several!r}"
                )
            if key in settings:
                raise refused(f"sweep.{key}", "is among the settings too: leave it out in one place")
        combinations = [dict(zip(values, chosen)) for chosen in itertools.product(*values.values())]
        if len(combinations) > MOST_RUNS:
            raise refused(
                "sweep", f"these are {len(combinations)} experiments; at most {MOST_RUNS} at a time"
            )
        requests = []
        for varied in combinations:
            label = ", ".join(f"{key}={value}" for key, value in varied.items())
            title = " ".join(part for part in (name or notebook, f"({label})" if label else "") if part)
            request = {
                "notebook": notebook,
                "parameters": {**settings, **varied},
                "dataset": dataset or None,
                "name": title if name or label else None,
            }
            requests.append(({key: value for key, value in request.items() if value is not None}, varied))
        return requests
