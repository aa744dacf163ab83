"""`dti reindex | cleanup | import`: the data directory itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from dti_service.cli.backend import open_backend, open_settings
from dti_service.cli.output import print_json
from dti_service.service import Service
from dti_service.transfer import take_in


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
    store = Service(open_settings(arguments)).store
    experiment = take_in(store, Path(arguments.file).expanduser())
    if arguments.json:
        print_json({"id": experiment.id, "directory": str(store.directory(experiment.id))})
    else:
        print(experiment.id)
    return 0


def cleanup_command(arguments: argparse.Namespace) -> int:
    result = open_backend(arguments).cleanup(arguments.older_than, dry_run=arguments.dry_run)
    if arguments.json:
        print_json(result)
    else:
        verb = "would be deleted" if arguments.dry_run else "deleted"
        print(f"{len(result['experiments'])} experiments {verb}, {result['bytes'] / 1e6:.1f} MB")
    return 0
