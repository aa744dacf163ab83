"""What all sources share: the description of an image that was found, and the tools to read what is behind it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import httpx

from dti_service.datasets.fetch import BytesProgress, Fetcher, Kind
from dti_service.datasets.files import link_or_copy, sha256_of
from dti_service.datasets.guard.archives import IMAGE_SUFFIXES
from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.isolation import Decoder
from dti_service.datasets.guard.policy import Policy
from dti_service.datasets.guard.tables import read_table
from dti_service.datasets.request import Document

THUMBNAIL = 128  # pixels

Task = TypeVar("Task")
Progress = Callable[[int, int | None, str, str], None]  # step, total, unit, phase

_SUFFIXES = {
    "JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp", "PPM": ".ppm",
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A decoded and accepted image file. `owned`: it may be moved away; otherwise it is linked."""

    path: Path
    owned: bool
    format: str
    width: int
    height: int
    sha256: str  # of the bytes as received
    original: dict[str, Any]
    label: str = ""  # of a page, where the document has one
    rewritten: bool = False  # in another format than received


@dataclass(frozen=True)
class Found:
    """An image of a document, not yet looked at. `parts`: the path that it should get; `name`: as its owner knows
    it; `aliases`: other names under which crops may mean it, the exact ones first; `facts`: what else is known of it,
    column -> text."""

    parts: tuple[str, ...]
    name: str
    src: str
    read: Callable[[Path | None], Picture]  # takes the path for a thumbnail; raises GuardError
    page: int | None = None
    label: str | None = None
    aliases: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Everything that crops may call it."""
        path = "/".join(self.parts)
        known = {self.name, path, path.replace("/", "+"), self.parts[-1], *self.aliases}
        return known | {strip_suffix(name) for name in known}


def strip_suffix(name: str) -> str:
    return name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix).lower() in IMAGE_SUFFIXES else name


def with_suffix(name: str, picture_format: str, *, rewritten: bool) -> str:
    """A name that readers take for an image: its own ending where that is one, unless the file was rewritten."""
    suffix = _SUFFIXES[picture_format]
    if rewritten:
        return strip_suffix(name) + suffix
    return name if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES else name + suffix


@dataclass
class Workshop:
    """The tools for one dataset. `folder` is for files on their way; `wanted` says whether an image by one of these
    names will be used at all, so that no other is downloaded; `inputs` collects what was read, for the question
    whether it has changed."""

    folder: Path
    policy: Policy
    fetcher: Fetcher
    decoder: Decoder
    uploads: Path  # the folder of the files that were sent, by their hashes
    progress: Progress
    tick: Callable[[], None]
    local: bool = False
    wanted: Callable[[set[str]], bool] = lambda names: True
    inputs: list[dict[str, Any]] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    expected: int = 0  # images of the documents opened so far
    facts: dict[str, dict[str, str]] = field(default_factory=dict)  # in the document being read, by path
    accepted: set[Path] = field(default_factory=set)  # files that are images of the dataset now
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_file(self, suffix: str = "") -> Path:
        return self.folder / f"{next(self._numbers)}{suffix}"

    # -- what addresses hold ----------------------------------------------------------------------------------

    def body(self, document: Document) -> Path:
        """The file that a document's `src` stands for: behind an address, or on this machine for its owner."""
        if self.local and "://" not in document.src:
            path = Path(document.src)
            if not path.is_file():
                raise GuardError(document.src, "no such file", "check the path")
            self.inputs.append({"file": document.src, "sha256": sha256_of(path)})
            return path
        return self.fetch(document.src, Kind.document(self.policy.limits), "document", self._bytes)

    def _bytes(self, done: int, total: int | None) -> None:
        self.progress(done, total, "bytes", "downloading")

    def fetch(self, url: str, kind: Kind, kind_name: str, progress: BytesProgress | None = None) -> Path:
        """Read an address and note that the dataset depends on it."""
        note = self.fetcher.fetch(url, kind, progress=progress)
        self.inputs.append({"url": url, "kind": kind_name, "sha256": note.sha256})
        return self.fetcher.path(url)

    def ahead(self, tasks: Iterable[Task], work: Callable[[Task], Any]) -> Iterator[tuple[Task, Any]]:
        """(task, result of work(task), or the GuardError that it raised) in order, a few tasks at the same time."""
        parallel = self.policy.limits.parallel_downloads
        waiting: deque[tuple[Task, Future[Any]]] = deque()
        remaining = iter(tasks)
        with ThreadPoolExecutor(parallel, "dti-fetch") as pool:
            try:
                for task in itertools.islice(remaining, 2 * parallel):
                    waiting.append((task, pool.submit(work, task)))
                while waiting:
                    task, future = waiting.popleft()
                    try:
                        result = future.result()
                    except GuardError as error:
                        result = error
                    yield task, result
                    self.tick()
                    for following in itertools.islice(remaining, 1):
                        waiting.append((following, pool.submit(work, following)))
            finally:
                for _, future in waiting:
                    future.cancel()

    def read_table(self, data: bytes, folder: tuple[str, ...]) -> None:
        """Take what a table says that lies in `folder` of the document."""
        for name, facts in read_table(data, self.policy.limits.images).items():
            self.facts.setdefault("/".join((*folder, name)), {}).update(facts)

    # -- what files hold --------------------------------------------------------------------------------------

    def picture(self, path: Path, subject: str, thumbnail: Path | None, *, owned: bool) -> Picture:
        """Have a file decoded as an image, in isolation; `GuardError` about `subject` when it is none."""
        limits = self.policy.limits
        plain = self.new_file(".png")
        size = path.stat().st_size
        if size > limits.image_bytes:
            raise GuardError(subject, f"larger than {limits.image_bytes} bytes", "make it smaller")
        try:
            facts = self.decoder.call(
                "check_image",
                subject,
                path=str(path),
                plain=str(plain),
                thumbnail=str(thumbnail) if thumbnail else None,
                size=THUMBNAIL,
                pixels=limits.image_pixels,
                side=limits.image_side,
                metadata=limits.image_metadata_bytes,
            )
            digest = sha256_of(path)
        except GuardError:
            self.drop(plain, thumbnail, path if owned else None)
            raise
        rewritten = facts["rewritten"]
        if rewritten and owned:
            path.unlink()
        return Picture(
            path=plain if rewritten else path,
            owned=owned or rewritten,
            format=facts["format"],
            width=facts["width"],
            height=facts["height"],
            sha256=digest,
            original=facts["original"],
            rewritten=rewritten,
        )

    @staticmethod
    def drop(*paths: Path | None) -> None:
        for path in paths:
            if path is not None:
                path.unlink(missing_ok=True)

    def place(self, picture: Picture, target: Path) -> None:
        """Give an accepted image its final name."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if picture.owned:
            picture.path.replace(target)
        else:
            link_or_copy(picture.path, target)
            self.accepted.add(picture.path)


def last_name(url: str, fallback: str) -> str:
    """The last part of an address's path, as a name to show."""
    path = httpx.URL(url).path
    return next((part for part in reversed(path.split("/")) if part), fallback)
