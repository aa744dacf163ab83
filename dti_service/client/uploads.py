"""Files of this machine as the body of one request: read as they are sent, one at a time."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

from dti_service.errors import InvalidRequest

CHUNK = 256 * 1024


class Form:
    """`multipart/form-data` of fields and files. Its length is known, so a progress bar and a proxy can use it."""

    def __init__(self, fields: dict[str, str], files: list[tuple[str, Path]]) -> None:
        """`files`: (name with folders, path) of each."""
        self.boundary = secrets.token_hex(16)
        self._parts: list[tuple[bytes, Path | None, bytes, int]] = []
        for name, value in fields.items():
            content = value.encode()
            self._parts.append((self._head(f'name="{name}"'), None, content, len(content)))
        for name, path in files:
            escaped = name.replace("\\", "/").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
            head = self._head(f'name="files"; filename="{escaped}"', "application/octet-stream")
            self._parts.append((head, path, b"", path.stat().st_size))
        self._tail = f"--{self.boundary}--\r\n".encode()

    def _head(self, disposition: str, media_type: str | None = None) -> bytes:
        kind = f"Content-Type: {media_type}\r\n" if media_type else ""
        return f"--{self.boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{kind}\r\n".encode()

    @property
    def headers(self) -> dict[str, str]:
        length = sum(len(head) + size + 2 for head, _, _, size in self._parts) + len(self._tail)
        content_type = f"multipart/form-data; boundary={self.boundary}"
        return {"Content-Type": content_type, "Content-Length": str(length)}

    def __iter__(self) -> Iterator[bytes]:
        for head, path, content, _ in self._parts:
            yield head
            if path is None:
                yield content
            else:
                with path.open("rb") as stream:
                    while chunk := stream.read(CHUNK):
                        yield chunk
            yield b"\r\n"
        yield self._tail


class AsyncForm:
    """A form for an event loop: httpx takes what can be iterated in both ways for the other kind."""

    def __init__(self, form: Form) -> None:
        self.form = form

    @property
    def headers(self) -> dict[str, str]:
        return self.form.headers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.form:
            yield chunk


def form_of(paths: str | Path | Iterable[str | Path], name: str | None) -> Form:
    """A form of files and of all that is in folders, under their path from the folder on. Raises InvalidRequest."""
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    files: list[tuple[str, Path]] = []
    for path in map(Path, given):
        if path.is_dir():
            inside = [item for item in sorted(path.rglob("*")) if item.is_file() and not _hidden(item, path)]
            files += [(item.relative_to(path).as_posix(), item) for item in inside]
        elif path.is_file():
            files.append((path.name, path))
        else:
            raise InvalidRequest(f"There is no {path}", [{"field": str(path), "reason": "does not exist"}])
    if not files:
        raise InvalidRequest("There are no files to send")
    return Form({"name": name} if name else {}, files)


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
