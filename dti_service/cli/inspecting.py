"""`dti list | status | logs | cancel`."""

from __future__ import annotations

import argparse
import sys
import time

from dti_service.cli.backend import follow, open_backend
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


def list_command(arguments: argparse.Namespace) -> int:
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
    if page["total"] > len(rows):
        print(f"({len(rows)} of {page['total']}; more with --limit)")
    return 0


def status_command(arguments: argparse.Namespace) -> int:
    """Exit code 0, or with --watch that of the run: 0 succeeded, 1 failed, 130 cancelled."""
    backend = open_backend(arguments)
    view = backend.get(arguments.id)
    if arguments.watch:
        line = ProgressLine()
        try:
            view = follow(backend, arguments.id, line.update)
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
    position = 0
    while True:
        ended = backend.get(arguments.id)["state"] in TERMINAL
        chunk = backend.log(arguments.id, position)
        position += len(chunk)
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        if not arguments.follow or (ended and not chunk):
            return 0
        time.sleep(0.3)


def cancel_command(arguments: argparse.Namespace) -> int:
    backend = open_backend(arguments)
    view = backend.cancel(arguments.id)
    if arguments.wait:
        view = follow(backend, arguments.id, lambda _: None)
    if arguments.json:
        print_json(view)
    else:
        print(f"{view['name']}: {describe(view)}")
    return 0
