"""Downloads that are resumed, revalidated and never used half.

For each address the folder keeps a body, and a note of what the server said of it (ETag, Last-Modified) with its
hash. A later request asks "has it changed since?". A body that is still arriving has another name (`.part`), and goes
on where it broke off only when the server confirms that it is still the same file.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dti_service.datasets.files import CHUNK, exclusive, read_json, write_json
from dti_service.datasets.guard.errors import FetchError, GuardError, PreparationStopped
from dti_service.datasets.guard.http import Answer, GuardedHTTP
from dti_service.datasets.guard.limits import Limits

BytesProgress = Callable[[int, int | None], None]
_REMEDIES = {
    401: "make it public: the service has no password for it",
    403: "make it public: the server does not let the service read it",
    404: "check the address: there is nothing behind it",
    410: "check the address: it is gone for good",
}


@dataclass(frozen=True)
class Note:
    """What is known of the body behind an address."""

    url: str
    etag: str | None
    last_modified: str | None
    content_type: str
    size: int
    sha256: str
    checked_at: float  # seconds since the epoch

    @property
    def has_validator(self) -> bool:
        return bool(self.etag or self.last_modified)

    def conditions(self) -> dict[str, str]:
        conditions = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in conditions.items() if value}


@dataclass(frozen=True)
class Kind:
    """How much a body may take. `page`: a web page may be the answer. `trusted_age_s`: see `Limits`."""

    limit: int
    time_s: float
    page: bool = False
    trusted_age_s: float = 0.0

    @classmethod
    def document(cls, limits: Limits) -> Kind:
        return cls(limits.document_bytes, limits.document_s)

    @classmethod
    def image(cls, limits: Limits) -> Kind:
        return cls(limits.image_bytes, limits.image_s)

    @classmethod
    def iiif_image(cls, limits: Limits) -> Kind:
        return cls(limits.image_bytes, limits.image_s, trusted_age_s=limits.trusted_age_s)

    @classmethod
    def json(cls, limits: Limits) -> Kind:
        return cls(limits.json_bytes, limits.json_s, page=True)  # the parser says it better


class Fetcher:
    """Reads addresses into `folder`, each at most once in its lifetime. Several threads may use one, and several
    processes one folder. Use as a context manager."""

    def __init__(
        self,
        folder: Path,
        http: GuardedHTTP,
        should_stop: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = folder
        self.limits = http.limits
        self.should_stop = should_stop
        self._http = http
        self._sleep = sleep
        self._done: dict[str, Note] = {}

    def tick(self) -> None:
        """Raise `PreparationStopped` when somebody asked to stop."""
        if self.should_stop():
            raise PreparationStopped

    # -- files ----------------------------------------------------------------------------------------------

    def _file(self, url: str, suffix: str) -> Path:
        return self.folder / (hashlib.sha256(url.encode()).hexdigest() + suffix)

    def path(self, url: str) -> Path:
        """The complete body of an address that was fetched with `body=True`."""
        return self._file(url, ".body")

    def _note(self, url: str) -> Note | None:
        value = read_json(self._file(url, ".json"))
        try:
            return Note(**value)
        except TypeError:
            return None

    def release(self, url: str) -> None:
        """Drop the body but remember what it was, for the next question whether it changed."""
        self.path(url).unlink(missing_ok=True)

    def discard(self, url: str) -> None:
        """Forget all about an address."""
        self._done.pop(url, None)
        self._forget_part(url)
        for suffix in (".body", ".json"):
            self._file(url, suffix).unlink(missing_ok=True)

    def _forget_part(self, url: str) -> None:
        for suffix in (".part", ".part.json"):
            self._file(url, suffix).unlink(missing_ok=True)

    # -- reading --------------------------------------------------------------------------------------------

    def fetch(
        self, url: str, kind: Kind, *, body: bool = True, progress: BytesProgress | None = None
    ) -> Note:
        """What is behind an address now. With `body`, the file is at `path(url)` afterwards; without, only if it had
        to be read. Raises `GuardError` for what may not be read, `FetchError` for what cannot."""
        done = self._done.get(url)
        if done is not None and (not body or self.path(url).exists()):
            return done
        self.folder.mkdir(parents=True, exist_ok=True)
        with exclusive(self._file(url, ".lock"), self.should_stop):
            try:
                note = self._fetch(url, kind, body, progress)
            except FetchError as error:
                if not error.transient:
                    self.discard(url)
                elif not (read_json(self._file(url, ".part.json")) or {}).get("validator"):
                    self._forget_part(url)  # it could never be continued
                raise
            except GuardError:
                self.discard(url)
                raise
        self._done[url] = note
        return note

    def _fetch(self, url: str, kind: Kind, body: bool, progress: BytesProgress | None) -> Note:
        note = self._note(url)
        if note is not None and body and not self._intact(note):
            note = None
        if note is not None and not note.has_validator and time.time() - note.checked_at < kind.trusted_age_s:
            return note
        for attempt in range(1, self.limits.attempts + 1):
            self.tick()
            try:
                return self._attempt(url, kind, note, progress)
            except FetchError as error:
                if not error.transient or attempt == self.limits.attempts:
                    raise
            self._sleep(min(0.5 * 2**attempt, 10.0) * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _intact(self, note: Note) -> bool:
        try:
            return self.path(note.url).stat().st_size == note.size
        except FileNotFoundError:
            return False

    def _attempt(self, url: str, kind: Kind, note: Note | None, progress: BytesProgress | None) -> Note:
        part, about = self._file(url, ".part"), self._file(url, ".part.json")
        headers = note.conditions() if note is not None else {}
        start = 0
        validator = (read_json(about) or {}).get("validator")
        if not headers and validator and part.exists() and part.stat().st_size:
            start = part.stat().st_size
            headers = {"Range": f"bytes={start}-", "If-Range": validator}
        with self._http.request("GET", url, headers=headers, time_s=kind.time_s) as answer:
            if answer.status == 304 and note is not None:
                note = replace(note, checked_at=time.time())
                if self.path(url).exists():
                    os.utime(self.path(url))  # still wanted: see `collect`
                write_json(self._file(url, ".json"), asdict(note), sync=False)
                return note
            if answer.status == 206 and start and _starts_at(answer, start):
                return self._receive(url, kind, answer, start, progress)
            if answer.status in (206, 416):
                part.unlink(missing_ok=True)
                raise FetchError(
                    url, "the server sent another part than asked for", "try again", transient=True
                )
            if answer.status == 200:
                return self._receive(url, kind, answer, 0, progress)
            raise self._refused(url, answer)

    def _refused(self, url: str, answer: Answer) -> FetchError:
        transient = answer.status in (408, 425, 429) or answer.status >= 500
        if transient and (wait := answer.headers.get("retry-after", "")).isdecimal():
            self._sleep(min(float(wait), 30.0))
        remedy = _REMEDIES.get(
            answer.status, "try again later" if transient else "check the address in a browser"
        )
        reason = f"the server answered {answer.status}"
        return FetchError(url, reason, remedy, transient=transient, answer=answer.status)

    def _receive(
        self, url: str, kind: Kind, answer: Answer, start: int, progress: BytesProgress | None
    ) -> Note:
        content_type = answer.headers.get("content-type", "").split(";")[0].strip().lower()
        if content_type in ("text/html", "application/xhtml+xml") and not kind.page:
            raise FetchError(
                url, "the server answered with a web page", "give the address of the file itself"
            )
        part = self._file(url, ".part")
        length = answer.headers.get("content-length", "")
        plain = answer.headers.get("content-encoding", "identity").lower() in ("", "identity")
        total = start + int(length) if length.isdecimal() and plain else None
        self._check_room(url, kind, start, total)
        # Only a strong validator proves that the rest belongs to what is here; packed answers cannot be continued.
        etag = answer.headers.get("etag")
        strong = etag if etag and not etag.startswith("W/") else answer.headers.get("last-modified")
        write_json(self._file(url, ".part.json"), {"validator": strong if plain else None}, sync=False)
        digest = hashlib.sha256()
        if start:
            with part.open("rb") as stream:
                while piece := stream.read(CHUNK):
                    digest.update(piece)
        size = start
        with part.open("ab" if start else "wb") as stream:
            for piece in answer.body(kind.limit - start, url):
                self.tick()
                stream.write(piece)
                digest.update(piece)
                size += len(piece)
                if progress is not None:
                    progress(size, total)
            stream.flush()
            os.fsync(stream.fileno())
        if total is not None and size != total:
            raise FetchError(url, "the connection broke off", "try again later", transient=True)
        note = Note(
            url=url,
            etag=etag,
            last_modified=answer.headers.get("last-modified"),
            content_type=content_type,
            size=size,
            sha256=digest.hexdigest(),
            checked_at=time.time(),
        )
        part.replace(self.path(url))
        write_json(self._file(url, ".json"), asdict(note), sync=False)
        self._file(url, ".part.json").unlink(missing_ok=True)
        return note

    def _check_room(self, url: str, kind: Kind, start: int, total: int | None) -> None:
        if total is None:
            return
        if total > kind.limit:
            raise GuardError(
                url, f"larger than {kind.limit} bytes", "offer a smaller file, or raise the limit"
            )
        if total - start > shutil.disk_usage(self.folder).free - self.limits.reserve_bytes:
            raise GuardError(url, f"no room on the disk for {total} bytes", "delete experiments or datasets")


def _starts_at(answer: Answer, start: int) -> bool:
    return answer.headers.get("content-range", "").replace(" ", "").startswith(f"bytes{start}-")


def collect(folder: Path, max_age_s: float, *, now: float | None = None) -> int:
    """Delete downloads that nobody asked for in the last `max_age_s` seconds; returns the bytes freed."""
    freed = 0
    moment = time.time() if now is None else now
    for path in folder.glob("*"):
        try:
            status = path.stat()
            if path.is_file() and moment - status.st_mtime > max_age_s:
                path.unlink()
                freed += status.st_size if status.st_nlink == 1 else 0
        except FileNotFoundError:
            continue
    return freed
