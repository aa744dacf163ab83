"""`folder`: the images of a folder of this machine, copied, so that the dataset stays what it was."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dti_service.datasets.guard.archives import IMAGE_SUFFIXES
from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.folders import allowed_folder
from dti_service.datasets.guard.names import hidden
from dti_service.datasets.guard.tables import LABEL, MOST_BYTES, TABLE_FILES, read_table
from dti_service.datasets.request import Document
from dti_service.datasets.sources.base import Found, Picture, Workshop


def find(document: Document, shop: Workshop) -> Iterator[Found]:
    root = allowed_folder(document.src, shop.policy, local=shop.local)
    files = list_files(root)
    if not files:
        raise GuardError(
            document.src, "no images in it", "name a folder with JPEG, PNG, GIF, TIFF or WebP files"
        )
    shop.inputs.append({"folder": document.src, "sha256": fingerprint(root, files)})
    shop.expected += len(files)
    for path in files:
        yield _image(path, path.relative_to(root).parts, document.src, shop)


def _image(path: Path, parts: tuple[str, ...], src: str, shop: Workshop) -> Found:
    def read(thumbnail: Path | None) -> Picture:
        # Copied before it is judged: what was judged is what is kept, and no link is followed.
        copy = shop.new_file()
        try:
            source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise GuardError(str(path), "it cannot be read", "check its permissions") from error
        with os.fdopen(source, "rb") as stream, copy.open("wb") as sink:
            while piece := stream.read(1 << 20):
                sink.write(piece)
                shop.tick()
        return shop.picture(copy, str(path), thumbnail, owned=True)

    return Found(parts, "/".join(parts), src, read)


def list_files(root: Path) -> list[Path]:
    """The image files below a folder, sorted; hidden ones, links and special files are left out."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if (
                path.suffix.lower() in IMAGE_SUFFIXES
                and not hidden((name,))
                and stat.S_ISREG(path.lstat().st_mode)
            ):
                found.append(path)
    return found


def facts_in(root: Path, most: int) -> dict[str, dict[str, str]]:
    """What the tables in a folder say of at most `most` images in it, by their paths: column -> text. The known
    labels are left out: whoever reads the images reads them."""
    found: dict[str, dict[str, str]] = {}
    for path in (root / name for name in TABLE_FILES):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= MOST_BYTES:
            for name, facts in read_table(path.read_bytes(), most).items():
                facts.pop(LABEL, None)
                found.setdefault(name, {}).update(facts)
    return {name: facts for name, facts in found.items() if facts}


def fingerprint(root: Path, files: list[Path]) -> str:
    """Changes when a file comes, goes, or is written."""
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        digest.update(
            f"{path.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="replace")
        )
    return digest.hexdigest()
