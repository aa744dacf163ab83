"""Which folders of this machine may be named."""

from __future__ import annotations

from pathlib import Path

from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.policy import Policy


def allowed_folder(src: str, policy: Policy, *, local: bool) -> Path:
    """The folder that a text names, when it may be read: any by the owner of the machine's files (`local`), those
    below the roots of the settings by clients. The same answer for what is missing and what is forbidden."""
    try:
        path = Path(src).expanduser().resolve(strict=True)
        is_folder = path.is_dir()
    except (OSError, RuntimeError, ValueError):
        is_folder = False
    if not is_folder or not (local or any(path.is_relative_to(root) for root in policy.roots)):
        remedy = (
            "check the path"
            if local
            else "name a folder below one of DTI_DATASET_ROOTS, or upload the images"
        )
        raise GuardError(src, "no such folder", remedy)
    return path
