"""`dti serve | worker`: processes that stay."""

from __future__ import annotations

import argparse
import os
import sys

from dti_service.cli.backend import open_settings
from dti_service.errors import InvalidRequest


def serve_command(arguments: argparse.Namespace) -> int:
    """The server of `jupyter lab`, without the laboratory: page, REST interface and dispatcher."""
    settings = open_settings(arguments)
    os.environ["DTI_DATA_DIR"] = str(settings.data_dir)
    options = []
    if arguments.ip:
        options.append(f"--ServerApp.ip={arguments.ip}")
    if arguments.port:
        options.append(f"--ServerApp.port={arguments.port}")
    if arguments.no_browser:
        options.append("--no-browser")
    if arguments.allow_root:
        options.append("--allow-root")

    from dti_service.extension import DTIServiceApp

    # `launch_instance` runs until the server is stopped and ends the process with its exit code.
    DTIServiceApp.launch_instance(options)
    return 0


def worker_command(arguments: argparse.Namespace) -> int:
    """Serve the queue from this terminal until stopped (Ctrl-C puts a running experiment back)."""
    settings = open_settings(arguments)
    if arguments.device:
        settings = settings.replace(devices=arguments.device)
    if settings.redis_url:
        raise InvalidRequest("DTI_REDIS_URL is set, but this version serves only the local queue; unset it")

    from dti_service.dispatch.foreground import run_worker

    print(f"Serving the queue of {settings.data_dir}; stop with Ctrl-C.", file=sys.stderr)
    run_worker(settings, burst=arguments.burst)
    return 0
