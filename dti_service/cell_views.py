"""How the output of a cell names one of the page's views, for JupyterLab to show it live.

Beside this, every such output carries plain HTML: what other front ends, and readers of the saved notebook, see.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

MIME = "application/vnd.dti.view+json"


def view(kind: str, address: str, data_dir: Path, experiment: str | None = None) -> dict[str, Any]:
    """The view at `address` of the page ("#/e/<id>"). A server shows it when it knows `experiment`; without one, when
    it keeps its experiments in the same `data_dir` on the same machine. `kind` decides how high it stands.
    """
    return {
        "kind": kind,
        "address": address,
        "experiment": experiment,
        "host": socket.gethostname(),
        "data_dir": str(data_dir),
    }
