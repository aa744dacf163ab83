"""Entry point: parse, run the command, turn every expected error into one readable message and an exit code."""

from __future__ import annotations

import importlib
import os
import sys

from dti_service.cli.parser import LOCAL, build_parser

DONE, FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 130

# Which module holds which commands; each has a function `<command>(arguments) -> exit code`.
MODULES = {
    "quickstart": "quickstart",
    "run": "submitting",
    "submit": "submitting",
    "sweep": "submitting",
    "rerun": "submitting",
    "list": "inspecting",
    "status": "inspecting",
    "logs": "inspecting",
    "cancel": "inspecting",
    "delete": "inspecting",
    "export": "results",
    "assign": "results",
    "worker": "serving",
    "serve": "serving",
    "doctor": "doctor",
    "reindex": "upkeep",
    "cleanup": "upkeep",
    "import": "upkeep",
    "new-demo": "making",
}


def main(argv: list[str] | None = None) -> int:
    """Run `dti`; returns the exit code (0 done, 1 failed, 2 bad input, 130 cancelled)."""
    arguments = build_parser().parse_args(argv)
    module = importlib.import_module(f"dti_service.cli.{MODULES[arguments.command]}")
    command = getattr(module, f"{arguments.command.replace('-', '_')}_command")

    from dti_service.errors import InvalidRequest, ServiceError

    try:
        if arguments.server and arguments.command in LOCAL:
            raise InvalidRequest(f"dti {arguments.command} works on this machine only: leave out --server")
        return command(arguments)
    except ServiceError as error:
        print(f"dti: {error}", file=sys.stderr)
        for item in error.errors:
            print(f"  {item['field']}: {item['reason']}", file=sys.stderr)
        return BAD_INPUT if 400 <= error.status < 500 else FAILED
    except KeyboardInterrupt:
        print("dti: interrupted", file=sys.stderr)
        return CANCELLED
    except BrokenPipeError:
        # The reader of our output went away (`dti list | head`): not an error, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


if __name__ == "__main__":
    sys.exit(main())
