"""`dti reindex | cleanup`."""

from __future__ import annotations

import argparse

from dti_service.cli.backend import open_settings
from dti_service.cli.output import print_json
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


def cleanup_command(arguments: argparse.Namespace) -> int:
    result = Service(open_settings(arguments)).cleanup(arguments.older_than, dry_run=arguments.dry_run)
    if arguments.json:
        print_json(result)
    else:
        verb = "would be deleted" if arguments.dry_run else "deleted"
        print(f"{len(result['experiments'])} experiments {verb}, {result['bytes'] / 1e6:.1f} MB")
    return 0
