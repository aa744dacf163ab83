"""The commands and options of `dti`: names only, no behaviour."""

from __future__ import annotations

import argparse

from dti_service import __version__

# Those that work on this machine and its data directory only: with --server they would not do what was meant.
LOCAL = {"quickstart", "worker", "serve", "doctor", "reindex", "import", "new-demo"}


def _common(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    parser.add_argument(
        "--data-dir", metavar="DIR", help="where experiments live (default: DTI_DATA_DIR or ./data)"
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _request(parser: argparse.ArgumentParser) -> None:
    """Options of a new experiment, shared by run, submit and sweep."""
    parser.add_argument(
        "notebook", metavar="NOTEBOOK", help="name of a registered notebook, or path to an .ipynb file"
    )
    parser.add_argument(
        "-p",
        dest="parameters",
        action="append",
        nargs=2,
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter of the notebook (repeatable)",
    )
    parser.add_argument(
        "-f", dest="parameters_file", metavar="FILE", help="parameters as a YAML or JSON mapping"
    )
    parser.add_argument("--dataset", metavar="PATH|URL|ID", help="the images")
    parser.add_argument("--name", help="a name for people")
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda:N", help="where to run (default: auto)"
    )
    parser.add_argument("--resume-from", metavar="ID", help="start from the checkpoint of another experiment")
    parser.add_argument("--priority", type=int, default=0, metavar="N", help="higher runs first (default: 0)")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dti",
        description="Find recurring motifs in folders of images: run DTI notebooks as experiments.",
        epilog="An ID may be shortened to its beginning or its end while that is only one experiment's."
        " Exit codes: 0 done, 1 the run failed, 2 bad input, 130 cancelled.",
    )
    parser.add_argument("--version", action="version", version=f"dti {__version__}")
    parser.add_argument(
        "--server", metavar="URL", help="talk to a server over REST instead of the data directory"
    )
    parser.add_argument("--token", help="the server's token (default: DTI_TOKEN)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str, *, json: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        _common(sub, json=json)
        if name not in LOCAL:
            # Also after the command; not said there, it leaves what was said before.
            unsaid = argparse.SUPPRESS
            sub.add_argument("--server", metavar="URL", default=unsaid, help=unsaid)
            sub.add_argument("--token", default=unsaid, help=unsaid)
        return sub

    command("quickstart", "cluster the sample images and say where to look")

    run = command("run", "run a notebook in the foreground")
    _request(run)

    submit = command("submit", "put a notebook into the queue and print the experiment's id")
    _request(submit)
    submit.add_argument(
        "--notify",
        action="append",
        default=[],
        metavar="URL",
        help="address that is told about start and end",
    )

    sweep = command("sweep", "queue one experiment per combination of comma-separated parameter values")
    _request(sweep)

    list_ = command("list", "list experiments, newest first")
    list_.add_argument(
        "--state", help="only this state, or several with commas: queued, running, cancelled, ..."
    )
    list_.add_argument("--notebook", help="only this notebook")
    list_.add_argument("-q", "--query", help="only names, ids and tags that hold this text")
    list_.add_argument("--limit", type=int, default=20, help="how many (default: 20)")

    status = command("status", "show one experiment")
    status.add_argument("id", metavar="ID")
    status.add_argument("--watch", action="store_true", help="follow it until it ends")

    logs = command("logs", "print what the notebook printed", json=False)
    logs.add_argument("id", metavar="ID")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the experiment ends")

    cancel = command("cancel", "cancel queued or running experiments")
    cancel.add_argument("ids", metavar="ID", nargs="+")
    cancel.add_argument("--wait", action="store_true", help="return when they have ended")

    delete = command("delete", "delete experiments that have ended, with all their files")
    delete.add_argument("ids", metavar="ID", nargs="+")
    delete.add_argument("--force", action="store_true", help="also what is marked to be kept")

    rerun = command("rerun", "queue the same request again, with changes where given")
    rerun.add_argument("id", metavar="ID")
    rerun.add_argument(
        "-p",
        dest="parameters",
        action="append",
        nargs=2,
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter that is to differ (repeatable)",
    )
    rerun.add_argument("--name", help="another name")
    rerun.add_argument("--device", metavar="auto|cpu|cuda:N", help="another device")

    export = command("export", "write an experiment's results into one zip file")
    export.add_argument("id", metavar="ID")
    export.add_argument("--to", required=True, metavar="FILE.zip")
    export.add_argument(
        "--whole",
        action="store_true",
        help="the whole experiment, for `dti import` on another machine, and not only its results",
    )

    import_ = command("import", "take in an experiment that `dti export --whole` wrote")
    import_.add_argument("file", metavar="FILE.zip")

    assign = command("assign", "label new images with a finished experiment's model")
    assign.add_argument("id", metavar="ID")
    assign.add_argument("--images", required=True, metavar="DIR")
    assign.add_argument("--to", metavar="FILE.csv", help="write the table here instead of to the screen")

    worker = command("worker", "run queued experiments until stopped", json=False)
    worker.add_argument(
        "--device",
        default=None,
        metavar="auto|cpu|cuda:N",
        help="which device to serve (default: DTI_DEVICES)",
    )
    worker.add_argument("--burst", action="store_true", help="stop when the queue is empty")
    worker.add_argument("--log-json", action="store_true", help="log one JSON object a line")

    new_demo = command("new-demo", "write the skeleton of a demo: a package with a notebook of your own")
    new_demo.add_argument("name", metavar="NAME", help="a Python name, such as my_demo")
    new_demo.add_argument("--title", help="for people (default: from the name)")
    new_demo.add_argument("--to", default=".", metavar="DIR", help="where to make its folder (default: here)")

    command("doctor", "check this machine and say what to do about each problem")
    command("reindex", "rebuild the index from the experiment directories")

    cleanup = command(
        "cleanup",
        "delete old finished experiments that are not marked to be kept, and datasets that nothing uses",
    )
    cleanup.add_argument(
        "--older-than",
        metavar="30d",
        help="age since the end: 30d, 12h ... (on this machine, default: DTI_RETENTION_DAYS)",
    )
    cleanup.add_argument(
        "--datasets-older-than",
        metavar="90d",
        help="also datasets that no experiment uses, and that were neither made nor used for so long"
        " (default: DTI_DATASET_RETENTION_DAYS, else none)",
    )
    cleanup.add_argument("--dry-run", action="store_true", help="only say what would go")

    serve = command("serve", "start the server with the page at /dti/, without JupyterLab", json=False)
    serve.add_argument("--ip", default=None, help="address to listen on (default: localhost)")
    serve.add_argument("--port", type=int, default=None, help="port to listen on (default: 8888)")
    serve.add_argument("--no-browser", action="store_true", help="do not open a browser")
    serve.add_argument("--log-json", action="store_true", help="log one JSON object a line")
    serve.add_argument(
        "--allow-root", action="store_true", help="serve although this user is root, as in a container"
    )
    return parser
