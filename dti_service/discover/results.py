"""The result zip in the layout that every generation of fronts shows completely."""

from __future__ import annotations

import re
from pathlib import Path

from dti_service import archive
from dti_service.archive import Archive

# The front unpacks the zip beside its own files of these names.
TAKEN = frozenset({"log.txt", "results.zip", "summary.zip"})
_PROTOTYPE = re.compile(r"prototype(0|[1-9]\d*)\.(png|jpg|gif)")
_RAW = re.compile(r"clusters/cluster(0|[1-9]\d*)/.*_raw\.(png|jpg)")
_NUMBERED_RAW = re.compile(r"clusters/cluster\d+/\d+_raw\.(png|jpg)")


def result_archive(directory: Path, config_name: str, *, exact: bool = True) -> Archive:
    """The zip of a finished experiment. `config_name`: what the copy of the configuration is called, without .yml."""
    found = archive.members(directory / "results", member_name)
    config = next((member for member in found if member.name == "config.yaml"), None)
    if config is not None:
        name = f"{config_name}.yml"
        found.append(archive.Member(name, config.path, config.size, config.modified_ns))
    return Archive(sorted(found, key=lambda member: member.name), exact=exact)


def member_name(path: str) -> str | None:
    """The name in the zip of a file of the results; None for one that would keep a front from showing the rest."""
    if path in TAKEN:
        return f"run-{path}"
    folder, _, name = path.partition("/")
    if folder == "prototypes" and not _PROTOTYPE.fullmatch(name):
        return None
    if _RAW.fullmatch(path) and not _NUMBERED_RAW.fullmatch(path):
        return None
    return path
