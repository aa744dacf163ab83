"""`dti serve | worker`: processes that stay."""

from __future__ import annotations

import argparse
import logging
import os

from dti_service import logs
from dti_service.cli.backend import open_settings

log = logging.getLogger("dti_service.worker")


def serve_command(arguments: argparse.Namespace) -> int:
    """The server of `jupyter lab`, without the laboratory: page, REST interface and dispatcher."""
    settings = open_settings(arguments)
    os.environ["DTI_DATA_DIR"] = str(settings.data_dir)
    if arguments.log_json:
        os.environ["DTI_LOG_JSON"] = "true"
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
    if arguments.log_json:
        os.environ["DTI_LOG_JSON"] = "true"  # also for the processes of further devices
        settings = settings.replace(log_json=True)
    logs.set_up(settings, f"worker-{settings.devices}")
    log.info("Serving the queue of %s; stop with Ctrl-C", settings.data_dir)
    if settings.redis_url:
        from dti_service.dispatch.rq_worker import serve

        serve(settings, burst=arguments.burst)
    else:
        from dti_service.dispatch.foreground import run_worker

        run_worker(settings, burst=arguments.burst)
    return 0
