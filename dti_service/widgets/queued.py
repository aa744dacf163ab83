"""Notebooks that only look at experiments, when it is the service that runs them."""

from __future__ import annotations

import os
from typing import Any


def finish(**metrics: Any) -> None:
    """Tell the service that this notebook has done its work, with figures to keep. Nothing when it is run by hand: to
    look at experiments does not make another one."""
    if os.environ.get("DTI_EXPERIMENT_DIR"):
        from dti_service.run import current_run

        current_run().finish(metrics)
