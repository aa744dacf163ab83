"""A Jupyter server with the extension, in this process, on a data directory of its own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import nbformat
import pytest
from pytest_jupyter.jupyter_server import *  # noqa: F403 (its fixtures and hooks, for this folder)
from tornado.httpclient import HTTPResponse

from dti_service.experiment import Experiment, transition
from dti_service.handlers.context import Context
from dti_service.service import Service

PARAMETERS = """from typing import Literal

n_prototypes: int = 3  # How many [1, 50]
mode: Literal["fast", "slow"] = "fast"  # Which way
dataset: str = "sample"  # The images
"""


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an installed package that provides the notebook `tiny`."""
    folder = tmp_path / "demos" / "tiny_demo"
    folder.mkdir(parents=True)
    work = (
        "import json, pathlib\n"
        "from dti_service.run import current_run\n"
        "run = current_run(notebook='tiny', parameters={'n_prototypes': n_prototypes})\n"
        "for step in range(1, 4):\n"
        "    run.progress(step, 3)\n"
        "print('printed by the notebook')\n"
        "(run.results / 'prototypes').mkdir()\n"
        "(run.results / 'prototypes' / 'note.txt').write_text('hello')\n"
        "run.finish({'k': n_prototypes})\n"
    )
    cells = [
        nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(work),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "tiny.ipynb")
    (folder / "__init__.py").write_text(
        "from pathlib import Path\n"
        "from dti_service.demos import Demo\n"
        "DEMO = Demo('tiny', Path(__file__).parent / 'tiny.ipynb', 'A tiny notebook')\n"
    )
    monkeypatch.syspath_prepend(str(folder.parent))
    return "tiny_demo"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "dti data"


@pytest.fixture
def dti_config() -> dict[str, Any]:
    """Further traits of the extension, for a test module to override."""
    return {}


@pytest.fixture
def jp_server_config(demo: str, data_dir: Path, dti_config: dict[str, Any]) -> dict[str, Any]:
    traits = {"data_dir": str(data_dir), "installed_demos": [demo], "devices": "cpu", "redis_url": ""}
    return {
        "ServerApp": {"jpserver_extensions": {"dti_service": True}, "allow_unauthenticated_access": False},
        "DTIServiceApp": {**traits, **dti_config},
    }


@pytest.fixture
def context(jp_serverapp: Any) -> Context:
    return jp_serverapp.web_app.settings["dti_service_context"]


@pytest.fixture
def service(context: Context) -> Service:
    return context.service


@pytest.fixture
def make(service: Service) -> Callable[..., Experiment]:
    """Put an experiment into the store in any state, with files, without running it."""

    def make(state: str = "queued", files: dict[str, bytes | str] | None = None, **fields: Any) -> Experiment:
        from dti_service.ids import new_id

        moment = "2026-01-31T12:00:00.000Z"
        values: dict[str, Any] = {
            "id": new_id(),
            "notebook": "tiny",
            "name": "an experiment",
            "created_at": moment,
            "queued_at": moment,
            **fields,
        }
        source, _ = service.notebook_path("tiny")
        experiment = service.store.create(Experiment(**values), source)
        if state != "queued":
            experiment = transition(experiment, "running", assigned_device="cpu")
        if state not in ("queued", "running"):
            error = (
                {"kind": "user_error", "message": "ValueError: no", "cell": 1} if state == "failed" else None
            )
            experiment = transition(experiment, state, error=error)  # type: ignore[arg-type]
        if state != "queued":
            service.store.save(experiment)
        directory = service.store.directory(experiment.id)
        for name, content in (files or {}).items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return dataclasses.replace(experiment)

    return make


@pytest.fixture
def fetch(http_server_client: Any, jp_auth_header: dict[str, str], jp_base_url: str) -> Callable[..., Any]:
    """`await fetch("GET", "experiments", json={...})` below /dti/api; answers errors like anything else.

    Parts of the path are sent as they are, so that a test decides what is escaped."""

    async def fetch(method: str, *parts: str, root: str = "dti/api/", **options: Any) -> HTTPResponse:
        headers = {**jp_auth_header, **options.pop("headers", {})}
        if "json" in options:
            options["body"] = json.dumps(options.pop("json"))
            headers = {"Content-Type": "application/json", **headers}
        query = urlencode(options.pop("params", {}))
        path = jp_base_url + root + "/".join(parts) + (f"?{query}" if query else "")
        options = {
            "allow_nonstandard_methods": True,
            "follow_redirects": False,
            "request_timeout": 20,
            **options,
        }
        return await http_server_client.fetch(
            path, method=method, headers=headers, raise_error=False, **options
        )

    return fetch


def body(response: HTTPResponse) -> Any:
    return json.loads(response.body)
