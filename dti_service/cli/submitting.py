"""`dti run | submit | sweep | rerun`: from the command line to an experiment."""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import yaml

from dti_service.cli.backend import Backend, View, open_backend, open_settings, resolve
from dti_service.cli.output import ProgressLine, duration, elapsed, print_json
from dti_service.errors import InvalidRequest

EXIT_CODES = {"succeeded": 0, "failed": 1, "cancelled": 130}


def run_command(arguments: argparse.Namespace) -> int:
    """Run in the foreground; Ctrl-C cancels and keeps what there is."""
    backend = open_backend(arguments)
    [request] = build_requests(arguments, backend, sweep=False)
    if arguments.server:
        view = _watch_remote(backend, request)
    else:
        view = run_in_foreground(open_settings(arguments), backend, request)
    report(view, arguments.json)
    return EXIT_CODES[view["state"]]


def run_in_foreground(settings: Any, backend: Backend, request: dict[str, Any]) -> View:
    """Submit, run in this process's own supervisor (or watch whoever runs it), follow with a progress line."""
    from dti_service.dispatch.foreground import run_experiment

    view = backend.submit(request)
    line = ProgressLine()
    try:
        run_experiment(
            settings,
            view["id"],
            on_poll=lambda: line.update(backend.get(view["id"])),
            cancel=lambda: backend.cancel(view["id"]),
        )
    finally:
        line.close()
    return backend.get(view["id"])


def _watch_remote(backend: Backend, request: dict[str, Any]) -> View:
    from dti_service.cli.backend import follow

    view = backend.submit(request)
    line = ProgressLine()
    try:
        return follow(backend, view["id"], line.update, poll_s=1.0)
    except KeyboardInterrupt:
        backend.cancel(view["id"])
        return follow(backend, view["id"], line.update, poll_s=1.0)
    finally:
        line.close()


def submit_command(arguments: argparse.Namespace) -> int:
    backend = open_backend(arguments)
    [request] = build_requests(arguments, backend, sweep=False)
    view = backend.submit(request)
    if arguments.json:
        print_json(view)
    else:
        print(view["id"])
    return 0


def sweep_command(arguments: argparse.Namespace) -> int:
    """One experiment per combination; nothing is queued unless every combination is valid."""
    backend = open_backend(arguments)
    views = [backend.submit(request) for request in build_requests(arguments, backend, sweep=True)]
    if arguments.json:
        print_json(views)
    else:
        for view in views:
            print(view["id"], view["name"])
    return 0


def rerun_command(arguments: argparse.Namespace) -> int:
    backend = open_backend(arguments)
    id = resolve(backend, arguments.id)
    view = backend.rerun(id, _changes(arguments, backend, id))
    if arguments.json:
        print_json(view)
    else:
        print(view["id"])
    return 0


def _changes(arguments: argparse.Namespace, backend: Backend, id: str) -> dict[str, Any]:
    """What is to differ from the experiment that is repeated; texts are read by the types of its notebook."""
    from dti_service.execution.parameters import coerce_text

    changes = {"name": arguments.name, "device": arguments.device}
    given = {name: value for name, value in changes.items() if value is not None}
    texts = dict(arguments.parameters)
    if texts:
        schema = backend.notebook_schema(backend.get(id)["notebook"])
        given["parameters"] = {**texts, **coerce_text(schema, texts)[0]}
    return given


def build_requests(arguments: argparse.Namespace, backend: Backend, *, sweep: bool) -> list[dict[str, Any]]:
    """The REST body for each experiment asked for: texts of `-p` are read by the types that the notebook declares.

    Raises InvalidRequest with all problems at once.
    """
    from dti_service.execution.parameters import coerce_text

    notebook = arguments.notebook if arguments.server else _local_notebook(arguments.notebook)
    schema = backend.notebook_schema(notebook)
    given = _parameters_file(arguments.parameters_file)
    texts = dict(arguments.parameters)
    choices = {name: text.split(",") if sweep else [text] for name, text in texts.items()}
    requests: list[dict[str, Any]] = []
    for combination in itertools.product(*choices.values()):
        chosen = dict(zip(choices, combination))
        # A text that cannot be read stays one, and is refused below together with everything else.
        parameters = {**given, **chosen, **coerce_text(schema, chosen)[0]}
        label = ", ".join(f"{name}={value}" for name, value in chosen.items() if len(choices[name]) > 1)
        requests.append(
            {
                "notebook": notebook,
                "parameters": parameters,
                "dataset": _local_dataset(arguments),
                "name": f"{arguments.name or Path(notebook).stem.replace('_', ' ')} ({label})"
                if label
                else arguments.name,
                "notify_url": getattr(arguments, "notify", []),
                "priority": arguments.priority,
                "device": arguments.device,
                "resume_from": arguments.resume_from and resolve(backend, arguments.resume_from),
            }
        )
    problems: list[dict[str, str]] = []
    for request in requests:
        problems += [problem for problem in backend.problems(request) if problem not in problems]
    if problems:
        raise InvalidRequest("The request cannot be used", errors=problems)
    return requests


def _local_notebook(text: str) -> str:
    """A path is made absolute: the server or worker that runs it has another current folder."""
    path = Path(text).expanduser()
    return str(path.resolve()) if path.suffix == ".ipynb" else text


def _local_dataset(arguments: argparse.Namespace) -> str | None:
    text = arguments.dataset
    if text and not arguments.server and "://" not in text and Path(text).expanduser().exists():
        return str(Path(text).expanduser().resolve())
    return text


def _parameters_file(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    try:
        values = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(f"Cannot read {name}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise InvalidRequest(f"{name} is not valid YAML: {error}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InvalidRequest(f"{name} must hold a mapping of parameter names to values")
    return values


def report(view: View, as_json: bool) -> None:
    """How a finished experiment is shown."""
    if as_json:
        print_json(view)
        return
    print(f"{view['name']}: {view['state']} after {duration(elapsed(view))}")
    if view.get("error"):
        print(f"  {view['error']['kind']}: {view['error']['message']}", file=sys.stderr)
    for name, value in view.get("metrics", {}).items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            print(f"  {name:<20} {value:.4g}" if isinstance(value, float) else f"  {name:<20} {value}")
    where: View = {name: view[name] for name in ("directory", "address") if name in view} or {
        "id": view["id"]
    }
    for name, value in where.items():
        print(f"  {name}: {value}")
