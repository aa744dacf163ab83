"""The widgets: what each shows, the picture that it leaves in a saved notebook, and what it tells the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import anywidget
import traitlets

from dti_service.cell_views import MIME, view
from dti_service.curations import Reading, read_reading
from dti_service.curations.store import RAW
from dti_service.errors import InvalidRequest
from dti_service.run import data_dir
from dti_service.service import Service
from dti_service.settings import Settings
from dti_service.store import Store
from dti_service.widgets import exports, pictures
from dti_service.widgets.found import Found, find

LISTED = 12  # experiments in the picture of a list


class View(anywidget.AnyWidget):
    """A view of the page in a cell. `spec` says which; `picture` is its HTML without scripts."""

    _esm = Path(__file__).parent / "view.js"

    spec = traitlets.Dict().tag(sync=True)
    picture = traitlets.Unicode().tag(sync=True)

    def __init__(
        self, kind: str, address: str, picture: str, *, folder: Path, experiment: str | None = None
    ) -> None:
        super().__init__(spec=view(kind, address, folder, experiment), picture=picture)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:
            return None
        data, metadata = bundle
        model = data.get("application/vnd.jupyter.widget-view+json", {}).get("model_id")
        own = {MIME: {**self.spec, "model_id": model}, "text/html": self.picture, "text/plain": repr(self)}
        return {**data, **own}, metadata

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.spec.get('address', '')})"


class ClusterBrowser(View):
    """The clusters of a result, to look at and to curate.

    experiment: an id, the path of an experiment's directory, a run, or None for the newest result. reading: the name
    of a curated version to begin with. cluster: the id of a cluster to begin at. data_dir: where experiments are, by
    default DTI_DATA_DIR or `data`. Raises InvalidRequest with the remedy.

    `selected` holds the numbers of the images that are chosen in the view (column `image_id` of the table), `reading`
    the name of the curated version that is shown, "raw" for the result as the run left it; both follow the view.
    """

    selected = traitlets.List(traitlets.Int()).tag(sync=True)
    reading = traitlets.Unicode(RAW).tag(sync=True)

    def __init__(
        self,
        experiment: Any = None,
        *,
        reading: str | None = None,
        cluster: str | int | None = None,
        data_dir: Any = None,
    ) -> None:
        self.found = find(experiment, folder=_folder(data_dir))
        named = None if reading in (None, "", RAW) else reading
        if named:
            read_reading(self.found.directory, named)  # says now that there is none
        path = f"/c/{quote(str(cluster), safe='')}" if cluster is not None else ""
        address = f"#/e/{self.found.id}{path}" + (f"?{urlencode({'v': named})}" if named else "")
        picture = pictures.result_html(self.found.experiment, self.found.directory, named)
        super().__init__("browser", address, picture, folder=_home(self.found), experiment=self.found.id)
        self.reading = named or RAW

    def as_curated(self) -> Reading:
        """The version that is shown, as saved: its clusters, images, `rows()`, `csv()`."""
        return read_reading(self.found.directory, self.reading)

    def chosen(self) -> list[dict[str, Any]]:
        """The rows of the images that are chosen in the view."""
        wanted = set(self.selected)
        return [row for row in self.as_curated().rows() if row["image_id"] in wanted]

    def to_csv(self, path: str | Path | None = None) -> Path:
        """Write the table of the version that is shown (`exports.to_csv`); returns the file."""
        return exports.to_csv(self.found, path, self.reading)

    def to_zip(self, path: str | Path | None = None) -> Path:
        """Write the images of the version that is shown, in one folder for each cluster (`exports.to_zip`)."""
        return exports.to_zip(self.found, path, self.reading)


class Progress(View):
    """A run as it goes: how far it is, what forms, the curve; it becomes the result when it ends.

    experiment: as for `ClusterBrowser`; by default the run of this notebook, else the newest experiment.
    """

    def __init__(self, experiment: Any = None, *, data_dir: Any = None) -> None:
        from dti_service import run

        if experiment is None and run._current is not None:
            experiment = run._current
        self.found = find(experiment, folder=_folder(data_dir), running=True)
        picture = progress_picture(self.found)
        super().__init__(
            "progress", f"#/e/{self.found.id}", picture, folder=_home(self.found), experiment=self.found.id
        )


class ExperimentList(View):
    """All experiments: search, sort, tags, keep, delete, open. `data_dir`: as for `ClusterBrowser`."""

    def __init__(self, *, data_dir: Any = None) -> None:
        folder = _folder(data_dir)
        page = Service(Settings.from_env().replace(data_dir=folder)).list(limit=LISTED)
        super().__init__("list", "#/", pictures.list_html(page["items"], page["total"]), folder=folder)


class Launcher(View):
    """The form that starts an experiment.

    notebook: the one to begin with, such as "dti_sprites". again: an experiment whose settings to begin with.
    """

    def __init__(self, notebook: str | None = None, *, again: Any = None, data_dir: Any = None) -> None:
        folder = _folder(data_dir)
        service = Service(Settings.from_env().replace(data_dir=folder))
        notebooks = service.notebooks()["items"]
        known = [item["name"] for item in notebooks if "error" not in item]
        if notebook is not None and notebook not in known:
            reason = f"there is no notebook {notebook[:100]}; known: {', '.join(known)}"
            raise InvalidRequest(f"notebook: {reason}", [{"field": "notebook", "reason": reason}])
        query = {"notebook": notebook, "from": None if again is None else find(again, folder=folder).id}
        given = {name: value for name, value in query.items() if value}
        address = "#/new" + (f"?{urlencode(given)}" if given else "")
        super().__init__("form", address, pictures.form_html(notebooks), folder=folder)


class Comparison(View):
    """Two results side by side: which cluster became which, how images moved, their figures.

    Each side is an experiment, as for `ClusterBrowser`, or "id/reading" for a curated version of one.
    """

    def __init__(self, first: Any, second: Any, *, data_dir: Any = None) -> None:
        folder = _folder(data_dir)
        sides = [_side(one, folder) for one in (first, second)]
        address = "#/compare?" + urlencode({"a": sides[0][1], "b": sides[1][1]})
        picture = "".join(pictures.result_html(found.experiment, found.directory) for found, _ in sides)
        super().__init__("comparison", address, picture, folder=folder, experiment=sides[0][0].id)


def progress_picture(found: Found) -> str:
    """How far an experiment is, or what came out of it."""
    if found.experiment.state == "succeeded":
        return pictures.result_html(found.experiment, found.directory)
    progress = Store(found.data_dir).progress(found.id) if found.data_dir else None
    return pictures.progress_html(found.experiment, found.directory, progress)


def _side(one: Any, folder: Path) -> tuple[Found, str]:
    id, _, reading = (
        one.partition("/") if isinstance(one, str) and not one.startswith(("/", "~")) else (one, "", "")
    )
    found = find(id, folder=folder)
    if reading:
        read_reading(found.directory, reading)
    return found, f"{found.id}/{reading}" if reading else found.id


def _folder(given: Any) -> Path:
    return data_dir() if given is None else Path(given).expanduser().resolve()


def _home(found: Found) -> Path:
    return found.data_dir or found.directory
