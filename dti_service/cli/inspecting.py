"""`dti list | status | logs | cancel | delete`."""

from __future__ import annotations

import argparse
import sys
import time

from dti_service.cli.backend import follow, open_backend, resolve
from dti_service.cli.output import (
    TERMINAL,
    ProgressLine,
    describe,
    duration,
    elapsed,
    print_json,
    print_table,
)
from dti_service.cli.submitting import EXIT_CODES, report
from dti_service.errors import InvalidRequest

STATES = ("queued", "running", "cancelling", "cancelled", "succeeded", "failed")


def list_command(arguments: argparse.Namespace) -> int:
    states = [state.strip() for state in (arguments.state or "").split(",") if state.strip()]
    unknown = [state for state in states if state not in STATES]
    if unknown:
        raise InvalidRequest(f"--state: {unknown[0]!r} is none of {', '.join(STATES)}")
    page = open_backend(arguments).list(
        state=arguments.state, notebook=arguments.notebook, q=arguments.query, limit=arguments.limit
    )
    if arguments.json:
        print_json(page)
        return 0
    rows = [
        (
            view["id"],
            view["name"],
            describe(view),
            view["notebook"],
            view["created_at"][:16].replace("T", " "),
            duration(elapsed(view)),
        )
        for view in page["items"]
    ]
    print_table(rows, ("ID", "NAME", "STATE", "NOTEBOOK", "CREATED (UTC)", "TIME"))
    building = page.get("index")
    if building:
        done, total = building["done"], building["total"]
        print(f"(the newest only: the server's list is being put together, {done} of {total})")
    if page["total"] > len(rows):
        print(f"({len(rows)} of {page['total']}; more with --limit)")
    return 0


def status_command(arguments: argparse.Namespace) -> int:
    """Exit code 0, or with --watch that of the run: 0 succeeded, 1 failed, 130 cancelled."""
    backend = open_backend(arguments)
    id = resolve(backend, arguments.id)
    view = backend.get(id)
    if arguments.watch:
        line = ProgressLine()
        try:
            view = follow(backend, id, line.update)
        finally:
            line.close()
    if arguments.json:
        print_json(view)
    elif view["state"] in TERMINAL:
        report(view, as_json=False)
    else:
        print(f"{view['name']}: {describe(view)}")
    return EXIT_CODES[view["state"]] if arguments.watch else 0


def logs_command(arguments: argparse.Namespace) -> int:
    backend = open_backend(arguments)
    id = resolve(backend, arguments.id)
    position = 0
    while True:
        ended = backend.get(id)["state"] in TERMINAL
        chunk = backend.log(id, position)
        position += len(chunk)
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        if not arguments.follow or (ended and not chunk):
            return 0
        time.sleep(0.3)


def cancel_command(arguments: argparse.Namespace) -> int:
    backend = open_backend(arguments)
    ids = [resolve(backend, text) for text in arguments.ids]
    views = [backend.cancel(id) for id in ids]  # all are asked before any is waited for
    if arguments.wait:
        views = [follow(backend, id, lambda _: None) for id in ids]
    if arguments.json:
        print_json(views[0] if len(views) == 1 else views)
    else:
        for view in views:
            print(f"{view['name']}: {describe(view)}")
    return 0


def delete_command(arguments: argparse.Namespace) -> int:
    backend = open_backend(arguments)
    ids = [
        backend.get(resolve(backend, text))["id"] for text in arguments.ids
    ]  # all exist, or none is deleted
    for id in ids:
        backend.delete(id, force=arguments.force)
    if arguments.json:
        print_json({"deleted": ids})
    else:
        print("\n".join(ids))
    return 0
