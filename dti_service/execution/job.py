"""What the supervisor tells the executor to run, and the environment that the run's processes get."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dti_service.execution.processes import experiment_marks
from dti_sprites.waiting import wait_briefly

# The notebook's process knows nothing of servers and has no business with their secrets.
SECRET = (
    "DTI_REDIS_URL",
    "DTI_NOTIFY_SECRET",
    "JUPYTER_TOKEN",
    "JPY_API_TOKEN",
    "JUPYTERHUB_",
    "RQ_",
    "REDIS_",
)
# A kernel that was started from another one must not take its place.
INHERITED = ("JPY_PARENT_PID", "JPY_SESSION_NAME", "DTI_EXPERIMENT_")


@dataclass(frozen=True)
class Job:
    """One attempt at an experiment."""

    directory: str
    variables: dict[str, str]  # environment variables that are the run's own, see `run_variables`
    notebook: str = ""  # where it came from, if that is a path
    parameters: dict[str, Any] = field(default_factory=dict)
    dataset: str | None = None
    interrupt_grace_s: float = 5.0

    def to_line(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes | str) -> Job:
        return cls(**json.loads(line))

    @property
    def notebook_folder(self) -> str | None:
        """The folder whose modules the notebook may import, as it could where it was written."""
        folder = Path(self.notebook).parent
        return str(folder) if Path(self.notebook).is_absolute() and folder.is_dir() else None


def run_variables(
    id: str, directory: Path, data_dir: Path, device: str, environment: Mapping[str, str]
) -> dict[str, str]:
    """The environment variables by which the processes of a run know it, and are known."""
    return {
        **experiment_marks(id, data_dir),
        "DTI_EXPERIMENT_DIR": str(directory),
        **device_variables(device, environment),
    }


def device_variables(device: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The run sees its own device alone, whose name in the run is therefore `cuda:0` or `cpu`."""
    if not device.startswith("cuda"):
        return {"DTI_DEVICE": device, **({"CUDA_VISIBLE_DEVICES": "-1"} if device == "cpu" else {})}
    number = int(device.partition(":")[2] or 0)
    visible = [
        item.strip() for item in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if item.strip()
    ]
    chosen = visible[number] if number < len(visible) else str(number)
    return {"DTI_DEVICE": "cuda:0", "CUDA_VISIBLE_DEVICES": chosen}


def clean_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without secrets, and without what belongs to another run."""
    environment = os.environ if environment is None else environment
    clean = {name: value for name, value in environment.items() if not name.startswith((*SECRET, *INHERITED))}
    wait_briefly(clean)  # here, as a notebook may load PyTorch before the library
    return clean
