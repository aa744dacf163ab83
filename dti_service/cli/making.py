"""`dti new-demo`: the skeleton of a demo."""

from __future__ import annotations

import argparse
from pathlib import Path

from dti_service.cli.output import print_json
from dti_service.new_demo import write_demo


def new_demo_command(arguments: argparse.Namespace) -> int:
    folder = write_demo(arguments.name, Path(arguments.to).expanduser(), arguments.title or "")
    if arguments.json:
        print_json({"name": arguments.name, "directory": str(folder.resolve())})
    else:
        print(f"""{folder} holds a demo that works as it is. Try it:
  cd {folder}
  DTI_INSTALLED_DEMOS={arguments.name} PYTHONPATH=. dti run {arguments.name}
  python -m pytest
Then change {arguments.name}/notebooks/{arguments.name}.ipynb; README.md tells what is where.""")
    return 0
