"""`dti doctor`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from dti_service.cli.backend import open_settings
from dti_service.cli.output import print_json
from dti_service.doctor import run_checks


def doctor_command(arguments: argparse.Namespace) -> int:
    """Exit code 0 when every check passes, else 1."""
    checks = []
    for check in run_checks(open_settings(arguments)):
        checks.append(check)
        if not arguments.json:
            print(f"[{'ok' if check.ok else 'PROBLEM'}] {check.name}: {check.found}", flush=True)
            if not check.ok:
                print(f"          {check.remedy}")
    if arguments.json:
        print_json([asdict(check) for check in checks])
    return 0 if all(check.ok for check in checks) else 1
