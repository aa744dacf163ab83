#!/usr/bin/env python3
"""Backs up a data directory while experiments run, and restores it elsewhere. Needs Python alone, nothing installed.

    tools/backup.py save DATA_DIR FOLDER [--keep 14]    FOLDER/2026-01-31T02-00-00Z/; --keep removes older ones
    tools/backup.py restore FOLDER/2026-... DATA_DIR    into an empty or new folder; then start the server
    tools/backup.py list FOLDER

Each backup is complete by itself; files that have not changed since the one before are hard links to it and take no
space. A backup is there under its name only when it is complete. What was running is queued again by `restore` and goes
on from its checkpoint. What can be rebuilt (the index) or means nothing elsewhere (locks, trash) is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

MANIFEST = "backup.json"
RECORD = "experiment.json"
SCHEMA_VERSION = 1  # of the records that `restore` may change
LEFT_OUT = {"locks", "trash", "processes", ".home"}  # of the data directory
# Of an experiment: they describe processes of the machine where it ran.
OF_PROCESSES = {".lock", ".annotations.lock", "runner.json", "stop.json", "executor.json"}
TRIES = 10


class Problem(Exception):
    """What hinders a backup or a restore, in words for whoever started it."""


def save(data_dir: Path, folder: Path, keep: int = 0) -> Path:
    """Make a backup and return its folder. Raises Problem, OSError."""
    if not (data_dir / "experiments").is_dir():
        raise Problem(f"{data_dir} is not a data directory: it has no folder experiments")
    if folder.resolve() == data_dir.resolve() or data_dir.resolve() in folder.resolve().parents:
        raise Problem(f"The backups must not lie in the data directory itself: {folder}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    earlier = backups(folder)
    name = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    partial, final = folder / f".{name}.partial", folder / name
    if final.exists():
        raise Problem(f"{final} is there already")
    partial.mkdir(mode=0o750)
    try:
        copier = Copier(data_dir, partial, earlier[-1] if earlier else None)
        # Experiments first: what one of them needs, such as its dataset, was there before it.
        count = sum(copier.experiment(path) for path in list(entries(data_dir / "experiments")))
        for path in entries(data_dir):
            if path.name == "experiments" or path.name in LEFT_OUT or path.name.startswith("index.sqlite3"):
                continue
            copier.tree(path)
        copier.owners()
        manifest = {
            "made_at": name,
            "source": str(data_dir.resolve()),
            "experiments": count,
            "bytes": copier.bytes,
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        os.sync()
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for old in backups(folder)[:-keep] if keep else []:
        shutil.rmtree(old)
    return final


class Copier:
    """Copies into a new backup what lies in the data directory; unchanged files become links to the earlier one."""

    def __init__(self, source: Path, target: Path, earlier: Path | None) -> None:
        self.source, self.target, self.earlier = source, target, earlier
        self.bytes = 0  # that were copied, not linked

    def experiment(self, path: Path) -> bool:
        """One experiment; False for what is none, or was deleted meanwhile."""
        if path.name.startswith(".") or not path.is_dir():
            return False
        # The record first: one that says "succeeded" is then never beside results of which a part is missing.
        if not self.file(path / RECORD):
            return False
        for part in entries(path):
            if part.name == RECORD or part.name in OF_PROCESSES:
                continue
            if part.name == "checkpoint":
                self.checkpoint(part)
            else:
                self.tree(part)
        if path.exists():
            return True
        shutil.rmtree(self.copy_of(path), ignore_errors=True)  # deleted while we copied
        return False

    def checkpoint(self, path: Path) -> None:
        """A run replaces it as a whole every few seconds: copy again when that happened meanwhile."""
        for _ in range(TRIES):
            before = files_in(path)
            self.tree(path)
            if before == files_in(path) == files_in(self.copy_of(path)):
                return
            shutil.rmtree(self.copy_of(path), ignore_errors=True)
        self.tree(path)

    def tree(self, path: Path) -> None:
        """A file, or a folder with all that is in it; what goes away meanwhile is left out."""
        if path.is_symlink() or not path.is_dir():
            self.file(path)
            return
        target = self.copy_of(path)
        with contextlib.suppress(FileNotFoundError):
            target.mkdir(exist_ok=True)
            for part in entries(path):
                if not part.name.endswith(".partial"):  # a checkpoint that is being written
                    self.tree(part)

    def file(self, path: Path) -> bool:
        """False when it is not there."""
        target = self.copy_of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.name.startswith(".tmp-"):
            return True  # about to become another file
        try:
            found = path.lstat()
            if not (path.is_symlink() or path.is_file()):
                return True  # sockets and pipes hold no data
            before = self.earlier / path.relative_to(self.source) if self.earlier else None
            if before and not path.is_symlink() and same(before, found):
                os.link(before, target)
                return True
            shutil.copy2(path, target, follow_symlinks=False)
            copy_owner(path, target)
            self.bytes += found.st_size
        except FileNotFoundError:
            with contextlib.suppress(FileNotFoundError):
                target.unlink()
            return False
        return True

    def owners(self) -> None:
        """The folders belong to whom they belonged, or the restored service could not write to them."""
        for place, _, _ in os.walk(self.target, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                copy_owner(self.source / Path(place).relative_to(self.target), Path(place))

    def copy_of(self, path: Path) -> Path:
        return self.target / path.relative_to(self.source)


def restore(backup: Path, data_dir: Path) -> dict[str, int]:
    """Fill an empty folder from a backup; returns how many experiments there are, and were running."""
    if not (backup / MANIFEST).is_file():
        raise Problem(f"{backup} is not a complete backup: it has no {MANIFEST}")
    if data_dir.exists() and any(data_dir.iterdir()):
        raise Problem(f"{data_dir} is not empty: restore into a new folder and point DTI_DATA_DIR to it")
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    for path in entries(backup):
        if path.name == MANIFEST:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, data_dir / path.name, symlinks=True, copy_function=copy_with_owner)
        else:
            copy_with_owner(path, data_dir / path.name)
    for path in data_dir.rglob("*"):
        original = backup / path.relative_to(data_dir)
        if path.is_dir() and not path.is_symlink():
            copy_owner(original, path)
    copy_owner(backup, data_dir)
    records = list(data_dir.glob(f"experiments/*/{RECORD}"))
    return {"experiments": len(records), "queued_again": sum(queue_again(path) for path in records)}


def queue_again(path: Path) -> bool:
    """What ran when the backup was made runs nowhere now. A record of another format is left to its own version."""
    record = json.loads(path.read_text())
    if record.get("schema_version") != SCHEMA_VERSION or record.get("state") != "running":
        return False
    if record.get("origin") == "interactive":
        return False  # a notebook that a person ran; recovery says that it is lost
    record.update(state="queued", assigned_device=None)
    part = path.with_name(".tmp-restore")
    part.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    copy_owner(path, part)
    part.replace(path)
    return True


def backups(folder: Path) -> list[Path]:
    """The complete ones, oldest first."""
    return sorted(
        path for path in folder.iterdir() if (path / MANIFEST).is_file() and not path.name.startswith(".")
    )


def entries(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from sorted(folder.iterdir())


def files_in(folder: Path) -> set[Path]:
    """All files of a checkpoint, relative to it; without those of one that is being written."""
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return {path.relative_to(folder) for path in found if ".partial" not in str(path.relative_to(folder))}


def same(before: Path, now: os.stat_result) -> bool:
    try:
        then = before.lstat()
    except OSError:
        return False
    return (then.st_size, then.st_mtime_ns, then.st_uid, then.st_gid, then.st_mode) == (
        now.st_size, now.st_mtime_ns, now.st_uid, now.st_gid, now.st_mode,
    )  # fmt: skip


def copy_owner(source: Path, target: Path) -> None:
    """Mode, and as root the owner too."""
    found = source.lstat()
    if not target.is_symlink():
        os.chmod(target, found.st_mode & 0o7777)
    if os.geteuid() == 0:
        os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)


def copy_with_owner(source: str | Path, target: str | Path) -> None:
    shutil.copy2(source, target, follow_symlinks=False)
    copy_owner(Path(source), Path(target))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("save", help="make a backup")
    one.add_argument("data_dir", type=Path)
    one.add_argument("folder", type=Path)
    one.add_argument(
        "--keep", type=int, default=0, metavar="N", help="remove all but the newest N (default: none)"
    )
    two = commands.add_parser("restore", help="fill an empty folder from a backup")
    two.add_argument("backup", type=Path)
    two.add_argument("data_dir", type=Path)
    three = commands.add_parser("list", help="the backups in a folder")
    three.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    try:
        run: dict[str, Callable[[], None]] = {
            "save": lambda: _save(given),
            "restore": lambda: _restore(given),
        }
        run.get(given.command, lambda: _list(given))()
    except (Problem, OSError) as error:
        print(f"backup.py: {error}", file=sys.stderr)
        return 1
    return 0


def _save(given: argparse.Namespace) -> None:
    made = save(given.data_dir, given.folder, given.keep)
    manifest = json.loads((made / MANIFEST).read_text())
    print(f"{made}: {manifest['experiments']} experiments, {manifest['bytes'] / 1e6:.1f} MB copied")


def _restore(given: argparse.Namespace) -> None:
    found = restore(given.backup, given.data_dir)
    print(
        f"{found['experiments']} experiments in {given.data_dir}, {found['queued_again']} of them queued again"
    )


def _list(given: argparse.Namespace) -> None:
    for backup in backups(given.folder):
        manifest = json.loads((backup / MANIFEST).read_text())
        print(f"{backup}: {manifest['experiments']} experiments")


if __name__ == "__main__":
    sys.exit(main())
