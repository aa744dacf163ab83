"""The `dti` command. Nothing heavy is imported before a command needs it, so that `dti --help` is quick."""

from dti_service.cli.main import main

__all__ = ["main"]
