"""`dti reindex | cleanup | import`: the data directory itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from dti_service.cli.backend import open_backend, open_settings
from dti_service.cli.local import LocalBackend
from dti_service.cli.output import print_json
from dti_service.errors import InvalidRequest
from dti_service.service import Service


def reindex_command(arguments: argparse.Namespace) -> int:
    found = Service(open_settings(arguments)).reindex()
    if arguments.json:
        print_json(found)
    else:
        print(f"{found['experiments']} experiments indexed")
        for problem in found["skipped"]:
            print(f"  skipped {problem['path']}: {problem['reason']}")
    return 0


def import_command(arguments: argparse.Namespace) -> int:
    """Take in an experiment; prints its id."""
    view = LocalBackend(open_settings(arguments)).take_in(Path(arguments.file).expanduser())
    if arguments.json:
        print_json({name: view[name] for name in ("id", "directory")})
    else:
        print(view["id"])
    return 0


def cleanup_command(arguments: argparse.Namespace) -> int:
    """Says what it deletes by name when it is only tried."""
    older_than = arguments.older_than or _usual_age(arguments)
    result = open_backend(arguments).cleanup(
        older_than, arguments.datasets_older_than, dry_run=arguments.dry_run
    )
    if arguments.json:
        print_json(result)
        return 0
    kinds = [kind for kind in ("experiments", "datasets") if kind == "experiments" or result.get(kind)]
    if arguments.dry_run:
        for kind in kinds:
            for id in result[kind]:
                print(f"{kind.removesuffix('s')} {id}")
    counts = " and ".join(f"{len(result[kind])} {kind}" for kind in kinds)
    verb = "would be deleted" if arguments.dry_run else "deleted"
    print(f"{counts} {verb}, {result['bytes'] / 1e6:.1f} MB")
    return 0


def _usual_age(arguments: argparse.Namespace) -> str:
    """The age that the setting names. Raises InvalidRequest when there is none."""
    days = 0.0 if arguments.server else open_settings(arguments).retention_days
    if not days:
        raise InvalidRequest("Say how old: --older-than 30d, for example")
    return f"{days:f}d"
