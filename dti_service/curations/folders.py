"""The images of a reading in one folder for each cluster, as a zip, with the table beside them."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from dti_service.archive import Archive, Member
from dti_service.curations.table import Cluster, Image, Reading

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')
# Names that Windows keeps for devices.
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
SUFFIXES = (".png", ".jpg")


def safe_name(text: str, longest: int = 80) -> str:
    """A file name that any system takes, as like `text` as may be."""
    name = _UNSAFE.sub("_", text).strip(" .")[:longest].rstrip(" .")
    return f"_{name}" if not name or _RESERVED.match(name) else name


def picture_of(results: Path, image: Image, kind: str = "raw") -> Path | None:
    """The image as the model saw it ("raw"), or its prototype as fitted to it ("tsf")."""
    for suffix in SUFFIXES:
        path = results / "clusters" / f"cluster{image.label}" / f"{image.id}_{kind}{suffix}"
        if path.is_file() and not path.is_symlink():
            return path
    return None


def prototype_of(results: Path, cluster: Cluster) -> Path | None:
    """The prototype that a cluster stands for, with its mask where the run learnt one."""
    if cluster.prototype is None:
        return None
    for folder in ("masked_prototypes", "prototypes"):
        for suffix in SUFFIXES:
            path = results / folder / f"prototype{cluster.prototype}{suffix}"
            if path.is_file() and not path.is_symlink():
                return path
    return None


def original_of(images: Path | None, image: Image) -> Path | None:
    """The image's own file below the folder of its dataset, when it is there."""
    return inside(images, image.path)


def inside(folder: Path | None, name: str) -> Path | None:
    """The file `name` below `folder` when it is there and no link leads out of it."""
    if folder is None or any(part in ("", ".", "..") for part in name.split("/")):
        return None
    path = folder / name
    return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None


class Folders(Archive):
    """A zip of folders `NN name/` with the images of each cluster, the nearest first. `close` cleans up after it.

    `originals`: folder of the dataset's own files, which are taken where they are found.
    """

    def __init__(self, reading: Reading, results: Path, originals: Path | None = None) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="dti-reading-"))
        try:
            table = self._scratch / "table.csv"
            table.write_text(reading.csv(bom=True), encoding="utf-8", newline="")
            members = [_member("table.csv", table)]
            for number, (id, images) in enumerate(reading.members().items()):
                folder = f"{number:03d} {safe_name(reading.clusters[id].name)}"
                prototype = prototype_of(results, reading.clusters[id])
                if prototype is not None:
                    members.append(_member(f"{folder}/prototype{prototype.suffix}", prototype))
                for place, image in enumerate(images):
                    path = original_of(originals, image) or picture_of(results, image)
                    if path is not None:
                        stem = safe_name(PurePosixPath(image.path).stem)
                        members.append(_member(f"{folder}/{place:05d} {stem}{path.suffix}", path))
            super().__init__(members, exact=True)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)


def _member(name: str, path: Path) -> Member:
    status = path.stat()
    return Member(name, path, status.st_size, status.st_mtime_ns)
