"""An SQLite file that may be deleted, damaged or unwritable at any time: it is made anew, if need be in memory."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dti_service.errors import Unavailable

log = logging.getLogger(__name__)

BUSY_S = 30.0
CACHE_KIB = 16 * 1024  # of memory, at the most
NETWORK_TYPES = re.compile(r"nfs|cifs|smb|fuse\.(?!fuseblk)|9p|lustre|ceph|gpfs|beegfs|afs|glusterfs")
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNUSABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}

Result = TypeVar("Result")


class NewerFormat(Exception):
    """The file belongs to a later version of the service, which may be running beside this one."""


class IndexFile:
    """Statements on one SQLite file. May be used from any thread.

    `generation` changes whenever a file other than before is in use, so that what was known of its content is void.
    """

    def __init__(self, path: Path, schema: str, format: int) -> None:
        self.path = path.with_stem(f"{path.stem}-{_host()}") if on_network(path.parent) else path
        self._generation = 0
        self._schema = schema
        self._format = format
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._in_memory = False

    @property
    def generation(self) -> int:
        return self._attempt(lambda connection: self._generation)

    def close(self) -> None:
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._in_memory = False

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Raises Unavailable when others keep the file locked."""
        return self._attempt(lambda connection: connection.execute(sql, values).fetchall())

    def write(self, action: Callable[[sqlite3.Connection], None]) -> None:
        """Run `action` in a transaction that excludes other writers. Raises Unavailable."""

        def transaction(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            try:
                action(connection)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

        self._attempt(transaction)

    def follow(self) -> None:
        """Notice that the file was deleted or replaced by another one."""
        with self._guard:
            if self._connection is not None and not self._in_memory and _inode(self.path) != self._inode:
                self.close()

    def _attempt(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        with self._guard:
            try:
                return action(self._opened())
            except (sqlite3.DatabaseError, NewerFormat) as error:
                if _code(error) in _BUSY:
                    raise Unavailable("The index of experiments is busy: try again") from error
                self._give_up(error)
                return action(self._opened())

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            place = ":memory:" if self._in_memory else self.path
            # Transactions are begun explicitly; threads are kept apart by the guard.
            connection = sqlite3.connect(place, BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self._inode = _inode(self.path)
            self._generation += 1
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > self._format:
            raise NewerFormat(f"it has format {found}")
        if connection.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
            # Not possible while others use the file; then one of them does it.
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        if found != self._format:
            self._create(connection)

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, self._format):
            raise sqlite3.DatabaseError(f"it has format {found}")
        if found == 0:  # else another process was quicker
            for statement in self._schema.split(";\n"):  # within a trigger they do not end the line
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={self._format}")
        connection.execute("COMMIT")

    def _give_up(self, error: Exception) -> None:
        """The file cannot be used: begin a new one, or do without one until the next start."""
        self.close()
        keep = isinstance(error, NewerFormat) or _code(error) in _UNUSABLE
        if not keep:
            log.warning("The index %s is damaged (%s) and is built anew", self.path, error)
            try:
                for suffix in ("", "-wal", "-shm"):
                    self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            except OSError:
                keep = True
        if keep:
            log.warning("The index %s cannot be used (%s): it is kept in memory", self.path, error)
            self._in_memory = True


def on_network(folder: Path) -> bool:
    """Is this folder on a file system that other machines may share? SQLite's log needs memory shared by its users."""
    try:
        mounts = Path("/proc/self/mounts").read_text()
    except OSError:
        return False
    folder = folder.resolve()
    best, type_ = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) >= 3:
            mount = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[1]))
            if folder.is_relative_to(mount) and len(mount.parts) >= best:
                best, type_ = len(mount.parts), fields[2]
    return NETWORK_TYPES.match(type_) is not None


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", socket.gethostname())


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _code(error: Exception) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF  # without the extension that tells more
